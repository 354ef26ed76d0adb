"""Windowed features of (entity, key, as_of) cells from hourly tiles: one shuffle, one pass of numpy over Arrow.

Names, types and nulls of the result are decided here; the arithmetic is in `totals.py`, tiles are made in `tiles.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from spark_jobs.windows.totals import Ints, TileVersions, fixed_point, floating, window_totals

CHUNK_ROWS = 500_000  # rows held at a time by one Python worker, unless a single key has more
HOUR_US = 3_600_000_000

__all__ = ["Aggregation", "cells_of", "whole_keys", "window_cells", "window_label"]


def window_cells(
    tiles: DataFrame, demands: DataFrame, windows_hours: Sequence[int], aggregations: Sequence[Aggregation]
) -> DataFrame:
    """One row a demand with every aggregation over every window [as_of - W, as_of), as known at as_of.

    Grain: tiles (entity, key, event_hour, known_at, pub) in all their versions and distinct demands (entity, key,
    as_of) -> (entity, key, as_of). No demand is dropped or multiplied; a key without tiles has counts of 0.
    Of each tile the version of newest (known_at, pub) with known_at <= as_of counts. Tiles older than the longest
    window before the first as_of change nothing: filter them away where they cost.

    Columns `<name>_<window>`: count int (0 of nothing), sum and mean float (null where no value is). Totals are exact,
    so the result does not depend on partitioning or on other keys.

    Raises:
        UsageError: two columns of one name, a window below an hour, a tile column that is not there.
        RefusedError (inside the job): event_hour or as_of is not a whole hour; known_at or pub is null; a sum is not
            finite.
    """
    columns = _tile_columns(tiles, aggregations)
    schema = _cell_schema(windows_hours, aggregations)
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
    parts, scales = _parts(tiles, names)
    versions = TileVersions(key[~is_cell], _hours(tiles, "at"), _known_hours(tiles), _integers(tiles, "pub"), parts)
    totals = window_totals(versions, key[is_cell], _hours(cells, "at"), windows_hours)
    result: dict[str, Any] = {"entity": cells["entity"], "key": cells["key"], "as_of": cells["at"]}
    for window, window_parts in zip(windows_hours, totals, strict=True):
        sums = _sums(window_parts, scales)
        for one in aggregations:
            result[f"{one.name}_{window_label(window)}"] = _aggregate(one, sums)
    ordered = [f"{one.name}_{window_label(window)}" for one in aggregations for window in windows_hours]
    return pa.table({name: result[name] for name in ("entity", "key", "as_of", *ordered)})


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


def _cell_schema(windows_hours: Sequence[int], aggregations: Sequence[Aggregation]) -> T.StructType:
    """The result's columns: the cell, then aggregation by aggregation its windows."""
    schema = T.StructType().add("entity", T.StringType()).add("key", T.StringType()).add("as_of", T.TimestampType())
    for one in aggregations:
        for window in windows_hours:
            schema.add(f"{one.name}_{window_label(window)}", T.IntegerType() if one.op == "count" else T.FloatType())
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise UsageError("aggregations", f"two columns named {', '.join(repeated)}", "one column a name")
    return schema


def _key_changes(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """For every row but the first, whether (entity, key) differs from the row before; shape (rows - 1,)."""
    changed = np.zeros(max(rows.num_rows - 1, 0), dtype=np.bool_)
    for name in ("entity", "key"):
        column = rows[name].combine_chunks()
        changed |= pc.not_equal(column.slice(1), column.slice(0, len(changed))).to_numpy(zero_copy_only=False)
    return changed


def _integers(rows: pa.Table, name: str) -> Ints:
    """A column as int64; timestamps as microseconds since the epoch."""
    column = rows[name]
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


def _parts(tiles: pa.Table, names: Sequence[str]) -> tuple[Ints, dict[str, Any]]:
    """The tile columns side by side as int64 parts, and for each its scale (None: one part, whole numbers)."""
    parts: list[Ints] = []
    scales: dict[str, Any] = {}
    for name in names:
        if not pa.types.is_floating(tiles[name].type):
            parts.append(_integers(tiles, name)[:, None])
            scales[name] = None
            continue
        try:
            fixed, scales[name] = fixed_point(tiles[name].to_numpy())
        except ValueError as error:
            raise RefusedError(f"tiles column '{name}'", str(error), "finite values") from error
        parts.append(fixed)
    return np.concatenate(parts, axis=1), scales


def _sums(parts: Ints, scales: dict[str, Any]) -> dict[str, Any]:
    """The total of each tile column, shape (cells,): int64, or float64 where the column is."""
    sums: dict[str, Any] = {}
    first = 0
    for name, scale in scales.items():
        width = 1 if scale is None else len(scale)
        own = parts[:, first : first + width]
        sums[name] = own[:, 0] if scale is None else floating(own, scale)
        first += width
    return sums


def _aggregate(one: Aggregation, sums: dict[str, Any]) -> pa.Array:
    """One column of the result: int32, or float32 with null where nothing was aggregated."""
    count = sums[one.tile_columns[0]]
    if one.op == "count":
        return pa.array(count).cast(pa.int32())
    total = sums[one.tile_columns[1]].astype(np.float64)
    value = total if one.op == "sum" else total / np.maximum(count, 1)
    return pa.array(value.astype(np.float32), mask=count == 0)
