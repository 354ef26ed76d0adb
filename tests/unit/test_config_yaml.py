"""Scalars of conf/ and expectations/ by YAML 1.2's core schema; what versions of YAML read differently is refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spark_jobs.config.yaml_file import YamlFault, read_yaml

READ: list[tuple[str, Any]] = [
    *((word, word) for word in ("NO", "no", "No", "yes", "Yes", "on", "Off", "y", "n", "Y")),  # Norway and its like
    *((text, text) for text in ("1:30", "22:22:22", "2013-01-01", "2013-01-01T00:00:00Z", "1e", "e1", "0x", "0o8", "1.2.3")),
    ("true", True), ("False", False), ("TRUE", True), ("~", None), ("null", None), ("", None), ("Null", None),
    ("0", 0), ("-0", 0), ("10", 10), ("+5", 5), ("0x1F", 31), ("0o17", 15),
    ("1e3", 1000.0), ("1E-2", 0.01), (".5", 0.5), ("1.", 1.0), ("-1.5", -1.5), ("0.10", 0.1),
    ("'NO'", "NO"), ('"010"', "010"), ("'true'", "true"), ("'null'", "null"), ("'1'", "1"), ("'.inf'", ".inf"), ("=", "="),
    ("!!str 010", "010"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), READ)
def test_a_scalar_is_read_by_the_core_schema_of_yaml_1_2(tmp_path, text, value):
    read = _read(tmp_path, f"key: {text}\nlist:\n- {text}\n").data
    for one in (read["key"], read["list"][0]):
        assert (type(one), one) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, "ambiguous") for text in ("010", "007", "-08", "00", "1_000", "0b101", "1_0.5")),
        *((text, "not a finite number") for text in (".inf", "-.INF", ".nan", ".NaN")),
        ("1e999", "beyond the largest number"), ("1" * 41, "more than 40 digits"),
        *((text, "tag") for text in ("!!int '1'", "!!binary aGk=", "!mine 1", "!!set {a, b}", "!mine {a: 1}", "!mine [1]")),
        ("{a: 1, a: 2}", "duplicate key 'a'"), ("{<<: {a: 1}}", "merge key"), ("{[1]: 2}", "a list or a mapping as a key"),
    ],
)  # fmt: skip
def test_an_ambiguous_scalar_is_refused_with_its_place(tmp_path, text, said):
    (fault,) = _read(tmp_path, f"first: 1\nsecond: {text}\n").faults
    assert said in fault.found
    assert (fault.line, fault.column >= 9) == (2, True)
    assert "^" in fault.caret


def test_all_ambiguous_scalars_of_a_file_are_reported(tmp_path):
    assert [fault.line for fault in _read(tmp_path, "a: 010\nb: ok\nc: .nan\na: 3\n").faults] == [1, 3, 4]


def test_keys_are_text_as_they_are_written(tmp_path):
    assert _read(tmp_path, "NO: 1\n010: 2\ntrue: 3\n~: 4\n").data == {"NO": 1, "010": 2, "true": 3, "~": 4}


def test_aliases_are_written_out_within_a_limit(tmp_path):
    assert _read(tmp_path, "a: &x [NO, 1]\nb: *x\n").data["b"] == ["NO", 1]
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(YamlFault, match="more than 100000 values"):
        _read(tmp_path, f"l0: &l0 [x]\n{levels}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 50_000 + "]" * 50_000, "more than 100 levels"), ("a: " + "{a: " * 50_000, "more than 100 levels"),
        ("- " * 2_000 + "x", "more than 100 levels"), ("a: " + "x" * 5_000_000, "at most 4194304"),
        ("a: &a [" + "*a, " * 9 + "]", "contains itself"), ("a: &a x\nb: [" + "*a, " * 200_000 + "]", "more than 100000 values"),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_file_that_is_deep_or_large_is_refused(tmp_path, text, said):
    """Fifty thousand brackets ended the process with a segmentation fault."""
    with pytest.raises(YamlFault, match=said):
        _read(tmp_path, text)


def test_a_tab_in_the_indentation_is_named(tmp_path):
    with pytest.raises(YamlFault, match="a tab in the indentation") as caught:
        _read(tmp_path, "a:\n\tb: 1\n")
    assert caught.value.line == 2


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path):
    assert _read(tmp_path, "\ufeffa: 1\n").data == {"a": 1}


def _read(folder: Path, text: str) -> Any:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)
