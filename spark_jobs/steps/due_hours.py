"""The hours that a heal, or predictions after a training, are due for: found when they are about to run. No Spark."""

from __future__ import annotations

from dataclasses import replace

from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.lake.healing import plan_heal
from spark_jobs.ledger import folds
from spark_jobs.ledger.staleness import Span
from spark_jobs.steps.request import Request


def heal_due(request: Request) -> Span | None:
    """The hours that a heal must look at; None when every cell takes into account all rows known now.

    Hours that need no heal are recorded like a heal that found nothing, so that the next one does not examine them. The
    hours of the call itself are not looked at.
    """
    found = plan_heal(request.pipeline, request.root, request.ledger)
    for start, end in found.sound:
        sound = f"{format_hour(start)} to {format_hour(end)}"
        why = f"no change up to release {found.base} can affect a cell of {sound}"
        call = replace(request.call, step="heal", start=start, end=end)
        request.ledger.record(call, "empty", None, why=why, base=found.base)
    return found.stale


def hours_since(request: Request) -> Span | None:
    """The published hours since the end of the call; None when there are none."""
    newest, end = max(folds.covered_hours(request.line), default=None), request.call.end
    return (end, newest + HOUR) if newest is not None and newest >= end else None
