"""As-of join: for each demanded (entity, key, as_of) the newest observation that was known then.

One shuffle and one sorted pass, whatever the staleness; nothing is compared pairwise and nothing is densified.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.errors import UsageError, nearest


def as_of_join(
    observations: DataFrame, demands: DataFrame, *, columns: Sequence[str], staleness: int | None, prefix: str = ""
) -> DataFrame:
    """The demands with the newest observation of event_at in [as_of - staleness, as_of) and known_at <= as_of.

    Grain: observations (entity, key, event_at, known_at, pub) in all their versions and demands (entity, key, as_of)
    -> one row a demand: entity, key, as_of, `<prefix><column>` for every column and `<prefix>age_h` (float, hours from
    event_at to as_of). No demand is dropped or multiplied; without an observation the added columns are null.
    Of the versions of an observation (same entity, key, event_at) the newest (known_at, pub) known by as_of counts.

    An observation is readable from the later of known_at and the instant after event_at. Along the instants at which
    something becomes readable the newest observation is a running maximum of (event_at, known_at, pub), and if that
    one is too old for the staleness, every other is older: so late and corrected observations need no special case.

    Args:
        columns: columns of the observations to carry over; of orderable types.
        staleness: hours, at least 1; none: an observation counts however old it is.

    Raises:
        UsageError: a staleness below 1, a column that is not there, no columns, or two columns of one name.
    """
    _check(observations, columns, staleness, prefix)
    observed = F.struct("event_at", "known_at", "pub", *columns)
    nothing = F.lit(None).cast(observations.select(observed.alias("newest")).schema["newest"].dataType)
    readable = observations.where("event_at is not null and known_at is not null").select(
        "entity",
        "key",
        F.greatest(F.col("known_at"), F.col("event_at") + F.expr("INTERVAL 1 MICROSECOND")).alias("as_of"),
        F.lit(0).alias("demanded"),
        observed.alias("newest"),
    )
    asked = demands.select("entity", "key", "as_of", F.lit(1).alias("demanded"), nothing.alias("newest"))
    # at the same instant observations come first: known_at <= as_of
    so_far = Window.partitionBy("entity", "key").orderBy("as_of", "demanded").rowsBetween(Window.unboundedPreceding, 0)
    answered = readable.unionByName(asked).withColumn("newest", F.max("newest").over(so_far)).where("demanded = 1")
    if staleness is not None:
        oldest = F.col("as_of") - F.expr(f"INTERVAL {staleness} HOURS")
        answered = answered.withColumn("newest", F.when(F.col("newest")["event_at"] >= oldest, F.col("newest")))
    age_us = F.unix_micros("as_of") - F.unix_micros(F.col("newest")["event_at"])
    return answered.select(
        "entity",
        "key",
        "as_of",
        *[F.col("newest")[name].alias(prefix + name) for name in columns],
        (age_us / 3_600_000_000).cast("float").alias(f"{prefix}age_h"),
    )


def _check(observations: DataFrame, columns: Sequence[str], staleness: int | None, prefix: str) -> None:
    """Refuse what cannot be joined."""
    if staleness is not None and staleness < 1:
        raise UsageError("as-of join", f"staleness of {staleness} hours", "1 hour or more")
    names = ["entity", "key", "as_of", *[prefix + name for name in columns], f"{prefix}age_h"]
    if not columns or len(set(names)) < len(names):
        raise UsageError("as-of join", f"result columns {', '.join(names)}", "at least one column, each name once")
    for name in ("entity", "key", "event_at", "known_at", "pub", *columns):
        if name not in observations.columns:
            raise UsageError("observations", f"no column '{name}'", nearest(name, observations.columns))
