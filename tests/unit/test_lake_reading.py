"""Reading without a JVM: as known at an instant, only the files that can hold a chosen row, files that go meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delta_files import ACCOUNTS, KINDS, LINES, add, publish, release
from lake_rows import COLUMNS, SILVER, TILES, at, things

from spark_jobs.errors import EXIT_RETRY, RetryError, UsageError
from spark_jobs.lake.reading import connect, read_current, register_current, with_fresh_log
from spark_jobs.lake.versions import may_hold
from spark_jobs.ledger import Release

# Hour 1 with a and b; hour 2 with c; hour 1 again, known at 5, where a is corrected and b has gone.
ROWS = things(("a", 1, 1, 2, 1), ("b", 1, 1, 2, 1), ("c", 1, 2, 3, 2), ("a", 9, 1, 5, 3))
LINE = [release(1, 1, 1, 2), release(2, 2, 2, 3), release(3, 3, 1, 2)]
BEFORE, AFTER = {"a": 1, "b": 1, "c": 1}, {"a": 9, "c": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path / "lake", LINE, ROWS)
    return tmp_path / "lake"


def _seen(root: Path, table: str, line: list[Release] = LINE, known_by: int | None = None) -> dict[str, int]:
    asked = at(known_by) if known_by is not None else None
    rows = read_current(root, table, KINDS[table], line, known_by=asked)
    assert len({row["thing"] for row in rows}) == len(rows)
    return {row["thing"]: row["amount"] for row in rows}


@pytest.mark.parametrize("table", [SILVER, LINES])
@pytest.mark.parametrize(
    ("known_by", "seen"), [(1, {}), (2, {"a": 1, "b": 1}), (3, BEFORE), (4, BEFORE), (5, AFTER), (99, AFTER)]
)
def test_a_covered_table_is_read_as_it_was_known_then(root, table, known_by, seen):
    """With a key and without: the replaced hour stays until its correction was known, then goes whole."""
    assert _seen(root, table, known_by=known_by) == seen


@pytest.mark.parametrize(("known_by", "seen"), [(1, {}), (3, BEFORE), (4, BEFORE), (5, {**AFTER, "b": 1})])
def test_a_keyed_table_is_read_as_it_was_known_then(root, known_by, seen):
    """Chosen by key, so that b stays: nothing took its place."""
    assert _seen(root, TILES, known_by=known_by) == seen


def test_as_known_stays_within_its_release(root):
    """What release 3 brought was known at 5, but readers of release 2 do not see it."""
    assert _seen(root, SILVER, LINE[:2], known_by=99) == _seen(root, TILES, LINE[:2], known_by=99) == BEFORE


def test_an_hour_that_came_again_without_rows_is_empty_from_when_that_was_known(root):
    """No row says so; the account of the hour does. The release after withdraws it again."""
    empty = release(4, 4, 2, 3)
    publish(root, [empty], [])
    known = {hour: _seen(root, SILVER, [*LINE, empty], known_by=hour) for hour in (2, 3, 99)}
    assert known == {2: {"a": 1, "b": 1}, 3: {"a": 1, "b": 1}, 99: {"a": 9}}
    assert _seen(root, SILVER, [*LINE, empty, release(5, 5, 0, 0, 4)], known_by=99) == AFTER


@pytest.mark.parametrize("known_by", [None, 5])
def test_an_account_of_a_publication_that_was_never_released_ends_no_hour(root, known_by):
    """A stray one after a crash lies in the table of accounts as well."""
    publish(root, [release(9, 9, 1, 3)], things(("stray", 9, 1, 4, 9)))
    assert _seen(root, SILVER, known_by=known_by) == AFTER


def test_an_account_of_a_withdrawn_publication_ends_no_hour(root):
    """Compaction put it into one file with those that count."""
    withdrawn = [*LINE, release(4, 4, 0, 0, 3)]
    add(root, ACCOUNTS, "compacted-1", [_account(1, 2, 1), _account(1, 5, 3)], gone="pub-1")
    add(root, ACCOUNTS, "compacted-2", [], gone="pub-3")
    assert _seen(root, SILVER, withdrawn, known_by=99) == _seen(root, SILVER, withdrawn) == BEFORE
    assert _seen(root, SILVER, known_by=99) == AFTER


def _account(hour: int, known_at: int, pub: int) -> dict[str, Any]:
    return {"thing": "account", "amount": 0, "hour": at(hour), "known_at": at(known_at), "pub": pub}


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("pub-2/day=2013-11-01/part-0.parquet", True),
        ("pub-21/day=2013-11-01/part-0.parquet", False),
        ("pub-1/x", False),
        ("compacted-1/day=2013-11-01/x.parquet", True),
        ("part-0.parquet", True),
        ("pub-x/y", True),
        ("7/y", True),
    ],
)
def test_a_file_can_hold_a_row_unless_it_is_of_another_publication(path, held):
    assert may_hold(path, {2}) is held


def test_files_of_publications_that_are_not_chosen_are_never_opened(root):
    """They are gone from the disk, though the log names them; a reader who needs them is told."""
    shutil.rmtree(root / SILVER / "pub-1")
    shutil.rmtree(root / TILES / "pub-3")
    assert _seen(root, SILVER) == AFTER
    assert _seen(root, TILES, LINE[:2]) == BEFORE
    for table, line in ((SILVER, LINE[:2]), (TILES, LINE)):
        with pytest.raises(RetryError, match="pub-.* *") as told:
            _seen(root, table, line)
        assert told.value.exit_code == EXIT_RETRY
        assert (told.value.where, bool(told.value.todo)) == (f"lake/{table}", True)
    with pytest.raises(RetryError):
        _seen(root, SILVER, known_by=3)


def _compact(root: Path, table: str) -> None:
    """The files of publications 1 and 2 as one, and those of 1 off the disk."""
    rows = [row for row in ROWS if row["pub"] < 3]
    add(root, table, "compacted-7", rows, gone="pub-1")
    add(root, table, "compacted-8", [], gone="pub-2")
    for pub in (1, 2):
        shutil.rmtree(root / table / f"pub-{pub}")


def test_compacted_files_hold_rows_of_several_publications(root):
    """Every release shows what it showed."""
    for table in (SILVER, TILES):
        _compact(root, table)
        assert _seen(root, table, LINE[:1]) == {"a": 1, "b": 1}
        assert _seen(root, table, LINE[:2]) == _seen(root, table, known_by=4) == BEFORE
    assert _seen(root, SILVER) == AFTER


def test_a_reader_under_whom_files_go_looks_once_more(root):
    """Between the log and the files maintenance took its turn: the second look opens the log anew."""
    looks = []

    def ask() -> list[tuple[str]]:
        with connect(root) as connection:
            assert register_current(connection, root, SILVER, KINDS[SILVER], LINE, "things")
            looks.append(1)
            if len(looks) == 1:
                _compact(root, SILVER)
            return connection.execute("SELECT thing FROM things ORDER BY thing").fetchall()

    assert with_fresh_log("lake/things", ask) == [("a",), ("c",)]
    assert len(looks) == 2


def test_other_faults_are_not_asked_twice(root):
    """A wrong condition is one look and a usage error."""
    looks = []
    with connect() as connection, pytest.raises(Exception, match="no_such_table"):
        with_fresh_log("x", lambda: looks.append(1) or connection.execute("FROM no_such_table"))
    assert len(looks) == 1
    with pytest.raises(UsageError, match="no_such_column"):
        read_current(root, SILVER, KINDS[SILVER], LINE, where="no_such_column = 1")


def test_a_release_without_a_file_of_a_table_shows_its_columns_and_no_row(root):
    late = release(4, 4, 5, 6)
    add(root, "predictions/things", "pub-4", things(("p", 1, 5, 6, 4)))
    with connect(root) as connection:
        for name, line in (("before", LINE), ("after", [*LINE, late])):
            assert register_current(connection, root, "predictions/things", KINDS[TILES], line, name)
        assert [row[0] for row in connection.execute("DESCRIBE before").fetchall()] == list(COLUMNS)
        assert connection.execute("SELECT (FROM before SELECT count(*)), (FROM after SELECT count(*))").fetchall() == [
            (0, 1)
        ]
        add(root, "silver/empty", "pub-1", [])
        assert register_current(connection, root, "silver/empty", KINDS[SILVER], LINE, "no_file_at_all")
        assert connection.execute("FROM no_file_at_all").fetchall() == []
        assert not register_current(connection, root, "silver/never", KINDS[SILVER], LINE, "never")
        assert not register_current(connection, root, SILVER, KINDS[SILVER], [], "nothing_released")


def test_a_column_that_a_file_lacks_is_null_there(root):
    """A table whose configuration grew: old files stay as they are, the log has the new column."""
    wide = pa.schema([*COLUMNS.items(), ("colour", pa.string())])
    add(root, "silver/wide", "pub-2", [{**row, "colour": "red"} for row in things(("n", 1, 2, 3, 2))], schema=wide)
    add(root, "silver/wide", "pub-1", things(("o", 1, 1, 2, 1)))
    kind = KINDS[TILES]
    seen = read_current(root, "silver/wide", kind, LINE[:2])
    assert [(row["thing"], row["colour"]) for row in seen] == [("n", "red"), ("o", None)]
    assert [(row["thing"], row["colour"]) for row in read_current(root, "silver/wide", kind, LINE[:1])] == [("o", None)]


def test_a_lake_may_lie_in_any_folder(tmp_path):
    """Spaces and quotes in a path are neither encoded nor SQL."""
    root = tmp_path / "it's {my} lake"
    publish(root, LINE, ROWS)
    assert _seen(root, SILVER) == AFTER
    assert _seen(root, ACCOUNTS, LINE[:1], known_by=2) == {"account": 0}
