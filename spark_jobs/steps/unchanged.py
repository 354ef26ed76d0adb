"""A step that would make the very rows that readers see has nothing to do: known without Spark, before any JVM starts.

So a drop that is delivered again with the same bytes costs no application. A run would make the same rows when the newest
drop of each hour and source is the one behind the published rows, code and configuration are those that made them, and
since then nothing was released that the stages could see: no rollback and no hour before the end of this one.
"""

from __future__ import annotations

from contextlib import suppress

from spark_jobs.errors import TidegateError
from spark_jobs.invocation import Invocation, hours_between
from spark_jobs.ledger import Release, folds
from spark_jobs.quality.accounts import drops_taken, published_accounts
from spark_jobs.result import Result
from spark_jobs.sources.drops import find_drops
from spark_jobs.stages.publish import release_left_predictions
from spark_jobs.steps import plan
from spark_jobs.steps.request import Request


def conclude_unchanged(request: Request) -> Result | None:
    """The result of a step of an hour when there is nothing to do, written down; none when there is."""
    release, stages = None, plan.step(request.call.step).stages
    with suppress(TidegateError):  # a broken drop or a file that is gone: the step itself tells it
        release = _same_rows(request) if "bronze" in stages else _made_before(request)
    if release is None:
        return None
    why = f"nothing to do: release {release.release} has the rows of these drops"
    request.ledger.record(request.call, "published", release.pub, why=why)
    if "publish" in stages:
        request.desk.published(request.call, release.release)
        release_left_predictions(request, release)
    return request.result("published", release.pub, release.rows, release.release, why)


def _same_rows(request: Request) -> Release | None:
    """The one release behind all published rows of these hours, if a run would make them again."""
    call, sources = request.call, request.pipeline.sources
    wanted = list(hours_between(call.start, call.end))
    accounts = published_accounts(request.pipeline, request.root, request.line, call.start, call.end)
    pubs = {row["pub"] for row in accounts}
    behind = [release for release in request.line if release.pub in pubs]
    if len(behind) != 1 or not _sees_the_same(request.line, behind[0], call) or not request.made_alike(behind[0].pub):
        return None
    taken = drops_taken(accounts)
    for source in sources.sources:
        found = find_drops(sources, request.landing, source, wanted)
        if {hour: drop.sha256 for hour, drop in found.items()} != {hour: taken.get((source, hour)) for hour in wanted}:
            return None
    return behind[0]


def _sees_the_same(line: list[Release], release: Release, call: Invocation) -> bool:
    """Whether nothing was released since that stages of these hours read; scores are read by none."""
    since = [later for later in line if later.release > release.release and later.kind != "score"]
    return not any(later.kind == "rollback" or any(a < call.end for _, a, _ in later.covers) for later in since)


def _made_before(request: Request) -> Release | None:
    """The release behind the step that this one goes on with, when that had nothing to do.

    For a step that builds on, also one that was released since: its rows never change.
    """
    call, line, step = request.call, request.line, plan.step(request.call.step)
    before = request.ledger.step_row(call.dag_run, step.continues)
    if before is None or (before["from_hour"], before["to_hour"]) != (call.start, call.end):
        return None
    builds_on = "features" in step.stages and before["state"] == "staged"
    if before["state"] != "published" and not (builds_on and request.made_alike(before["pub"])):
        return None
    alive = folds.live(line)
    return next((r for r in line if r.pub == before["pub"] and r.pub in alive), None)
