"""One row an hour: how many rows came, were good, broke which rule, and what the hour rules measure on the good ones.

The same single pass serves one hour and ten thousand; judging the numbers is decide.py's work, without Spark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.suites import Rule
from spark_jobs.config.typed_values import typed_value
from spark_jobs.quality.decide import HourTally
from spark_jobs.quality.split import BROKEN
from spark_jobs.spark_columns import spark_column

_TEST, _MEASURE = "_test_", "_measure_"


class RowTestLike(Protocol):
    """What `suites.row_tests` makes of a row type: see RowTest there."""

    @property
    def broken(self) -> Column:
        """True on rows that break the rule."""

    @property
    def applies(self) -> Column:
        """True on rows that count."""


def _sum(values: Column) -> Column:
    return F.sum(values.cast("double"))  # GX widens integers to double too: a bigint sum overflows under ANSI


def _outside(values: Column, legal: Sequence[object], shown: Column) -> Column:
    """Up to 6 distinct values that are not in `legal`, as `shown`."""
    return F.slice(F.collect_set(F.when(~values.isin(list(legal)), shown)), 1, 6)


def _inside(values: Column, legal: Sequence[object]) -> Column:
    return F.count_distinct(F.when(values.isin(list(legal)), values))


_ONE_VALUE: dict[str, Callable[[Column], Column]] = {
    "expect_column_mean_to_be_between": F.mean,
    "expect_column_median_to_be_between": lambda v: F.percentile(
        F.when(~F.isnan(v.cast("double")), v.cast("double")), 0.5
    ),
    "expect_column_stdev_to_be_between": F.stddev_samp,
    "expect_column_min_to_be_between": F.min,
    "expect_column_max_to_be_between": F.max,
    "expect_column_sum_to_be_between": _sum,
    "expect_column_unique_value_count_to_be_between": F.count_distinct,
}

_EXTREMES = ("expect_column_min_to_be_between", "expect_column_max_to_be_between")
_MOMENTS = ("timestamp", "date")  # come to Python as numbers or text: its calendar ends before Spark's


def _measure(rule: Rule, good: Column, kind: str) -> Column:
    """The aggregate that the rule judges, over the rows where `good` is true; shapes as `decide.judge` reads them.

    `kind`: type of its column.
    """
    if rule.column is None and not rule.columns:
        return F.count_if(good)
    if rule.column is None or rule.type.startswith(("expect_column_value_", "expect_column_values_")):
        test, counts = F.col(_TEST + rule.id), F.col(f"{_TEST}{rule.id}_counts")
        return F.struct(F.count_if(good & test).alias("bad"), F.count_if(good & counts).alias("seen"))
    values = F.when(good, spark_column(rule.column))
    if rule.type in _EXTREMES and kind in _MOMENTS:
        return F.struct(F.unix_micros(_ONE_VALUE[rule.type](values).cast("timestamp")).alias("micros"))
    if rule.type in _ONE_VALUE:
        return _ONE_VALUE[rule.type](values)
    if rule.type == "expect_column_proportion_of_non_null_values_to_be_between":
        return F.try_divide(F.count(values).cast("double"), F.count_if(good))
    given = rule.args["value_set"]
    legal = [typed_value(item, kind) for item in (given if isinstance(given, list) else [given])]
    text = values.cast("string") if kind in _MOMENTS else values
    return F.struct(_outside(values, legal, text).alias("outside"), _inside(values, legal).alias("inside"))


def hour_measures(
    split: DataFrame,
    row_rules: Sequence[str],
    hour_rules: Sequence[Rule],
    tests: Mapping[str, RowTestLike] | None = None,
    hour: str = "hour",
) -> DataFrame:
    """Rows of `split` (see `split_rows`) -> one row an hour: hour_s (unix s), rows, good, counts, a measure a rule.

    `row_rules` are the ids whose breaking rows are counted, built-ins included; `tests` holds the Columns of those
    `hour_rules` whose type looks at single rows (with `mostly`). An hour without rows has no row here. One shuffle.
    """
    for rule, test in (tests or {}).items():
        split = split.withColumns({_TEST + rule: test.broken, f"{_TEST}{rule}_counts": test.applies})
    good, types = F.size(BROKEN) == 0, dict(split.dtypes)
    counts = [F.count_if(F.array_contains(BROKEN, rule)).alias(f"r{i}") for i, rule in enumerate(row_rules)]
    return split.groupBy(F.unix_seconds(hour).alias("hour_s")).agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(good).alias("good"),
        F.array(*counts).alias("counts") if counts else F.array().cast("array<bigint>").alias("counts"),
        *[_measure(rule, good, types.get(rule.column or "", "")).alias(_MEASURE + rule.id) for rule in hour_rules],
    )


def read_tallies(measures: DataFrame, row_rules: Sequence[str], hour_rules: Sequence[Rule]) -> list[HourTally]:
    """The rows of `hour_measures` on the driver, oldest hour first: one small row an hour of the interval."""
    return [
        HourTally(
            datetime.fromtimestamp(row["hour_s"], UTC),
            row["rows"],
            row["good"],
            dict(zip(row_rules, row["counts"], strict=True)),
            {rule.id: _plain(row[_MEASURE + rule.id]) for rule in hour_rules},
        )
        for row in sorted(measures.collect(), key=lambda row: row["hour_s"])
    ]


def _plain(value: object) -> object:
    as_dict = getattr(value, "asDict", None)  # a Row, for measures of two parts
    return as_dict() if as_dict else value
