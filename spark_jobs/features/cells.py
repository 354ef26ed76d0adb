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
from spark_jobs.steps.context import Context, hours
from spark_jobs.windows.aggregations import Aggregation
from spark_jobs.windows.as_of import as_of_join
from spark_jobs.windows.kernel import window_cells
from spark_jobs.windows.keys import entity_key


def cells(
    context: Context, group: Group, asked: DataFrame, *, latest: bool = False, from_silver: bool = False
) -> DataFrame:
    """The demanded (entity, key, as_of) with the group's columns, as known at as_of.

    Args:
        context: of the hours.
        group: feature group.
        asked: entity, key, as_of.
        latest: made of what is known now, as if each row had been known when it happened.
        from_silver: windows are computed from the rows of silver instead of from published tiles, at a higher cost; not
            together with `latest`.
    """
    if isinstance(group, WindowGroup):
        return _window_cells(context, group, asked, latest=latest, from_silver=from_silver)
    if isinstance(group, AsOfGroup):
        return _as_of_cells(context, group, asked, latest=latest)
    return _look_up_cells(context, group, asked, latest=latest)


def with_known_at(context: Context, made: DataFrame) -> DataFrame:
    """Cells with the hour that made them and the time at which they are known."""
    dated = made.withColumn("hour", F.col("as_of") - F.lit(HOUR))
    return context.known_after(dated, "hour", "as_of")


def _window_cells(
    context: Context, group: WindowGroup, asked: DataFrame, *, latest: bool, from_silver: bool
) -> DataFrame:
    longest = max(group.windows)
    first_event = context.call.start + HOUR - longest
    if from_silver:
        tiles = computed_tiles(context, group, first_event)
    elif latest:
        tiles = context.lake.current(f"tiles/{group.table}", event_from=first_event)
        tiles = tiles.withColumn("known_at", F.col("event_hour") + F.lit(HOUR))
    else:
        tiles = context.lake.versions(f"tiles/{group.table}", event_from=first_event)
    if not context.lake.bulk:  # an hour asks for few keys: leave the others' tiles where they are
        tiles = tiles.join(F.broadcast(asked.select("entity", "key").distinct()), ["entity", "key"], "left_semi")
    covered = covered_frame(context, group.table, longest, latest=latest)
    wanted = [Aggregation(a.op, a.of, a.name, a.type) for a in group.aggregations]
    values = window_cells(tiles, asked, [hours(length) for length in group.windows], wanted)
    return values.join(F.broadcast(covered), "as_of", "left").select(*map(spark_column, [*values.columns, COVERED]))


def _as_of_cells(context: Context, group: AsOfGroup, asked: DataFrame, *, latest: bool) -> DataFrame:
    within = context.pipeline.silver[group.table].event_within
    first = context.call.start + HOUR - group.staleness
    start, _ = hours_that_may_hold(first, context.call.end, within.lateness, within.ahead)
    rows = context.lake.spans(f"silver/{group.table}", hours=hours_from(context, group.table, start))
    observations = _observations(context, group, rows, latest=latest)
    joined = as_of_join(
        observations, asked, columns=group.columns, staleness=hours(group.staleness), between=_asked(context)
    )
    return joined.drop("age_h")


def _look_up_cells(context: Context, group: LookUpGroup, asked: DataFrame, *, latest: bool) -> DataFrame:
    """What held at as_of: of the rows known then the one of newest valid_from <= as_of, however old that is."""
    rows = context.lake.spans(f"silver/{group.table}")
    # the join takes what lies before as_of; a row holds from its very instant on
    held = F.col(str(context.pipeline.silver[group.table].valid_from)) - F.expr("INTERVAL 1 MICROSECOND")
    observations = _observations(context, group, rows.withColumn("event_at", held), latest=latest)
    joined = as_of_join(observations, asked, columns=group.columns, staleness=None, between=_asked(context))
    return joined.drop("age_h")


def _asked(context: Context) -> tuple[datetime, datetime]:
    """The first and the last as_of of this run."""
    return context.call.start + HOUR, context.call.end


def _observations(context: Context, group: AsOfGroup | LookUpGroup, rows: DataFrame, *, latest: bool) -> DataFrame:
    keyed = rows.withColumn("key", entity_key(rows, context.pipeline.features.spine.entities[group.entity]))
    # of two rows of one event known at once their values decide, not which run brought them: a bulk run brought both
    observed = keyed.withColumns({"entity": F.lit(group.entity), "pub": F.lit(0)})
    if not latest:
        return observed
    newest = F.max(F.struct("known_at", *group.columns)).alias("newest")
    counting = observed.where("known_until is null and event_at is not null")
    counting = counting.groupBy("entity", "key", "event_at").agg(newest)
    known = [F.col("event_at").alias("known_at"), F.lit(0).alias("pub")]
    return counting.select("entity", "key", "event_at", *known, *[f"newest.{name}" for name in group.columns])
