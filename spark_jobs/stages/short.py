"""The short ways: steps that are concluded without Spark, before any JVM starts."""

from __future__ import annotations

from spark_jobs import plan
from spark_jobs.invocation import Invocation
from spark_jobs.lake.changes import require_publishable
from spark_jobs.result import Result
from spark_jobs.stages.asked import Asked
from spark_jobs.stages.changes import require_unmixed
from spark_jobs.stages.empty import conclude_empty
from spark_jobs.stages.unchanged import conclude_unchanged


def conclude_without_spark(call: Invocation) -> Result | None:
    """The result of a step that needs no Spark, written down as the step itself would; none when it has to be run.

    Raises:
        UsageError: conf/ has faults, contradicts published rows, or changed in a way that needs a rebuild first; see
            `changes.require_unmixed`.
    """
    asked = Asked.of(call)
    require_publishable(asked.pipeline, asked.root, call.env)
    require_unmixed(asked.pipeline, asked.ledger, call)
    if plan.step(call.step).cadence != "hourly":
        return None
    return (conclude_unchanged(asked) or conclude_empty(asked)) if asked.line else None
