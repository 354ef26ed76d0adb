"""Steps that are concluded without Spark, before any JVM starts: publishing, and whatever has nothing to do."""

from __future__ import annotations

from spark_jobs import plan
from spark_jobs.errors import TidegateError
from spark_jobs.invocation import Invocation
from spark_jobs.lake.changes import require_publishable
from spark_jobs.result import Result
from spark_jobs.stages import publish
from spark_jobs.stages.asked import Asked
from spark_jobs.stages.changes import require_unmixed
from spark_jobs.stages.unchanged import conclude_unchanged
from spark_jobs.stages.unscored import to_score


def conclude_without_spark(call: Invocation, *, again: bool = False) -> Result | None:
    """The result of a step that needs no Spark, recorded; None when an application has to run it.

    `again`: run the step also when it would make the rows that readers see.

    Raises:
        UsageError: conf/ has faults, contradicts published rows, or changed in a way that needs a rebuild first; see
            `changes.require_unmixed`.
    """
    asked = Asked.of(call)
    require_publishable(asked.pipeline, asked.root, call.env)
    require_unmixed(asked.pipeline, asked.ledger, call)
    step = plan.step(call.step)
    if step.cadence == "hourly" and asked.line and not again and (done := conclude_unchanged(asked)):
        return done
    if "publish" in step.stages:
        return _publish(asked)
    if "score" in step.stages and not to_score(asked):
        return asked.result("empty", None, {}, why="nothing to score: no published hour lacks a champion's predictions")
    return None


def _publish(asked: Asked) -> Result | None:
    """What publishing came to; None when Spark has to stage again, or to predict with a champion promoted meanwhile."""
    result = asked.result("started", None, {})
    try:
        done = publish.run(asked)
    except TidegateError as fault:
        if publish.can_stage_again(asked, fault):
            return None
        asked.fail(result, fault)
        return result
    if done.to_score:
        return None
    release = done.release
    return asked.result("published", release.pub, release.rows, release.release, f"release {release.release}")
