"""The cells of a feature group as of an hour, for the keys that the spine asks for."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.columns import COVERED
from spark_jobs.config.features import AsOfGroup, Group, LookUpGroup, WindowGroup
from spark_jobs.features.coverage import covered_frame
from spark_jobs.features.silver_hours import hours_from
from spark_jobs.features.tiles import computed_tiles
from spark_jobs.invocation import HOUR
from spark_jobs.lake.hours import hours_that_may_hold
from spark_jobs.spark_columns import spark_column
from spark_jobs.steps.context import Work, hours
from spark_jobs.windows.aggregations import Aggregation
from spark_jobs.windows.as_of import as_of_join
from spark_jobs.windows.kernel import window_cells
from spark_jobs.windows.keys import entity_key


def cells(work: Work, group: Group, asked: DataFrame, *, latest: bool = False, from_silver: bool = False) -> DataFrame:
    """The demanded (entity, key, as_of) with the group's columns, as known at as_of.

    Args:
        work: of the hours.
        group: feature group.
        asked: entity, key, as_of.
        latest: made of what is known now, as if each row had been known when it happened.
        from_silver: windows are computed from the rows of silver instead of from published tiles, at a higher cost; not
            together with `latest`.
    """
    if isinstance(group, WindowGroup):
        return _window_cells(work, group, asked, latest=latest, from_silver=from_silver)
    if isinstance(group, AsOfGroup):
        return _as_of_cells(work, group, asked, latest=latest)
    return _look_up_cells(work, group, asked, latest=latest)


def with_known_at(work: Work, made: DataFrame) -> DataFrame:
    """Cells with the hour that made them and the time at which they are known."""
    dated = made.withColumn("hour", F.col("as_of") - F.lit(HOUR))
    return work.known_after(dated, "hour", "as_of")


def _window_cells(work: Work, group: WindowGroup, asked: DataFrame, *, latest: bool, from_silver: bool) -> DataFrame:
    longest = max(group.windows)
    first_event = work.call.start + HOUR - longest
    if from_silver:
        tiles = computed_tiles(work, group, first_event)
    elif latest:
        tiles = work.lake.current(f"tiles/{group.table}", event_from=first_event)
        tiles = tiles.withColumn("known_at", F.col("event_hour") + F.lit(HOUR))
    else:
        tiles = work.lake.versions(f"tiles/{group.table}", event_from=first_event)
    if not work.lake.bulk:  # an hour asks for few keys: leave the others' tiles where they are
        tiles = tiles.join(F.broadcast(asked.select("entity", "key").distinct()), ["entity", "key"], "left_semi")
    covered = covered_frame(work, group.table, longest, latest=latest)
    wanted = [Aggregation(a.op, a.of, a.name, a.type) for a in group.aggregations]
    values = window_cells(tiles, asked, [hours(length) for length in group.windows], wanted)
    return values.join(F.broadcast(covered), "as_of", "left").select(*map(spark_column, [*values.columns, COVERED]))


def _as_of_cells(work: Work, group: AsOfGroup, asked: DataFrame, *, latest: bool) -> DataFrame:
    within = work.pipeline.silver[group.table].event_within
    first = work.call.start + HOUR - group.staleness
    start, _ = hours_that_may_hold(first, work.call.end, within.lateness, within.ahead)
    rows = work.lake.spans(f"silver/{group.table}", hours=hours_from(work, group.table, start))
    observations = _observations(work, group, rows, latest=latest)
    joined = as_of_join(
        observations, asked, columns=group.columns, staleness=hours(group.staleness), between=_asked(work)
    )
    return joined.drop("age_h")


def _look_up_cells(work: Work, group: LookUpGroup, asked: DataFrame, *, latest: bool) -> DataFrame:
    """What held at as_of: of the rows known then the one of newest valid_from <= as_of, however old that is."""
    rows = work.lake.spans(f"silver/{group.table}")
    # the join takes what lies before as_of; a row holds from its very instant on
    held = F.col(str(work.pipeline.silver[group.table].valid_from)) - F.expr("INTERVAL 1 MICROSECOND")
    observations = _observations(work, group, rows.withColumn("event_at", held), latest=latest)
    joined = as_of_join(observations, asked, columns=group.columns, staleness=None, between=_asked(work))
    return joined.drop("age_h")


def _asked(work: Work) -> tuple[datetime, datetime]:
    """The first and the last as_of of this run."""
    return work.call.start + HOUR, work.call.end


def _observations(work: Work, group: AsOfGroup | LookUpGroup, rows: DataFrame, *, latest: bool) -> DataFrame:
    keyed = rows.withColumn("key", entity_key(rows, work.pipeline.features.spine.entities[group.entity]))
    # of two rows of one event known at once their values decide, not which run brought them: a bulk run brought both
    observed = keyed.withColumns({"entity": F.lit(group.entity), "pub": F.lit(0)})
    if not latest:
        return observed
    newest = F.max(F.struct("known_at", *group.columns)).alias("newest")
    counting = observed.where("known_until is null and event_at is not null")
    counting = counting.groupBy("entity", "key", "event_at").agg(newest)
    known = [F.col("event_at").alias("known_at"), F.lit(0).alias("pub")]
    return counting.select("entity", "key", "event_at", *known, *[f"newest.{name}" for name in group.columns])
