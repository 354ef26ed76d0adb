"""The built-in transforms: small column functions that a pipeline's conf/ names."""

from __future__ import annotations

from decimal import Decimal

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
    """The instant `minutes` after `instant` (before it when negative); null minutes count as none.

    Null where no instant is so far away: the rule event_within quarantines the row.
    """
    micros = F.try_multiply(minutes.try_cast("bigint"), F.lit(60_000_000))
    later = F.timestamp_micros(F.try_add(F.unix_micros(instant), micros))
    return F.when(minutes.isNull(), instant).otherwise(later)


@transform("at_least", takes=("number",), gives="int")
def at_least(value: Column, *, threshold: float) -> Column:
    """1 where `value` is at least `threshold`, 0 where it is less, null where it is null (int)."""
    return (value >= F.lit(threshold)).cast("int")


# What Spark's cast takes beside these: 02:30 as of today (another day, other rows), 2013 as 1 January, names of zones
# (2013-03-10T02:30:00 America/New_York is an hour that never was, read as 03:30), 1d and 0x1p3 as numbers. It cuts off what
# is finer than a microsecond, and takes instants and days that neither Python nor DuckDB can show: years 0 and 10000.
_SHAPES = {
    "timestamp": r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6}0*)?)?(Z|[+-]\d\d:\d\d)?)?",
    "date": r"(?!0000)\d{4}-\d\d-\d\d",
    "double": r"(?i)[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)",
}
_FIRST_MICROS, _LAST_MICROS = -62_135_596_800_000_000, 253_402_300_799_999_999  # of the years 1 and 9999, since 1970
_EXACT_DIGITS = 15  # every whole number of so many digits is a double
_HIGH = 2**62


def typed(text: Column, kind: str) -> Column:
    """`text` as `kind`, null where it cannot be read as such or `kind` cannot hold it exactly; text keeps its characters.

    A timestamp is a day, alone (its midnight) or with a time, in UTC unless it says Z or an offset in numbers; it lies in the
    years 1 to 9999 (UTC) and has no fraction finer than a microsecond. A double is the nearest one to a fraction, but holds
    a whole number exactly or not at all. A number such as 1e400 becomes an infinity here and is caught by the gate's
    finiteness rule (docs/design/fault-matrix.md, N9), one such as 1e-400 is not taken for 0.
    """
    if kind == "string":
        return text
    value = text.try_cast(kind)
    if kind not in _SHAPES:
        return value
    trimmed = F.trim(text)
    fits = trimmed.rlike(f"^(?:{_SHAPES[kind]})$")
    if kind == "timestamp":
        fits = fits & F.unix_micros(value).between(_FIRST_MICROS, _LAST_MICROS)
    if kind == "double":
        fits = fits & ~_is_rounded(trimmed, value)
    return F.when(fits, value)


def _is_rounded(text: Column, value: Column) -> Column:
    """Whether the double `value` is another number than the text of a whole number says, or 0 for a number beside it."""
    high = (value / F.lit(float(_HIGH))).try_cast("bigint")  # a double -> decimal cast rounds to 17 digits
    low = (value - high.cast("double") * F.lit(float(_HIGH))).try_cast("bigint")
    exact = high.cast("decimal(19,0)") * F.lit(Decimal(_HIGH)) + low.cast("decimal(19,0)")  # null from 2**125 on
    same = F.regexp_replace(text, r"\.0*$", "").try_cast("decimal(38,0)") == exact
    long = (F.length(text) > _EXACT_DIGITS) & text.rlike(rf"^[+-]?\d{{{_EXACT_DIGITS + 1},}}(\.0*)?$")
    return F.when(long, ~F.coalesce(same, F.lit(False))).when(value == 0, text.rlike(r"^[^eE]*[1-9]")).otherwise(False)
