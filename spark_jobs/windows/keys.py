"""Text of keys: two keys have the same text if and only if all of their columns are equal."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_jobs.spark_columns import spark_column

NULL_TEXT = r"\N"  # no value reads like this: an escaped text has '\' only before '\' or '|'


def entity_key(rows: DataFrame, columns: Sequence[str]) -> Column:
    """The key of an entity in `rows`: the text of its column, or of its columns separated by '|'; null when one is null.

    With several columns, a '\\' or '|' inside a value is preceded by a '\\', so that different values never share a
    key. The text depends on the value and not on the width of its type: int 7 and bigint 7 are both '7'.

    Raises:
        UsageError: by Spark, when `rows` lacks a column.
    """
    parts = [_text(rows, name) for name in columns]
    if len(parts) == 1:
        return parts[0]
    return _joined([_escaped(part) for part in parts])


def business_key(rows: DataFrame, columns: Sequence[str]) -> Column:
    r"""The key of a row as text, never null: as `entity_key`, but always escaped and with `\N` in place of a null."""
    return _joined([F.coalesce(_escaped(_text(rows, name)), F.lit(NULL_TEXT)) for name in columns])


def _text(rows: DataFrame, name: str) -> Column:
    """The value as text; the two zeros of a float, which are equal, have the same text."""
    value = spark_column(name)
    if isinstance(rows.schema[name].dataType, (T.DoubleType, T.FloatType)):
        value = value + F.lit(0.0)  # turns -0.0 into 0.0
    return value.cast("string")


def _escaped(text: Column) -> Column:
    return F.replace(F.replace(text, F.lit("\\"), F.lit("\\\\")), F.lit("|"), F.lit("\\|"))


def _joined(parts: Sequence[Column]) -> Column:
    return F.concat(*[piece for part in parts for piece in (F.lit("|"), part)][1:])
