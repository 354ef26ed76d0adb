"""Names in a Delta log: what no publication writes is refused by every reader, with the same error, before it is SQL or a path."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_files import KINDS, LINES, publish, release
from lake_rows import SILVER, at, things

from spark_jobs.errors import EXIT_USAGE, UsageError
from spark_jobs.lake import maintenance
from spark_jobs.lake.changes import Rewrite
from spark_jobs.lake.differences import differences
from spark_jobs.lake.healing import _known
from spark_jobs.lake.migration import rewrite_table
from spark_jobs.lake.reading import connect, read_current
from spark_jobs.lake.views import write_views
from spark_jobs.ledger import Ledger
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.delta import DeltaStorage

LINE = [release(1, 1, 1, 2), release(2, 2, 2, 3)]
INJECTED = "x\" FROM (SELECT 1); COPY (SELECT 1) TO '/tmp/planted'; --"
PATHS = (
    "/etc/passwd", "file:///etc/day=2013-11-01/passwd", "s3://bucket/day=2013-11-01/x", "//host/day=2013-11-01/x",
    "../things2/day=2013-11-01/x.parquet", "pub-1/day=2013-11-01/../../../other/x.parquet", "./day=2013-11-01/x.parquet",
    "%2Fetc/day=2013-11-01/passwd", "pub-1/day=2013-11-01/%2e%2e/x.parquet", "%70ub-1/day=2013-11-01/part-0.parquet",
    "pub-1/day=2013-11-01/*.parquet", "pub-1/day=2013-11-01/[ab].parquet", "pub-1/day=2013-11-01/it's.parquet",
    "pub-1/day=2013-11-01/a\\b", "pub-1/day=2013-11-01/a\x1b[2J\u202e", "pub-1/day=2013-11-01/a\nb", "pub-1/day=2013-11-01//x",
    "pub-1/x.parquet", "pub-1/day=yesterday/x.parquet", "day=2013-11-01/day=2013-11-02/x.parquet", "pub-٣/day=2013-11-01/x",
    "pub-1/day=2013-11-01/" + "x" * 5_000,
)  # fmt: skip
COLUMNS: tuple[Any, ...] = (
    INJECTED, 'a"b', "a`b", "a b", "a.b", "a'b", "a;b", "", "{rows}", "naïve", "a\nb", "a\x1b", "a\u202eb", "9a", "x" * 5_000,
    "THING",
)  # fmt: skip
STRUCT = {"type": "struct", "fields": [{"name": 'a"b', "type": "string", "nullable": True, "metadata": {}}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path / "lake", LINE, things(("a", 1, 1, 2, 1), ("c", 1, 2, 3, 2)))
    return tmp_path / "lake"


def _commit(root: Path, table: str, action: dict[str, Any]) -> None:
    """Another tool's commit on top of the table's log."""
    log = root / table / "_delta_log"
    newest = max(int(path.stem) for path in log.glob("*.json"))
    (log / f"{newest + 1:020}.json").write_text(json.dumps(action) + "\n")


def _add_path(root: Path, table: str, path: str) -> None:
    facts = {
        "size": 10,
        "partitionValues": {"day": "2013-11-01"},
        "modificationTime": 0,
        "dataChange": True,
        "stats": "{}",
    }
    _commit(root, table, {"add": {"path": path, **facts}})


def _change_metadata(root: Path, table: str, *fields: dict[str, Any], **facts: Any) -> None:
    """The log's schema with `fields` more."""
    text = (root / table / "_delta_log" / f"{0:020}.json").read_text()
    metadata = next(json.loads(line)["metaData"] for line in text.splitlines() if line.startswith('{"metaData"'))
    schema = json.loads(metadata["schemaString"])
    schema["fields"] += fields
    _commit(root, table, {"metaData": {**metadata, "schemaString": json.dumps(schema), **facts}})


def _column(name: str, kind: Any = "string", **metadata: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}


def _spark_lake(root: Path) -> Any:
    """The lake as a Spark step opens it: the log is read before any session is used."""
    from spark_jobs.config import load_pipeline
    from spark_jobs.lake.tables import Lake

    return Lake(None, root, load_pipeline("nycflights13"), LINE).is_made(SILVER)  # type: ignore[arg-type]


READERS: dict[str, Callable[[Path], Any]] = {
    "read": lambda root: read_current(root, SILVER, KINDS[SILVER], LINE),
    "read as known": lambda root: read_current(root, SILVER, KINDS[SILVER], LINE, known_by=at(9)),
    "views": lambda root: write_views(root.parent / "views.duckdb", root, KINDS, LINE),
    "differences": lambda root: differences(root, KINDS, LINE[:1], LINE),
    "spark": _spark_lake,
    "retention": lambda root: maintenance.remove_days(Ledger.open(root), SILVER, date(2014, 1, 1)),
    "compaction": lambda root: maintenance.compact_days(Ledger.open(root), SILVER, date(2014, 1, 1)),
    "vacuum": lambda root: maintenance.vacuum(Ledger.open(root), [SILVER]),
    "migration": lambda root: rewrite_table(Ledger.open(root), Rewrite(SILVER, {"thing": "object"}, {}, {}, [], 1, 1, 1)),
    "publication": lambda root: DeltaStorage(root).make_file_table(SILVER, DeltaStorage(root).file_table(SILVER).schema()),
}  # fmt: skip


def _refused(read: Callable[[], Any]) -> str:
    with pytest.raises(UsageError) as caught:
        read()
    error = caught.value
    assert (error.exit_code, bool(error.allowed), bool(error.todo)) == (EXIT_USAGE, True, True)
    assert "/_delta_log" in error.where
    assert all(char.isprintable() or char == "\n" for char in str(error))
    assert len(str(error)) < 1_500
    return error.found


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_takes_what_publications_write(root, reader):
    """The control: without a hostile commit none of them refuses anything."""
    READERS[reader](root)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_file_outside_the_table(root, reader):
    outside = root.parent / "outside"
    outside.mkdir()
    pq.write_table(pa.table({"thing": ["secret"]}), outside / "x.parquet")
    before = {path: path.read_bytes() for path in outside.rglob("*")}
    _add_path(root, SILVER, "../../../outside/day=2013-11-01/x.parquet")
    assert "file '../../../outside/" in _refused(lambda: READERS[reader](root))
    assert {path: path.read_bytes() for path in outside.rglob("*")} == before
    assert not (root.parent / "views.duckdb").exists()


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_column_that_is_sql(root, reader):
    _change_metadata(root, SILVER, _column(INJECTED))
    assert f"column {INJECTED!r}" in _refused(lambda: READERS[reader](root))
    assert not Path("/tmp/planted").exists()


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_a_path_that_no_publication_writes_is_refused(root, path):
    _add_path(root, SILVER, path)
    assert "file " in _refused(lambda: open_log(root / SILVER))


@pytest.mark.parametrize("name", COLUMNS, ids=range(len(COLUMNS)))
def test_a_column_that_no_definition_has_is_refused(root, name):
    _change_metadata(root, SILVER, _column(name))
    assert repr(name)[1:60] in _refused(lambda: open_log(root / SILVER))


@pytest.mark.parametrize(
    "facts",
    [
        {"partitionColumns": ["pub"]}, {"fields": [_column("nested", STRUCT)]},
        {"fields": [_column("nested", {"type": "array", "elementType": STRUCT, "containsNull": True})]},
        *({"fields": [_column("other", **{"tidegate.renamed_from": text})]} for text in ("[", "1", '["a b"]', "[1]")),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_schema_that_no_publication_writes_is_refused(root, facts):
    _change_metadata(root, SILVER, *facts.pop("fields", ()), **facts)
    _refused(lambda: open_log(root / SILVER))


def test_a_heal_and_the_ledger_refuse_the_same_logs(root):
    _add_path(root, "accounts", "/etc/day=2013-11-01/passwd")
    _refused(lambda: _known(root, {1, 2}))
    table = DeltaStorage(root).make_row_table("ledger/releases", pa.schema([("seq", pa.int64())]))
    assert table.append({"seq": 1})
    _add_path(root, "ledger/releases", "../intervals/x.parquet")
    _refused(lambda: DeltaStorage(root).row_table("ledger/releases"))


def test_an_error_lists_three_names_and_counts_the_rest(root):
    for number in range(9):
        _add_path(root, LINES, f"/etc/{number}")
    assert _refused(lambda: open_log(root / LINES)).endswith("and 6 more")


def test_a_link_that_leads_out_of_the_table_is_refused_when_read(root):
    """The name in the log is legal; the locked connection asks where it leads."""
    part = root / SILVER / "pub-1/day=2013-11-01/part-0.parquet"
    outside = part.rename(root.parent / "outside.parquet")
    part.symlink_to(outside)
    for reader in ("read", "views"):
        with pytest.raises(UsageError, match="outside the lake") as caught:
            READERS[reader](root)
        assert caught.value.todo


def test_a_database_whose_view_is_called_release_is_not_replaced(root, tmp_path):
    """Its author's SQL is not run either."""
    import duckdb

    file = tmp_path / "views.duckdb"
    with duckdb.connect(str(file)) as other:
        other.execute("CREATE VIEW release AS SELECT 'tidegate views' AS made_by")
    with pytest.raises(UsageError, match="not written by this command"):
        write_views(file, root, KINDS, LINE)


def test_a_lake_may_be_named_by_a_relative_path(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert len(read_current(Path("lake"), SILVER, KINDS[SILVER], LINE)) == 2


def test_nothing_reaches_duckdb_before_it_is_locked(tmp_path):
    import duckdb

    (tmp_path / "other.csv").write_text("a\n1\n")
    for connection in (connect(), connect(tmp_path / "lake"), connect(database=tmp_path / "new.duckdb")):
        with connection, pytest.raises(duckdb.Error, match="disabled"):
            connection.execute(f"FROM read_csv('{tmp_path}/other.csv')")
