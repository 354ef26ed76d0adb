"""Which published hours lack the predictions of a champion: known from the ledger, without Spark."""

from __future__ import annotations

from spark_jobs.lake.predictions import unscored_spans
from spark_jobs.ledger.staleness import Span
from spark_jobs.steps.request import Request


def to_score(request: Request) -> dict[str, list[Span]]:
    """What step `score` has to predict: for each model of the call with a champion the hours that lack its predictions."""
    call, line, found = (
        request.call,
        request.ledger.line(),
        {},
    )  # not as first read: publishing releases the hours before
    for model, version in request.champions().items():
        if call.model in ("", model) and (spans := unscored_spans(line, model, version, call.start, call.end)):
            found[model] = spans
    return found
