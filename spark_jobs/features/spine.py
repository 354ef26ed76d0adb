"""The spine, the rows a model predicts for, as known at as_of; and the same rows with their feature cells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.columns import coverage_columns, feature_columns
from spark_jobs.config.features import WindowGroup
from spark_jobs.errors import RefusedError
from spark_jobs.invocation import HOUR
from spark_jobs.spark_columns import spark_column
from spark_jobs.steps.context import Context
from spark_jobs.windows.keys import entity_key


def spine_rows(context: Context, first_as_of: datetime, last_as_of: datetime) -> DataFrame:
    """Spine rows with as_of in [first_as_of, last_as_of], in the version known at their as_of.

    Grain: one row a spine key. Adds prediction_at (event less predict_before) and as_of (prediction_at floored to the
    hour; serving never has more than what was known then).
    """
    spine = context.pipeline.features.spine
    lake = context.lake  # starts the session, without which there are no columns
    own_as_of = as_of(_prediction_at(context))
    # a version that is not looked for replaces none: an hour does not read it, so that a backfill must not count it
    rows = lake.current(
        f"silver/{spine.table}", hours=[(first_as_of - spine.announced_within, last_as_of)],
        known_by=F.when(_is_looked_for(context, own_as_of), own_as_of),
    )  # fmt: skip
    rows = with_as_of(context, rows)
    kept = ["prediction_at", "as_of", *context.pipeline.silver[spine.table].columns]
    due = F.col("as_of").between(F.lit(first_as_of), F.lit(last_as_of))
    return rows.where(due).select(*map(spark_column, kept))


def with_as_of(context: Context, rows: DataFrame) -> DataFrame:
    """Rows of the spine's silver table with prediction_at and as_of; null without the instant that is predicted."""
    return rows.withColumn("prediction_at", _prediction_at(context)).withColumn("as_of", as_of(F.col("prediction_at")))


def is_looked_for(context: Context) -> Column:
    """Whether a row's hour lies within `announced_within` of its as_of: the same for an hour and for a backfill."""
    return _is_looked_for(context, F.col("as_of"))


def _is_looked_for(context: Context, at: Column) -> Column:
    return F.col("hour") >= at - F.lit(context.pipeline.features.spine.announced_within)


def _prediction_at(context: Context) -> Column:
    spine = context.pipeline.features.spine
    return spark_column(spine.event_at) - F.lit(spine.predict_before)


def as_of(prediction_at: Column) -> Column:
    """The hour at which the features of a prediction are taken."""
    return F.date_trunc("HOUR", prediction_at)


def demands(context: Context, rows: DataFrame, entities: list[str]) -> DataFrame:
    """Distinct (entity, key, as_of) that spine rows ask for; rows without an entity (null key) ask for nothing."""
    named = context.pipeline.features.spine.entities
    pairs = [
        F.struct(F.lit(entity).alias("entity"), entity_key(rows, named[entity]).alias("key")) for entity in entities
    ]
    asked = rows.select("as_of", F.explode(F.array(*pairs)).alias("asked"))
    return asked.select("asked.entity", "asked.key", "as_of").where(F.col("key").isNotNull()).distinct()


def with_cells(context: Context, rows: DataFrame, first_as_of: datetime, *, as_known: bool) -> DataFrame:
    """Spine rows with their published feature cells; see `joined` for the columns.

    `as_known` takes only cells known at as_of, which is what the hourly run could serve; otherwise the current ones.

    Raises:
        RefusedError: no hour of a feature group is published.
    """

    def published(group: str) -> DataFrame:
        if not context.lake.is_made(f"features/{group}") and f"features/{group}" not in context.lake.staged:
            raise RefusedError(
                f"{context.pipeline.name}/features/{group}", "no hour of this feature group is published", "at least one",
                f"publish hours with it: tidegate backfill {context.pipeline.name} --from HOUR --to HOUR",
            )  # fmt: skip
        known_by = F.col("as_of") if as_known else None
        return context.lake.current(f"features/{group}", hours=[(first_as_of - HOUR, None)], known_by=known_by)

    return joined(context, rows, published)


def joined(context: Context, rows: DataFrame, cells_of: Callable[[str], DataFrame]) -> DataFrame:
    """Spine rows with their feature columns, named `<entity>_<feature>` for windows and plainly for as-of joins.

    Rows stay; a cell that does not exist is null. Adds cells_known_at, the latest known_at among the cells, and
    `covered(group)`, the coverage of each window group. `cells_of`: the cells of a feature group.
    """
    known: list[Column] = []
    for group, settings in context.pipeline.features.groups.items():
        cells = cells_of(group)
        cells = cells.persist() if len(settings.entities) > 1 else cells  # read and chosen once, joined for each entity
        for entity in settings.entities:
            prefix = f"{entity}_" if isinstance(settings, WindowGroup) else ""
            rows = _joined(context, rows, cells.where(F.col("entity") == entity), group, entity, prefix)
            known.append(F.col(_known(group, entity)))
    latest = F.greatest(*known) if len(known) > 1 else known[0] if known else F.col("as_of")  # a model without features
    rows = rows.withColumns({"cells_known_at": latest, **_coverage(context)})
    return rows.drop(*[name for name in rows.columns if name.startswith(("_known_", "_covered_"))])


def covered(group: str) -> str:
    """The column of `with_cells` with the coverage of a window group, in hours; no other has a blank in its name."""
    return f"covered {group}"


def _coverage(context: Context) -> dict[str, Column]:
    """The coverage of each window group: that of any of its cells, which is the same for all entities."""
    windows = context.pipeline.features.windows
    return {
        covered(name): F.coalesce(*[F.col(_covered(name, entity)) for entity in group.entities])
        for name, group in windows.items()
    }


def _known(group: str, entity: str) -> str:
    return f"_known_{group}_{entity}"


def _covered(group: str, entity: str) -> str:
    return f"_covered_{group}_{entity}"


def _joined(context: Context, rows: DataFrame, cells: DataFrame, group: str, entity: str, prefix: str) -> DataFrame:
    own = cells.select(
        F.col("key").alias("_key"), F.col("as_of").alias("_as_of"), F.col("known_at").alias(_known(group, entity)),
        *[F.col(name).alias(_covered(group, entity)) for name in coverage_columns(context.pipeline, group)],
        *[F.col(name).alias(f"{prefix}{name}") for name in feature_columns(context.pipeline, group)],
    )  # fmt: skip
    key = entity_key(rows, context.pipeline.features.spine.entities[entity])
    matched = (key == F.col("_key")) & (F.col("as_of") == F.col("_as_of"))
    return rows.join(own, matched, "left").drop("_key", "_as_of")
