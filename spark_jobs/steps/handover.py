"""From one application to the next: a step goes on with the publication that the step before it sealed, on the very files.

What the first knew without asking again, when each hour's drops were known and where their rows went, is read from what it
staged and recorded. No Spark.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.errors import RefusedError, RetryError, SupersededError, UsageError
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.lake.admission import sealed_files, sealed_row
from spark_jobs.lake.staging import Staged, staged_files
from spark_jobs.ledger import Ledger
from spark_jobs.steps.context import Work
from spark_jobs.steps.plan import STEPS, first_step
from spark_jobs.storage import Row


def required_row(work: Work) -> Row:
    """The row of the step that `work` goes on with, when it has staged something to go on with.

    Raises:
        RetryError: nothing is staged for this interval and run.
        RefusedError: its gates refused it.
        UsageError: it was staged under another configuration, or is published already.
    """
    call, before = work.call, STEPS[work.call.step].continues
    row = sealed_row(work.ledger, call)
    where, again = f"{call.pipeline}/{call.step} {call.dag_run}", call.with_step(first_step(call.step)).command()
    if row["state"] == "published" or work.ledger.released(row["pub"]):
        found = f"publication {row['pub']} of {before} is released; its rows never change"
        raise UsageError(where, found, "one that is staged", again)
    if row["config_hash"] != work.pipeline.config_hash:
        found = f"{before} staged publication {row['pub']} under another configuration"
        raise UsageError(where, found, "the same conf/ and expectations/ in all steps of a run", again)
    return row


def take_up(work: Work, row: Row, code_version: str) -> None:
    """Give `work` what the step before had when it sealed `row`: base release, staged files, known hours, held rows.

    Its own start is recorded under the same publication.

    Raises:
        RetryError: the publication is older than a day or its manifest is gone.
        RefusedError: a staged file is not the one that was recorded.
    """
    call, ledger = work.call, work.ledger
    _require_young(ledger, call, work.pub)
    staged = _unchanged_files(work, json.loads(row["staged"]))
    work.line = ledger.line(row["base"]) if row["base"] is not None else []
    work.accounts = json.loads(row["rows"])
    work.known = _known_hours(work, staged["accounts"])
    work.attempt = ledger.record(
        call, "started", work.pub, base=row["base"], code_version=code_version, config_hash=work.pipeline.config_hash
    )
    work.lake.staged.update(staged)
    work.lake.covers.update(dict.fromkeys(staged, (call.start, call.end)))
    work.held.append(work.lake.staged_rows("quarantine").drop("day", "pub"))


def _require_young(ledger: Ledger, call: Invocation, pub: int) -> None:
    try:
        ledger.require_young(pub)
    except RetryError as fault:
        again = call.with_step(first_step(call.step)).command()
        raise RetryError(fault.where, fault.found, fault.allowed, again) from None


def _unchanged_files(work: Work, recorded: dict[str, str]) -> dict[str, Staged]:
    """What lies on disk of the tables of `recorded`, each with the digest that stands there."""
    sealed = sealed_files(work.ledger, work.call, work.pub)
    found: dict[str, Staged] = {}
    for table in filter(sealed.__contains__, recorded):
        with suppress(OSError, pa.ArrowException):  # a file that cannot be read is not the one that was recorded
            found[table] = staged_files(work.root, table, work.pub, sealed[table].schema, attempt=work.pub)
    changed = [table for table, digest in recorded.items() if table not in found or found[table].digest != digest]
    if changed:
        raise RefusedError(
            f"{work.call.pipeline} pub {work.pub} {changed[0]}",
            f"the staged files of {len(changed)} table(s) changed since {STEPS[work.call.step].continues} recorded them",
            "the digests in `intervals`", work.call.with_step(first_step(work.call.step)).command(),
        )  # fmt: skip
    return found


def _known_hours(work: Work, accounts: Staged) -> dict[datetime, datetime]:
    """When each hour is known, all its sources: as booked with its account."""
    known: dict[datetime, datetime] = {}
    for file in accounts.files:
        rows = pq.read_table(work.root / accounts.table / file.path, columns=["hour", "known_at"], partitioning=None)
        known |= {row["hour"]: row["known_at"] for row in rows.to_pylist()}
    return known


def require_newest(work: Work) -> None:
    """That no later attempt at the same publication has begun, which may have sealed or published it.

    Raises:
        SupersededError: one has.
    """
    if work.attempt in (None, work.pub):
        return  # a publication of its own
    asked = {"pub": work.pub, "step": work.call.step, "state": "started"}
    newest = work.ledger.store.rows("intervals", ["seq"], asked)[-1]["seq"]
    if newest != work.attempt:
        raise SupersededError(
            f"{work.call.pipeline}/{work.call.step} {work.call.dag_run}",
            f"another attempt at publication {work.pub} began after this one", "the newest attempt goes on",
            f"tidegate status {work.call.pipeline} --hour {format_hour(work.call.start)}",
        )  # fmt: skip
