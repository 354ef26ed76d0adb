"""As-of join: for each demanded (entity, key, as_of) the newest observation that was known then.

One shuffle and one sorted pass, whatever the staleness; nothing is compared pairwise and nothing is densified.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.errors import UsageError, nearest

_EVER = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


def as_of_join(
    observations: DataFrame, demands: DataFrame, *, columns: Sequence[str], staleness: int | None, prefix: str = "",
    between: tuple[datetime, datetime] = _EVER,
) -> DataFrame:  # fmt: skip
    """The demands with the newest observation of event_at in [as_of - staleness, as_of) and known_at <= as_of.

    Grain: observations (entity, key, event_at, known_at, pub) in all their versions and demands (entity, key, as_of),
    whole hours -> one row a demand: entity, key, as_of, `<prefix><column>` for every column and `<prefix>age_h` (float, hours from
    event_at to as_of). No demand is dropped or multiplied; without an observation the added columns are null.
    Of the versions of an observation (same entity, key, event_at) the newest (known_at, pub) known by as_of counts.
    Observations may have known_until: from then on they count no more; null: they stay.

    An observation is readable from the later of known_at and the instant after event_at. Along the instants at which
    something becomes readable the newest observation is a running maximum of (event_at, known_at, pub), and if that
    one is too old for the staleness, every other is older: so late and corrected observations need no special case. One
    that counts no more some time later, which is rare, stands at each whole hour for which it counts, and only there.

    Args:
        columns: columns of the observations to carry over; of orderable types.
        staleness: hours, at least 1; none: an observation counts however old it is.
        prefix: put before the columns' names.
        between: the first and the last as_of that is demanded, which spares work where observations were withdrawn.

    Raises:
        UsageError: a staleness below 1, a column that is not there, no columns, or two columns of one name.
    """
    _check(observations, columns, staleness, prefix)
    observed = F.struct("event_at", "known_at", "pub", *columns)
    nothing = F.lit(None).cast(observations.select(observed.alias("newest")).schema["newest"].dataType)
    asked = demands.select(
        "entity", "key", "as_of", F.lit(1).alias("demanded"), nothing.alias("newest"), nothing.alias("here")
    )
    # at the same instant observations come first: known_at <= as_of
    so_far = Window.partitionBy("entity", "key").orderBy("as_of", "demanded").rowsBetween(Window.unboundedPreceding, 0)
    together = _readable(observations, observed, nothing, staleness, between).unionByName(asked)
    passing = F.max(F.when(F.col("here").isNotNull(), F.struct("as_of", "here"))).over(so_far)
    answered = together.withColumns({"newest": F.max("newest").over(so_far), "passing": passing}).where("demanded = 1")
    here = F.when(F.col("passing")["as_of"] == F.col("as_of"), F.col("passing")["here"])
    answered = answered.withColumn("newest", F.greatest("newest", here))
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


def _readable(
    observations: DataFrame,
    observed: Column,
    nothing: Column,
    staleness: int | None,
    between: tuple[datetime, datetime],
) -> DataFrame:
    """Observations by the instant from which they can be read: `newest` those that stay, `here` those at one hour only."""
    until = F.col("known_until") if "known_until" in observations.columns else F.lit(None).cast("timestamp")
    moment = F.expr("INTERVAL 1 MICROSECOND")
    known = observations.where("event_at is not null and known_at is not null").select(
        "entity", "key", F.greatest(F.col("known_at"), F.col("event_at") + moment).alias("as_of"),
        F.lit(0).alias("demanded"), observed.alias("observed"), until.alias("until"),
    )  # fmt: skip
    staying = known.where("until is null").select(
        "entity", "key", "as_of", "demanded", "observed", nothing.alias("here")
    )
    first = F.date_trunc("HOUR", F.col("as_of") + F.expr("INTERVAL 1 HOUR") - moment)
    stale = F.col("observed")["event_at"] + F.expr(f"INTERVAL {staleness} HOURS") if staleness else None
    gone = F.col("until") - moment
    last = F.date_trunc("HOUR", gone if stale is None else F.least(gone, stale))
    first, last = F.greatest(first, F.lit(between[0])), F.least(last, F.lit(between[1]))
    hours = F.when(first <= last, F.sequence(first, last, F.expr("INTERVAL 1 HOUR")))
    passing = known.where("until is not null").select(
        "entity",
        "key",
        F.explode(hours).alias("as_of"),
        "demanded",
        nothing.alias("newest"),
        F.col("observed").alias("here"),
    )
    return staying.withColumnRenamed("observed", "newest").unionByName(passing)


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
