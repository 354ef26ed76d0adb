"""Publish: what `prepare` staged and its gates let through becomes readable, several tables as one release. No JVM."""

from __future__ import annotations

import json

from spark_jobs.config.environment import BULK_FROM_HOURS
from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication
from spark_jobs.ledger import Release, Row
from spark_jobs.plan import tables_read
from spark_jobs.stages.work import Work


def staged_row(work: Work) -> Row:
    """The ledger's row of the `prepare` of the same run and interval, when it may be published.

    Raises:
        RetryError: nothing is staged for this run.
        RefusedError: its gates refused it.
    """
    where = f"{work.call.pipeline}/{work.call.step} {work.call.dag_run}"
    prepare = work.call.with_step("prepare")
    row = work.ledger.step_row(work.call.dag_run, "prepare")
    if row is None or (row["from_hour"], row["to_hour"]) != (work.call.start, work.call.end):
        raise RetryError(where, "nothing is staged for this interval", "a run of prepare before", prepare.command())
    if row["state"] == "refused":
        raise RefusedError(
            where, f"its gate refused it: {row['why']}", todo=f"deliver a corrected drop, then {prepare.command()}"
        )
    if row["state"] != "staged":
        raise RetryError(where, f"prepare is in state '{row['state']}'", "staged", prepare.command())
    return row


def run(work: Work) -> Release:
    """Release the staged publication of this run.

    Raises:
        RefusedError: a gate blocks, gave no verdict, or judged other files.
        RetryError: nothing staged, or another release touched what was read.
    """
    row = staged_row(work)
    pub = int(row["pub"])
    published = [r for r in work.ledger.releases() if r.pub == pub]
    if published:
        return published[-1]  # the release landed, though its answer was lost
    staged = staging.load_manifest(work.root, pub)
    _require_verdicts(work, pub, json.loads(row["staged"]), {table: files.digest for table, files in staged.items()})
    covered = dict.fromkeys(staged, (work.call.start, work.call.end))
    kind = "backfill" if work.call.hours >= BULK_FROM_HOURS else "hour"
    return lake_publish.publish(
        work.root, work.ledger,
        Publication(pub, kind, covered, staged, row["base"], frozenset(tables_read(work.pipeline, "prepare"))),
    )  # fmt: skip


def _require_verdicts(work: Work, pub: int, recorded: dict[str, str], present: dict[str, str]) -> None:
    """No verdict, no publication; and only on the very files that were judged."""
    where = f"{work.call.pipeline} pub {pub}"
    if recorded != present:
        raise RefusedError(where, "the staged files are not those that prepare recorded", "the digests in `intervals`")
    verdicts = {verdict.table: verdict for verdict in work.ledger.verdicts(pub)}
    gated = [*(f"silver/{name}" for name in work.pipeline.silver), *work.pipeline.feature_tables]
    for table in gated:
        verdict = verdicts.get(table)
        if verdict is None:
            raise RefusedError(f"{where} {table}", "no verdict was recorded", "a verdict on every published table")
        if verdict.outcome.blocks:
            raise RefusedError(f"{where} {table}", f"the verdict is {verdict.outcome}", "PASS or WARN")
        if verdict.staged_digest != present[table]:
            raise RefusedError(f"{where} {table}", "the verdict is on other files", "the staged files")
