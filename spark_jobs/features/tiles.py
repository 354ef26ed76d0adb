"""Tiles: for each entity and hour of events the sums that windows are made of; whole tiles, restated when they change."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, IntegralType

from spark_jobs import transforms
from spark_jobs.config.features import WindowGroup
from spark_jobs.config.schemas import measure_types
from spark_jobs.config.whole import Pipeline
from spark_jobs.features.silver_hours import hours_from, hours_of_tiles
from spark_jobs.invocation import HOUR
from spark_jobs.lake.hours import hours_that_may_hold
from spark_jobs.lake.moved_keys import TileHours
from spark_jobs.lake.tables import in_spans
from spark_jobs.spark_columns import spark_column
from spark_jobs.steps.context import Context
from spark_jobs.windows.restated import restated_tiles
from spark_jobs.windows.tiles import TILE, healed_tiles, tile_versions, touched_tiles

_PASSING = "is passing"  # no other column has a blank in its name


def tiled_groups(pipeline: Pipeline) -> list[WindowGroup]:
    """One group for each table of tiles: the entities of all window groups over it, and the measures that they aggregate."""
    groups: dict[str, WindowGroup] = {}
    for group in pipeline.features.windows.values():
        before = groups.get(group.table)
        entities = dict.fromkeys([*(before.entities if before else []), *group.entities])
        used = {name: call for name, call in group.measures.items() if any(a.of == name for a in group.aggregations)}
        measures = {**(before.measures if before else {}), **used}
        groups[group.table] = group.model_copy(update={"entities": list(entities), "measures": measures})
    return list(groups.values())


def changed_tiles(context: Context, group: WindowGroup) -> DataFrame:
    """The tiles of `group` that this publication changes, each whole; all of its hours where their definition changed.

    Grain: entity, key, event_hour, known_at. Adds hour, that of the run whose tiles they are.
    """
    read = hours_of_tiles(context, group.table)
    if context.is_stale(f"tiles/{group.table}", f"silver/{group.table}"):
        return _restated(context, group, read)
    return _bulk_tiles(context, group, read) if context.lake.bulk else _tiles_of_one_hour(context, group, read)


def _restated(context: Context, group: WindowGroup, read: TileHours) -> DataFrame:
    """All versions of every tile of `read`, since the former ones were made under another definition.

    A tile whose rows are the same has other values all the same, so none is left as it was.
    """
    versions = tile_versions(_versions(context, group, read), _entities(context, group), list(group.measures))
    tiles = f"tiles/{group.table}"
    if context.lake.is_made(tiles):
        replaced = context.lake.versions(tiles, event_from=read.event_hours[0][0]).where(_touched(read))
        replaced = replaced.where(F.col("entity").isin(group.entities))
        versions = restated_tiles(versions, replaced.select(*TILE, "known_at"))
    return _dated(context, versions)


def computed_tiles(context: Context, group: WindowGroup, first_event: datetime) -> DataFrame:
    """All versions of the tiles of `group` from `first_event` on, computed from the rows of silver.

    These are the rows that tiles/<table> has where it is published under the measures and entities of `group`, but for
    pub, which is 0: of one tile no two versions are known at once.
    """
    within = context.pipeline.silver[group.table].event_within
    start, end = hours_that_may_hold(first_event, context.call.end, within.lateness, within.ahead)
    rows = context.lake.spans(f"silver/{group.table}", hours=hours_from(context, group.table, start, end))
    rows = _measured(context, group, rows.where(F.col("event_at") >= F.lit(first_event)))
    return tile_versions(rows, _entities(context, group), list(group.measures)).withColumn("pub", F.lit(0))


def _dated(context: Context, tiles: DataFrame) -> DataFrame:
    """Tiles with the hour whose run would have made each, within those of this call."""
    run_hour = F.col("known_at") - F.lit(timedelta(hours=1))
    last_hour = F.lit(context.call.end - timedelta(hours=1))
    return tiles.withColumn("hour", F.least(F.greatest(run_hour, F.lit(context.call.start)), last_hour))


def _tiles_of_one_hour(context: Context, group: WindowGroup, read: TileHours) -> DataFrame:
    """A new version of each tile whose rows differ between the base release and this publication."""
    known_at = max(context.known.values())
    out_of_order = context.lake.newest_known(f"tiles/{group.table}") > known_at
    new = _versions(context, group, read) if out_of_order else _rows(context, group, read, released=False)
    touched = _differing_tiles(context, group, read, new)
    replaced = _replaced(context, group, read) if out_of_order else None
    tiles = healed_tiles(new, touched, _entities(context, group), list(group.measures), known_at, replaced)
    return tiles.withColumn("hour", F.lit(context.call.start))


def _bulk_tiles(context: Context, group: WindowGroup, read: TileHours) -> DataFrame:
    """Every version that hourly runs would have made: one for each time at which rows of a tile became known."""
    new, entities, measures = _versions(context, group, read), _entities(context, group), list(group.measures)
    if not context.line:
        return _dated(context, tile_versions(new, entities, measures))
    # rows were released before: only what differs is restated
    touched, replaced = _differing_tiles(context, group, read, new), _replaced(context, group, read)
    return _dated(context, healed_tiles(new, touched, entities, measures, context.call.start + HOUR, replaced))


def _differing_tiles(context: Context, group: WindowGroup, read: TileHours, new: DataFrame) -> DataFrame:
    """The tiles that differ between the base release and this publication, now or for some time before.

    A key of which this publication has a row that was replaced later leaves the tile of its former row and joins that of this
    row for the time between. Afterwards both may be as they were.
    """
    entities, measures = _entities(context, group), list(group.measures)
    touched = touched_tiles(_rows(context, group, read, released=True), _current(new), entities, measures)
    if _PASSING not in new.columns:
        return touched
    return touched.union(touched_tiles(new.limit(0), new.where(F.col(_PASSING)), entities, measures)).distinct()


def _replaced(context: Context, group: WindowGroup, read: TileHours) -> DataFrame:
    """Tile and known_at of the versions that count so far of the tiles of `read`."""
    tiles = context.lake.current(f"tiles/{group.table}", event_from=read.event_hours[0][0], released=True)
    return tiles.where(_touched(read)).select(*TILE, "known_at")


def _touched(read: TileHours) -> Column:
    return in_spans("event_hour", read.event_hours)


def _entities(context: Context, group: WindowGroup) -> dict[str, list[str]]:
    """Entity -> the columns of `_measured` that name it."""
    named = context.pipeline.features.spine.entities
    return {entity: [_key(column) for column in named[entity]] for entity in group.entities}


def _key(column: str) -> str:
    """A key column under a name that no measure has, which may be named like the column that it is computed from."""
    return f"key {column}"


def _rows(context: Context, group: WindowGroup, read: TileHours, *, released: bool) -> DataFrame:
    """The current rows with an event in the event hours of `read`, with one column a measure."""
    rows = context.lake.current(f"silver/{group.table}", hours=read.drop_hours, released=released)
    return _measured(context, group, rows.where(in_spans("event_at", read.event_hours)))


def _versions(context: Context, group: WindowGroup, read: TileHours) -> DataFrame:
    """The same as known at every instant: also the rows that were replaced later, each until then (known_until).

    _PASSING: whether this publication has a row of the same key that was replaced later.
    """
    table = f"silver/{group.table}"
    rows, key = context.lake.spans(table, hours=read.drop_hours), context.lake.kinds[table].key
    is_passing = (F.col("pub") == context.pub) & F.col("known_until").isNotNull()
    rows = rows.withColumn(_PASSING, F.max(is_passing).over(Window.partitionBy(*map(spark_column, key))))
    return _measured(context, group, rows.where(in_spans("event_at", read.event_hours)))


def _current(rows: DataFrame) -> DataFrame:
    """Of `_rows` or `_versions` those that count now."""
    return rows.where("known_until is null") if "known_until" in rows.columns else rows


def _measured(context: Context, group: WindowGroup, rows: DataFrame) -> DataFrame:
    """The rows with their key columns as `_key` names them, and one column a measure."""
    columns = {name: spark_column(name) for name in rows.columns}
    measures = {
        name: transforms.apply(call, columns, f"features.yaml: windows.measures.{name}")
        for name, call in group.measures.items()
    }
    named = [column for entity in group.entities for column in context.pipeline.features.spine.entities[entity]]
    measured = rows.withColumns({**{_key(column): columns[column] for column in named}, **measures})
    types = measure_types(context.pipeline, group)  # one without a declared type is a double, whatever its rows are
    loose = [name for name, kind in types.items() if kind == "double" and _is_whole(measured.schema[name].dataType)]
    return measured.withColumns({name: F.col(name).cast("double") for name in loose})


def _is_whole(kind: DataType) -> bool:
    return isinstance(kind, (IntegralType, BooleanType))
