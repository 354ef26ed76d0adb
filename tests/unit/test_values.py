"""Values as text and JSON: each of them exact, and read back as what it was."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from delta_files import add
from lake_rows import AT, CALLS, at, publication

from spark_jobs.invocation import format_hour
from spark_jobs.lake import publish
from spark_jobs.lake.reading import read_current
from spark_jobs.lake.rows import plain_rows
from spark_jobs.lake.versions import EVERY
from spark_jobs.ledger import Ledger
from spark_jobs.quality.words import bounded, examples_text
from spark_jobs.result import Result
from spark_jobs.values import day_text, instant_text, micros_text, plain, text, to_json

MICRO = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (datetime(2013, 11, 1, 2, 10, tzinfo=UTC), "2013-11-01T02:10:00Z"),
        (datetime(2013, 11, 1, 2, 10, 0, 250_000, tzinfo=UTC), "2013-11-01T02:10:00.250Z"),
        (datetime(2013, 11, 1, 2, 10, 0, 250_001, tzinfo=UTC), "2013-11-01T02:10:00.250001Z"),
        (datetime(2013, 11, 1, 2, 10, tzinfo=UTC).replace(tzinfo=None), "2013-11-01T02:10:00"),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-5))), "+10000-01-01T04:59:59Z"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), "0000-12-31T19:00:00Z"),
        (date(44, 3, 15), "0044-03-15"), (time(1, 2, 3, 500), "01:02:03.000500"),
        (Decimal("1.50"), "1.50"), (Decimal("1E+3"), "1000"), (Decimal("NaN"), "NaN"),
        (16_777_217.0, "16777217"), (0.1 + 0.2, "0.30000000000000004"), (1e300, "1e+300"),
        (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"),
        (b"\x00\xff", "AP8="), (None, "null"), (("A", 1), '["A", 1]'), (True, "True"),
    ],
)  # fmt: skip
def test_text_names_exactly_one_value(value, shown):
    assert text(value) == shown
    assert bounded(value) == shown


def test_json_is_valid_for_every_value():
    """Nothing that a strict parser refuses, at any depth; keys that are not text are pairs."""
    data = {"a": math.nan, "b": [Decimal("0.10"), {1: b"x"}], "c": {"d": math.inf, "e": 2**70, "f": EPOCH}}

    def refuse(word: str) -> None:
        raise AssertionError(word)

    read = json.loads(to_json(data), parse_constant=refuse)
    assert read == {"a": "NaN", "b": ["0.10", [[1, "eA=="]]],
                    "c": {"d": "Infinity", "e": 2**70, "f": "1970-01-01T00:00:00Z"}}  # fmt: skip
    assert plain({3, 1}) == [1, 3]
    line = Result("p", "train", "a", "b", "r", "published", seconds={"total": math.nan}).to_json()
    assert json.loads(line, parse_constant=refuse)["seconds"] == {"total": "NaN"}


def test_calendar_agrees_with_datetime_and_goes_on_beyond_it():
    for days in range(-719_162, 2_932_896, 1009):
        assert day_text(days) == (date(1970, 1, 1) + timedelta(days)).isoformat()
    for moment in (
        EPOCH - MICRO,
        EPOCH + MICRO,
        datetime(2000, 2, 29, 12, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ):
        assert micros_text((moment - EPOCH) // MICRO, zoned=True) == instant_text(moment)
    assert [day_text(2_932_897), day_text(-719_529), day_text(-719_163)] == [
        "+10000-01-01",
        "-0001-12-31",
        "0000-12-31",
    ]


def test_hours_of_early_years_have_four_digits():
    assert format_hour(datetime(999, 1, 1, 5, tzinfo=UTC)) == "0999-01-01T05:00:00"


def test_examples_are_bounded_with_a_mark():
    assert examples_text([None, math.nan, "y" * 50]) == ("null", "NaN", "y" * 39 + "…")


def test_duckdb_rows_keep_instants_that_python_cannot_hold():
    """DuckDB answers with texts in a form of its own for these years; rows of any type come as ISO 8601."""
    query = """SELECT TIMESTAMPTZ '10000-01-01 00:00:00.25' a, DATE '12000-01-01' b, TIMESTAMPTZ '0044-01-01 (BC)' c,
        'infinity'::TIMESTAMPTZ d, '-infinity'::DATE e, '2013-01-01 00:00:00.000000001'::TIMESTAMP_NS f,
        MAP {'k': TIMESTAMPTZ '10000-01-01'} g, {'x': [DATE '12000-01-01', NULL]} h, NULL::TIMESTAMPTZ i,
        'nan'::FLOAT j, 170141183460469231731687303715884105727::HUGEINT k, '\\xAA'::BLOB l"""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        [row] = plain_rows(connection.sql(query).to_arrow_table())
    assert list(row.values()) == [
        "+10000-01-01T00:00:00.250Z", "+12000-01-01", "-0043-01-01T00:00:00Z", "Infinity", "-Infinity",
        "2013-01-01T00:00:00.000000001", {"k": "+10000-01-01T00:00:00Z"}, {"x": ["+12000-01-01", None]}, None, "NaN",
        "170141183460469231731687303715884105727", "qg==",
    ]  # fmt: skip


def test_read_tells_instants_of_one_second_apart(tmp_path: Path):
    """The fault: .250 and .750 of a second were both printed without a fraction."""
    ledger = Ledger.open(tmp_path)
    pub = ledger.start(CALLS, "v", "c", None)
    publish.publish(ledger, publication(tmp_path, ledger, pub, (1, 2), ("a", 1)))
    moments = [at(1) + timedelta(milliseconds=250), at(1) + timedelta(milliseconds=750)]
    schema = pa.schema([("seen_at", AT), ("hour", AT), ("known_at", AT), ("pub", pa.int64())])
    add(tmp_path, "facts", f"pub-{pub}", [{"seen_at": m, "hour": at(1), "known_at": at(2), "pub": pub} for m in moments],
        schema=schema)  # fmt: skip
    rows = read_current(tmp_path, "facts", EVERY, ledger.line())
    assert sorted(row["seen_at"] for row in rows) == ["2013-11-01T01:00:00.250Z", "2013-11-01T01:00:00.750Z"]
    assert rows[0]["hour"] == "2013-11-01T01:00:00Z"
