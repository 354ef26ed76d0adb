"""Publish: what `prepare` staged and its gates let through becomes readable, several tables as one release. No JVM."""

from __future__ import annotations

from spark_jobs.config.environment import BULK_FROM_HOURS
from spark_jobs.lake.admission import publish_sealed
from spark_jobs.ledger import Release
from spark_jobs.plan import tables_read
from spark_jobs.stages.work import Work


def run(work: Work) -> Release:
    """Release the staged publication of this run.

    Raises:
        RefusedError: a gate blocks, gave no verdict, or judged other files.
        RetryError: nothing staged, or another release touched what was read.
    """
    kind = "backfill" if work.call.hours >= BULK_FROM_HOURS else "hour"
    gated = [*(f"silver/{name}" for name in work.pipeline.silver), *work.pipeline.feature_tables]
    return publish_sealed(work.ledger, work.call, kind, gated, frozenset(tables_read(work.pipeline, "prepare")))
