"""From staged to published: who sealed what, whether every gate let exactly that through, and then `publish`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from spark_jobs.errors import AlreadyRefusedError, RefusedError, RetryError, UsageError
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import Invocation
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.steps.plan import STEPS, first_step
from spark_jobs.storage import Row


def seal(ledger: Ledger, call: Invocation, pub: int, staged: Iterable[Staged], **facts: Any) -> None:
    """Write down which files this step and those before it staged under `pub`, for the step that goes on from here.

    Publishing what the last of them sealed needs no Spark.
    """
    tables = list(staged)
    failpoint("stage.manifest.before")
    staging.save_manifest(ledger.storage, pub, tables)
    failpoint("stage.manifest.after")
    ledger.record(call, "staged", pub, staged={one.table: one.digest for one in tables}, **facts)
    failpoint("stage.recorded")


def publish_sealed(ledger: Ledger, call: Invocation, kind: str, gated: Iterable[str], read: frozenset[str]) -> Release:
    """Release what the steps before, of the same run and interval, sealed.

    Args:
        ledger: of the pipeline.
        call: of the publishing step.
        kind: hour or backfill.
        gated: tables without whose verdict nothing is published.
        read: tables whose released rows the stages looked at.

    Raises:
        RefusedError: a gate blocks, gave no verdict, or judged other files.
        RetryError: nothing is sealed, or another release touched what was read: stage again.
        UsageError: it was released before, and a rollback has withdrawn it since.
    """
    row = sealed_row(ledger, call)
    pub = int(row["pub"])
    released = ledger.released(pub)
    if released:  # the release landed, though its answer was lost
        _require_not_withdrawn(ledger, call, released)
        return released
    staged = sealed_files(ledger, call, pub)
    present = {table: files.digest for table, files in staged.items()}
    require_verdicts(ledger, f"{call.pipeline} pub {pub}", pub, gated, json.loads(row["staged"]), present)
    hours = {table: files for table, files in staged.items() if files.pub == pub}  # predictions have their own
    covered = dict.fromkeys(hours, (call.start, call.end))
    return publish(ledger, Publication(pub, kind, covered, hours, row["base"], read))


def _require_not_withdrawn(ledger: Ledger, call: Invocation, released: Release) -> None:
    """A retry must neither announce hours that an operator withdrew nor publish them again."""
    if released.pub in folds.live(ledger.line()):
        return
    raise UsageError(
        f"{call.pipeline}/{call.step} {call.dag_run}",
        f"release {released.release} of publication {released.pub} was withdrawn by a rollback",
        "a run that began after the rollback",
        call.with_step(first_step(call.step)).command(),
    )


def sealed_row(ledger: Ledger, call: Invocation) -> Row:
    """The ledger's row of the step that `call` goes on with, of the same run and interval, when one may go on with it.

    Raises:
        RetryError: nothing is staged for this run.
        RefusedError: its gates refused it.
    """
    where, before = f"{call.pipeline}/{call.step} {call.dag_run}", call.with_step(STEPS[call.step].continues)
    row = ledger.step_row(call.dag_run, before.step)
    if row is None or (row["from_hour"], row["to_hour"]) != (call.start, call.end):
        allowed = f"a run of {before.step} before"
        raise RetryError(where, "nothing is staged for this interval", allowed, before.command())
    if row["state"] == "refused":
        again = call.with_step(first_step(call.step)).command()
        raise AlreadyRefusedError(
            where, f"its gate refused it: {row['why']}", todo=f"deliver a corrected drop, then {again}"
        )
    if row["state"] not in ("staged", "published"):  # published: it found the rows of its drops released already
        raise RetryError(where, f"{before.step} is in state '{row['state']}'", "staged", before.command())
    return row


def sealed_files(ledger: Ledger, call: Invocation, pub: int) -> dict[str, Staged]:
    """What `pub` has staged by table, as the steps before `call` sealed it.

    Raises:
        RetryError: their manifest is gone.
    """
    staged = staging.load_manifest(ledger.storage, pub)
    if staged is None:
        allowed = f"staging/ as {STEPS[call.step].continues} left it"
        again = call.with_step(first_step(call.step)).command()
        raise RetryError(f"{call.pipeline} pub {pub}", "its manifest is gone", allowed, again)
    return staged


def require_verdicts(
    ledger: Ledger, where: str, pub: int, gated: Iterable[str], recorded: dict[str, str], present: dict[str, str]
) -> None:
    """No verdict, no publication; and only on the very files that were judged.

    Raises:
        RefusedError: otherwise.
    """
    if recorded != present:
        raise RefusedError(where, "the staged files are not those that were recorded", "the digests in `intervals`")
    verdicts = {verdict.table: verdict for verdict in ledger.verdicts(pub)}
    for table in gated:
        verdict = verdicts.get(table)
        if verdict is None:
            raise RefusedError(f"{where} {table}", "no verdict was recorded", "a verdict on every published table")
        if verdict.outcome.blocks:
            raise RefusedError(f"{where} {table}", f"the verdict is {verdict.outcome}", "PASS or WARN")
        if verdict.staged_digest != present[table]:
            raise RefusedError(f"{where} {table}", "the verdict is on other files", "the staged files")
