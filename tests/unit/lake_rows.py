"""Staged files written by hand, without Spark: what `Lake.stage` would leave for the same rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.invocation import Invocation
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication
from spark_jobs.lake.staging import Staged
from spark_jobs.lake.versions import TableKind
from spark_jobs.ledger import Ledger

SILVER, TILES = "silver/things", "tiles/things"
KINDS = {SILVER: TableKind(("thing",), True), TILES: TableKind(("thing",), False)}
AT = pa.timestamp("us", "UTC")
COLUMNS = {"thing": pa.string(), "amount": pa.int32(), "hour": AT, "known_at": AT, "pub": pa.int64()}
_SPARK = {
    "thing": "string",
    "amount": "integer",
    "hour": "timestamp",
    "known_at": "timestamp",
    "pub": "long",
    "day": "date",
}
SCHEMA = json.dumps(
    {"type": "struct", "fields": [{"name": n, "type": t, "nullable": True, "metadata": {}} for n, t in _SPARK.items()]}
)


def at(hour: int) -> datetime:
    """An hour of 1 November 2013, UTC; 24 and above lie on the next days."""
    return datetime(2013, 11, 1 + hour // 24, hour % 24, tzinfo=UTC)


CALLS = Invocation("p", "ingest", at(1), at(2), "run")


def things(*rows: tuple[str, int, int, int, int]) -> list[dict[str, Any]]:
    """Rows written as (thing, amount, hour, known_at hour, pub)."""
    return [
        dict(zip(COLUMNS, (thing, amount, at(hour), at(known), pub), strict=True))
        for thing, amount, hour, known, pub in rows
    ]


def arrow(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as an Arrow table."""
    return pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS.items())))


def stage(root: Path, table: str, pub: int, rows: list[dict[str, Any]]) -> Staged:
    """Write `rows` as staged files of `pub`, one a day."""
    for day, of_day in groupby(rows, key=lambda row: row["hour"].date()):
        path = root / table / f"pub-{pub}" / f"day={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(arrow(list(of_day)), path)
    return staging.staged_files(root, table, pub, SCHEMA)


def publication(root: Path, ledger: Ledger, pub: int, hours: tuple[int, int], *rows: tuple[str, int]) -> Publication:
    """Publication `pub` of both tables over [from, to): each (thing, amount) lies in its first hour."""
    start, end = hours
    made = things(*((thing, amount, start, end, pub) for thing, amount in rows))
    staged = {table: stage(root, table, pub, made) for table in KINDS}
    base = ledger.releases()[-1].release if ledger.releases() else None
    return Publication(pub, "hour", dict.fromkeys(KINDS, (at(start), at(end))), staged, base, frozenset({SILVER}))
