"""The built-in transforms: small column functions that a pipeline's conf/ names."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from spark_jobs.transforms.registry import transform


@transform("itself", gives="same")
def itself(value: Column) -> Column:
    """The column as it is."""
    return value


@transform("hours_before", takes=("timestamp",), gives="timestamp")
def hours_before(instant: Column, *, hours: int) -> Column:
    """The instant `hours` hours before `instant`; null stays null."""
    return instant - F.make_dt_interval(hours=F.lit(hours))


@transform("minutes_after", takes=("timestamp", "number"), gives="timestamp")
def minutes_after(instant: Column, minutes: Column) -> Column:
    """The instant `minutes` after `instant` (before it when negative); null minutes count as none."""
    return F.timestamp_add("MINUTE", F.coalesce(minutes.cast("int"), F.lit(0)), instant)


@transform("at_least", takes=("number",), gives="int")
def at_least(value: Column, *, threshold: float) -> Column:
    """1 where `value` is at least `threshold`, 0 where it is less, null where it is null (int)."""
    return (value >= F.lit(threshold)).cast("int")


# What Spark's cast takes beside these: 02:30 as of today (another day, other rows), 2013 as 1 January, names of zones
# (2013-03-10T02:30:00 America/New_York is an hour that never was, read as 03:30), 1d and 0x1p3 as numbers.
_SHAPES = {
    "timestamp": r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?",
    "date": r"\d{4}-\d\d-\d\d",
    "double": r"(?i)[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)",
}


def typed(text: Column, kind: str) -> Column:
    """`text` as `kind`, null where it cannot be read as such; text keeps its characters.

    A timestamp is a day, alone (its midnight) or with a time, in UTC unless it says Z or an offset in numbers. A number
    such as 1e400 becomes an infinity here and is caught by the gate's finiteness rule (faults.md N9).
    """
    if kind == "string":
        return text
    value = text.try_cast(kind)
    return F.when(F.trim(text).rlike(f"^(?:{_SHAPES[kind]})$"), value) if kind in _SHAPES else value
