"""Lakes written file by file through delta-rs alone: which file lies where is what these tests are about."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction
from lake_rows import COLUMNS, SILVER, TILES, at

from spark_jobs.invocation import hours_between
from spark_jobs.lake.versions import TableKind
from spark_jobs.ledger import Release

ACCOUNTS, LINES = "accounts", "bronze/things"
KINDS = {
    LINES: TableKind((), True),
    SILVER: TableKind(("thing",), True),
    ACCOUNTS: TableKind((), True),
    TILES: TableKind(("thing",), False),
}
Rows = list[dict[str, Any]]


def release(number: int, pub: int, start: int, end: int, *dead: int) -> Release:
    """A release of `pub` that covers the hours [start, end) of every covered table."""
    covers = tuple((table, at(start), at(end)) for table, kind in KINDS.items() if kind.covered)
    return Release(
        number, pub, number - 1 or None, "hour", covers, frozenset(dead), {}, "", datetime(2026, 1, 1, tzinfo=UTC)
    )


def add(root: Path, table: str, folder: str, rows: Rows, gone: str = "", schema: pa.Schema | None = None) -> None:
    """Commit `rows` as files below `folder`, one a day, and in the same commit take away the files below `gone`."""
    schema = schema or pa.schema([*COLUMNS.items()])
    where = root / table
    table_schema = schema.append(pa.field("day", pa.date32()))
    log = DeltaTable.create(where, table_schema, mode="ignore", partition_by=["day"])
    actions: list[Any] = []
    for day, of_day in groupby(sorted(rows, key=lambda row: row["hour"]), key=lambda row: row["hour"].date()):
        path = f"{folder}/day={day}/part-0.parquet"
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(of_day), schema=schema), where / path)
        actions.append(AddAction(path, (where / path).stat().st_size, {"day": str(day)}, 0, True, "{}"))
    named = log.get_add_actions(flatten=True)
    for path, size in zip(named.column("path").to_pylist(), named.column("size_bytes").to_pylist(), strict=True):
        if gone and path.startswith(f"{gone}/"):
            actions.append(RemoveAction(path, False, 0, size, {"day": path.split("=")[1][:10]}))
    log.create_write_transaction(actions, "append", log.schema(), ["day"])


def publish(root: Path, line: list[Release], rows: Rows) -> None:
    """Put `rows` into bronze, silver and tiles, each under its own pub, and an account for every hour that a pub covers.

    An hour's account is known when the pub's newest row is, or with the hour's end when it has none.
    """
    for one in line:
        mine = [row for row in rows if row["pub"] == one.pub]
        for table in (LINES, SILVER, TILES):
            add(root, table, f"pub-{one.pub}", mine)
        start, end = one.covers[0][1:]
        known = max((row["known_at"] for row in mine), default=end)
        accounts = [
            {"thing": "account", "amount": 0, "hour": hour, "known_at": known, "pub": one.pub}
            for hour in hours_between(start, end)
        ]
        add(root, ACCOUNTS, f"pub-{one.pub}", accounts)
