"""Tiles: for each entity and hour of events the sums that windows are made of; whole tiles, restated when they change."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, IntegralType

from spark_jobs import transforms
from spark_jobs.config.features import WindowGroup
from spark_jobs.config.schemas import measure_types
from spark_jobs.config.tables import EventWithin
from spark_jobs.config.whole import Pipeline
from spark_jobs.identifiers import spark_column
from spark_jobs.invocation import HOUR
from spark_jobs.lake.tables import hours_that_may_hold
from spark_jobs.stages.work import Work
from spark_jobs.windows.restated import restated_tiles
from spark_jobs.windows.tiles import TILE, healed_tiles, tile_versions, touched_tiles


def run(work: Work) -> None:
    """Stage tiles/<table> for every window group: the tiles that this publication changes, each whole.

    Grain: entity, key, event_hour, known_at. A tile is computed from all current rows of its hour, so a late row
    in a later drop restates the tile of its own hour, and a corrected key the tile that it left.
    """
    for group in tiled_groups(work.pipeline):
        if work.is_stale(f"tiles/{group.table}", f"silver/{group.table}"):
            tiles = restated(work, group)
        else:
            tiles = _bulk_tiles(work, group) if work.lake.bulk else _changed_tiles(work, group)
        work.lake.stage(f"tiles/{group.table}", tiles, work.call.start, work.call.end)


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


def restated(work: Work, group: WindowGroup) -> DataFrame:
    """All versions of every tile that rows of these hours can touch, since the former ones were made under another definition.

    A tile whose rows are the same has other values all the same, so none is left as it was.
    """
    versions = tile_versions(_versions(work, group), _entities(work, group), list(group.measures))
    within = work.pipeline.silver[group.table].event_within
    low = (work.call.start - within.lateness).replace(minute=0, second=0, microsecond=0)
    near = (F.col("event_hour") >= F.lit(low)) & (F.col("event_hour") < F.lit(work.call.end + within.ahead))
    tiles, versions = f"tiles/{group.table}", versions.where(near)
    if work.lake.is_made(tiles):
        replaced = work.lake.versions(tiles).where(near & F.col("entity").isin(group.entities))
        versions = restated_tiles(versions, replaced.select(*TILE, "known_at"))
    return _dated(work, versions)


def computed_tiles(work: Work, group: WindowGroup, first_event: datetime) -> DataFrame:
    """All versions of the tiles of `group` from `first_event` on, computed from the rows of silver.

    These are the rows that tiles/<table> has where it is published under the measures and entities of `group`, but for
    pub, which is 0: of one tile no two versions are known at once.
    """
    within = work.pipeline.silver[group.table].event_within
    start, end = hours_that_may_hold(first_event, work.call.end, within.lateness, within.ahead)
    rows = _measured(work, group, work.lake.spans(f"silver/{group.table}", start=start, end=end))
    return tile_versions(rows, _entities(work, group), list(group.measures)).withColumn("pub", F.lit(0))


def _dated(work: Work, tiles: DataFrame) -> DataFrame:
    """Tiles with the hour whose run would have made each, within those of this call."""
    run_hour = F.col("known_at") - F.lit(timedelta(hours=1))
    last_hour = F.lit(work.call.end - timedelta(hours=1))
    return tiles.withColumn("hour", F.least(F.greatest(run_hour, F.lit(work.call.start)), last_hour))


def _changed_tiles(work: Work, group: WindowGroup) -> DataFrame:
    """A new version of each tile whose rows differ between the base release and this publication."""
    known_at = max(work.known.values())
    out_of_order = work.lake.newest_known(f"tiles/{group.table}") > known_at
    new = _versions(work, group) if out_of_order else _rows(work, group, released=False)
    entities, measures = _entities(work, group), list(group.measures)
    touched = touched_tiles(_rows(work, group, released=True), _current(new), entities, measures)
    replaced = _replaced(work, group) if out_of_order else None
    tiles = healed_tiles(new, touched, entities, measures, known_at, replaced)
    return tiles.withColumn("hour", F.lit(work.call.start))


def _bulk_tiles(work: Work, group: WindowGroup) -> DataFrame:
    """Every version that hourly runs would have made: one for each time at which rows of a tile became known."""
    new, entities, measures = _versions(work, group), _entities(work, group), list(group.measures)
    tiles = tile_versions(new, entities, measures)
    if work.line:  # rows were released before: only what differs is restated, and a tile that all rows left as empty
        touched = touched_tiles(_rows(work, group, released=True), _current(new), entities, measures)
        left, replaced = touched.join(tiles, list(TILE), "left_anti"), _replaced(work, group)
        kept = touched.join(left, list(TILE), "left_anti")
        tiles = healed_tiles(new, kept, entities, measures, work.call.start + HOUR, replaced)
        last = max(work.known.values())
        tiles = tiles.unionByName(healed_tiles(new.limit(0), left, entities, measures, last, replaced))
    return _dated(work, tiles)


def _replaced(work: Work, group: WindowGroup) -> DataFrame:
    """Tile and known_at of the versions that count so far, of every event hour that this interval can touch."""
    within = work.pipeline.silver[group.table].event_within
    tiles = work.lake.current(f"tiles/{group.table}", released=True)
    near = F.col("event_hour").between(
        F.lit(work.call.start - within.lateness - HOUR), F.lit(work.call.end + within.ahead)
    )
    return tiles.where(near).select(*TILE, "known_at")


def _entities(work: Work, group: WindowGroup) -> dict[str, list[str]]:
    """Entity -> the columns of `_measured` that name it."""
    named = work.pipeline.features.spine.entities
    return {entity: [_key(column) for column in named[entity]] for entity in group.entities}


def _key(column: str) -> str:
    """A key column under a name that no measure has, which may be named like the column that it is computed from."""
    return f"key {column}"


def _rows(work: Work, group: WindowGroup, *, released: bool) -> DataFrame:
    """The current rows of every event hour that rows of this interval's drops can touch, with one column a measure."""
    start, end = _hours(work, group)
    return _measured(work, group, work.lake.current(f"silver/{group.table}", start=start, end=end, released=released))


def _versions(work: Work, group: WindowGroup) -> DataFrame:
    """The same as known at every instant: also the rows that were replaced later, each until then (known_until)."""
    start, end = _hours(work, group)
    return _measured(work, group, work.lake.spans(f"silver/{group.table}", start=start, end=end))


def _current(rows: DataFrame) -> DataFrame:
    """Of `_rows` or `_versions` those that count now."""
    return rows.where("known_until is null") if "known_until" in rows.columns else rows


def _hours(work: Work, group: WindowGroup) -> tuple[datetime, datetime]:
    within = work.pipeline.silver[group.table].event_within
    low, high = work.call.start - within.lateness, work.call.end + within.ahead
    return hours_that_may_hold(low, high, within.lateness, within.ahead)


def first_hour_of_tiles(event_from: datetime, within: EventWithin) -> datetime:
    """The earliest hour under which a version of a tile of `event_from` or later is stored.

    A tile lies in the hour whose run restated it. A drop of an older hour that comes again can take over a key from a later
    one: then that run empties the later tile, as far ahead as the rows reach that `_hours` compares.
    """
    return event_from - 2 * within.ahead - within.lateness - 3 * HOUR


def _measured(work: Work, group: WindowGroup, rows: DataFrame) -> DataFrame:
    """The rows with their key columns as `_key` names them, and one column a measure."""
    columns = {name: spark_column(name) for name in rows.columns}
    measures = {
        name: transforms.apply(call, columns, f"features.yaml: windows.measures.{name}")
        for name, call in group.measures.items()
    }
    named = [column for entity in group.entities for column in work.pipeline.features.spine.entities[entity]]
    measured = rows.withColumns({**{_key(column): columns[column] for column in named}, **measures})
    types = measure_types(work.pipeline, group)  # one without a declared type is a double, whatever its rows are
    loose = [name for name, kind in types.items() if kind == "double" and _is_whole(measured.schema[name].dataType)]
    return measured.withColumns({name: F.col(name).cast("double") for name in loose})


def _is_whole(kind: DataType) -> bool:
    return isinstance(kind, (IntegralType, BooleanType))
