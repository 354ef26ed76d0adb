"""Hourly tiles: what is known of an (entity, key) in one hour of event time, in one version for every time of knowing.

A window of whole hours is a sum of tiles. Nothing is read or published here; `kernel.py` adds tiles up to windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_jobs.errors import UsageError, nearest
from spark_jobs.spark_columns import spark_column
from spark_jobs.windows.keys import entity_key

TILE = ("entity", "key", "event_hour")
_WIDE = T.DecimalType(20, 0)  # holds every bigint; a sum of them has 38 digits and cannot overflow


def tile_versions(rows: DataFrame, entities: Mapping[str, Sequence[str]], measures: Sequence[str]) -> DataFrame:
    """All versions of all tiles of the rows; version k aggregates the rows with known_at <= k < known_until.

    Grain: one row an event and time in which it counts -> one row (entity, key, event_hour, known_at) for every time at
    which a row of the tile comes or goes and leaves other values than before; n = 0 where the last row goes. A row counts
    once for every entity; with a null key column or event_at not at all.

    Args:
        rows: columns event_at, known_at, the entities' key columns and the measures (boolean or numeric, may be null);
            without a column known_until, or where it is null, a row stays.
        entities: entity name -> its key columns.
        measures: columns to aggregate. NaN and infinities count as null.

    Returns:
        entity, key, event_hour, known_at, n (long, rows) and for every measure m: n_<m> (long, values that are not null)
        and sum_<m> (long where m is integer or boolean, else double; 0 of nothing). A sum beyond the range of long is null.
        A sum of doubles depends on the values alone, not on their order.

    Raises:
        UsageError: an entity without columns, a column that is not there, a measure that is no number.
    """
    until = ["known_until"] if "known_until" in rows.columns else []
    stacked = _one_row_an_entity(rows, entities, measures, ["known_at", *until]).repartition(*TILE)
    arrivals = stacked.groupBy(*TILE, "known_at", *until).agg(*_totals(stacked, measures))
    # rows of one tile are together already and sorted for the group-by: the window costs no second shuffle or sort
    known_by_then = Window.partitionBy(*TILE).orderBy("known_at").rowsBetween(Window.unboundedPreceding, 0)
    values = [name for name in arrivals.columns if name not in (*TILE, "known_at", *until)]
    running = {name: _running(arrivals, name, known_by_then) for name in values}
    if until:
        arrivals = _with_losses(arrivals, values)
        running = {name: F.when(F.col("losing"), F.col(name)).otherwise(total) for name, total in running.items()}
    versions = arrivals.select(*TILE, "known_at", *[column.alias(name) for name, column in running.items()])
    versions = versions.select(*TILE, "known_at", *_final(versions, values))
    if until:
        before = F.lag(F.struct(*values)).over(Window.partitionBy(*TILE).orderBy("known_at"))
        versions = (
            versions.withColumn("before", before).where(~F.struct(*values).eqNullSafe(F.col("before"))).drop("before")
        )
    return versions


def _with_losses(arrivals: DataFrame, values: Sequence[str]) -> DataFrame:
    """Totals by time: of a tile that loses rows those of all rows that count at each time, of others what arrived then.

    Running totals cannot take a row out again, so the few tiles that lose rows are summed again for each time.
    """
    tile = Window.partitionBy(*TILE)
    losing = F.max(F.col("known_until").isNotNull()).over(tile)
    times = F.array_distinct(F.flatten(F.collect_list(F.array_compact(F.array("known_at", "known_until"))).over(tile)))
    marked = arrivals.withColumns({"losing": losing, "times": F.when(losing, times)})
    here = F.filter(
        "times",
        lambda t: (t >= F.col("known_at")) & (F.col("known_until").isNull() | (t <= F.col("known_until"))),
    )  # the time of its leaving too: a tile that all rows left has a version then
    spread = marked.withColumn("time", F.explode(F.when(F.col("losing"), here).otherwise(F.array("known_at"))))
    there = F.col("known_until").isNull() | (F.col("time") < F.col("known_until"))
    counted = spread.select(
        *TILE, "losing", F.col("time").alias("known_at"), *[F.when(there, F.col(name)).alias(name) for name in values]
    )
    return counted.groupBy(*TILE, "losing", "known_at").agg(*[_running(counted, name).alias(name) for name in values])


def touched_tiles(
    old_rows: DataFrame, new_rows: DataFrame, entities: Mapping[str, Sequence[str]], measures: Sequence[str]
) -> DataFrame:
    """Distinct (entity, key, event_hour) of the tiles that have other values by the new rows than by the old ones.

    known_at is not compared, so that delivering the same rows again touches nothing. A corrected key touches the tile
    that it leaves and the tile that it joins.

    Raises:
        UsageError: as tile_versions.
    """
    sides = [_one_row_an_entity(rows, entities, measures, ()) for rows in (old_rows, new_rows)]
    both = sides[0].withColumn("is_new", F.lit(False)).unionByName(sides[1].withColumn("is_new", F.lit(True)))
    totals = both.groupBy(*TILE, "is_new").agg(*_totals(both, measures))
    names = totals.columns[len(TILE) + 1 :]
    values = totals.select(*TILE, "is_new", F.struct(*_final(totals, names)).alias("tile"))
    seen = values.groupBy(*TILE).agg(
        F.max(F.when(F.col("is_new"), F.col("tile"))).alias("new"),
        F.max(F.when(~F.col("is_new"), F.col("tile"))).alias("old"),
    )
    return seen.where(~F.col("new").eqNullSafe(F.col("old"))).select(*TILE)


def healed_tiles(
    rows: DataFrame,
    touched: DataFrame,
    entities: Mapping[str, Sequence[str]],
    measures: Sequence[str],
    known_at: datetime,
    replaced: DataFrame | None = None,
) -> DataFrame:
    """The versions that a change first readable at `known_at` gives to every touched tile; n = 0 where no row is left.

    Grain: current rows of at least the touched event hours, and distinct touched (entity, key, event_hour) -> one row
    a touched tile and time of knowing, from `known_at` on, with the columns of tile_versions. Nearly always that is one
    row at `known_at`. Hours that are published out of order may find rows, or a version of the tile, that were known
    later: then there is a version for each such row, and the last is known no earlier than the one that it replaces,
    which would count in its place otherwise. Versions known before `known_at` stay as they were.

    Args:
        known_at: with a zone; the hour boundary at which this change is first readable.
        replaced: distinct (entity, key, event_hour, known_at) of the versions that count so far; none: all known before.

    Raises:
        UsageError: as tile_versions; or known_at has no zone.
    """
    if known_at.tzinfo is None:
        raise UsageError("known_at", f"{known_at.isoformat()} has no zone", "an instant with a zone")
    now = F.lit(known_at).cast("timestamp")
    versions = touched.select(*TILE).join(tile_versions(rows, entities, measures), on=list(TILE), how="left")
    following = F.lead("known_at").over(Window.partitionBy(*TILE).orderBy("known_at"))
    marked = versions.withColumn("is_last", following.isNull()).where(F.col("is_last") | (F.col("known_at") >= now))
    latest = [now, F.col("known_at")]
    if replaced is not None:
        marked = marked.join(replaced.select(*TILE, F.col("known_at").alias("replaced_at")), on=list(TILE), how="left")
        latest.append(F.col("replaced_at"))
    empty = F.col("n").isNull()  # no row is left; a sum alone is null where it overflows
    values = [name for name in versions.columns if name not in (*TILE, "known_at")]
    filled = {name: F.when(empty, F.lit(0)).otherwise(F.col(name)) for name in values}
    filled["known_at"] = F.when(F.col("is_last"), F.greatest(*latest)).otherwise(F.col("known_at"))
    return marked.select(*[filled.get(name, F.col(name)).alias(name) for name in versions.columns])


def _one_row_an_entity(
    rows: DataFrame, entities: Mapping[str, Sequence[str]], measures: Sequence[str], more: Sequence[str]
) -> DataFrame:
    """entity, key, event_hour, `more` and a column for each measure (`_value`); one row an event and entity."""
    for entity, columns in entities.items():
        if not columns:
            raise UsageError(f"entity '{entity}'", "no key columns", "one column or more")
    _require(rows, ["event_at", *more, *[name for key in entities.values() for name in key], *measures])
    keys = [F.struct(F.lit(name).alias("entity"), entity_key(rows, key).alias("key")) for name, key in entities.items()]
    stacked = rows.select(
        F.inline(F.array(*keys)),
        F.date_trunc("hour", "event_at").alias("event_hour"),
        *more,
        *[_number(rows, measure).alias(_value(measure)) for measure in measures],
    )
    return stacked.where(F.col("key").isNotNull() & F.col("event_hour").isNotNull())


def _value(measure: str) -> str:
    """The column with the values of a measure; no other column has a blank in its name."""
    return f"value {measure}"


def _number(rows: DataFrame, measure: str) -> Column:
    """The measure as long (integer, boolean), decimal (long) or double (others), null where it is not finite."""
    kind, value = rows.schema[measure].dataType, spark_column(measure)
    if isinstance(kind, T.LongType):
        return value.cast(_WIDE)
    if isinstance(kind, (T.IntegralType, T.BooleanType)):
        return value.cast("long")
    if not isinstance(kind, T.NumericType):
        raise UsageError(f"measure '{measure}'", f"type {kind.simpleString()}", "boolean or numeric")
    value = value.cast("double")
    return F.when(F.abs(value) < F.lit(float("inf")), value)  # Spark: NaN is larger than infinity


def _totals(stacked: DataFrame, measures: Sequence[str]) -> list[Column]:
    """The aggregates of one group of rows; of doubles the values themselves, because their sum depends on their order."""
    columns = [F.count("*").alias("n")]
    for measure in measures:
        value = F.col(_value(measure))
        is_real = isinstance(stacked.schema[_value(measure)].dataType, T.DoubleType)
        total = F.collect_list(value) if is_real else F.coalesce(F.sum(value), F.lit(0))
        columns += [F.count(value).alias(f"n_{measure}"), total.alias(f"sum_{measure}")]
    return columns


def _running(arrivals: DataFrame, name: str, over: WindowSpec | None = None) -> Column:
    """How a total of several arrivals follows from the totals of each, of none 0; of a group, or `over` a window."""
    is_list = isinstance(arrivals.schema[name].dataType, T.ArrayType)
    total = F.collect_list(name) if is_list else F.sum(name)
    total = total.over(over) if over else total
    return F.flatten(total) if is_list else F.coalesce(total, F.lit(0))


def _final(totals: DataFrame, names: Sequence[str]) -> list[Column]:
    """The totals as tiles have them: doubles added up in ascending order, wide sums as long, null beyond its range."""
    columns = []
    for name in names:
        kind, total = totals.schema[name].dataType, F.col(name)
        if isinstance(kind, T.ArrayType):
            total = F.aggregate(F.sort_array(total), F.lit(0.0), lambda sum_, value: sum_ + value)
        elif isinstance(kind, T.DecimalType):
            total = total.try_cast("long")
        columns.append(total.alias(name))
    return columns


def _require(rows: DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame that lacks a column."""
    missing = [name for name in dict.fromkeys(columns) if name not in rows.columns]
    if missing:
        raise UsageError("rows of the tiles", f"no column {', '.join(missing)}", nearest(missing[0], rows.columns))
