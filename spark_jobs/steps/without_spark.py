"""Steps that are concluded without Spark, before any JVM starts: publishing, and whatever has nothing to do."""

from __future__ import annotations

from spark_jobs.errors import TidegateError
from spark_jobs.invocation import Invocation
from spark_jobs.lake.changes import require_publishable
from spark_jobs.result import Result
from spark_jobs.stages import publish
from spark_jobs.steps import plan
from spark_jobs.steps.changes import require_unmixed
from spark_jobs.steps.request import Request
from spark_jobs.steps.unchanged import conclude_unchanged
from spark_jobs.steps.unscored_hours import to_score
from spark_jobs.values import printable


def conclude_without_spark(call: Invocation, *, again: bool = False) -> Result | None:
    """The result of a step that needs no Spark, recorded; None when an application has to run it.

    `again`: run the step also when it would make the rows that readers see.

    Raises:
        UsageError: conf/ has faults, contradicts published rows, or changed in a way that needs a rebuild first; see
            `changes.require_unmixed`.
    """
    request = Request.of(call)
    require_publishable(request.pipeline, request.root, call.env)
    require_unmixed(request.pipeline, request.ledger, call)
    step = plan.step(call.step)
    if step.cadence == "hourly" and request.line and not again and (done := conclude_unchanged(request)):
        return done
    if "publish" in step.stages:
        return _publish(request)
    if "score" in step.stages and not to_score(request):
        if request.line:
            request.desk.published(call, request.line[-1].release)
        return request.result(
            "empty", None, {}, why="nothing to score: no published hour lacks a champion's predictions"
        )
    return None


def _publish(request: Request) -> Result | None:
    """What publishing came to; None when Spark has to stage again, or to predict with a champion promoted meanwhile."""
    result = request.result("started", None, {})
    try:
        done = publish.run(request)
    except TidegateError as fault:
        if publish.can_stage_again(request, fault):
            return None
        request.fail(result, fault)
        return result
    except Exception as error:
        request.fail_unforeseen(None, printable(f"{type(error).__name__}: {error}"[:300]))
        raise
    if done.to_score:
        return None
    release = done.release
    return request.result("published", release.pub, release.rows, release.release, f"release {release.release}")
