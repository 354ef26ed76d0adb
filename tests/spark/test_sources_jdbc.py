"""Kind jdbc: rows of a database land as drops of their hours, exactly, once, and a database that is not there is waited for."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.drops import Drop, check_drop, drops_of
from spark_jobs.sources.jdbc import Queried, land_rows

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
LATER = NOON + 10 * HOUR
ROWS = [
    (1, "a", 1.5, "2013-11-01T12:00:00Z"),
    (2, None, 0.1 + 0.2, "2013-11-01T12:59:59.999Z"),
    (3, 'q"\n,é', 1e300, "2013-11-01T14:30:00Z"),
    (4, "", -0.0, "2013-11-01T15:00:00Z"),  # of an hour that is not asked for
]
JDBC = {"url": "jdbc:sqlite:{data}/a b.db", "table": "orders", "changed_at": "at"}


def _source(**changes: Any) -> SourceConf:
    return SourceConf.model_validate(
        {"kind": "jdbc", "jdbc": JDBC | changes, "manifests": "orders/{day}/{hour}.manifest.json", "format": "jsonl",
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


def _land(spark: SparkSession, data: Path, source: SourceConf | None = None, hours: int = 3) -> Queried:
    end = NOON + hours * HOUR
    return land_rows(spark, "orders", source or _source(), data / "landing", data, NOON, end, LATER)


def _drops(data: Path, hours: int = 3) -> list[list[Drop]]:
    conf = SourcesConf(sources={"orders": _source()})
    wanted = [NOON + at * HOUR for at in range(hours)]
    found = drops_of(conf, data / "landing", "orders", wanted)
    return [found.get(hour, []) for hour in wanted]


def _lines(drop: Drop) -> list[dict[str, str | None]]:
    check_drop(drop, sleep=lambda _: None)
    return [json.loads(line) for line in Path(drop.path).read_text().splitlines()]


def test_each_row_lands_once_in_the_drop_of_its_hour_with_every_digit(spark: SparkSession, data: Path) -> None:
    """Quotes, line breaks and nulls survive, a double is the same double; an hour without rows has an empty drop."""
    assert _land(spark, data) == Queried(3, 3, 3)
    noon, one, two = ([_lines(drop) for drop in drops] for drops in _drops(data))
    assert (noon, one) == ([[
        {"id": "1", "name": "a", "amount": "1.5", "at": ROWS[0][3]},
        {"id": "2", "name": None, "amount": "0.30000000000000004", "at": ROWS[1][3]},
    ]], [[]])  # fmt: skip
    [[row]] = two
    assert (row["name"], float(str(row["amount"]))) == (ROWS[2][1], 1e300)
    assert {drop.arrived_at for drops in _drops(data) for drop in drops} == {LATER}


def test_the_same_rows_again_are_nothing_new_and_a_changed_row_is_the_next_version(
    spark: SparkSession, data: Path
) -> None:
    _land(spark, data)
    assert _land(spark, data) == Queried(3, 3, 0)
    _do(data, "UPDATE orders SET name = 'b' WHERE id = 1")
    assert _land(spark, data) == Queried(3, 3, 1)
    assert [len(drops) for drops in _drops(data)] == [2, 1, 1]
    assert _lines(_drops(data)[0][-1])[0]["name"] == "b"
    assert _lines(_drops(data)[0][0])[0]["name"] == "a"


def test_a_table_that_keeps_its_past_may_say_when_rows_were_known(spark: SparkSession, data: Path) -> None:
    _land(spark, data, _source(arrived="changed"))
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
def test_however_it_is_asked_the_drops_have_the_same_bytes(
    changes: dict[str, Any], spark: SparkSession, data: Path, tmp_path: Path
) -> None:
    """Also with a row below the first range's bound."""
    _land(spark, data)
    before = [Path(drops[0].path).read_bytes() for drops in _drops(data)]
    assert _land(spark, data, _source(**changes)).written == 0
    assert [Path(drops[-1].path).read_bytes() for drops in _drops(data)] == before


def test_a_snapshot_is_the_drop_of_the_last_hour_and_leaves_the_past_alone(spark: SparkSession, data: Path) -> None:
    snapshot = _source(changed_at=None)
    assert _land(spark, data, snapshot, hours=1) == Queried(4, 1, 1)
    _do(data, "DELETE FROM orders WHERE id = 4")
    assert _land(spark, data, snapshot) == Queried(3, 2, 2)
    assert [[len(_lines(drop)) for drop in drops] for drops in _drops(data)] == [[4], [0], [3]]


@pytest.mark.parametrize("at", [None, "yesterday", "2013-11-01 13:00:00", "2013-11-01T13:00:00 o'clock", 1383310800])
def test_a_row_without_an_hour_refuses_the_drop(at: object, spark: SparkSession, data: Path) -> None:
    """It would belong to no hour's drop, or to a wrong one, and so be lost without a word; no other column is told."""
    _do(data, "INSERT INTO orders VALUES (5, 'lost', 1, ?)", (at,))
    with pytest.raises(RefusedError, match="1 rows without an hour") as told:
        _land(spark, data)
    assert f" in at, such as {at or 'null'}" in told.value.found
    assert "lost" not in told.value.found
    assert not (data / "landing" / "orders").exists()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("id, name, at", "missing amount"),
        ("*, 1 AS extra", "new extra"),
        ("id, name, amount AS price, at", "new price"),
    ],
)
def test_other_columns_than_declared_are_refused_by_name(
    columns: str, said: str, spark: SparkSession, data: Path
) -> None:
    with pytest.raises(RefusedError, match=said):
        _land(spark, data, _source(table=None, query=f"SELECT {columns} FROM orders"))


def test_more_rows_than_a_drop_may_hold_are_refused(spark: SparkSession, data: Path) -> None:
    with pytest.raises(RefusedError, match="more than 1 rows"):
        _land(spark, data, _source(max_rows=1))


def test_N16_a_database_that_is_missing_or_locked_is_waited_for_and_never_made(spark: SparkSession, data: Path) -> None:
    """SQLite takes a missing file for an empty database, which would be an empty hour."""
    with pytest.raises(RetryError, match="cannot be asked"):
        _land(spark, data, _source(url="jdbc:sqlite:{data}/none.db"))
    assert not (data / "none.db").exists()
    writer = sqlite3.connect(data / "a b.db")
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RetryError, match="SQLITE_BUSY"):
        _land(spark, data)
    writer.close()
    assert _land(spark, data).rows == 3


@pytest.mark.parametrize("changes", [{"table": "nothing"}, {"table": None, "query": "SELECT id, FROM orders"}])
def test_a_question_that_the_database_does_not_understand_is_a_fault_of_usage(
    changes: dict[str, Any], spark: SparkSession, data: Path
) -> None:
    with pytest.raises(UsageError, match="the database says: "):
        _land(spark, data, _source(**changes))


def test_a_variable_that_is_not_set_and_an_hour_that_is_not_over_are_told(spark: SparkSession, data: Path) -> None:
    """A file asks for no password, a server does before it is spoken to."""
    with pytest.raises(UsageError, match="ORDERS_PASSWORD is not set"):
        _land(spark, data, _source(url="jdbc:postgresql://127.0.0.1:9/orders", password_env="ORDERS_PASSWORD"))
    assert _land(spark, data, _source(password_env="ORDERS_PASSWORD")).rows == 3
    with pytest.raises(RetryError, match="not over"):
        land_rows(spark, "orders", _source(), data, data, NOON, NOON + HOUR, NOON)


def test_N16_a_server_that_does_not_answer_is_waited_for(spark: SparkSession, data: Path) -> None:
    with pytest.raises(RetryError, match="cannot be asked"):
        _land(spark, data, _source(url="jdbc:postgresql://127.0.0.1:9/orders"))
