"""Keys as text: different keys never share a text, equal keys always do."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.quality.gate import held_rows
from spark_jobs.windows.keys import business_key, entity_key
from spark_jobs.windows.tiles import tile_versions

ODD = ["", "A", "a", "a ", "|", "\\", "\\|", "|\\", "\\\\", "A|B", "B|C", "\\N", "N", "null", "\u00e9", "e\u0301"]


@pytest.fixture(scope="module")
def pairs(spark: SparkSession) -> list[tuple[Any, ...]]:
    """(left, right, entity key, business key) of every pair of odd texts and null."""
    rows = spark.createDataFrame(list(product([*ODD, None], repeat=2)), "left string, right string")
    names = ["left", "right"]
    keys = rows.select(*names, entity_key(rows, names), business_key(rows, names))
    return [tuple(row) for row in keys.collect()]


def test_two_column_entities_with_separators_in_values_stay_distinct(pairs: list[tuple[Any, ...]]) -> None:
    """(`A|B`, `C`) and (`A`, `B|C`) are among them; a null in any column leaves no key."""
    whole = [key for left, right, key, _ in pairs if left is not None and right is not None]
    assert len(set(whole)) == len(whole) == len(ODD) ** 2
    assert {key for left, right, key, _ in pairs if left is None or right is None} == {None}


def test_business_keys_of_quarantined_rows_stay_distinct_with_nulls(pairs: list[tuple[Any, ...]]) -> None:
    """(A, null) and (null, A) as well, and null from a text that spells it."""
    texts = [text for *_, text in pairs]
    assert len(set(texts)) == len(texts) == (len(ODD) + 1) ** 2
    assert None not in texts


def test_plain_values_keep_the_keys_that_published_lakes_have(spark: SparkSession) -> None:
    """A single column keeps its value unchanged, several are joined by '|'; int and bigint give the same text."""
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    row = ("a|b\\", "x", 7, 7, 1.5, True, date(2024, 1, 1), noon)
    kinds = "s string, t string, i int, b bigint, d double, y boolean, day date, at timestamp"
    rows = spark.createDataFrame([row], kinds)
    singles = [entity_key(rows, [name]) for name in rows.columns]
    several = [entity_key(rows, ["t", "i"]), entity_key(rows, ["t", "b"]), entity_key(rows, ["i", "d", "y", "day"])]
    found = list(rows.select(*singles, *several).collect()[0])
    assert found[:8] == ["a|b\\", "x", "7", "7", "1.5", "true", "2024-01-01", "2024-01-01 12:00:00"]
    assert found[8:] == ["x|7", "x|7", "7|1.5|true|2024-01-01"]


def test_values_that_are_equal_have_one_key_and_others_do_not(spark: SparkSession) -> None:
    """Both zeros are equal; neighbouring doubles, microseconds and integers beyond 2^53 are not."""
    doubles = [(-0.0,), (0.0,), (0.1,), (0.1 + 2**-56,), (1e300,), (float("nan"),)]
    rows = spark.createDataFrame(doubles, "d double")
    assert [row[0] for row in rows.select(entity_key(rows, ["d"])).collect()][:2] == ["0.0", "0.0"]
    assert len({row[0] for row in rows.select(entity_key(rows, ["d"])).collect()}) == 5
    instants = [(datetime(2024, 1, 1, 0, 0, 0, us, tzinfo=UTC), 2**53 + us) for us in (0, 1, 100_000)]
    rows = spark.createDataFrame(instants, "at timestamp, big bigint")
    keys = [row[0] for row in rows.select(entity_key(rows, ["at", "big"])).collect()]
    assert len(set(keys)) == 3


def test_tiles_of_keys_with_separators_are_not_merged(spark: SparkSession) -> None:
    """The instance of the issue: one row each, not two of one key."""
    at = datetime(2024, 1, 1, 4, 30, tzinfo=UTC)
    rows = spark.createDataFrame(
        [(at, at, "A|B", "C", 1), (at, at, "A", "B|C", 1), (at, at, "A|B", "C", 1)],
        "event_at timestamp, known_at timestamp, shop string, till string, amount int",
    )
    tiles = tile_versions(rows, {"till": ["shop", "till"]}, ["amount"])
    assert sorted((row["key"], row["n"]) for row in tiles.collect()) == [("A\\|B|C", 2), ("A|B\\|C", 1)]


def test_quarantine_shows_the_whole_key_of_a_row_with_a_null_in_it(spark: SparkSession) -> None:
    """Without a place for the null, (A, null, B) would read like (A, B, null)."""
    rows = spark.createDataFrame(
        [("A", None, "B", ["key_null"]), ("A", "B", None, ["key_null"])],
        "a string, b string, c string, broken array<string>",
    )
    rows = rows.selectExpr("*", "timestamp'2024-01-01' AS hour", "timestamp'2024-01-01' AS known_at")
    held = held_rows(rows, "silver/orders", ["a", "b", "c"])
    assert [row["business_key"] for row in held.orderBy("business_key").collect()] == ["A|B|\\N", "A|\\N|B"]
