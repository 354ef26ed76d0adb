"""The extremes of every type through a whole hour: each value ends as published exactly, quarantined, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import SparkSession
from readings import FIRST, NAME, SUITE, TYPES, Readings
from typer.testing import CliRunner

from spark_jobs.cli.app import app
from spark_jobs.invocation import HOUR
from spark_jobs.verdict import MASKED

# Texts that a column must hold exactly: as delivered -> as DuckDB casts the value to text.
EXACT = {
    "s": ["", " ", "a\nb", "a\r\nb", '"', "|", "\u2028", "\U0001f600", "e\u0301", "x" * 100_000, "null", "\t"],
    "i": ["2147483647", "-2147483648", "+7", "007", "-0"],
    "b": ["9223372036854775807", "-9223372036854775808", "9007199254740993"],
    "d": ["1.7976931348623157e308", "-1.7976931348623157E308", "5e-324", "-0.0", "9007199254740992", "9007199254740994.00",
          "12345678901234567741440", "-10000000000000000000000.0", "9223372036854775808", "1e22", "0.1",
          "0.10000000000000001", ".5", "5.", "0e-500", "00"],
    "t": ["0001-01-01", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00-00:01", "9999-12-31T23:59:00+00:01",
          "1582-10-10", "1900-01-01T00:00:00Z", "2024-05-01T20:10:00.123456000Z", "2024-05-01T20:10:00.1Z"],
    "on_day": ["0001-01-01", "9999-12-31", "1582-10-10", "2024-02-29"],
    "flag": ["true", "F", "1", "no"],
}  # fmt: skip
# Texts that it cannot hold exactly, or that are none of its type.
TYPE_FAULTS = {
    "i": ["2147483648", "-2147483649", "1.0", "1.5", "1e3", "0x10", "1_000", "NaN", "9" * 40, "\uff11"],
    "b": ["9223372036854775808", "-9223372036854775809", "1.0", "1e3", "18446744073709551615"],
    "d": ["9007199254740993", "-9007199254740993.0", "9223372036854775809",
          "12345678901234567890000", "1e-400", "-1e-400", "1d", "0x1p3", "1 000", "1,5"],
    "t": ["2024-05-01T20:10:00.1234561Z", "2024-05-01T20:10:00.123456001Z", "2024-05-01T20:10:00.1234560000001Z",
          "9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00+05:00", "0000-01-01",
          "10000-01-01", "-0001-01-01", "2023-02-29", "2024-05-01T24:00:00Z", "2024-05-01T23:59:60Z", "infinity",
          "2024-05-01T20:10:00+25:00", "1714594200"],
    "on_day": ["0000-01-01", "10000-01-01", "2023-02-29", "2024-05-01T00:00:00Z", "20240501", "infinity"],
    "flag": ["2", "1.0", "ja", "TRUE!"],
}  # fmt: skip
ODD = """data '#+&;:$=~!(),@é日本"""  # the name of the data folder
NOT_FINITE = ["NaN", "Infinity", "-inf", "1e400", "-1.8e308"]
SEEN_BY_RULES = ("d", "b", "i", "s", "t", "on_day")
RULES = SUITE + "".join(
    f"  - {{id: {column}_{name}, type: {kind}, {args}severity: warning, why: tests}}\n"
    for column in SEEN_BY_RULES
    for name, kind, args in [
        ("unique", "expect_compound_columns_to_be_unique", f"columns: [id, {column}], scope: row, budget: 1, "),
        *[
            (name, f"expect_column_{kind}_to_be_between", f"column: {column}, args: {{max_value: 0}}, scope: hour, ")
            for name, kind in (("distinct", "unique_value_count"), ("sum", "sum"), ("mean", "mean"), ("max", "max"))
            if name == "distinct" or column in "dbi"
        ],
    ]
)  # fmt: skip


def told(*words: str) -> str:
    """What a command prints; it must end with 0."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def extremes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An hour with one row for each text above; the rest of a row is ordinary."""
    folder = tmp_path_factory.mktemp("extremes")
    site = Readings(folder / "project", folder / ODD, spark).write(suite=RULES, key=["id", "t"])
    good = [{column: text} for column, texts in EXACT.items() for text in texts]
    rows = [*good, *[{"id": f"plain {number}"} for number in range(40 * 60)]]
    rows += [{column: text} for column, texts in TYPE_FAULTS.items() for text in texts]
    rows += [{"d": text} for text in NOT_FINITE] + [{"at": text} for text in TYPE_FAULTS["t"] + EXACT["t"][:4]]
    site.deliver(FIRST, rows)
    return site, rows, site.publish(FIRST)


def test_every_extreme_value_is_published_exactly_or_quarantined_with_its_text(extremes: Any) -> None:
    """No value changes, no two keys become one, and the account of rows adds up."""
    site, rows, _ = extremes
    by_id = {str(number): row for number, row in enumerate(rows) if "id" not in row}
    held = {
        row[0]: row[1:]
        for row in site.ask("SELECT cols['id'], rules, map_values(cols), map_keys(cols) FROM quarantine")
    }
    for number, row in by_id.items():
        ((column, text),) = row.items()
        fault = text in TYPE_FAULTS.get("t" if column == "at" else column, [])
        expected = (
            f"type:{column}"
            if fault
            else "event_within"
            if column == "at"
            else "finite:d"
            if text in NOT_FINITE
            else None
        )
        assert (expected is None) == (number not in held), row
        if expected:
            rules, values, names = held[number]
            assert expected in rules, row
            assert dict(zip(names, values, strict=True))[f"_{column}"] == text
    ((manifest, silver, quarantined, duplicates),) = site.ask(
        "SELECT manifest, silver, quarantined, duplicates FROM accounts"
    )
    assert (manifest, silver, quarantined, duplicates) == (len(rows), len(rows) - len(held), len(held), 0)


def test_published_extremes_are_the_values_that_were_delivered(extremes: Any) -> None:
    """By a reader without a JVM: whole numbers and text as they are, doubles bit by bit, instants to the microsecond."""
    site, rows, _ = extremes
    found = {
        row[0]: dict(zip(TYPES, row, strict=True))
        for row in site.ask(
            "SELECT id, event_at, due, sensor, s, i, b, d, epoch_us(t), (on_day - DATE '1970-01-01'), flag FROM silver_readings"
        )
    }
    micros = {
        "0001-01-01": -62135596800000000, "9999-12-31T23:59:59.999999Z": 253402300799999999,
        "0001-01-01T00:00:00-00:01": -62135596740000000, "9999-12-31T23:59:00+00:01": 253402300680000000,
        "1582-10-10": -12219724800000000, "1900-01-01T00:00:00Z": -2208988800000000,
        "2024-05-01T20:10:00.123456000Z": 1714594200123456, "2024-05-01T20:10:00.1Z": 1714594200100000,
    }  # fmt: skip
    days = {"0001-01-01": -719162, "9999-12-31": 2932896, "1582-10-10": -141432, "2024-02-29": 19782}
    read = {
        "s": lambda text: text or None, "i": int, "b": int, "d": float, "t": micros.get, "on_day": days.get,
        "flag": lambda text: text in ("true", "1"),
    }  # fmt: skip
    for number, row in enumerate(rows[: sum(map(len, EXACT.values()))]):
        ((column, text),) = row.items()
        assert (column, text, repr(found[str(number)][column])) == (column, text, repr(read[column](text)))


def test_a_type_fault_shows_the_text_as_it_was_delivered(extremes: Any) -> None:
    """In the hour that a refused gate reports; masked where the column is sensitive."""
    site, _, _ = extremes
    bad = {"i": "1.50", "t": "9999-12-31T23:59:59-05:00", "d": "9007199254740993", "at": "soon"}
    hour = FIRST + HOUR
    rows = [{"at": "2024-05-01T21:10:00Z", "s": str(number), **bad} for number in range(4)]
    site.deliver(hour, rows)
    refused = site.stage(hour)
    assert (refused.exit_code, refused.state) == (65, "refused")
    shown = site.rules(refused.pub)
    assert {name: shown[f"type:{name}"].examples for name in bad} == {name: (text,) for name, text in bad.items()}
    assert shown["contradiction"].outcome == "PASS"
    site.write(suite=RULES, key=["id", "t"], column=" sensitive: true,")
    masked = site.rules(site.stage(hour).pub)
    site.write(suite=RULES, key=["id", "t"])
    assert {example for rule in masked.values() for example in rule.examples} <= {MASKED, "2024-05-01T21:00:00"}
    assert masked["type:i"].examples == (MASKED,)


def test_commands_show_hours_with_extreme_values(extremes: Any) -> None:
    """Status, quarantine and read, as text and as JSON, end with 0."""
    site, _, _ = extremes
    with site.here():
        told("status", NAME)
        told("status", NAME, "--hour", "2024-05-01T20:00:00")
        listed = told("quarantine", "list", NAME)
        told("quarantine", "show", NAME, "--table", "silver/readings", "--limit", "1000")
        told("quarantine", "show", NAME, "--table", "silver/readings", "--limit", "1000", "--json")
        told("read", NAME, "silver/readings", "--limit", "5000")
    assert "type:t" in listed
