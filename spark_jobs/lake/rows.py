"""Rows of an Arrow table as plain values, of any instant that a file can hold: Python's datetime ends at the year 9999."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from spark_jobs.values import INFINITE, day_text, micros_text, plain

_DAY_INFINITE = {2**31 - 1: "Infinity", -(2**31 - 1): "-Infinity"}  # DuckDB's dates without end
_TO_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of `table` as `values.plain` writes their values."""
    columns = [_column(table.column(place)) for place in range(table.num_columns)]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _column(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return [None if count is None else _instant(count, kind) for count in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_date32(kind):
        return [None if days is None else _day(days) for days in column.cast(pa.int32()).to_pylist()]
    if pa.types.is_nested(kind):
        return [_scalar(one) for chunk in column.chunks for one in chunk]
    return [plain(value) for value in column.to_pylist()]


def _scalar(value: pa.Scalar) -> Any:
    if not value.is_valid:
        return None
    kind = value.type
    if pa.types.is_timestamp(kind):
        return _instant(value.value, kind)
    if pa.types.is_date32(kind):
        return _day(value.value)
    if pa.types.is_map(kind):
        pairs = [(_scalar(pair["key"]), _scalar(pair["value"])) for pair in value.values]
        return dict(pairs) if pa.types.is_string(kind.key_type) else [list(pair) for pair in pairs]
    if pa.types.is_struct(kind):
        return {field.name: _scalar(value[place]) for place, field in enumerate(kind)}
    if pa.types.is_nested(kind):
        return [_scalar(item) for item in value.values]
    return plain(value.as_py())


def _instant(count: int, kind: pa.TimestampType) -> str:
    if kind.unit != "ns":
        return micros_text(count if count in INFINITE else count * _TO_MICROS[kind.unit], zoned=kind.tz is not None)
    micros, nanos = divmod(count, 1000)
    shown = micros_text(micros, zoned=False)
    if nanos:
        whole, _, fraction = shown.partition(".")
        shown = f"{whole}.{fraction:0<6}{nanos:03d}"
    return f"{shown}Z" if kind.tz else shown


def _day(days: int) -> str:
    return _DAY_INFINITE.get(days) or day_text(days)
