"""The champion's predictions: staged beside hours that are staged, or for published hours; a release of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.alerts.incidents import Desk
from spark_jobs.config.definitions import define, input_hashes
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import TidegateError
from spark_jobs.features import former, spine
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.predictions import SCORE, close_when_predicted, made_by, predictions_table, seal_predictions
from spark_jobs.lake.publish import Publication
from spark_jobs.lake.staging import Staged
from spark_jobs.lake.tables import UndeclaredTableError
from spark_jobs.learning import tracking
from spark_jobs.learning.model_files import LoadedModel
from spark_jobs.learning.score import score_frame
from spark_jobs.ledger import Ledger, Release
from spark_jobs.ledger.staleness import Published, Span, differing_inputs
from spark_jobs.steps.context import Context
from spark_jobs.values import Lines
from spark_jobs.verdict import MASKED

SHOWN = 10  # inputs that a message names
StartPublication = Callable[[Invocation, Sequence[Release]], Context]  # another publication, with a number of its own


@dataclass(frozen=True)
class Champion:
    """A champion that can predict; `computed`: the pipeline by which its features are computed, none: they are in the lake."""

    model: LoadedModel
    computed: Pipeline | None


@dataclass(frozen=True)
class PredictionsInput:
    """How predictions get a publication of their own."""

    start_publication: StartPublication


@dataclass(frozen=True)
class PredictionsOutput:
    """What each champion's publication staged."""

    staged: tuple[Staged, ...]


@dataclass(frozen=True)
class ScoreInput:
    """The published hours to predict for by model, each span in a publication of its own."""

    todo: Mapping[str, Sequence[Span]]
    start_publication: StartPublication


@dataclass(frozen=True)
class ScoreOutput:
    """The releases, one per model and span."""

    released: tuple[Release, ...]


def stage(context: Context, inputs: PredictionsInput) -> PredictionsOutput:
    """Stage predictions/<model> for the staged hours of `context`, for every model with a champion.

    Grain as in `run`; data_release is null, since the hours have no release yet. A champion that cannot predict holds no
    data back: an incident says why, and the hours are published without its predictions.
    """
    desk = Desk(context.pipeline, context.environment, context.places, context.ledger)
    staged = []
    for name, version in _champions(context).items():
        try:
            champion = _usable(context, desk, name, version, staged=True)
            if champion is None:
                continue
            predicting = inputs.start_publication(context.call.with_step(SCORE), context.line)
            files = predicting.lake.stage(predictions_table(name), _predictions(context, champion, None))
        except UndeclaredTableError:
            raise  # a fault of the code, which must not be taken for one of the model
        except Exception as fault:  # a worker that died too: its model must not hold the hours back
            desk.unscored(context.call, name, why_not_predicted(context.pipeline, context.call, name, version, fault))
            continue
        seal_predictions(context.ledger, context.call, files, made_by(name, version))
        staged.append(files)
    return PredictionsOutput(tuple(staged))


def why_not_predicted(pipeline: Pipeline, call: Invocation, name: str, version: str, fault: Exception) -> str:
    """What kept `version` from predicting for the hours of `call`, and the command that predicts for them.

    Of an error of Python or Spark only its class, where it may show values of sensitive columns.
    """
    shown = MASKED if pipeline.has_sensitive else str(fault).strip()[:300]
    text = str(fault) if isinstance(fault, TidegateError) else f"{type(fault).__name__}: {shown}"
    return f"{made_by(name, version)} cannot predict: {text}\n  do: {replace(call, model=name).score()}"


def run(context: Context, inputs: ScoreInput) -> ScoreOutput:
    """Stage and release predictions/<model> for published hours, one release per model and span.

    Grain: spine key and model version. `scored_late` says that the cells were known only after the prediction time. A
    champion whose inputs had another meaning when it was trained gets features of that meaning, computed from silver;
    where they cannot be computed any more it does not score, and an incident says so.
    """
    desk = Desk(context.pipeline, context.environment, context.places, context.ledger)
    released = []
    for name, version in _champions(context).items():
        champion = _usable(context, desk, name, version) if inputs.todo.get(name) else None
        if champion is None:
            continue
        for start, end in inputs.todo[name]:
            call = replace(context.call.with_step(SCORE), start=start, end=end)
            released.append(_score(context, call, champion, inputs.start_publication))
        close_when_predicted(desk, context.call, name, version)
    return ScoreOutput(tuple(released))


def _champions(context: Context) -> dict[str, str]:
    return context.ledger.champions(context.pipeline.model_settings)


def _usable(context: Context, desk: Desk, name: str, version: str, *, staged: bool = False) -> Champion | None:
    """The champion; None, with an incident, when its inputs had another meaning in training that cannot be computed now."""
    model = tracking.load_model(tracking.Tracking.of(context.places), name, int(version))
    differing = former_inputs(context.pipeline, context.ledger, context.call, model, staged=staged)
    if not differing:
        return Champion(model, None)
    computed = former.pipeline_of_training(
        context, name, version, {one.column for one in model.encoder.inputs}, staged=staged
    )
    if computed is None:
        desk.unscored(context.call, name, _why_unscored(context, name, version, differing))
        return None
    return Champion(model, computed)


def former_inputs(
    pipeline: Pipeline, ledger: Ledger, call: Invocation, champion: LoadedModel, *, staged: bool = False
) -> list[str]:
    """Inputs that have another meaning in the cells of the hours of `call`, or in conf/, than the champion was trained on.

    Of a version whose training recorded no definitions only those that are not there any more. `staged`: the cells are
    those that `call` itself stages, under the definitions in conf/.
    """
    published = Published.of(ledger, define(pipeline))
    trained = ledger.model_definitions(champion.model, str(champion.version))
    if trained is None:
        now = input_hashes(pipeline, published.now)
        return sorted({one.column for one in champion.encoder.inputs} - now.keys())
    tables = [f"silver/{pipeline.features.spine.table}", *pipeline.feature_tables]
    covering = {
        made.digest
        for table in ([] if staged else tables)
        for made in published.made(table)
        if made.start < call.end and made.end > call.start
    }
    meanings = [published.now, *(published.former[digest] for digest in covering & published.former.keys())]
    differing = (differing_inputs(trained, input_hashes(pipeline, meaning)) for meaning in meanings)
    return sorted({column for columns in differing for column in columns})


def _why_unscored(context: Context, model: str, version: str, former: list[str]) -> str:
    shown = ", ".join(former[:SHOWN]) + (f" and {len(former) - SHOWN} more" if len(former) > SHOWN else "")
    plan, env = f"tidegate plan {context.call.pipeline}", f"--env {context.call.env}"
    return Lines.of(
        (
            f"model {model} version {version} does not score: it was trained on other definitions of {shown}, which cannot be"
            " computed from silver any more",
            "  allowed: a champion that was trained on the definitions in conf/",
            f"  do: {plan} {env} shows the commands that train one; or restore the former definitions, then: {plan} {env}",
        )
    )


def _score(context: Context, call: Invocation, champion: Champion, start_publication: StartPublication) -> Release:
    scoring = start_publication(call, context.ledger.line())
    table = predictions_table(champion.model.model)
    staged = {table: scoring.lake.stage(table, _predictions(scoring, champion, scoring.base))}
    by = made_by(champion.model.model, str(champion.model.version))
    covers = {table: (call.start, call.end)}
    publication = Publication(scoring.pub, SCORE, covers, staged, scoring.base, frozenset(), by)
    release = lake_publish.publish(context.ledger, publication)
    context.ledger.record(call, "published", scoring.pub, why=f"release {release.release}", rows=release.rows)
    return release


def _predictions(context: Context, champion: Champion, data_release: int | None) -> DataFrame:
    """A prediction for each spine row with as_of in (start, end] of the call of `context`."""
    if champion.computed:
        rows = former.rows_to_score(context, champion.computed)
    else:
        first, last = context.call.start + HOUR, context.call.end
        rows = spine.with_cells(context, spine.spine_rows(context, first, last), first, as_known=False)
    model = champion.model
    key = context.pipeline.silver[context.pipeline.features.spine.table].key
    return score_frame(rows, model.encoder, model.booster).select(
        *key,
        F.lit(str(model.version)).alias("model_version"),
        F.lit("champion").alias("role"),
        "prediction_at",
        "as_of",
        "score",
        F.lit(data_release).cast("bigint").alias("data_release"),
        F.coalesce(F.col("cells_known_at") > F.col("prediction_at"), F.lit(False)).alias("scored_late"),
        (F.col("as_of") - F.lit(HOUR)).alias("hour"),
        F.greatest("as_of", F.coalesce("cells_known_at", "as_of")).alias("known_at"),
    )
