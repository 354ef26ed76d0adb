"""Rows to score for a champion whose features conf/ does not define any more: its features are computed with every hour.

They are computed from silver and scored at once. Feature tables hold the definitions in conf/ alone, so nothing of the
former ones is published but the predictions. This ends when a version that was trained on the definitions in conf/ is
promoted, or an operator demotes the champion.
"""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import DataFrame

from spark_jobs.config.columns import input_columns
from spark_jobs.config.definitions import define
from spark_jobs.config.whole import Pipeline
from spark_jobs.features import spine
from spark_jobs.features.cells import cells, with_known_at
from spark_jobs.invocation import HOUR
from spark_jobs.ledger.former import former_pipeline
from spark_jobs.ledger.staleness import Published
from spark_jobs.quality.accounts import known_times
from spark_jobs.steps.changes import mixed_silver
from spark_jobs.steps.context import Context


def pipeline_of_training(
    context: Context, model: str, version: str, inputs: set[str], *, staged: bool = False
) -> Pipeline | None:
    """The pipeline under which the columns `inputs` mean what they meant when `version` was trained, with their groups alone.

    None: it cannot be computed, because a column of silver that an input uses has another meaning now, or had in hours
    that the windows reach; or because the ledger has no record of the training's definitions. `staged`: the hours of `context`
    are those that it stages itself.
    """
    trained = context.ledger.model_definitions(model, version)
    found = former_pipeline(context.pipeline, context.ledger, trained) if trained else None
    if found is None or found.features.spine.table != context.pipeline.features.spine.table:
        return None
    needed = _with_groups_of(found, inputs)
    mixed = mixed_silver(
        needed, Published.of(context.ledger, define(needed), context.line), context.call, staged=staged
    )
    return None if mixed else needed


def rows_to_score(scoring: Context, pipeline: Pipeline) -> DataFrame:
    """Spine rows of the hours of `scoring` with feature cells as `pipeline` defines them; columns as of `spine.joined`.

    Cells are as known at as_of and are not judged by the rules of features: those in expectations/ are about other values.
    """
    call = scoring.call
    known = {**known_times(pipeline, scoring.root, scoring.line, call.start, call.end), **scoring.known}
    context = replace(scoring, pipeline=pipeline, known=known, logs={})  # logs are read with the columns of a pipeline
    rows = spine.spine_rows(context, call.start + HOUR, call.end)

    def computed(name: str) -> DataFrame:
        group = pipeline.features.groups[name]
        asked = spine.demands(context, rows, group.entities)
        return with_known_at(context, cells(context, group, asked, from_silver=True))

    return spine.joined(context, rows, computed)


def _with_groups_of(pipeline: Pipeline, inputs: set[str]) -> Pipeline:
    """`pipeline` with only those feature groups that have one of the columns `inputs`."""
    needed = {name for name in pipeline.features.groups if inputs.intersection(input_columns(pipeline, name))}
    kinds = ("windows", "as_of", "look_ups")
    kept = {kind: {n: g for n, g in getattr(pipeline.features, kind).items() if n in needed} for kind in kinds}
    return pipeline.model_copy(update={"features": pipeline.features.model_copy(update=kept)})
