"""A ledger as it stands after years of hours, written in seconds: every row is there, most commits are empty."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.transaction import AddAction
from lake_rows import stage, things

from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.schemas import SCHEMAS

FIRST = datetime(2013, 1, 1, tzinfo=UTC)
_LOGS_KEPT = 2_000  # commits younger than delta-rs's log retention, 30 days: about 720 hours of three rows
Rows = list[dict[str, Any]]


def write_ledger(root: Path, publications: int, tables: Iterable[str], gated: Iterable[str]) -> None:
    """A ledger of `publications` hours in a row, each released over `tables`, with a verdict on each of `gated`.

    Three rows of `intervals` a publication; its number is that of its first row, as in `Ledger.start`.
    """
    covered, judged = sorted(tables), sorted(gated)
    intervals: Rows = []
    verdicts: Rows = []
    releases: Rows = []
    counts = {"manifest": 57, "silver": 57, "quarantined": 0, "duplicates": 0, "discarded": 0}
    account = json.dumps({"departures": counts, "schedules": counts})
    for index in range(publications):
        start, pub = FIRST + index * HOUR, 3 * index + 1
        hours = {"from_hour": start, "to_hour": start + HOUR}
        run = {"dag_run": f"by_key__{format_hour(start)}", "by": f"by_key__{format_hour(start)}", "pub": pub}
        base = index or None
        intervals += [
            {**run, **hours, "step": "ingest", "state": "started", "base": base},
            {**run, **hours, "step": "build_features", "state": "staged", "base": base, "rows": account,
             "staged": json.dumps(dict.fromkeys(covered, f"{index:064x}"))},
            {**run, **hours, "step": "publish", "state": "published", "why": f"release {index + 1}"},
        ]  # fmt: skip
        verdicts += [{**hours, "pub": pub, "table": t, "outcome": "PASS", "verdict": _verdict(t)} for t in judged]
        covers = [[table, format_hour(start), format_hour(start + HOUR)] for table in covered]
        releases.append(
            {"release": index + 1, "pub": pub, "parent": index or None, "kind": "hour", "covers": json.dumps(covers),
             "dead": "[]", "rows": json.dumps(dict.fromkeys(covered, 57)), "why": ""}
        )  # fmt: skip
    for table, rows in (("intervals", intervals), ("verdicts", verdicts), ("releases", releases)):
        _write_rows(root / "ledger" / table, SCHEMAS[table], rows)


def write_logs(root: Path, tables: Iterable[str], files: int, schema: pa.Schema) -> None:
    """Logs of lake tables that name one file an hour, none of which lies on the disk: publishing opens none."""
    for table in tables:
        log = DeltaTable.create(root / table, schema, partition_by=["day"])
        hours = [FIRST + index * HOUR for index in range(files)]
        log.create_write_transaction(
            [AddAction(f"pub-{3 * i + 1}/day={hour:%F}/part-0.parquet", 9_000, {"day": f"{hour:%F}"}, 0, True, "{}")
             for i, hour in enumerate(hours)],
            "append", log.schema(), ["day"],
        )  # fmt: skip
        DeltaTable(root / table).create_checkpoint()


def stage_hour(root: Path, number: int, tables: list[str]) -> int:
    """The `number`-th hour from `FIRST` staged under the publication that is returned: one row in each of `tables`."""
    ledger, start = Ledger.open(root), FIRST + number * HOUR
    pub = ledger.start(Invocation(root.name, "ingest", start, start + HOUR, f"by_key__{number}"), "", "", number)
    staging.save_manifest(ledger.storage, pub, [stage(root, t, pub, things(("a", 1, 1, 2, pub))) for t in tables])
    return pub


def publish_hour(root: Path, number: int, pub: int) -> int:
    """Publish what `stage_hour` staged; the number of its release."""
    ledger, start = Ledger.open(root), FIRST + number * HOUR
    staged = staging.load_manifest(ledger.storage, pub) or {}
    covers = dict.fromkeys(staged, (start, start + HOUR))
    read = frozenset(list(staged)[:1])
    return publish(ledger, Publication(pub, "hour", covers, staged, number, read)).release


def _verdict(table: str) -> str:
    rules = [{"rule": f"{table}.rule_{i}", "outcome": "PASS", "checked": 57, "broken": 0} for i in range(8)]
    return json.dumps({"table": table, "outcome": "PASS", "rules": rules})


def _write_rows(table: Path, schema: pa.Schema, rows: Rows) -> None:
    """All `rows` in one file, at the version that as many appends would have reached."""
    head = {"schema_version": 1, "by": "cli"}
    at = FIRST + timedelta(days=1)
    stamped = [{**head, **row, "seq": n, "at": row.get("from_hour", at)} for n, row in enumerate(rows, start=1)]
    table.parent.mkdir(parents=True, exist_ok=True)
    DeltaTable.create(table, schema)
    write_deltalake(table, pa.Table.from_pylist(stamped, schema=schema), mode="append")
    DeltaTable(table).create_checkpoint()
    log = table / "_delta_log"
    pointer = json.loads((log / "_last_checkpoint").read_text())
    (log / f"{1:020}.checkpoint.parquet").rename(log / f"{len(rows):020}.checkpoint.parquet")
    (log / "_last_checkpoint").write_text(json.dumps({**pointer, "version": len(rows)}))
    for version in (0, 1):
        (log / f"{version:020}.json").unlink()
    empty = json.dumps({"commitInfo": {"operation": "WRITE", "operationParameters": {}}})
    for version in range(max(0, len(rows) - _LOGS_KEPT), len(rows) + 1):
        (log / f"{version:020}.json").write_text(empty)
