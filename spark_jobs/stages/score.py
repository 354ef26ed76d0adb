"""Score: the champion's prediction for the spine rows of the published hours; a release of its own."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import functions as F

from spark_jobs.alerts.incidents import Desk
from spark_jobs.config.definitions import define, input_hashes
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.publish import Publication
from spark_jobs.learning import tracking
from spark_jobs.learning.model_files import LoadedModel
from spark_jobs.learning.score import score_frame
from spark_jobs.ledger import Ledger, Release
from spark_jobs.ledger.staleness import Published, differing_inputs
from spark_jobs.stages import former, spine
from spark_jobs.stages.work import Work
from spark_jobs.values import Lines

SHOWN = 10  # inputs that a message names
StartPublication = Callable[[Invocation, list[Release]], Work]  # a further publication with a number of its own


def run(work: Work, start_publication: StartPublication) -> list[Release]:
    """Stage and release predictions/<model> for every model with a champion; hours without one are left unscored.

    Grain: spine key and model version. `scored_late` says that the cells were known only after the prediction time. A
    champion whose inputs had another meaning when it was trained gets features of that meaning, computed from silver;
    where they cannot be computed any more it does not score, and an incident says so.
    """
    desk = Desk(work.pipeline, work.environment, work.places, work.ledger)
    models = work.pipeline.models.models if work.pipeline.models else {}
    released = []
    for name in models:
        version = work.ledger.champion(name)
        if version is None:
            continue
        champion = tracking.load_model(tracking.Tracking.of(work.places), name, int(version))
        differing = former_inputs(work.pipeline, work.ledger, work.call, champion)
        computed = former.champion_pipeline(work, champion) if differing else None
        if differing and computed is None:
            desk.unscored(work.call, name, _why_unscored(work, name, version, differing))
            continue
        released.append(_score(work, champion, start_publication, computed))
        desk.scored(work.call, name, version)
    return released


def former_inputs(pipeline: Pipeline, ledger: Ledger, call: Invocation, champion: LoadedModel) -> list[str]:
    """Inputs that have another meaning in the cells of the hours of `call`, or in conf/, than the champion was trained on.

    Of a version whose training recorded no definitions only those that are not there any more.
    """
    published = Published.of(ledger, define(pipeline))
    trained = ledger.model_definitions(champion.model, str(champion.version))
    if trained is None:
        now = input_hashes(pipeline, published.now)
        return sorted({one.column for one in champion.encoder.inputs} - now.keys())
    tables = [f"silver/{pipeline.features.spine.table}", *pipeline.feature_tables]
    covering = {
        made.digest
        for table in tables
        for made in published.made(table)
        if made.start < call.end and made.end > call.start
    }
    meanings = [published.now, *(published.former[digest] for digest in covering & published.former.keys())]
    differing = (differing_inputs(trained, input_hashes(pipeline, meaning)) for meaning in meanings)
    return sorted({column for columns in differing for column in columns})


def _why_unscored(work: Work, model: str, version: str, former: list[str]) -> str:
    shown = ", ".join(former[:SHOWN]) + (f" and {len(former) - SHOWN} more" if len(former) > SHOWN else "")
    plan, env = f"tidegate plan {work.call.pipeline}", f"--env {work.call.env}"
    return Lines.of(
        (
            f"model {model} version {version} does not score: it was trained on other definitions of {shown}, which cannot be"
            " computed from silver any more",
            "  allowed: a champion that was trained on the definitions in conf/",
            f"  do: {plan} {env} shows the commands that train one; or restore the former definitions, then: {plan} {env}",
        )
    )


def _score(
    work: Work, champion: LoadedModel, start_publication: StartPublication, computed: Pipeline | None
) -> Release:
    """`computed`: the pipeline as of which features are computed; none: they are those that readers see."""
    model, version = champion.model, str(champion.version)
    call = work.call.with_step("score")
    scoring = start_publication(call, work.ledger.line())
    if computed:
        rows = former.rows_to_score(scoring, computed)
    else:
        first, last = work.call.start + HOUR, work.call.end
        rows = spine.with_cells(scoring, spine.spine_rows(scoring, first, last), first, as_known=False)
    key = work.pipeline.silver[work.pipeline.features.spine.table].key
    scores = score_frame(rows, champion.encoder, champion.booster)
    predictions = scores.select(
        *key, F.lit(version).alias("model_version"), F.lit("champion").alias("role"), "prediction_at", "as_of", "score",
        F.lit(scoring.line[-1].release).cast("bigint").alias("data_release"),
        F.coalesce(F.col("cells_known_at") > F.col("prediction_at"), F.lit(False)).alias("scored_late"),
        (F.col("as_of") - F.lit(HOUR)).alias("hour"),
        F.greatest("as_of", F.coalesce("cells_known_at", "as_of")).alias("known_at"),
    )  # fmt: skip
    table = f"predictions/{model}"
    scoring.lake.stage(table, predictions, work.call.start, work.call.end)
    publication = Publication(
        scoring.pub, "score", scoring.lake.covers, scoring.lake.staged, scoring.line[-1].release, frozenset(),
        f"{model} version {version}",
    )  # fmt: skip
    release = lake_publish.publish(work.ledger, publication)
    rows_scored = {table: scoring.lake.staged[table].rows}
    work.ledger.record(call, "published", scoring.pub, why=f"release {release.release}", rows=rows_scored)
    return release
