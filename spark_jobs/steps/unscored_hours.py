"""Which published hours lack the predictions of a champion: known from the ledger, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from spark_jobs.invocation import hours_between
from spark_jobs.lake.predictions import SCORE, made_by, predictions_table
from spark_jobs.ledger import Release, folds
from spark_jobs.ledger.staleness import Span
from spark_jobs.steps.request import Request


def unscored_spans(line: Sequence[Release], model: str, version: str, start: datetime, end: datetime) -> list[Span]:
    """Published hours of [start, end) for which `version` has predicted nothing since they were published, oldest first."""
    alive, table, lacking = folds.live(line), predictions_table(model), set[datetime]()
    for release in line:
        if release.pub not in alive:
            continue
        lacking |= {hour for hour in folds.hours_published([release]) if start <= hour < end}
        if (release.kind, release.why) == (SCORE, made_by(model, version)):
            lacking -= {hour for name, a, b in release.covers if name == table for hour in hours_between(a, b)}
    return folds.spans(lacking)


def to_score(request: Request) -> dict[str, list[Span]]:
    """What step `score` has to predict: for each model of the call with a champion the hours that lack its predictions."""
    call, found = request.call, {}
    for model, version in request.champions().items():
        if call.model in ("", model) and (spans := unscored_spans(request.line, model, version, call.start, call.end)):
            found[model] = spans
    return found
