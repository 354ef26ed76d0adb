"""A step that would make the very rows that readers see has nothing to do: known without Spark, before any JVM starts.

So a drop that is delivered again with the same bytes costs no application. A run would make the same rows when the newest
drop of each hour and source is the one behind the published rows, code and configuration are those that made them, and
since then nothing was released that the stages could see: no rollback and no hour before the end of this one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from spark_jobs.alerts.incidents import Desk
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import TidegateError
from spark_jobs.invocation import Invocation, format_hour, hours_between
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.result import Result
from spark_jobs.runtime.places import code_version
from spark_jobs.sources.drops import find_drops
from spark_jobs.stages.accounts import drops_taken, published_accounts


def conclude_unchanged(call: Invocation) -> Result | None:
    """The result of `prepare` or `publish_and_score` when there is nothing to do, written down; none when there is.

    Step `query` has nothing to do when every drop that it lands is there: what an hour was is asked once.

    Raises:
        UsageError: conf/ has faults.
    """
    if call.step not in ("query", "prepare", "publish_and_score"):
        return None
    pipeline = load_pipeline(call.pipeline)
    environment, places = load_environment(call.env)
    if call.step == "query":
        return _landed(pipeline, places.landing / pipeline.name, call)
    root, landing = places.lake / pipeline.name, places.landing / pipeline.name
    ledger = Ledger.open(root, by=call.dag_run)
    line = ledger.line()
    if not line:
        return None
    release = None
    with suppress(TidegateError):  # a broken drop or a file that is gone: the step itself tells it
        if call.step == "prepare":
            release = _same_rows(pipeline, root, landing, ledger, line, call, code_version(places.project))
        else:
            release = _published_and_scored(pipeline, ledger, line, call)
    if release is None:
        return None
    why = f"nothing to do: release {release.release} has the rows of these drops"
    ledger.record(call, "published", release.pub, why=why)
    if call.step == "publish_and_score":
        Desk(pipeline, environment, places, ledger).published(call, release.release)
    return Result(
        call.pipeline, call.step, format_hour(call.start), format_hour(call.end), call.dag_run, "published", release.pub,
        release.release, release.rows, why=why,
    )  # fmt: skip


def _landed(pipeline: Pipeline, landing: Path, call: Invocation) -> Result | None:
    wanted = list(hours_between(call.start, call.end))
    asked = [name for name, source in pipeline.sources.sources.items() if source.kind == "jdbc"]
    if not asked or any(len(find_drops(pipeline.sources, landing, name, wanted)) < len(wanted) for name in asked):
        return None
    why = f"nothing to do: the drops of {', '.join(asked)} have landed; tidegate fetch asks again"
    return Result(
        call.pipeline, call.step, format_hour(call.start), format_hour(call.end), call.dag_run, "landed", why=why
    )


def _same_rows(
    pipeline: Pipeline, root: Path, landing: Path, ledger: Ledger, line: list[Release], call: Invocation, code: str
) -> Release | None:
    """The one release behind all published rows of these hours, if a run would make them again."""
    wanted = list(hours_between(call.start, call.end))
    accounts = published_accounts(pipeline, root, line, call.start, call.end)
    pubs = {row["pub"] for row in accounts}
    behind = [release for release in line if release.pub in pubs]
    if len(behind) != 1 or not _sees_the_same(line, behind[0], call):
        return None
    started = ledger.store.rows(
        "intervals", ["code_version", "config_hash"], {"pub": behind[0].pub, "state": "started"}
    )
    if (
        started[0]["code_version"] != code
        or code.endswith("-dirty")
        or started[0]["config_hash"] != pipeline.config_hash
    ):
        return None
    taken = drops_taken(accounts)
    for source in pipeline.sources.sources:
        found = find_drops(pipeline.sources, landing, source, wanted)
        if {hour: drop.sha256 for hour, drop in found.items()} != {hour: taken.get((source, hour)) for hour in wanted}:
            return None
    return behind[0]


def _sees_the_same(line: list[Release], release: Release, call: Invocation) -> bool:
    """Whether nothing was released since that stages of these hours read; scores are read by none."""
    since = [later for later in line if later.release > release.release and later.kind != "score"]
    return not any(later.kind == "rollback" or any(a < call.end for _, a, _ in later.covers) for later in since)


def _published_and_scored(pipeline: Pipeline, ledger: Ledger, line: list[Release], call: Invocation) -> Release | None:
    """The release of this run's `prepare`, when that had nothing to do and every champion's scores are there."""
    prepared = ledger.step_row(call.dag_run, "prepare")
    if (
        prepared is None
        or prepared["state"] != "published"
        or (prepared["from_hour"], prepared["to_hour"]) != (call.start, call.end)
    ):
        return None
    alive = folds.live(line)
    models = pipeline.models.models if pipeline.models else {}
    champions = {name: version for name in models if (version := ledger.champion(name))}
    for name, version in champions.items():
        asked = (f"predictions/{name}", call.start, call.end)
        if not any(r.pub in alive and asked in r.covers and r.why == f"{name} version {version}" for r in line):
            return None
    return next((r for r in line if r.pub == prepared["pub"] and r.pub in alive), None)
