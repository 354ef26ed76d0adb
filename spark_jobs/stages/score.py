"""Score: the champion's prediction for the spine rows of the published hours; a release of its own."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import functions as F

from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.publish import Publication
from spark_jobs.learning import tracking
from spark_jobs.learning.score import score_frame
from spark_jobs.ledger import Release
from spark_jobs.stages import spine
from spark_jobs.stages.train import tracking_of
from spark_jobs.stages.work import Work

StartPublication = Callable[[Invocation, list[Release]], Work]  # a further publication with a number of its own


def run(work: Work, start_publication: StartPublication) -> list[Release]:
    """Stage and release predictions/<model> for every model with a champion; hours without one are left unscored.

    Grain: spine key and model version. `scored_late` says that the cells were known only after the prediction time.
    """
    models = work.pipeline.models.models if work.pipeline.models else {}
    released = []
    for name in models:
        version = work.ledger.champion(name)
        if version is not None:
            released.append(_score(work, name, version, start_publication))
    return released


def _score(work: Work, model: str, version: str, start_publication: StartPublication) -> Release:
    champion = tracking.load_model(tracking_of(work), model, int(version))
    call = work.call.with_step("score")
    scoring = start_publication(call, work.ledger.line())
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
