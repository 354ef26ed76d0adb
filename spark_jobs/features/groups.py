"""One feature group of the hours of a call: its cells staged and judged like every other table."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.features import Group
from spark_jobs.features import spine
from spark_jobs.features.cells import cells, with_known_at
from spark_jobs.quality import gate
from spark_jobs.steps.context import Context


def stage_group(context: Context, name: str, group: Group, rows: DataFrame) -> gate.Judgement:
    """Stage features/<name> for the spine rows `rows` and judge it."""
    table, asked = f"features/{name}", spine.demands(context, rows, group.entities)
    made_of = [table, f"silver/{group.table}", f"silver/{context.pipeline.features.spine.table}"]
    if context.is_stale(*made_of) and context.lake.is_made(table):
        return _stage_restated(context, table, group, asked)
    return gate.stage_judged(context, table, "features", with_known_at(context, cells(context, group, asked)))


def _stage_restated(context: Context, table: str, group: Group, asked: DataFrame) -> gate.Judgement:
    """As `stage_group`, over cells of a former definition: no reader sees one of them any more.

    Also cells that no spine row asks for now are computed, each is known as early as its first version was, and one that
    breaks a rule on rows is restated without values.
    """
    key = list(context.lake.kinds[table].key)
    former = context.lake.versions(table, hours=[(context.call.start, context.call.end)])
    former = former.where(F.col("entity").isin(group.entities)).groupBy(*key).agg(F.min("known_at").alias("_first"))
    made = with_known_at(context, cells(context, group, asked.unionByName(former.select(*key)).distinct()))
    earliest = F.least("known_at", F.coalesce("_first", "known_at"))
    frame = made.join(former, key, "left").withColumn("known_at", earliest).drop("_first")
    return gate.stage_judged(context, table, "features", frame, former=former)
