"""From one application to the next: a step goes on with the publication that the step before it sealed, on the very files.

What the first knew without asking again, when each hour's drops were known and where their rows went, is read from what it
staged and recorded. No Spark.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.errors import RefusedError, RetryError, SupersededError, UsageError
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.lake.admission import sealed_files, sealed_row
from spark_jobs.lake.staging import Staged, staged_files
from spark_jobs.ledger import Ledger
from spark_jobs.steps.context import Context
from spark_jobs.steps.plan import STEPS, first_step
from spark_jobs.steps.progress import Progress
from spark_jobs.storage import Row


def required_row(context: Context) -> Row:
    """The row of the step that `context` goes on with, when it has staged something to go on with.

    Raises:
        RetryError: nothing is staged for this interval and run.
        RefusedError: its gates refused it.
        UsageError: it was staged under another configuration, or is published already.
    """
    call, before = context.call, STEPS[context.call.step].continues
    row = sealed_row(context.ledger, call)
    where, again = f"{call.pipeline}/{call.step} {call.dag_run}", call.with_step(first_step(call.step)).command()
    if row["state"] == "published" or context.ledger.released(row["pub"]):
        found = f"publication {row['pub']} of {before} is released; its rows never change"
        raise UsageError(where, found, "one that is staged", again)
    if row["config_hash"] != context.pipeline.config_hash:
        found = f"{before} staged publication {row['pub']} under another configuration"
        raise UsageError(where, found, "the same conf/ and expectations/ in all steps of a run", again)
    return row


def take_up(context: Context, row: Row, code_version: str) -> Progress:
    """Where the step before was when it sealed `row`: base release, staged files, known hours, held rows.

    Its own start is recorded under the same publication.

    Raises:
        RetryError: the publication is older than a day or its manifest is gone.
        RefusedError: a staged file is not the one that was recorded.
    """
    call, ledger = context.call, context.ledger
    sealed = replace(context, pub=int(row["pub"]), line=ledger.line(row["base"]) if row["base"] is not None else [])
    _require_young(ledger, call, sealed.pub)
    staged = _unchanged_files(sealed, json.loads(row["staged"]))
    known = _known_hours(sealed, staged["accounts"])
    attempt = ledger.record(
        call, "started", sealed.pub, base=row["base"], code_version=code_version,
        config_hash=sealed.pipeline.config_hash,
    )  # fmt: skip
    ready = replace(sealed, attempt=attempt).after(staged, known)
    held = ready.lake.staged_rows("quarantine").drop("day", "pub")
    return Progress(ready, held=(held,), accounts=json.loads(row["rows"]))


def _require_young(ledger: Ledger, call: Invocation, pub: int) -> None:
    try:
        ledger.require_young(pub)
    except RetryError as fault:
        again = call.with_step(first_step(call.step)).command()
        raise RetryError(fault.where, fault.found, fault.allowed, again) from None


def _unchanged_files(context: Context, recorded: dict[str, str]) -> dict[str, Staged]:
    """What lies on disk of the tables of `recorded`, each with the digest that stands there."""
    sealed = sealed_files(context.ledger, context.call, context.pub)
    found: dict[str, Staged] = {}
    for table in filter(sealed.__contains__, recorded):
        with suppress(OSError, pa.ArrowException):  # a file that cannot be read is not the one that was recorded
            found[table] = staged_files(context.root, table, context.pub, sealed[table].schema, attempt=context.pub)
    changed = [table for table, digest in recorded.items() if table not in found or found[table].digest != digest]
    if changed:
        raise RefusedError(
            f"{context.call.pipeline} pub {context.pub} {changed[0]}",
            f"the staged files of {len(changed)} table(s) changed since {STEPS[context.call.step].continues} recorded them",
            "the digests in `intervals`", context.call.with_step(first_step(context.call.step)).command(),
        )  # fmt: skip
    return found


def _known_hours(context: Context, accounts: Staged) -> dict[datetime, datetime]:
    """When each hour is known, all its sources: as booked with its account."""
    known: dict[datetime, datetime] = {}
    for file in accounts.files:
        rows = pq.read_table(context.root / accounts.table / file.path, columns=["hour", "known_at"], partitioning=None)
        known |= {row["hour"]: row["known_at"] for row in rows.to_pylist()}
    return known


def require_newest(context: Context) -> None:
    """That no later attempt at the same publication has begun, which may have sealed or published it.

    Raises:
        SupersededError: one has.
    """
    if context.attempt in (None, context.pub):
        return  # a publication of its own
    asked = {"pub": context.pub, "step": context.call.step, "state": "started"}
    newest = context.ledger.store.rows("intervals", ["seq"], asked)[-1]["seq"]
    if newest != context.attempt:
        raise SupersededError(
            f"{context.call.pipeline}/{context.call.step} {context.call.dag_run}",
            f"another attempt at publication {context.pub} began after this one", "the newest attempt goes on",
            f"tidegate status {context.call.pipeline} --hour {format_hour(context.call.start)}",
        )  # fmt: skip
