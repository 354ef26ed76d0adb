"""Whether a rule can work on a frame at all: columns, types and patterns, checked before any row is read.

Without this a rule that cannot work would fail inside the write of the rows, far from the rule.
"""

from __future__ import annotations

from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from spark_jobs.config.arguments import rule_faults
from spark_jobs.config.suites import Rule
from spark_jobs.errors import nearest
from spark_jobs.quality.words import bounded


def named_columns(rule: Rule) -> list[str]:
    """The columns that the rule names, in order; none for a rule on the table."""
    return [rule.column] if rule.column else list(rule.columns)


def misfit(frame: DataFrame, rule: Rule) -> str:
    """Why `rule` cannot work on `frame`, as one sentence; empty when it can."""
    for column in named_columns(rule):
        if column not in frame.columns:
            return f"column '{column}' does not exist; {bounded(nearest(column, frame.columns), 200)}"
    faults = rule_faults(rule, dict(frame.dtypes))
    return str(faults[0]) if faults else _broken_pattern(frame, rule)


def _broken_pattern(frame: DataFrame, rule: Rule) -> str:
    """What Java says of each regular expression, which Spark passes to it: Python's dialect differs. Runs no job."""
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
