"""Predictions that were staged with their hours: a publication of their own that follows the hours' release.

A rollback of the hours so keeps them. The row that seals the hours names their files by digest; nothing else is released.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from spark_jobs.alerts.incidents import Desk
from spark_jobs.errors import RefusedError, RetryError, SupersededError
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import Invocation, hours_between
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import MAY_RELEASE_FOR, Ledger, Release, folds
from spark_jobs.ledger.staleness import Span
from spark_jobs.storage import Row

SCORE = "score"  # the step in `intervals` and the kind in `releases`


@dataclass(frozen=True)
class StagedPredictions:
    """What one champion predicted for hours that are staged."""

    pub: int
    table: str
    digest: str
    made_by: str


def predictions_table(model: str) -> str:
    """The lake table of a model's predictions."""
    return f"predictions/{model}"


def made_by(model: str, version: str) -> str:
    """How ledger rows and releases name the version that predicted."""
    return f"{model} version {version}"


def unscored_spans(line: Sequence[Release], model: str, version: str, start: datetime, end: datetime) -> list[Span]:
    """Published hours of [start, end) for which `version` has predicted nothing since they were published, oldest first."""
    return folds.spans(hour for hour in _unscored_hours(line, model, version) if start <= hour < end)


def _unscored_hours(
    line: Sequence[Release], model: str, version: str, *, since: datetime | None = None
) -> set[datetime]:
    """Published hours for which `version` has predicted nothing since; `since`: only those released after this instant."""
    alive, table, lacking = folds.live(line), predictions_table(model), set[datetime]()
    for release in line:
        if release.pub not in alive:
            continue
        if since is None or release.at > since:
            lacking |= folds.hours_published([release])
        if (release.kind, release.why) == (SCORE, made_by(model, version)):
            lacking -= {hour for name, a, b in release.covers if name == table for hour in hours_between(a, b)}
    return lacking


def close_when_predicted(desk: Desk, call: Invocation, model: str, version: str) -> None:
    """Close the incident of a model that did not predict, once no hour published since then lacks its predictions.

    One hour that is predicted again says nothing of those before it, which nothing else would predict. Hours from before
    the promotion of `version` do not count: it may have been trained on them.
    """
    ledger = desk.ledger
    opened, promotion = desk.open_since(model), ledger.last_promotion(model)
    if opened is None:
        return
    since = opened - MAY_RELEASE_FOR  # the hour that opened it may have been released before
    since = max(since, promotion["at"]) if promotion else since
    if not _unscored_hours(ledger.line(), model, version, since=since):
        desk.scored(call, model, version)


def seal_predictions(ledger: Ledger, call: Invocation, staged: Staged, by: str) -> None:
    """Record what version `by` predicted for the hours of `call`, for `release_predictions`."""
    staging.save_manifest(ledger.storage, staged.pub, [staged])
    ledger.record(
        call.with_step(SCORE),
        "staged",
        staged.pub,
        why=by,
        staged={staged.table: staged.digest},
        rows={staged.table: staged.rows},
    )
    failpoint("predictions.sealed")


def sealed_predictions(ledger: Ledger, sealed: Row) -> dict[str, StagedPredictions]:
    """The predictions that the row `sealed` of a run's hours names, by table."""
    named = json.loads(sealed["staged"] or "{}")
    found = {}
    for row in ledger.store.rows("intervals", where={"dag_run": sealed["dag_run"], "step": SCORE, "state": "staged"}):
        for table, digest in json.loads(row["staged"]).items():
            if named.get(table) == digest:
                found[table] = StagedPredictions(row["pub"], table, digest, row["why"])
    return found


def release_predictions(
    ledger: Ledger, call: Invocation, predictions: StagedPredictions, hours: Release
) -> Release | None:
    """Release predictions for the hours that `hours` released; None when a rollback withdrew those meanwhile.

    Raises:
        RefusedError: the files are not those that were sealed with the hours.
        RetryError: the manifest is gone, or a day has passed.
    """
    released = ledger.released(predictions.pub)
    while released is None:
        line = ledger.line()
        if hours.pub not in folds.live(line):
            return None
        covers, base = {predictions.table: (call.start, call.end)}, line[-1].release
        staged = _staged(ledger, call, predictions)
        publication = Publication(predictions.pub, SCORE, covers, staged, base, frozenset(), predictions.made_by)
        with suppress(SupersededError):  # by a rollback: ask again whether it leaves these hours
            released = publish(ledger, publication)
    failpoint("predictions.released")
    ledger.record(
        call.with_step(SCORE), "published", predictions.pub, why=f"release {released.release}", rows=released.rows
    )
    return released


def _staged(ledger: Ledger, call: Invocation, predictions: StagedPredictions) -> Mapping[str, Staged]:
    where = f"{call.pipeline} pub {predictions.pub} {predictions.table}"
    staged = staging.load_manifest(ledger.storage, predictions.pub)
    if staged is None and ledger.released(predictions.pub):
        return {}  # by another attempt, which `publish` notices
    if staged is None:
        raise RetryError(where, "its manifest is gone", "staging/ as build_features left it")
    if {table: files.digest for table, files in staged.items()} != {predictions.table: predictions.digest}:
        raise RefusedError(where, "the staged files are not those that were sealed with their hours", "the same files")
    return staged
