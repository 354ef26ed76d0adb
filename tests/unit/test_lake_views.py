"""A DuckDB file of views: opened by plain duckdb it shows what `tidegate read` shows, and takes its place whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from delta_files import KINDS, publish, release
from lake_rows import SILVER, at, things

from spark_jobs.errors import RetryError, UsageError
from spark_jobs.lake.reading import read_current
from spark_jobs.lake.views import released_line, view_name, write_views

ROWS = things(("a", 1, 1, 2, 1), ("b", 1, 1, 2, 1), ("c", 1, 2, 3, 2), ("a", 9, 1, 5, 3))
LINE = [release(1, 1, 1, 2), release(2, 2, 2, 3), release(3, 3, 1, 2)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path / "lake", LINE, ROWS)
    return tmp_path / "lake"


def _ask(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """As a notebook does: plain duckdb, read only."""
    with duckdb.connect(str(file), read_only=True) as notebook:
        return notebook.execute(sql).fetchall()


@pytest.mark.parametrize("upto", [1, 2, 3])
@pytest.mark.parametrize("known_by", [None, 4])
def test_every_view_shows_what_read_shows(root, tmp_path, upto, known_by):
    file, asked = tmp_path / "views.duckdb", at(known_by) if known_by else None
    assert write_views(file, root, KINDS, LINE[:upto], asked) == [view_name(table) for table in KINDS]
    for table, kind in KINDS.items():
        rows = read_current(root, table, kind, LINE[:upto], known_by=asked)
        seen = _ask(file, f"SELECT thing, amount, pub FROM {view_name(table)} ORDER BY ALL")
        assert seen == sorted((row["thing"], row["amount"], row["pub"]) for row in rows)
    assert _ask(file, "SHOW TABLES") == sorted([*((view_name(table),) for table in KINDS), ("release",)])


def test_the_file_says_of_what_it_is_a_snapshot(root, tmp_path):
    """A later release changes nothing in it; instants hold in any time zone."""
    file = tmp_path / "views.duckdb"
    write_views(file, root, KINDS, LINE[:2], at(4))
    facts = "SELECT pipeline, release, epoch(released_at), epoch(as_known), schema_version FROM release"
    assert _ask(file, facts) == [("lake", 2, LINE[1].at.timestamp(), at(4).timestamp(), 1)]
    assert _ask(file, f"SELECT count(*) FROM silver_things WHERE hour = '{at(1).isoformat()}'::TIMESTAMPTZ") == [(2,)]
    write_views(file, root, KINDS, LINE[:2])
    assert _ask(file, "SELECT as_known FROM release") == [(None,)]


def test_the_file_may_be_moved_and_its_name_does_not_matter(root, tmp_path, monkeypatch):
    """Paths in it are absolute, also when the lake was named by a relative one."""
    monkeypatch.chdir(tmp_path)
    write_views(Path("md:release.duckdb"), Path("lake"), KINDS, LINE)
    other = tmp_path / "elsewhere"
    other.mkdir()
    moved = Path("md:release.duckdb").rename(other / "silver_things.duckdb")
    monkeypatch.chdir(other)
    assert _ask(moved, "SELECT count(*) FROM silver_things") == [(2,)]


def test_a_file_of_its_own_is_replaced_while_a_notebook_holds_it(root, tmp_path):
    file = tmp_path / "views.duckdb"
    write_views(file, root, KINDS, LINE[:2])
    with duckdb.connect(str(file), read_only=True) as notebook:
        write_views(file, root, KINDS, LINE)
        assert notebook.execute("SELECT count(*) FROM silver_things").fetchall() == [(3,)]
    assert _ask(file, "SELECT count(*) FROM silver_things") == [(2,)]
    assert sorted(os.listdir(tmp_path)) == ["lake", "views.duckdb"]


def test_a_failure_leaves_the_former_file_and_nothing_else(root, tmp_path):
    """A file of the lake is gone: the command may be repeated."""
    file = tmp_path / "views.duckdb"
    write_views(file, root, KINDS, LINE[:1])
    shutil.rmtree(root / SILVER / "pub-2")
    with pytest.raises(RetryError, match="pub-2"):
        write_views(file, root, KINDS, LINE)
    assert _ask(file, "SELECT count(*) FROM silver_things") == [(2,)]
    assert sorted(os.listdir(tmp_path)) == ["lake", "views.duckdb"]


@pytest.mark.parametrize("held", ["text", "database", "other_release", "folder"])
def test_what_this_command_did_not_write_stays(root, tmp_path, held):
    """A file of text, a DuckDB of something else, one whose table is only called release, a folder."""
    target = tmp_path / "precious"
    if held == "text":
        target.write_text("precious")
    elif held == "folder":
        target.mkdir()
    else:
        with duckdb.connect(str(target)) as other:
            made_by = "made_by" if held == "other_release" else "something"
            other.execute(f"CREATE TABLE release AS SELECT 'a person' AS {made_by}")
    before = target.read_bytes() if target.is_file() else b""
    with pytest.raises(UsageError, match="was not written by this command") as told:
        write_views(target, root, KINDS, LINE)
    assert told.value.allowed
    assert told.value.todo
    assert (target.read_bytes() if target.is_file() else b"") == before


def test_a_folder_that_does_not_exist_is_named(root, tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        write_views(tmp_path / "no" / "views.duckdb", root, KINDS, LINE)


def test_nothing_released_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="nothing is released yet") as told:
        released_line(tmp_path, None)
    assert "tidegate" in told.value.todo
