"""as_known at every instant at once: each version of a row with the time for which it counts."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F


def spans(versions: DataFrame, key: Sequence[str]) -> DataFrame:
    """Each version for as long as as_known has it: a reader as of t sees the rows with known_at <= t < known_until.

    Grain: versions with known_at, hour and known_until (when their hour's next publication was known; null: it still
    covers) -> one row for each time in which the version counts, with that time as known_at and known_until (null: it
    still counts). Mostly that is one row; none where a newer one was known at once, and two where a newer version went
    with its hour, so that this one counts again. Of a key no two rows count together. One shuffle by the key.
    """
    mine = F.struct("known_at", "hour", "known_until").alias("mine")
    siblings = F.collect_list(mine).over(Window.partitionBy(*key))
    living = versions.where("known_until is null or known_at < known_until").withColumn("_siblings", siblings)
    newer = F.filter("_siblings", lambda s: F.struct(s["known_at"], s["hour"]) > F.struct("known_at", "hour"))
    judged = living.withColumn("_newer", newer).drop("_siblings")
    starts = F.filter(
        F.array_distinct(F.concat(F.array("known_at"), F.transform("_newer", lambda s: s["known_until"]))), _counts
    )
    started = judged.withColumn("_start", F.explode(starts))
    beaten = F.transform(F.filter("_newer", lambda s: s["known_at"] > F.col("_start")), lambda s: s["known_at"])
    until = F.array_min(F.concat(F.array("known_until"), beaten))  # nulls are skipped
    return started.withColumns({"known_at": F.col("_start"), "known_until": until}).drop("_start", "_newer")


def _counts(at: Column) -> Column:
    """Whether the version counts at `at`: its hour is covered by its publication then, and no newer one is known."""
    own = (at >= F.col("known_at")) & (F.col("known_until").isNull() | (at < F.col("known_until")))
    return own & ~F.exists("_newer", lambda s: _within(at, s))


def _within(at: Column, version: Column) -> Column:
    return (version["known_at"] <= at) & (version["known_until"].isNull() | (at < version["known_until"]))
