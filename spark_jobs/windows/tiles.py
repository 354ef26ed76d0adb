"""Hourly tiles: what is known of an (entity, key) in one hour of event time, in one version for every time of knowing.

A window of whole hours is a sum of tiles. Nothing is read or published here; `kernel.py` adds tiles up to windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spark_jobs.errors import UsageError, nearest
from spark_jobs.windows.keys import entity_key

TILE = ("entity", "key", "event_hour")


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
        entity, key, event_hour, known_at, n (long, rows), last_at (newest event_at) and for every measure m:
        n_<m> (long, not null), sum_<m> and sumsq_<m> (long where m is integer or boolean, else double; 0 of nothing),
        min_<m>, max_<m> (null of nothing), last_<m> (m of the newest row, null if null there; among rows of the same
        event_at the row with the largest measures, so that the value depends on the rows alone).

    Raises:
        UsageError: an entity without columns, a column that is not there, a measure that is no number.
        ArithmeticException (in the job): a sum of squares beyond int64.
    """
    until = ["known_until"] if "known_until" in rows.columns else []
    stacked = _one_row_an_entity(rows, entities, measures, until).repartition(*TILE)
    arrivals = stacked.groupBy(*TILE, "known_at", *until).agg(*_totals(measures))
    # rows of one tile are together already and sorted for the group-by: the window costs no second shuffle or sort
    known_by_then = Window.partitionBy(*TILE).orderBy("known_at").rowsBetween(Window.unboundedPreceding, 0)
    values = [name for name in arrivals.columns if name not in (*TILE, "known_at", *until)]
    running = {name: _running(name).over(known_by_then) for name in values}
    if until:
        arrivals = _with_losses(arrivals, values)
        running = {name: F.when(F.col("losing"), F.col(name)).otherwise(total) for name, total in running.items()}
    versions = arrivals.select(*TILE, "known_at", *[column.alias(name) for name, column in running.items()])
    if until:
        before = F.lag(F.struct(*values)).over(Window.partitionBy(*TILE).orderBy("known_at"))
        versions = (
            versions.withColumn("before", before).where(~F.struct(*values).eqNullSafe(F.col("before"))).drop("before")
        )
    last = [F.col("last")[measure].alias(f"last_{measure}") for measure in measures]
    return versions.select(*versions.columns[:-1], F.col("last")["event_at"].alias("last_at"), *last)


def _with_losses(arrivals: DataFrame, values: Sequence[str]) -> DataFrame:
    """Totals by time: of a tile that loses rows those of all rows that count at each time, of others what came then.

    What left cannot be taken out of a minimum, so the few tiles that lose rows are added up anew for each time.
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
    counted = spread.select(*TILE, "losing", F.col("time").alias("known_at"),
                            *[F.when(there, F.col(name)).alias(name) for name in values])  # fmt: skip
    totals = counted.groupBy(*TILE, "losing", "known_at").agg(*[_running(name).alias(name) for name in values])
    return totals.withColumns({name: F.coalesce(name, F.lit(0)) for name in values if _is_total(name)})


def touched_tiles(
    old_rows: DataFrame, new_rows: DataFrame, entities: Mapping[str, Sequence[str]], measures: Sequence[str]
) -> DataFrame:
    """Distinct (entity, key, event_hour) of the rows that are in one frame only, counting repeated rows.

    Rows are compared by event_at, key columns and measures; known_at is not compared, so that delivering the same
    rows again touches nothing. A corrected key touches the tile that it leaves and the tile that it joins.

    Raises:
        UsageError: as tile_versions.
    """
    compared = list(dict.fromkeys(["event_at", *[name for key in entities.values() for name in key], *measures]))
    _require(old_rows, compared)
    _require(new_rows, compared)
    both = old_rows.select(*compared, F.lit(-1).alias("balance")).unionByName(
        new_rows.select(*compared, F.lit(1).alias("balance"))
    )
    differing = both.groupBy(*compared).agg(F.sum("balance").alias("balance")).where("balance != 0")
    return (
        _one_row_an_entity(differing.withColumn("known_at", F.lit(None).cast("timestamp")), entities, ())
        .select(*TILE)
        .distinct()
    )


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
    filled = {name: F.coalesce(name, F.lit(0)) for name in versions.columns if _is_total(name)}
    filled["known_at"] = F.when(F.col("is_last"), F.greatest(*latest)).otherwise(F.col("known_at"))
    return marked.select(*[filled.get(name, F.col(name)).alias(name) for name in versions.columns])


def _is_total(name: str) -> bool:
    """Whether a tile column is 0 of nothing."""
    return name == "n" or name.startswith(("n_", "sum_", "sumsq_"))


def _one_row_an_entity(
    rows: DataFrame, entities: Mapping[str, Sequence[str]], measures: Sequence[str], more: Sequence[str] = ()
) -> DataFrame:
    """entity, key, event_hour, known_at, `more`, event_at and the measures as long or double; one row an event and entity."""
    for entity, columns in entities.items():
        if not columns:
            raise UsageError(f"entity '{entity}'", "no key columns", "one column or more")
    _require(rows, ["event_at", "known_at", *[name for key in entities.values() for name in key], *measures])
    keys = [F.struct(F.lit(name).alias("entity"), entity_key(rows, key).alias("key")) for name, key in entities.items()]
    stacked = rows.select(
        F.inline(F.array(*keys)),
        F.date_trunc("hour", "event_at").alias("event_hour"),
        "known_at",
        *more,
        "event_at",
        *[_number(rows, measure).alias(measure) for measure in measures],
    )
    return stacked.where(F.col("key").isNotNull() & F.col("event_hour").isNotNull())


def _number(rows: DataFrame, measure: str) -> Column:
    """The measure as long (integer, boolean) or double (others), null where it is not finite."""
    kind = rows.schema[measure].dataType
    if isinstance(kind, (T.IntegralType, T.BooleanType)):
        return F.col(measure).cast("long")
    if not isinstance(kind, T.NumericType):
        raise UsageError(f"measure '{measure}'", f"type {kind.simpleString()}", "boolean or numeric")
    value = F.col(measure).cast("double")
    return F.when(F.abs(value) < F.lit(float("inf")), value)  # Spark: NaN is larger than infinity


def _totals(measures: Sequence[str]) -> list[Column]:
    """The aggregates of one group of rows; `last` is a struct ordered by event_at, then by the measures."""
    columns = [F.count("*").alias("n")]
    for measure in measures:
        value = F.col(measure)
        columns += [
            F.count(value).alias(f"n_{measure}"),
            F.coalesce(F.sum(value), F.lit(0)).alias(f"sum_{measure}"),
            F.coalesce(F.sum(value * value), F.lit(0)).alias(f"sumsq_{measure}"),
            F.min(value).alias(f"min_{measure}"),
            F.max(value).alias(f"max_{measure}"),
        ]
    return [*columns, F.max(F.struct("event_at", *measures)).alias("last")]


def _running(name: str) -> Column:
    """How a total of several arrivals follows from the totals of each."""
    if name.startswith("min_"):
        return F.min(name)
    return F.max(name) if name == "last" or name.startswith("max_") else F.sum(name)


def _require(rows: DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame that lacks a column."""
    missing = [name for name in dict.fromkeys(columns) if name not in rows.columns]
    if missing:
        raise UsageError("rows of the tiles", f"no column {', '.join(missing)}", nearest(missing[0], rows.columns))
