"""A replayed source of kind database: its rows go into the table of a SQLite file, stamped with the hour in which they come."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spark_jobs.cli.app import app
from spark_jobs.config import load_pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.database import databases
from spark_jobs.sources.faults import Faults, Held, stamped
from spark_jobs.sources.replay import replay

PIPELINE = load_pipeline("nycflights13")
SOURCES = PIPELINE.sources.sources
assert PIPELINE.replay
CONF, FIRST = PIPELINE.replay, PIPELINE.replay.start


def _rows(data: Path, asked: str = "SELECT * FROM planes ORDER BY 1, changed_at") -> list[tuple[object, ...]]:
    with sqlite3.connect(data / "upstream" / "planes.db") as connection:
        return connection.execute(asked).fetchall()


def _deliver(data: Path, hours: int, faults: Faults | None = None) -> int:
    tables = databases(SOURCES, data)
    report = replay(
        CONF, data / "landing", FIRST, FIRST + hours * HOUR, only=["planes"], databases=tables, faults=faults
    )
    assert report.drops == 0
    return report.written


def test_all_rows_of_a_source_without_an_hour_are_there_from_the_first_hour(tmp_path: Path) -> None:
    """Numbers as numbers, "NA" as null, no drop; the file names its columns as sources.yaml does."""
    assert _deliver(tmp_path, 3) == 1
    rows = _rows(tmp_path)
    assert len(rows) == 3322
    assert rows[0] == (
        "N10156",
        2004,
        "Fixed wing multi engine",
        "EMBRAER",
        "EMB-145XR",
        2,
        55,
        None,
        "Turbo-fan",
        "2012-12-31T00:00:00Z",
    )
    assert not (tmp_path / "landing").exists()
    names = [row[1] for row in _rows(tmp_path, "PRAGMA table_info(planes)")]
    assert names == list(SOURCES["planes"].columns)


def test_a_second_delivery_changes_nothing_and_a_correction_comes_as_a_row_of_its_own_hour(tmp_path: Path) -> None:
    """The former row stays: what it said holds until the instant of the new one."""
    _deliver(tmp_path, 6)
    assert _deliver(tmp_path, 6) == 0
    assert _deliver(tmp_path, 6, Faults(correct_rows={"planes": ("seats", Held(0.01, 5))})) == 1
    assert _deliver(tmp_path, 6, Faults(correct_rows={"planes": ("seats", Held(0.01, 5))})) == 0
    changed = _rows(tmp_path, "SELECT tailnum FROM planes WHERE changed_at = '2012-12-31T05:00:00Z'")
    assert 10 < len(changed) < 60
    asked = "SELECT seats - lag(seats) OVER (PARTITION BY tailnum ORDER BY changed_at) FROM planes"
    assert [row for row in _rows(tmp_path, asked) if row[0] is not None] == [(1,)] * len(changed)


def test_a_fault_of_a_file_is_refused_for_a_table(project: Path) -> None:
    """There is nothing to cut; nothing is delivered."""
    words = ["--from", "2013-01-01T00", "--to", "2013-01-01T02", "--cut", "planes@2013-01-01T00"]
    found = CliRunner().invoke(app, ["replay", "nycflights13", *words])
    assert isinstance(found.exception, UsageError)
    assert "planes is a table of a database" in str(found.exception)
    assert not (project / "var").exists()


def test_a_source_that_asks_by_a_query_cannot_be_replayed(tmp_path: Path) -> None:
    section = SOURCES["planes"].database
    assert section
    asking = SOURCES["planes"].model_copy(update={"database": section.model_copy(update={"table": None})})
    with pytest.raises(UsageError, match="a query or a snapshot"):
        databases({"planes": asking}, tmp_path)


def test_a_stamp_is_one_column_more_in_either_format() -> None:
    assert stamped(b"a,b\n", b"1,2\n3,4\n", "at", FIRST) == (
        b"a,b,at\n1,2,2012-12-31T00:00:00Z\n3,4,2012-12-31T00:00:00Z\n"
    )
    assert stamped(b"", b'{"a":1}\n', "at", FIRST) == b'{"a":1,"at":"2012-12-31T00:00:00Z"}\n'
