"""Hostile text in place of what conf/ and expectations/ say: refused with its place, or kept where it is text and never code."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from spark_jobs.config.load import check_channels, load_environment, load_pipeline
from spark_jobs.errors import TidegateError, UsageError

CHECKOUT = Path(__file__).resolve().parents[2]
PIPELINE = "nycflights13"
FILES = sorted(
    path.relative_to(CHECKOUT).as_posix()
    for room in (f"conf/pipelines/{PIPELINE}", f"expectations/{PIPELINE}")
    for path in (CHECKOUT / room).rglob("*.yaml")
)
PAYLOADS = (
    "x'; DROP TABLE releases; --", 'x"; DROP TABLE releases; --', "x` FROM secrets; --", "1 OR 1=1", "*", "a.b", "",
    "../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "..\\..\\etc", "a\x00b", "a\nb: c", "a\r\nBcc: x",
    "$(touch planted)", "`touch planted`", "; touch planted", "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "${HOME}",
    "!!python/object/apply:os.system ['touch planted']", "__import__('os').system('touch planted')", "__class__",
    "<script>alert(1)</script>", "‮evil", "名前", "a" * 5_000, "-rf", "--conf", "NUL",
)  # fmt: skip
# Where text is anybody's: shown (escaped: test_report_page, test_alerts_channels), or a value that rows are compared with.
TEXT = {"owner", "grain", "meaning", "unit", "why", "nulls", "value_set", "regex", "description"}
# Code by its nature, written by those who may write code (SECURITY.md);
# replay.yaml names columns of the packaged history, looked up in a row of it.
TRUSTED = {"ignore_row_if"}
OF_FILE = {"replay.yaml": {"instant", "plus_minutes", "columns"}}
# Names of an upstream's query parameters and tables, of this machine's variables, of hosts: whichever are well-formed are legal.
NAMES = {
    "cursor.parameter": r"[\w.-]{1,63}", "database.table": r"\w{1,63}(\.\w{1,63})?",
    **dict.fromkeys(("http.plain_hosts", "database.plain_hosts"), r"[A-Za-z0-9][A-Za-z0-9.-]*"),
    **dict.fromkeys(("http.url_env", "database.url_env", "database.user_env", "database.password_env"), "[A-Z][A-Z0-9_]{0,62}"),
}  # fmt: skip


def _texts(node: yaml.Node, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Keys and texts of a file, each with its path; a key's own path ends with a star."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*where, "*"), key
            yield from _texts(value, (*where, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _texts(item, where)
    elif node.tag == "tag:yaml.org,2002:str":
        yield where, node


PLACES = [
    (file, where, node.start_mark.index, node.end_mark.index)
    for file in FILES
    for where, node in _texts(yaml.compose((CHECKOUT / file).read_text()))
]


def _may_stand(file: str, where: tuple[str, ...]) -> bool:
    named = TEXT | TRUSTED | OF_FILE.get(Path(file).name, set())
    return where[-1] in named or (where[-1] != "*" and bool(named & set(where[-2:])))


def _names_something_else(where: tuple[str, ...], text: str) -> bool:
    """What stands there is the name of something outside of conf/, and `text` is such a name, nothing else."""
    legal = NAMES.get(".".join(where[-2:]))
    return legal is not None and re.fullmatch(legal, text, re.ASCII) is not None


def test_200_hostile_names_are_refused_or_stand_where_text_may(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every payload at places drawn by the seed: pipelines, tables, columns, sources, rules, types, paths, addresses."""
    draw = random.Random(int(os.environ["TIDEGATE_SEED"]))
    monkeypatch.chdir(project)
    refused, passed, crashed = 0, [], []
    for number, (file, where, start, end) in enumerate(draw.sample(PLACES, 240)):
        text, hostile = (CHECKOUT / file).read_text(), PAYLOADS[number % len(PAYLOADS)]
        (project / file).write_text(text[:start] + json.dumps(hostile) + text[end:])
        try:
            load_pipeline(PIPELINE, project)
            if not (_may_stand(file, where) or _names_something_else(where, hostile)):
                passed.append((file, where, hostile))
        except TidegateError:
            refused += 1
        except Exception as error:
            crashed.append((file, where, hostile, repr(error)[:200]))
        (project / file).write_text(text)
    assert (passed, crashed) == ([], [])
    assert refused > 100
    assert not list(project.rglob("planted"))
    assert load_pipeline(PIPELINE, project).name == PIPELINE  # the control: what was refused was the hostile text


@pytest.mark.parametrize("hostile", PAYLOADS)
def test_a_pipeline_of_a_hostile_name_is_none(hostile: str, project: Path) -> None:
    with pytest.raises(UsageError, match="no pipeline"):
        load_pipeline(hostile, project)


@pytest.mark.parametrize("hostile", [*PAYLOADS, "../x", "../../x", "./local", "local.yaml", "../environments/local"])
def test_an_environment_of_a_hostile_name_is_none(hostile: str, project: Path) -> None:
    """Also where there is such a file outside conf/environments."""
    local = (project / "conf/environments/local.yaml").read_text()
    for place in (project / "x.yaml", project / "conf/x.yaml"):
        place.write_text(local)
    for load in (load_environment, lambda name: check_channels(PIPELINE, name)):
        with pytest.raises(UsageError, match="no environment"):
            load(hostile)
