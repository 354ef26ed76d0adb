"""Canary values: where a table of a source has sensitive columns, no message shows a value that a delivery put in place of a name."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from spark_jobs.config.load import load_pipeline
from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.parse import FileFault, count_rows, joined, read_drop

NAME = "nycflights13"
CANARY = "alice@example.com"
COLUMNS = ["id", "email", "amount"]
ROW = ["17", CANARY, "4111111111111111"]


def _conf(form: str, *, sensitive: bool = True) -> SourceConf:
    conf = SourceConf.model_validate(
        {"kind": "files", "manifests": "x/{day}/{hour}.manifest.json", "format": form, "columns": COLUMNS}
    )
    if sensitive:
        conf.hide_names()
    return conf


def _messages(data: bytes, file: str, conf: SourceConf, rows: int = 1) -> str:
    """Everything that reading the drop reports; the delivered line itself (raw) is masked where it is shown."""
    part = read_drop(data, file, rows, len(data), hashlib.sha256(data).hexdigest(), conf)
    table, _ = joined([part], conf)
    faults = [text for text in table.column("fault").to_pylist() if text]
    try:
        count_rows(data, file, conf)
    except FileFault as fault:
        faults.append(str(fault))
    return "\n".join(faults)


def _parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


LINE = ",".join(ROW)
DELIVERIES: dict[str, tuple[str, bytes]] = {
    "csv without a header": ("csv", f"{LINE}\n{LINE}\n".encode()),
    "csv whose header has a value twice": ("csv", f"id,email,amount,{CANARY},{CANARY}\n{LINE}\n".encode()),
    "csv with a value for one name": ("csv", f"id,{CANARY},amount\n{LINE}\n".encode()),
    "csv with a broken quote in its header": ("csv", f'id,"{CANARY}"x,amount\n{LINE}\n'.encode()),
    "csv with a broken record": ("csv", f'id,email,amount\n17,"{CANARY}"x,1\n'.encode()),
    "csv with a field too many": ("csv", f"id,email,amount\n{LINE},{CANARY}\n".encode()),
    "csv with a quote that is not closed": ("csv", f'id,email,amount\n17,"{CANARY},1\n'.encode()),
    "csv of bad bytes": ("csv", b"id,email,amount\n17," + CANARY.encode() + b"\xff,1\n"),
    "jsonl with a value as a key": ("jsonl", json.dumps({CANARY: 1, "id": 2}).encode() + b"\n"),
    "jsonl with a key twice": ("jsonl", f'{{"{CANARY}": 1, "{CANARY}": 2}}\n'.encode()),
    "jsonl that is cut": ("jsonl", f'{{"id": 1, "email": "{CANARY}\n'.encode()),
    "jsonl with a nested value": ("jsonl", json.dumps({"id": 1, "email": {CANARY: 1}, "amount": 2}).encode() + b"\n"),
    "parquet with a value as a name": ("parquet", _parquet(pa.table({CANARY: ["x"], "id": ["1"], "amount": ["2"]}))),
    "parquet of a nested type": (
        "parquet",
        _parquet(pa.table({"id": ["1"], "email": [{CANARY: "x"}], "amount": ["2"]})),
    ),
    "parquet of bad text": ("parquet", _parquet(pa.table({"id": ["1"], "email": [f"{CANARY}\0"], "amount": ["2"]}))),
    "parquet that is cut": ("parquet", b"PAR1" + CANARY.encode() * 20 + b"PAR1"),
}


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_no_message_of_a_drop_shows_a_value(delivery):
    form, data = DELIVERIES[delivery]
    for packed, file in ((data, f"12.{form}"), (gzip.compress(data), f"12.{form}.gz")):
        if form == "parquet" and file.endswith(".gz"):
            continue
        told = _messages(packed, file, _conf(form))
        assert told
        assert CANARY not in told
        assert ROW[2] not in told


def test_names_are_shown_where_no_column_is_sensitive():
    """Then a new column is news, and its name helps."""
    told = _messages(f"id,email,amount,colour\n{LINE},red\n".encode(), "12.csv", _conf("csv", sensitive=False))
    assert told.startswith("header: new column colour")


def test_hidden_names_are_counted_and_missing_ones_are_named():
    told = _messages(f"{LINE}\n{LINE}\n".encode(), "12.csv", _conf("csv"))
    assert told.startswith("header: missing column id, email, amount; new: 3 column(s) whose names are not shown")


def test_a_source_knows_whether_a_table_of_it_has_a_sensitive_column(project: Path):
    """Also in the copies that steps and processes make of it."""
    assert not load_pipeline(NAME, project).sources.sources["weather"].hides_names
    path = project / f"conf/pipelines/{NAME}/tables.yaml"
    tables: dict[str, Any] = yaml.safe_load(path.read_text())
    next(iter(tables["tables"]["weather"]["columns"].values()))["sensitive"] = True
    path.write_text(yaml.safe_dump(tables, sort_keys=False))
    sources = load_pipeline(NAME, project).sources.sources
    hiding = {name for name, source in sources.items() if source.hides_names}
    assert "weather" in hiding
    assert hiding < set(sources)
    weather = sources["weather"]
    assert pickle.loads(pickle.dumps(weather)).hides_names
    assert weather.model_copy(update={"drift": "refuse"}).hides_names
    assert "hides" not in weather.model_dump_json()


@pytest.mark.parametrize("query", ["SELECT id, email AS 'alice@example.com' FROM people", "SELECT * FROM people"])
def test_a_database_source_shows_no_value_either(tmp_path, query):
    """A name that the query makes of a value, and a row without an hour."""
    from spark_jobs.connectors.database.rows import land_rows
    from spark_jobs.connectors.delivery import FetchRequest
    from spark_jobs.errors import RefusedError

    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE people (id, email)")
        connection.execute("INSERT INTO people VALUES (1, ?)", [CANARY])
    database = {"url": "sqlite:///{data}/shop.db", "query": query, "changed_at": "email"}
    source = SourceConf.model_validate(
        {
            "kind": "database",
            "format": "jsonl",
            "columns": ["id", "email"],
            "database": database,
            "manifests": "x/{day}/{hour}.manifest.json",
        }
    )
    source.hide_names()
    start = datetime(2013, 11, 1, 12, tzinfo=UTC)
    landing, end = tmp_path / "landing", start + timedelta(hours=1)
    request = FetchRequest("people", source, landing, tmp_path, start, end, end + timedelta(days=1))
    with pytest.raises(RefusedError) as caught:
        land_rows(request)
    assert CANARY not in str(caught.value)
