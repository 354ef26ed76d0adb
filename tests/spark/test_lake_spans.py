"""For which time each version of a row counts, and what a look-up into such versions finds."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.spans import spans
from spark_jobs.stages.silver import known_then

VERSIONS = "thing string, amount int, hour timestamp, known_at timestamp, known_until timestamp"
Version = tuple[str, int, int, int, int | None]  # thing, amount, hour, known_at, known_until: hours after the start


def at(hour: int | None) -> datetime | None:
    """An instant, in hours after 2024-01-01 00:00 UTC."""
    return None if hour is None else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def frame(spark: SparkSession, versions: list[Version]) -> Any:
    return spark.createDataFrame([(*v[:2], *map(at, v[2:])) for v in versions], VERSIONS)


def back(instant: datetime | None) -> int | None:
    return (
        None if instant is None else round((instant.timestamp() - datetime(2024, 1, 1, tzinfo=UTC).timestamp()) / 3600)
    )


def found(spark: SparkSession, versions: list[Version]) -> list[tuple[int, int | None, int]]:
    """(from, until, amount) of the spans of one thing."""
    rows = spans(frame(spark, versions), ["thing"]).collect()
    return sorted((back(r["known_at"]), back(r["known_until"]), r["amount"]) for r in rows)  # type: ignore[type-var,return-value]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([("a", 1, 1, 2, None)], [(2, None, 1)]),
        ([("a", 1, 1, 2, None), ("a", 7, 3, 4, None)], [(2, 4, 1), (4, None, 7)]),
        ([("a", 1, 1, 2, 6), ("a", 9, 1, 6, None)], [(2, 6, 1), (6, None, 9)]),
        ([("a", 1, 1, 2, 6)], [(2, 6, 1)]),
        ([("a", 1, 1, 2, None), ("a", 7, 3, 4, 8)], [(2, 4, 1), (4, 8, 7), (8, None, 1)]),
        ([("a", 1, 1, 5, None), ("a", 7, 3, 5, None)], [(5, None, 7)]),
        ([("a", 1, 1, 5, 5), ("a", 2, 1, 5, None)], [(5, None, 2)]),
    ],
    ids=["one", "corrected", "delivered_again", "withdrawn", "correction_withdrawn", "known_at_once", "again_at_once"],
)
def test_a_version_counts_until_a_newer_one_is_known_or_its_hour_comes_again(
    spark: SparkSession, versions: list[Version], expected: list[Any]
) -> None:
    """A correction that goes with its hour gives the row back; of two known at once that of the later hour counts."""
    assert found(spark, versions) == sorted(expected)


def counting(versions: list[Version], t: int) -> tuple[str, int] | None:
    """as_known by its definition: the newest (known_at, hour) of those that count at t."""
    known = [v for v in versions if v[3] <= t and (v[4] is None or t < v[4])]
    newest = max(known, key=lambda v: (v[3], v[2]), default=None)
    return newest and newest[:2]


def test_at_every_instant_the_spans_show_what_as_known_shows(spark: SparkSession) -> None:
    """300 things with up to five versions each, many of them known at once."""
    chance = random.Random("spans")
    things: dict[str, list[Version]] = {}
    for number in range(300):
        name = f"t{number:03}"
        for amount, hour in enumerate(chance.sample(range(8), chance.randrange(1, 6))):
            known = hour + 1 + chance.choice((0, 0, 1, 3))
            until = chance.choice((None, None, known + chance.randrange(4)))
            things.setdefault(name, []).append((name, amount, hour, known, until))
    rows = spans(frame(spark, [v for versions in things.values() for v in versions]), ["thing"]).collect()
    shown = [(r["thing"], r["amount"], back(r["known_at"]), back(r["known_until"])) for r in rows]
    for t in range(18):
        seen = [(n, a) for n, a, low, high in shown if low <= t and (high is None or t < high)]  # type: ignore[operator]
        assert sorted(seen) == sorted(filter(None, (counting(versions, t) for versions in things.values())))


@pytest.mark.parametrize(
    ("known_at", "hour", "seen"),
    [
        (5, 4, 1),
        (6, 5, 7),
        (6, 4, 1),
        (6, 2, 1),
        (9, 8, 7),
        (10, 9, 1),
        (10, 5, 1),
        (10, 4, 7),
        (3, 2, None),
        (60, 59, None),
    ],
)
def test_a_look_up_finds_what_counted_when_the_row_was_known(
    spark: SparkSession, known_at: int, hour: int, seen: int | None
) -> None:
    """1 came with hour 3; hour 5 corrected it to 7 and came again without it, known at 10. Hours known at once are in order.

    Nothing is found before it was known, and nothing in an hour more than two days back.
    """
    versions: list[Version] = [("a", 1, 3, 4, None), ("a", 7, 5, 6, 10)]
    kept = F.collect_list(F.struct("known_at", "hour", "known_until", "amount")).alias("versions")
    known = frame(spark, versions).groupBy("thing").agg(kept)
    row = spark.createDataFrame([("a", at(hour), at(known_at))], "thing string, hour timestamp, known_at timestamp")
    best = F.array_max(F.filter("versions", known_then(timedelta(days=2))))["amount"]
    assert [r[0] for r in row.join(known, "thing").select(best).collect()] == [seen]
