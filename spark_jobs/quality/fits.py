"""Whether a rule can work on a frame at all: columns, types and patterns, checked before any row is read.

Without this a rule that cannot work would fail inside the write of the rows, far from the rule.
"""

from __future__ import annotations

from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from spark_jobs.config.suites import Rule
from spark_jobs.errors import nearest
from spark_jobs.quality.words import bounded

_COMPARED = ("min_value", "max_value", "value_set")
_NUMERIC_ONLY = ("_mean_", "_median_", "_stdev_", "_sum_to_be_between")
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")


def named_columns(rule: Rule) -> list[str]:
    """The columns that the rule names, in order; none for a rule on the table."""
    return [rule.column] if rule.column else list(rule.columns)


def misfit(frame: DataFrame, rule: Rule) -> str:
    """Why `rule` cannot work on `frame`, as one sentence; empty when it can."""
    for column in named_columns(rule):
        if column not in frame.columns:
            return f"column '{column}' is not there; {bounded(nearest(column, frame.columns), 200)}"
    return _other_type(frame, rule) or _broken_pattern(frame, rule)


def _other_type(frame: DataFrame, rule: Rule) -> str:
    """Under ANSI a text column compared with a number throws on the first text that is no number."""
    if not rule.column or not set(_COMPARED) & set(rule.args):
        return ""
    kind = dict(frame.dtypes)[rule.column]
    if any(word in rule.type for word in _NUMERIC_ONLY) and not kind.startswith(_NUMBERS):
        return f"column '{rule.column}' is {kind}, {rule.type} needs numbers"
    if not any(word in rule.type for word in ("_values_to_", "_min_", "_max_")) or "non_null" in rule.type:
        return ""
    given = [item for arg in _COMPARED for item in _listed(rule.args.get(arg))]
    texts, numbers = (any(isinstance(item, kinds) for item in given) for kinds in ((str,), (int, float)))
    if (kind == "string" and numbers) or (kind.startswith(_NUMBERS) and texts):
        return f"column '{rule.column}' is {kind}, its arguments are {'numbers' if numbers else 'texts'}"
    return ""


def _broken_pattern(frame: DataFrame, rule: Rule) -> str:
    """Java's word on each regular expression, which Spark hands to it: Python's dialect is another one. No job is run."""
    java: Any = frame.sparkSession._jvm  # untyped in pyspark
    for text in [*_listed(rule.args.get("regex")), *_listed(rule.args.get("regex_list"))]:
        try:
            java.java.util.regex.Pattern.compile(str(text))
        except PySparkException as error:
            return f"regular expression {bounded(text, 60)} is broken: {bounded(str(error).splitlines()[0])}"
    return ""


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
