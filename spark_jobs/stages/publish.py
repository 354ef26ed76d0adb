"""Publish: what was staged and its gates let through becomes readable, several tables as one release. No JVM."""

from __future__ import annotations

from spark_jobs.config.environment import BULK_FROM_HOURS
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import Invocation
from spark_jobs.lake.admission import publish_sealed
from spark_jobs.ledger import Ledger, Release
from spark_jobs.plan import steps_before, tables_read


def run(pipeline: Pipeline, ledger: Ledger, call: Invocation) -> Release:
    """Release the staged publication of this run.

    Raises:
        RefusedError: a gate blocks, gave no verdict, or judged other files.
        RetryError: nothing staged, or another release touched what was read.
    """
    kind = "backfill" if call.hours >= BULK_FROM_HOURS else "hour"
    gated = [*(f"silver/{name}" for name in pipeline.silver), *pipeline.feature_tables]
    staged_by = [stage for step in steps_before(call.step) for stage in step.stages]
    return publish_sealed(ledger, call, kind, gated, frozenset(tables_read(pipeline, staged_by)))
