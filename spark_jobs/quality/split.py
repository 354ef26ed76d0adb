"""Rows -> good rows and broken rows, in one pass: every row keeps the names of the rules that it breaks.

Conditions come as Columns, from suites.py or from `built_ins` here, which needs no Great Expectations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

BROKEN = "broken"


def built_ins(
    frame: DataFrame,
    *,
    key: Sequence[str] = (),
    required: Sequence[str] = (),
    event_at: str | None = None,
    lateness: timedelta = timedelta(0),
    ahead: timedelta = timedelta(0),
    hour: str = "hour",
) -> dict[str, Column]:
    """The rules that every table has, as rule id -> Column, true on the rows that break it, never null.

    `key_null`: a column of `key` is null. `required:<column>`: null. `finite:<column>`: NaN or infinite, for each
    float and double column (null is legal there). `event_within`: `event_at` is null, or lies outside
    [hour - lateness, hour + 1 h + ahead).
    """
    rules: dict[str, Column] = {}
    if key:
        rules["key_null"] = reduce(Column.__or__, [F.col(column).isNull() for column in key])
    for column in required:
        if column not in key:
            rules[f"required:{column}"] = F.col(column).isNull()
    for column, kind in frame.dtypes:
        if kind in ("double", "float"):
            rules[f"finite:{column}"] = F.coalesce(
                F.isnan(column) | F.col(column).isin(float("inf"), float("-inf")), F.lit(False)
            )
    if event_at:
        start = F.col(hour) - F.lit(lateness)
        end = F.col(hour) + F.lit(timedelta(hours=1) + ahead)
        inside = (F.col(event_at) >= start) & (F.col(event_at) < end)
        rules["event_within"] = ~F.coalesce(inside, F.lit(False))
    return rules


def split_rows(frame: DataFrame, conditions: Mapping[str, Column]) -> DataFrame:
    """Same rows, same grain, plus `broken` (array of rule ids, in the order of `conditions`; empty = a good row).

    A condition that is null counts as obeyed, as in Great Expectations. Nothing is read here; the rows are scanned
    once, when the caller writes or counts them.
    """
    none = F.array().cast("array<string>")
    if not conditions:
        return frame.withColumn(BROKEN, none)
    named = [F.when(condition, F.lit(rule)) for rule, condition in conditions.items()]
    any_broken = reduce(Column.__or__, [F.coalesce(condition, F.lit(False)) for condition in conditions.values()])
    # nearly every row is good: making its list of nothing out of all rules costs twice as much as judging it
    return frame.withColumn(BROKEN, F.when(any_broken, F.array_compact(F.array(*named))).otherwise(none))


def good_rows(split: DataFrame) -> DataFrame:
    """The rows that break no rule, without the column `broken`."""
    return split.where(F.size(BROKEN) == 0).drop(BROKEN)


def broken_rows(split: DataFrame) -> DataFrame:
    """The rows that break at least one rule, with the column `broken`."""
    return split.where(F.size(BROKEN) > 0)


def examples(split: DataFrame, wanted: Mapping[str, Sequence[str]], limit: int = 5) -> dict[str, list[object]]:
    """For each rule id of `wanted` up to `limit` values of its columns in rows that break it (a tuple for several).

    Called for rules over their budget only; at most `limit` rows per rule reach the driver, dates and instants as text,
    because Python has not all of them.
    """
    found: dict[str, list[object]] = {}
    kinds = dict(split.dtypes)
    for rule, columns in wanted.items():
        shown = [
            F.col(name).cast("string") if kinds[name] in ("timestamp", "timestamp_ntz", "date") else F.col(name)
            for name in columns
        ]
        rows = split.where(F.array_contains(BROKEN, rule)).select(*shown).limit(limit).collect()
        found[rule] = [row[0] if len(columns) == 1 else tuple(row) for row in rows]
    return found
