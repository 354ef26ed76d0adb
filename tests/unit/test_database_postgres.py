"""PostgreSQL as a source, against a real server: exact values, instants, what it refuses, what is tried again later."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.connectors.database import dialects
from spark_jobs.connectors.database.rows import land_rows
from spark_jobs.connectors.delivery import FetchRequest
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.drops import drops_of
from tests.unit.postgres_server import PostgresServer, binaries

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
HOURS = [NOON + at * HOUR for at in range(3)]
PASSWORD = secrets.token_urlsafe(16)
# columns with names that must be quoted, and values that text loses easily
TABLE = """
DROP TABLE IF EXISTS orders CASCADE;
CREATE TABLE orders (id bigint, "user" text, amount double precision, price numeric, open boolean, "at" timestamptz);
INSERT INTO orders VALUES
  (1, 'a', 1.5, 10.10, true, '2013-11-01 12:00:00+00'),
  (2, NULL, 0.1::float8 + 0.2::float8, 0.000000000000000000001, false, '2013-11-01 13:59:59.999999+01'),
  (3, E'q"\\n,é', 1e300, NULL, NULL, '2013-11-01 10:30:00-04'),
  (4, '', -0.0, 1, true, '2013-11-01 15:00:00+00');
GRANT SELECT ON orders TO reader;
"""
AS_TEXT = 'ALTER TABLE orders ALTER "at" TYPE text USING to_json("at") #>> \'{}\';'
Ask = Callable[[str], None]
Land = Callable[..., tuple[int, int, int]]  # rows, drops, drops that were written


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server of this module's own, with `address`, `sql` and a role `reader`."""
    if binaries() is None:
        pytest.skip("no PostgreSQL server on this machine; apt-get install postgresql")
    started = PostgresServer(PASSWORD)
    yield started
    started.close()


@pytest.fixture
def ask(server: Any, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs SQL as the owner; the table is as above."""
    server.sql("SET TimeZone = 'UTC';" + TABLE)
    monkeypatch.setenv("SHOP_URL", f"postgresql://{server.address}/postgres")
    monkeypatch.setenv("SHOP_USER", "reader")
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    return lambda text: server.sql("SET TimeZone = 'UTC';" + text)


@pytest.fixture
def land(tmp_path: Path, server: Any) -> Land:
    """Lands three hours; words are changes of the section database."""

    def run(hours: int = 3, columns: list[str] | None = None, **changes: Any) -> tuple[int, int, int]:
        source = _source(columns, **({"plain_hosts": [server.address.partition(":")[0]]} | changes))
        request = FetchRequest("orders", source, tmp_path, tmp_path, NOON, NOON + hours * HOUR, NOON + 10 * HOUR)
        done = land_rows(request)
        return done.rows, len(done.drops), sum(drop.written for drop in done.drops)

    return run


def _source(columns: list[str] | None = None, **changes: Any) -> SourceConf:
    database = {"url": "sqlite:///{data}/none.db", "url_env": "SHOP_URL", "table": "orders", "changed_at": "at",
                "user_env": "SHOP_USER", "password_env": "SHOP_PASSWORD"}  # fmt: skip
    return SourceConf.model_validate(
        {"kind": "database", "database": database | changes, "manifests": "orders/{day}/{hour}.manifest.json",
         "format": "jsonl", "columns": columns or ["id", "user", "amount", "price", "open", "at"]}
    )  # fmt: skip


def _landed(folder: Path) -> list[list[dict[str, str | None]]]:
    """Lines of the newest drop of each hour."""
    found = drops_of(SourcesConf(sources={"orders": _source()}), folder, "orders", HOURS)
    return [[json.loads(line) for line in Path(found[hour][-1].path).read_text().splitlines()] for hour in HOURS]


def test_each_row_lands_once_in_the_drop_of_its_hour_with_every_digit(ask: Ask, land: Land, tmp_path: Path) -> None:
    """In UTC, whatever zone the server has; a second fetch writes nothing, a changed row is the next version."""
    assert land() == (3, 3, 3)
    noon, one, two = _landed(tmp_path)
    assert noon == [
        {"id": "1", "user": "a", "amount": "1.5", "price": "10.10", "open": "true", "at": "2013-11-01T12:00:00+00:00"},
        {"id": "2", "user": None, "amount": "0.30000000000000004", "price": "0.000000000000000000001", "open": "false",
         "at": "2013-11-01T12:59:59.999999+00:00"},
    ]  # fmt: skip
    assert one == []
    assert [(row["user"], float(row["amount"] or 0), row["price"], row["open"]) for row in two] == [
        ('q"\n,é', 1e300, None, None)
    ]
    assert land() == (3, 3, 0)
    ask("UPDATE orders SET \"user\" = 'b' WHERE id = 1")
    assert land() == (3, 3, 1)


def test_the_drops_have_the_same_bytes_however_the_rows_are_read(ask: Ask, land: Land) -> None:
    """By ranges, by a query, one row per round trip; and with instants that are text."""
    land()
    assert land(partition={"column": "id", "lower": 2, "upper": 4, "count": 2})[2] == 0
    query = "SELECT \"at\", price, id, \"user\", amount, open FROM orders WHERE id < 4 AND 'a:b' LIKE '%:b' -- all"
    assert land(table=None, query=query)[2] == 0
    assert land(fetch_rows=1)[2] == 0
    ask(AS_TEXT)
    assert land()[2] == 0


def test_types_of_postgresql_have_a_text_without_loss(ask: Ask, land: Land, tmp_path: Path) -> None:
    """As JSON writes them."""
    query = (
        "SELECT '2013-11-01T12:00:00Z'::timestamptz AS at, 'NaN'::float8 AS nan, '-Infinity'::float8 AS inf,"
        " 1e-7::float4 AS single, '12345678901234567890.123456789'::numeric AS exact, '\\x00ff'::bytea AS bytes,"
        " '2013-11-01 01:02:03.4'::timestamp AS naive, '2013-11-01'::date AS born, '{1,NULL}'::int[] AS list,"
        " '{\"a\": 1}'::jsonb AS object, 'c0ffee00-0000-0000-0000-000000000000'::uuid AS id"
    )
    names = ["at", "nan", "inf", "single", "exact", "bytes", "naive", "born", "list", "object", "id"]
    land(columns=names, table=None, query=query)
    [row] = _landed(tmp_path)[0]
    assert list(row.values()) == [
        "2013-11-01T12:00:00+00:00", "NaN", "-Infinity", "1e-07", "12345678901234567890.123456789", "\\x00ff",
        "2013-11-01T01:02:03.4", "2013-11-01", "[1,null]", '{"a": 1}', "c0ffee00-0000-0000-0000-000000000000",
    ]  # fmt: skip


def test_all_ranges_see_one_state_of_the_database(
    ask: Ask, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that moves from one range to another while they are read lands once."""
    share = dialects.Postgresql.share

    def share_then_move(self: dialects.Postgresql, connection: Any) -> str | None:
        statement = share(self, connection)
        ask("UPDATE orders SET id = 9 WHERE id = 1; UPDATE orders SET id = 0 WHERE id = 3")
        return statement

    monkeypatch.setattr(dialects.Postgresql, "share", share_then_move)
    assert land(partition={"column": "id", "lower": 0, "upper": 10, "count": 5})[0] == 3
    assert sorted(str(row["id"]) for rows in _landed(tmp_path) for row in rows) == ["1", "2", "3"]


def test_a_large_table_is_read_in_blocks_and_lands_sorted(ask: Ask, land: Land, tmp_path: Path) -> None:
    query = (
        "SELECT n AS id, repeat('x', 50) AS \"user\", 0.5::float8 AS amount, n::numeric AS price, true AS open,"
        " '2013-11-01T12:00:00Z'::timestamptz AS \"at\" FROM generate_series(30000, 1, -1) n"
    )
    assert land(table=None, query=query, fetch_rows=700) == (30_000, 3, 3)
    lines = (tmp_path / "orders/2013-11-01/12.jsonl").read_bytes().splitlines()
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("INSERT INTO orders VALUES (5, 'lost', 1, 1, true, NULL)", "such as null"),
        ("INSERT INTO orders VALUES (5, 'lost', 1, 1, true, 'infinity')", "such as infinity"),
        (AS_TEXT + " INSERT INTO orders VALUES (5, 'lost', 1, 1, true, 'yesterday')", "such as yesterday"),
        (AS_TEXT + " INSERT INTO orders VALUES (5, 'lost', 1, 1, true, '2013-11-01T08:30:00-04:00')", "08:30:00-04:00"),
    ],
)
def test_a_row_without_an_hour_refuses_the_drop(spoil: str, told: str, ask: Ask, land: Land, tmp_path: Path) -> None:
    """It would belong to no hour's drop and be lost silently; no other column is shown."""
    ask(spoil)
    with pytest.raises(RefusedError, match="1 rows without an hour") as refused:
        land()
    assert told in refused.value.found
    assert "lost" not in refused.value.found
    assert not (tmp_path / "orders").exists()


@pytest.mark.parametrize(
    ("prepare", "changes", "fault", "said"),
    [
        ("", {"table": "nothing"}, UsageError, 'relation "nothing" does not exist'),
        ("", {"table": None, "query": "SELECT id, FROM orders"}, UsageError, "syntax error"),
        ("", {"table": "pg_authid"}, UsageError, "permission denied"),
        ("", {"partition": {"column": "price", "lower": 0, "upper": 4, "count": 2}}, UsageError, "not a smallint"),
        ("", {"table": None, "query": "SELECT id, id FROM orders"}, UsageError, "columns id twice"),
        (
            "",
            {"plain_hosts": [], "url": "postgresql://db.example.com/x", "url_env": None},
            RetryError,
            "could not translate",
        ),
        ("ALTER TABLE orders RENAME amount TO price2", {}, RefusedError, "missing column amount; new column price2"),
        ("", {"max_rows": 1}, RefusedError, "2 rows of"),
        ("", {"table": None, "query": "SELECT o.* FROM orders o, pg_sleep(5)", "timeout_s": 1}, RetryError, "timeout"),
    ],
)
def test_bad_input_is_reported_and_lands_nothing(
    prepare: str, changes: dict[str, Any], fault: type[TidegateError], said: str, ask: Ask, land: Land, tmp_path: Path
) -> None:
    """Each says source, address where it concerns the server, what is expected and what to do; the former drop stays."""
    ask(prepare)
    with pytest.raises(fault, match=said) as told:
        land(**changes)
    assert told.value.where == "orders 2013-11-01T12:00:00"
    assert told.value.allowed
    assert told.value.todo
    assert PASSWORD not in str(told.value)
    assert not (tmp_path / "orders").exists()


def test_nothing_is_written_even_where_the_role_may(ask: Ask, land: Land) -> None:
    """A query may call a function; the session is read-only whoever signs in."""
    ask(
        "CREATE OR REPLACE FUNCTION spoil() RETURNS SETOF orders LANGUAGE sql AS 'DELETE FROM orders RETURNING *';"
        "GRANT DELETE ON orders TO reader"
    )
    with pytest.raises(UsageError, match="read-only transaction"):
        land(table=None, query="SELECT * FROM spoil()")
    assert land()[0] == 3


def test_a_rejected_login_is_reported_without_the_password(
    ask: Ask, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "canary-4711")
    with pytest.raises(UsageError, match="password authentication failed") as told:
        land()
    assert "canary" not in str(told.value)
    monkeypatch.delenv("SHOP_PASSWORD")
    with pytest.raises(UsageError, match="SHOP_PASSWORD is not set"):
        land()


def test_a_host_that_is_not_named_is_not_contacted_without_tls(
    ask: Ask, land: Land, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This server has no TLS: under another name than the loopback's the connection ends before the login."""
    host, _, port = server.address.partition(":")
    other = socket.gethostname() if host == "127.0.0.1" else host
    monkeypatch.setenv("SHOP_URL", f"postgresql://{other}:{port}/postgres")
    monkeypatch.setenv("PGHOSTADDR", host)
    with pytest.raises(UsageError, match="SSL"):
        land(plain_hosts=[])
    assert land(plain_hosts=[other])[0] == 3


def test_a_server_that_does_not_answer_is_tried_again_later(
    ask: Ask, land: Land, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused connections and connections that end; what landed before stays."""
    assert land()[0] == 3
    with socket.create_server(("127.0.0.1", 0)) as hangs_up:
        port = hangs_up.getsockname()[1]

        def hang_up() -> None:
            connection, _ = hangs_up.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        monkeypatch.setenv("SHOP_URL", f"postgresql://127.0.0.1:{port}/postgres")
        with pytest.raises(RetryError, match="cannot be queried"):
            land()
        thread.join(30)
    with pytest.raises(RetryError, match="cannot be queried") as told:
        land()
    assert f"postgresql://127.0.0.1:{port}/postgres" in told.value.found
