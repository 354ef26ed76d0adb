"""Publish: what was staged and its gates let through becomes readable as one release, then its predictions. No JVM."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from spark_jobs.config.environment import BULK_FROM_HOURS
from spark_jobs.errors import RetryError, TidegateError
from spark_jobs.failpoints import failpoint
from spark_jobs.lake.admission import publish_sealed, sealed_row
from spark_jobs.lake.predictions import (
    close_when_predicted,
    made_by,
    predictions_table,
    release_predictions,
    sealed_predictions,
    unscored_spans,
)
from spark_jobs.ledger import Release
from spark_jobs.steps import plan
from spark_jobs.steps.request import Request
from spark_jobs.storage import Row


@dataclass(frozen=True)
class Published:
    """The release of the hours; `to_score`: models whose champion, promoted after the hours were staged, lacks predictions."""

    release: Release
    to_score: tuple[str, ...]


def run(request: Request) -> Published:
    """Release the staged publication of this run, and the predictions that are by today's champions.

    Predictions never hold hours back: those that cannot be released open an incident that names `tidegate score`.

    Raises:
        RefusedError: a gate blocks, gave no verdict, or judged other files.
        RetryError: nothing is staged.
        SupersededError: another release touched what was read.
    """
    pipeline, ledger, call, began = request.pipeline, request.ledger, request.call, time.monotonic()
    kind = "backfill" if call.hours >= BULK_FROM_HOURS else "hour"
    gated = [*(f"silver/{name}" for name in pipeline.silver), *pipeline.feature_tables]
    staged_by = [stage for step in plan.steps_before(call.step) for stage in step.stages]
    release = publish_sealed(ledger, call, kind, gated, frozenset(plan.tables_read(pipeline, staged_by)))
    seconds = round(time.monotonic() - began, 2)
    ledger.record(call, "published", release.pub, why=f"release {release.release}", rows=release.rows, seconds=seconds)
    failpoint("publish.recorded")
    request.desk.published(call, release.release)
    return Published(release, _release_predictions(request, sealed_row(ledger, call), release))


def release_left_predictions(request: Request, hours: Release) -> None:
    """Release predictions that were sealed with the published `hours`, where an earlier attempt ended before it did so."""
    where = {"pub": hours.pub, "step": plan.step(request.call.step).continues, "state": "staged"}
    for sealed in request.ledger.store.rows("intervals", where=where)[-1:]:
        call = replace(request.call, start=sealed["from_hour"], end=sealed["to_hour"])
        champions, line = request.champions().items(), request.ledger.line()
        if any(unscored_spans(line, model, version, call.start, call.end) for model, version in champions):
            _release_predictions(replace(request, call=call), sealed, hours)


def can_stage_again(request: Request, fault: TidegateError) -> bool:
    """Whether a run of the steps before can cure `fault`: something was staged that cannot be released as it is."""
    row = request.ledger.step_row(request.call.dag_run, plan.step(request.call.step).continues)
    return isinstance(fault, RetryError) and row is not None and row["state"] == "staged"


def _release_predictions(request: Request, sealed: Row, hours: Release) -> tuple[str, ...]:
    """Release each champion's staged predictions; the models whose champion was promoted since and has not predicted."""
    call, desk, to_score = request.call, request.desk, []
    staged = sealed_predictions(request.ledger, sealed)
    for model, version in request.champions().items():
        predictions, by = staged.get(predictions_table(model)), made_by(model, version)
        if predictions is None or predictions.made_by != by:
            lacks = unscored_spans(request.ledger.line(), model, version, call.start, call.end)
            if lacks and (predictions or _promoted_since(request, model, sealed)):
                to_score.append(model)
            continue
        try:
            released = release_predictions(request.ledger, call, predictions, hours)
        except TidegateError as fault:
            desk.unscored(call, model, f"{by} staged predictions that were not released: {fault}\n  do: {call.score()}")
        else:
            if released:
                close_when_predicted(desk, call, model, version)
    return tuple(to_score)


def _promoted_since(request: Request, model: str, sealed: Row) -> bool:
    """Whether the model got a champion after the step that sealed its hours, without predictions of one, had started."""
    promotion = request.ledger.last_promotion(model)
    where = {"dag_run": sealed["dag_run"], "step": sealed["step"], "pub": sealed["pub"], "state": "started"}
    started = request.ledger.store.rows("intervals", ["at"], where)
    return promotion is not None and bool(started) and bool(promotion["at"] > started[-1]["at"])
