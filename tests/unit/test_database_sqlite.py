"""SQLite as a source: rows of a database land as drops of their hours, exactly, once; an absent database is tried later."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.config.database_source import PartitionConf
from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.connectors.database.dialects import Sqlite, dialect_of, plain_text
from spark_jobs.connectors.database.rows import hour_of, land_rows, ranges_of
from spark_jobs.connectors.delivery import FetchRequest
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.drops import Drop, check_drop, drops_of

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
LATER = NOON + 10 * HOUR
ROWS = [
    (1, "a", 1.5, "2013-11-01T12:00:00Z"),
    (2, None, 0.1 + 0.2, "2013-11-01T12:59:59.999Z"),
    (3, 'q"\n,é', 1e300, "2013-11-01T14:30:00Z"),
    (4, "", -0.0, "2013-11-01T15:00:00Z"),  # of an hour that is not requested
]
DATABASE = {"url": "sqlite:///{data}/a b.db", "table": "orders", "changed_at": "at"}


def _source(**changes: Any) -> SourceConf:
    return SourceConf.model_validate(
        {"kind": "database", "database": DATABASE | changes, "manifests": "orders/{day}/{hour}.manifest.json", "format": "jsonl",
         "columns": ["id", "name", "amount", "at"]}
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the database."""
    _do(tmp_path, "CREATE TABLE orders (id INTEGER, name TEXT, amount REAL, at TEXT)")
    for row in ROWS:
        _do(tmp_path, "INSERT INTO orders VALUES (?, ?, ?, ?)", row)
    return tmp_path


def _do(data: Path, sql: str, values: tuple[Any, ...] = ()) -> None:
    connection = sqlite3.connect(data / "a b.db")
    with connection:
        connection.execute(sql, values)
    connection.close()


Landed = tuple[int, int, int]  # rows, drops, drops that were written


def _land(data: Path, source: SourceConf | None = None, hours: int = 3, now: datetime = LATER) -> Landed:
    end = NOON + hours * HOUR
    done = land_rows(FetchRequest("orders", source or _source(), data / "landing", data, NOON, end, now))
    return done.rows, len(done.drops), sum(drop.written for drop in done.drops)


def _drops(data: Path, hours: int = 3) -> list[list[Drop]]:
    conf = SourcesConf(sources={"orders": _source()})
    wanted = [NOON + at * HOUR for at in range(hours)]
    found = drops_of(conf, data / "landing", "orders", wanted)
    return [found.get(hour, []) for hour in wanted]


def _lines(drop: Drop) -> list[dict[str, str | None]]:
    check_drop(drop, sleep=lambda _: None)
    return [json.loads(line) for line in Path(drop.path).read_text().splitlines()]


def test_each_row_lands_once_in_the_drop_of_its_hour_with_every_digit(data: Path) -> None:
    """Quotes, line breaks and nulls survive, a double is the same double; an hour without rows has an empty drop."""
    assert _land(data) == (3, 3, 3)
    noon, one, two = ([_lines(drop) for drop in drops] for drops in _drops(data))
    assert (noon, one) == ([[
        {"id": "1", "name": "a", "amount": "1.5", "at": ROWS[0][3]},
        {"id": "2", "name": None, "amount": "0.30000000000000004", "at": ROWS[1][3]},
    ]], [[]])  # fmt: skip
    [[row]] = two
    assert (row["name"], float(str(row["amount"]))) == (ROWS[2][1], 1e300)
    assert {drop.arrived_at for drops in _drops(data) for drop in drops} == {LATER}


def test_the_same_rows_write_nothing_and_a_changed_row_is_the_next_version(data: Path) -> None:
    _land(data)
    assert _land(data) == (3, 3, 0)
    _do(data, "UPDATE orders SET name = 'b' WHERE id = 1")
    assert _land(data) == (3, 3, 1)
    assert [len(drops) for drops in _drops(data)] == [2, 1, 1]
    assert _lines(_drops(data)[0][-1])[0]["name"] == "b"
    assert _lines(_drops(data)[0][0])[0]["name"] == "a"


def test_a_table_that_keeps_its_past_states_when_rows_were_known(data: Path) -> None:
    _land(data, _source(arrived="changed"))
    assert [drop.arrived_at for drops in _drops(data) for drop in drops] == [NOON + at * HOUR for at in (1, 2, 3)]


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": {"column": "id", "lower": 2, "upper": 4, "count": 2}},
        {"table": None, "query": "SELECT at, id, name, amount FROM orders WHERE id < 4"},
        {"fetch_rows": 1},
    ],
    ids=["partitions", "query", "row by row"],
)
def test_the_drops_have_the_same_bytes_however_the_rows_are_read(
    changes: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    """Also with a row below the first range's bound."""
    _land(data)
    before = [Path(drops[0].path).read_bytes() for drops in _drops(data)]
    assert _land(data, _source(**changes))[2] == 0
    assert [Path(drops[-1].path).read_bytes() for drops in _drops(data)] == before


def test_a_snapshot_is_the_drop_of_the_last_hour_and_leaves_the_past_alone(data: Path) -> None:
    snapshot = _source(changed_at=None)
    assert _land(data, snapshot, hours=1) == (4, 1, 1)
    _do(data, "DELETE FROM orders WHERE id = 4")
    assert _land(data, snapshot) == (3, 2, 2)
    assert [[len(_lines(drop)) for drop in drops] for drops in _drops(data)] == [[4], [0], [3]]


@pytest.mark.parametrize(
    "at",
    [
        *(None, "yesterday", "2013-11-01 13:00:00", "2013-11-01T13:00:00 o'clock", 1383310800, b"2013-11-01T13"),
        *("2013-11-01T13:30:00+05:00", "2013-10-31T23:30:00-14:00", "2013-11-01T13:30:00-00:30"),
    ],
)
def test_a_row_without_an_hour_refuses_the_drop(at: object, data: Path) -> None:
    """It would belong to no hour's drop, or to a wrong one, and so be lost silently; no other column is shown."""
    _do(data, "INSERT INTO orders VALUES (5, 'lost', 1, ?)", (at,))
    with pytest.raises(
        RefusedError, match="column at: a value of type bytes" if isinstance(at, bytes) else "1 rows"
    ) as told:
        _land(data)
    assert isinstance(at, bytes) or f"without an hour in at, such as {at or 'null'}" in told.value.found
    assert "lost" not in told.value.found
    assert not (data / "landing" / "orders").exists()


def test_a_row_of_another_hour_is_left_to_the_drop_of_that_hour(data: Path) -> None:
    """However its UTC is written; each row lands in one drop of three."""
    for at in ("2013-11-01T11:59:59+00:00", "2013-11-01T15:30:00+0000", "2013-11-01T12:30:00+0000", "2013-11-01T12:31"):
        _do(data, "INSERT INTO orders VALUES (6, 'other', 1, ?)", (at,))
    assert _land(data)[0] == 5


MOST = "SELECT id, name, amount, at FROM orders"
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, '' AS name, 1 AS amount, '' AS at FROM n"


@pytest.mark.parametrize(
    ("changes", "fault", "said"),
    [
        ({"table": None, "query": "SELECT id, name, at FROM orders"}, RefusedError, "columns: missing column amount"),
        ({"table": None, "query": "SELECT *, 1 AS extra FROM orders"}, RefusedError, "new column extra"),
        ({"table": None, "query": "SELECT id, name, amount AS price, at FROM orders"}, RefusedError, "amount; new column price"),
        ({"table": None, "query": "SELECT o.*, 1 AS id FROM orders o"}, RefusedError, "new column id:1"),
        ({"max_rows": 1}, RefusedError, "more than 1"),
        ({"table": None, "query": MOST.replace("name", "x'ff00' AS name")}, RefusedError, "name: a value of type bytes"),
        ({"table": None, "query": MOST.replace("name", "CAST(x'ff' AS TEXT) AS name")}, RefusedError, "has no text form"),
        ({"url": "sqlite:///{data}/none.db"}, RetryError, "none.db cannot be queried: unable to open database file"),
        ({"url": "sqlite:///{data}/no.db"}, UsageError, "SQLITE_NOTADB"),
        ({"table": "nothing"}, UsageError, "no such table: nothing"),
        ({"table": None, "query": "SELECT id, FROM orders"}, UsageError, "syntax error"),
        ({"table": None, "query": SLOW, "timeout_s": 1, "changed_at": None}, RetryError, "no end after 1 s"),
        ({"url": "postgresql://127.0.0.1:9/orders"}, RetryError, "postgresql://127.0.0.1:9/orders cannot be queried"),
        ({"url": "postgresql://127.0.0.1:9/o", "password_env": "SHOP_PASSWORD"}, UsageError, "SHOP_PASSWORD is not set"),
        ({"url": "nosuch://127.0.0.1/orders"}, UsageError, "no driver for nosuch://127.0.0.1/orders"),
        ({"url": "oracle+cx_oracle://127.0.0.1/orders"}, UsageError, "no driver for oracle"),
    ],
)  # fmt: skip
def test_bad_input_is_reported_and_lands_nothing(
    changes: dict[str, Any], fault: type[TidegateError], said: str, data: Path
) -> None:
    """Each names the source and what is expected, and shows no row; what landed before stays."""
    (data / "no.db").write_bytes(b"not a database, but a text of some length" * 100)
    _land(data, hours=1)
    before = {path: path.read_bytes() for path in (data / "landing").rglob("*.*")}
    with pytest.raises(fault, match=said) as told:
        _land(data, _source(**changes))
    assert told.value.where == "orders 2013-11-01T12:00:00"
    assert told.value.allowed
    assert told.value.todo
    assert {path: path.read_bytes() for path in (data / "landing").rglob("*.*")} == before
    assert not (data / "none.db").exists()


def test_a_locked_database_is_tried_again_later(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sqlite, "_WAIT_S", 0.1)
    writer = sqlite3.connect(data / "a b.db")
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RetryError, match="SQLITE_BUSY"):
        _land(data)
    writer.close()
    assert _land(data)[0] == 3


def test_an_hour_that_is_not_over_is_not_read(data: Path) -> None:
    with pytest.raises(RetryError, match="not over"):
        _land(data, now=NOON + 3 * HOUR - HOUR / 60)


def test_a_file_needs_no_password(data: Path) -> None:
    assert _land(data, _source(password_env="ORDERS_PASSWORD"))[0] == 3


def test_names_that_are_words_of_sql_can_be_read(data: Path) -> None:
    _do(data, 'CREATE TABLE "order" ("group" INTEGER, "select" TEXT, at TEXT)')
    _do(data, "INSERT INTO \"order\" VALUES (1, 'x', '2013-11-01T12:00:00Z')")
    source = _source(table="order").model_copy(update={"columns": ["group", "select", "at"]})
    assert _land(data, source)[0] == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"), (1.0, "1.0"), (-0.0, "-0.0"), (0.1 + 0.2, "0.30000000000000004"), (1e300, "1.0e+300"),
        (1e15, "1.0e+15"), (1e14, "100000000000000.0"), (5e-324, "4.94065645841247e-324"), (float("inf"), "Inf"),
        (2**63 - 1, "9223372036854775807"), ("é", "é"), ("", ""), (None, None),
    ],
)  # fmt: skip
def test_values_of_sqlite_have_one_text_each(value: Any, text: str | None) -> None:
    assert Sqlite().text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (0.1, "0.1"), (Decimal("1E-21"), "0.000000000000000000001"), (Decimal("1E+3"), "1000"),
        (NOON, "2013-11-01T12:00:00+00:00"), (NOON.replace(tzinfo=None), "2013-11-01T12:00:00"), (NOON.date(), "2013-11-01"),
    ],
)  # fmt: skip
def test_values_of_other_databases_have_the_text_of_their_type(value: Any, text: str) -> None:
    assert plain_text(value) == text
    with pytest.raises(ValueError, match="type list"):
        plain_text([value])


@pytest.mark.parametrize(
    ("lower", "upper", "count", "ranges"),
    [
        (0, 10, 2, ["c < 5 OR c IS NULL", "c >= 5"]),
        (0, 9, 3, ["c < 3 OR c IS NULL", "c >= 3 AND c < 6", "c >= 6"]),
        (0, 1, 4, ["1 = 1"]),
        (-3, 0, 64, ["c < -2 OR c IS NULL", "c >= -2 AND c < -1", "c >= -1"]),
    ],
)
def test_each_row_is_in_one_range(lower: int, upper: int, count: int, ranges: list[str]) -> None:
    assert ranges_of(PartitionConf(column="c", lower=lower, upper=upper, count=count), "c") == ranges


@pytest.mark.parametrize(
    "text", ["2013-11-01T12:00:00Z", "2013-11-01T12:59:59.999999+00:00", "2013-11-01T12:30", "2013-11-01T12"]
)
def test_an_instant_in_utc_has_an_hour(text: str) -> None:
    assert hour_of(text) == NOON
    assert dialect_of("sqlite:///a.db").within('"at"', None, NOON, NOON + HOUR)


def test_no_library_of_another_kind_is_imported(data: Path) -> None:
    """A light task: what a fetch of a database needs, and neither Spark nor a model's libraries."""
    code = (
        "import sys; from spark_jobs.connectors import fetch; from spark_jobs.connectors.database import rows;"
        "print([m for m in ('pyspark', 'py4j', 'fsspec', 'httpx', 'mlflow', 'pandas', 'duckdb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
