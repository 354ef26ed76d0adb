"""From staged to published: who sealed what, whether every gate let exactly that through, and then `publish`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import Invocation
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Ledger, Release
from spark_jobs.storage import Row


def seal(ledger: Ledger, call: Invocation, pub: int, staged: Iterable[Staged], **facts: Any) -> None:
    """Write down which files `prepare` staged under `pub`; from here on publishing needs no Spark."""
    tables = list(staged)
    failpoint("stage.manifest.before")
    staging.save_manifest(ledger.storage, pub, tables)
    failpoint("stage.manifest.after")
    ledger.record(call, "staged", pub, staged={one.table: one.digest for one in tables}, **facts)
    failpoint("stage.recorded")


def publish_sealed(ledger: Ledger, call: Invocation, kind: str, gated: Iterable[str], read: frozenset[str]) -> Release:
    """Release what the `prepare` of the same run and interval sealed.

    Args:
        ledger: of the pipeline.
        call: of the publishing step.
        kind: hour or backfill.
        gated: tables without whose verdict nothing is published.
        read: tables whose released rows the stages looked at.

    Raises:
        RefusedError: a gate blocks, gave no verdict, or judged other files.
        RetryError: nothing is sealed, or it is stale: stage again.
    """  # fmt: skip
    row = sealed_row(ledger, call)
    pub = int(row["pub"])
    released = ledger.released(pub)
    if released:
        return released  # the release landed, though its answer was lost
    staged = staging.load_manifest(ledger.storage, pub)
    if staged is None:
        raise RetryError(f"{call.pipeline} pub {pub}", "its manifest is gone", "staging/ as prepare left it",
                         call.with_step("prepare").command())  # fmt: skip
    present = {table: files.digest for table, files in staged.items()}
    require_verdicts(ledger, f"{call.pipeline} pub {pub}", pub, gated, json.loads(row["staged"]), present)
    covered = dict.fromkeys(staged, (call.start, call.end))
    return publish(ledger, Publication(pub, kind, covered, staged, row["base"], read))


def sealed_row(ledger: Ledger, call: Invocation) -> Row:
    """The ledger's row of the `prepare` of the same run and interval, when it may be published.

    Raises:
        RetryError: nothing is staged for this run.
        RefusedError: its gates refused it.
    """
    where = f"{call.pipeline}/{call.step} {call.dag_run}"
    prepare = call.with_step("prepare")
    row = ledger.step_row(call.dag_run, "prepare")
    if row is None or (row["from_hour"], row["to_hour"]) != (call.start, call.end):
        raise RetryError(where, "nothing is staged for this interval", "a run of prepare before", prepare.command())
    if row["state"] == "refused":
        raise RefusedError(
            where, f"its gate refused it: {row['why']}", todo=f"deliver a corrected drop, then {prepare.command()}"
        )
    if row["state"] not in ("staged", "published"):  # published: prepare found the rows of its drops released already
        raise RetryError(where, f"prepare is in state '{row['state']}'", "staged", prepare.command())
    return row


def require_verdicts(
    ledger: Ledger, where: str, pub: int, gated: Iterable[str], recorded: dict[str, str], present: dict[str, str]
) -> None:
    """No verdict, no publication; and only on the very files that were judged.

    Raises:
        RefusedError: otherwise.
    """
    if recorded != present:
        raise RefusedError(where, "the staged files are not those that prepare recorded", "the digests in `intervals`")
    verdicts = {verdict.table: verdict for verdict in ledger.verdicts(pub)}
    for table in gated:
        verdict = verdicts.get(table)
        if verdict is None:
            raise RefusedError(f"{where} {table}", "no verdict was recorded", "a verdict on every published table")
        if verdict.outcome.blocks:
            raise RefusedError(f"{where} {table}", f"the verdict is {verdict.outcome}", "PASS or WARN")
        if verdict.staged_digest != present[table]:
            raise RefusedError(f"{where} {table}", "the verdict is on other files", "the staged files")
