"""A lake of a former version: it reads the same, before and after maintenance, whatever its files differ in."""

import json
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from former_lake import NAME, PROJECT, expected, shown, unpacked

from spark_jobs.config import load_pipeline
from spark_jobs.lake import maintenance
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.ledger import Ledger


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return unpacked(tmp_path)


def _tables() -> list[str]:
    """The tables that the former version had."""
    return [table for table in table_kinds(load_pipeline(NAME, PROJECT)) if table != "spine_accounts"]


def test_every_release_of_a_former_lake_reads_as_it_did(data: Path) -> None:
    for one in expected(data):
        assert shown(data, one["release"], one["as_known"]) == one["tables"]


def test_maintenance_compacts_files_that_differ_in_nullability(data: Path) -> None:
    """Tiles of a backfill beside hourly ones, features after a heal: fault 4."""
    root, before = data / "lake" / NAME, expected(data)
    ledger = Ledger.open(root)
    for table in ("tiles/landings", "features/landings"):
        files = [pq.read_schema(path) for path in (root / table).rglob("part-*.parquet")]
        assert len({tuple(field.nullable for field in file) for file in files}) > 1, table
    for table in _tables():
        maintenance.compact_days(ledger, table, date(2024, 5, 3))
        log = DeltaTable(root / table)
        assert len(log.file_uris()) == len({uri.split("day=")[1][:10] for uri in log.file_uris()})
    for one in before:
        assert shown(data, one["release"], one["as_known"]) == one["tables"]


def test_delta_rs_reads_the_rows_of_a_compacted_former_lake(data: Path) -> None:
    root = data / "lake" / NAME
    rows = {table: DeltaTable(root / table).to_pyarrow_dataset().to_table().num_rows for table in _tables()}
    for table in _tables():
        maintenance.compact_days(Ledger.open(root), table, date(2024, 5, 3))
    after = {table: DeltaTable(root / table).to_pyarrow_dataset().to_table().num_rows for table in _tables()}
    assert after == rows
    assert all(rows.values())
    assert json.loads(DeltaTable(root / "accounts").schema().to_json())["type"] == "struct"
