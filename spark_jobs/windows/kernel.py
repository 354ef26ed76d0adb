"""Windowed features of (entity, key, as_of) cells from hourly tiles: one shuffle, one pass of numpy over Arrow.

Names, types and nulls of the result are decided here; the arithmetic is in `totals.py`, tiles are made in `tiles.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_jobs.errors import RefusedError, UsageError, nearest
from spark_jobs.windows.aggregations import Aggregation, window_label
from spark_jobs.windows.parts import Flags, Floats, Ints, Parts, as_real, as_whole, real_parts, whole_parts
from spark_jobs.windows.totals import TileVersions, window_totals

CHUNK_ROWS = 500_000  # rows held at a time by one Python worker, unless a single key has more
HOUR_US = 3_600_000_000
OVERFLOWED = "overflowed columns"  # of the result; no column of a table has a blank in its name

__all__ = ["Aggregation", "cells_of", "whole_keys", "window_cells", "window_label"]


def window_cells(
    tiles: DataFrame, demands: DataFrame, windows_hours: Sequence[int], aggregations: Sequence[Aggregation]
) -> DataFrame:
    """One row a demand with every aggregation over every window [as_of - W, as_of), as known at as_of.

    Grain: tiles (entity, key, event_hour, known_at, pub) in all their versions and distinct demands (entity, key,
    as_of) -> (entity, key, as_of). No demand is dropped or multiplied; a key without tiles has counts of 0.
    Of each tile the version of newest (known_at, pub) with known_at <= as_of counts. Tiles older than the longest
    window before the first as_of change nothing: filter them away where they cost.

    Columns `<name>_<window>`: count int (0 of nothing), sum bigint where the tile's sum is, other sums and means double
    (null where no value is), or the aggregation's `type`. Totals are exact, so the result does not depend on partitioning
    or on other keys. A value that does not fit its type is null, and the column OVERFLOWED, else null, names it. A value is
    null, too, where a tile of the window was written before the measure was defined.

    Raises:
        UsageError: two columns of one name, a window below an hour, a tile column that is not there.
        RefusedError (inside the job): event_hour or as_of is not a whole hour; known_at or pub is null.
    """
    columns = _tile_columns(tiles, aggregations)
    schema = _cell_schema(tiles.schema, windows_hours, aggregations)
    types = {field.name: field.dataType for field in tiles.schema.fields}
    tile_rows = tiles.select(
        "entity", "key", F.col("event_hour").alias("at"), F.lit(False).alias("is_cell"), "known_at", "pub", *columns
    )
    nothing = [F.lit(None).cast(types[name]).alias(name) for name in ("known_at", "pub", *columns)]
    cell_rows = demands.select("entity", "key", F.col("as_of").alias("at"), F.lit(True).alias("is_cell"), *nothing)
    windows, wanted = tuple(windows_hours), tuple(aggregations)

    def cells(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in whole_keys(batches):
            yield from cells_of(rows, windows, wanted).to_batches()

    together = tile_rows.unionByName(cell_rows).repartition("entity", "key").sortWithinPartitions("entity", "key")
    return together.mapInArrow(cells, schema)


def cells_of(rows: pa.Table, windows_hours: Sequence[int], aggregations: Sequence[Aggregation]) -> pa.Table:
    """The cells of a table of whole keys: rows sorted by (entity, key), tiles and demands mixed, told by `is_cell`.

    Raises:
        RefusedError: as window_cells.
    """
    key = np.cumsum(np.concatenate(([True], _key_changes(rows))), dtype=np.int64)[: rows.num_rows]
    is_cell = rows["is_cell"].to_numpy()
    tiles, cells = rows.filter(pc.invert(rows["is_cell"])), rows.filter(rows["is_cell"])
    names = list(dict.fromkeys(name for one in aggregations for name in one.tile_columns))
    columns = {name: _column(tiles, name) for name in names}
    parts = np.concatenate([one.parts.values for one in columns.values()], axis=1)
    versions = TileVersions(key[~is_cell], _hours(tiles, "at"), _known_hours(tiles), _integers(tiles, "pub"), parts)
    totals = window_totals(versions, key[is_cell], _hours(cells, "at"), windows_hours)
    made: dict[str, tuple[pa.Array, Flags]] = {}
    for window, window_parts in zip(windows_hours, totals, strict=True):
        sums = _split(window_parts, columns)
        for one in aggregations:
            made[f"{one.name}_{window_label(window)}"] = _aggregate(one, columns, sums)
    result: dict[str, Any] = {"entity": cells["entity"], "key": cells["key"], "as_of": cells["at"]}
    ordered = [f"{one.name}_{window_label(window)}" for one in aggregations for window in windows_hours]
    result |= {name: made[name][0] for name in ordered}
    return pa.table(result | {OVERFLOWED: _named(ordered, [made[name][1] for name in ordered], cells.num_rows)})


def whole_keys(batches: Iterable[pa.RecordBatch], rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """Tables of about `rows` rows that never split a key, from batches sorted by (entity, key)."""
    held: list[pa.RecordBatch] = []
    count, enough = 0, rows
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count < enough:
            continue
        table = pa.Table.from_batches(held)
        starts = np.flatnonzero(_key_changes(table)) + 1
        cut = int(starts[-1]) if len(starts) else 0
        if cut:
            yield table.slice(0, cut)
        held, count = table.slice(cut).to_batches(), table.num_rows - cut
        enough = max(rows, 2 * count)  # a key of many rows is not searched again for every batch
    if count:
        yield pa.Table.from_batches(held)


def _tile_columns(tiles: DataFrame, aggregations: Sequence[Aggregation]) -> list[str]:
    """The tile columns read by the aggregations, each once."""
    names = list(dict.fromkeys(name for one in aggregations for name in one.tile_columns))
    missing = [name for name in names if name not in tiles.columns]
    if missing:
        raise UsageError("tiles", f"no column {', '.join(missing)}", nearest(missing[0], tiles.columns))
    return names


def _cell_schema(
    tiles: T.StructType, windows_hours: Sequence[int], aggregations: Sequence[Aggregation]
) -> T.StructType:
    """The result's columns: the cell, then aggregation by aggregation its windows, then what overflowed."""
    schema = T.StructType().add("entity", T.StringType()).add("key", T.StringType()).add("as_of", T.TimestampType())
    for one in aggregations:
        kind = _value_type(one, tiles)
        for window in windows_hours:
            schema.add(f"{one.name}_{window_label(window)}", kind)
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise UsageError("aggregations", f"two columns named {', '.join(repeated)}", "one column a name")
    return schema.add(OVERFLOWED, T.StringType())


def _value_type(one: Aggregation, tiles: T.StructType) -> T.DataType:
    if one.op == "count":
        return T.IntegerType()
    if one.type == "float":
        return T.FloatType()
    is_whole = one.op == "sum" and one.type is None and isinstance(tiles[one.tile_columns[1]].dataType, T.LongType)
    return T.LongType() if is_whole else T.DoubleType()


def _key_changes(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """For every row but the first, whether (entity, key) differs from the row before; shape (rows - 1,)."""
    changed = np.zeros(max(rows.num_rows - 1, 0), dtype=np.bool_)
    for name in ("entity", "key"):
        column = rows[name].combine_chunks()
        changed |= pc.not_equal(column.slice(1), column.slice(0, len(changed))).to_numpy(zero_copy_only=False)
    return changed


def _integers(rows: pa.Table, name: str, *, nulls: bool = False) -> Ints:
    """A column as int64; timestamps as microseconds since the epoch."""
    column = rows[name]
    if column.null_count and nulls:
        column = column.fill_null(0)
    if column.null_count:
        raise RefusedError(f"tiles column '{name}'", f"{column.null_count} null values", "no null")
    return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)


def _hours(rows: pa.Table, name: str) -> Ints:
    """Hours since the epoch of a column of whole hours."""
    micros = _integers(rows, name)
    if (micros % HOUR_US).any():
        found = rows[name].filter(pa.array(micros % HOUR_US != 0))[0]
        raise RefusedError("event_hour or as_of", f"{found} is within an hour", "whole hours, UTC")
    return micros // HOUR_US


def _known_hours(tiles: pa.Table) -> Ints:
    """The first whole hour at or after known_at."""
    return -(-_integers(tiles, "known_at") // HOUR_US)


@dataclass(frozen=True)
class _Column:
    """A tile column: its parts, and whether the last two of them count nulls and values that are not finite."""

    parts: Parts
    is_whole: bool
    has_faults: bool

    def totals(self, sums: Ints) -> tuple[Ints, Flags, Flags]:
        """Of sums of the parts: those of the values; where a null is among them; where a value that is not finite is."""
        if not self.has_faults:
            none = np.zeros(len(sums), dtype=np.bool_)
            return sums, none, none
        return sums[:, :-2], sums[:, -2] > 0, sums[:, -1] > 0

    def read_as(self) -> Parts:
        """The parts without those that count."""
        return Parts(self.parts.values[:, :-2], self.parts.scale) if self.has_faults else self.parts


def _column(tiles: pa.Table, name: str) -> _Column:
    column = tiles[name]
    null = np.asarray(column.is_null().to_numpy())
    if pa.types.is_floating(column.type):
        values: Floats = np.asarray(column.fill_null(0).to_numpy(), dtype=np.float64)
        infinite = ~np.isfinite(values)
        parts = real_parts(np.where(infinite, 0.0, values))
    else:
        parts, infinite = whole_parts(_integers(tiles, name, nulls=True)), np.zeros(len(null), dtype=np.bool_)
    has_faults = bool(null.any() or infinite.any())
    if has_faults:
        faults = np.stack([null, infinite], axis=1).astype(np.int64)
        parts = Parts(np.concatenate([parts.values, faults], axis=1), parts.scale)
    return _Column(parts, parts.scale is None, has_faults)


def _split(window_parts: Ints, columns: dict[str, _Column]) -> dict[str, Ints]:
    """The totals of the parts of each tile column, shape (cells, width)."""
    sums, first = {}, 0
    for name, column in columns.items():
        sums[name] = window_parts[:, first : first + column.parts.width]
        first += column.parts.width
    return sums


def _aggregate(one: Aggregation, columns: dict[str, _Column], sums: dict[str, Ints]) -> tuple[pa.Array, Flags]:
    """One column of the result, and where its value does not fit (null there)."""
    counted = columns[one.tile_columns[0]]
    counts, absent, _ = counted.totals(sums[one.tile_columns[0]])
    count, _ = as_whole(counted.read_as(), counts)
    if one.op == "count":
        too_many = count > np.iinfo(np.int32).max
        return pa.array(np.where(too_many, 0, count).astype(np.int32), mask=absent | too_many), too_many
    summed = columns[one.tile_columns[1]]
    parts, lost, infinite = summed.totals(sums[one.tile_columns[1]])
    value: npt.NDArray[Any]
    if one.op == "sum" and one.type is None and summed.is_whole:
        value, too_large = as_whole(summed.read_as(), parts)
    else:
        total, too_large = as_real(summed.read_as(), parts)
        value = total if one.op == "sum" else total / np.maximum(count, 1)
    if one.type == "float":
        with np.errstate(over="ignore"):
            value = value.astype(np.float32)
        too_large = too_large | ~np.isfinite(value)
    overflowed = (too_large | lost | infinite) & ~absent
    return pa.array(value, mask=(count == 0) | overflowed | absent), overflowed


def _named(names: Sequence[str], flags: Sequence[Flags], rows: int) -> pa.Array:
    """For each row the names whose flag is set, separated by commas; null where none is."""
    texts: list[str | None] = [None] * rows
    for row in np.flatnonzero(np.any(flags, axis=0)) if rows else ():
        texts[row] = ", ".join(name for name, flag in zip(names, flags, strict=True) if flag[row])
    return pa.array(texts, type=pa.string())
