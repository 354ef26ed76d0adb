"""PostgreSQL as a source: exact values, instants, what may not be written, what is waited for. A server of its own."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.drops import drops_of
from spark_jobs.sources.jdbc import Queried, land_rows
from tests.platform.stack import wait_for, why_not

IMAGE = "postgres:15-bookworm"
NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
HOURS = [NOON + at * HOUR for at in range(3)]
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
Ask = Callable[[str], None]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str, str]]:
    """Container, url and the reader's password of a server that is gone afterwards."""
    if reason := why_not():
        pytest.skip(reason)
    word = secrets.token_urlsafe(16)
    start = ["docker", "run", "--rm", "--detach", "--env", f"POSTGRES_PASSWORD={word}", IMAGE]
    container = subprocess.run(start, capture_output=True, text=True, check=True).stdout.strip()
    try:
        probe = ["docker", "exec", container, "pg_isready", "-h", "127.0.0.1", "-U", "postgres"]
        wait_for(lambda: None if subprocess.run(probe, capture_output=True, check=False).returncode else True, 60)
        _psql(container, f"CREATE ROLE reader LOGIN PASSWORD '{word}'")
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        asked = subprocess.run(["docker", "inspect", "-f", form, container], capture_output=True, text=True, check=True)
        yield container, f"jdbc:postgresql://{asked.stdout.strip()}:5432/postgres", word
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)


def _psql(container: str, text: str) -> None:
    command = ["docker", "exec", "-i", container, "psql", "-U", "postgres", "--no-psqlrc", "-qv", "ON_ERROR_STOP=1"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def ask(server: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs SQL as the owner; the table is as above."""
    _psql(server[0], TABLE)
    monkeypatch.setenv("SHOP_URL", server[1])
    monkeypatch.setenv("SHOP_USER", "reader")
    monkeypatch.setenv("SHOP_PASSWORD", server[2])
    return lambda text: _psql(server[0], text)


@pytest.fixture
def land(spark: SparkSession, tmp_path: Path, server: tuple[str, str, str]) -> Callable[..., Queried]:
    """Lands three hours; words are changes of the section jdbc."""
    host = server[1].split("/")[2].partition(":")[0]

    def run(hours: int = 3, **changes: Any) -> Queried:
        source = _source(**({"plain_hosts": [host]} | changes))
        return land_rows(spark, "orders", source, tmp_path, tmp_path, NOON, NOON + hours * HOUR, NOON + 10 * HOUR)

    return run


def _source(**changes: Any) -> SourceConf:
    jdbc = {"url": "jdbc:sqlite:{data}/none.db", "url_env": "SHOP_URL", "table": "orders", "changed_at": "at",
            "user_env": "SHOP_USER", "password_env": "SHOP_PASSWORD"}  # fmt: skip
    return SourceConf.model_validate(
        {"kind": "jdbc", "jdbc": jdbc | changes, "manifests": "orders/{day}/{hour}.manifest.json", "format": "jsonl",
         "columns": ["id", "user", "amount", "price", "open", "at"]}
    )  # fmt: skip


def _landed(folder: Path) -> list[list[dict[str, str | None]]]:
    """Lines of the newest drop of each hour."""
    found = drops_of(SourcesConf(sources={"orders": _source()}), folder, "orders", HOURS)
    return [[json.loads(line) for line in Path(found[hour][-1].path).read_text().splitlines()] for hour in HOURS]


def test_each_row_lands_once_in_the_drop_of_its_hour_with_every_digit(
    ask: Ask, land: Callable[..., Queried], tmp_path: Path
) -> None:
    """Whatever zone its instant was written in; asked again nothing is new, a changed row is the next version."""
    assert land() == Queried(3, 3, 3)
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
    assert land() == Queried(3, 3, 0)
    ask("UPDATE orders SET \"user\" = 'b' WHERE id = 1")
    assert land() == Queried(3, 3, 1)


def test_however_it_is_asked_the_drops_have_the_same_bytes(ask: Ask, land: Callable[..., Queried]) -> None:
    """By ranges, by a query, a row a round trip; and with instants that are text."""
    land()
    assert land(partition={"column": "id", "lower": 2, "upper": 4, "count": 2}).written == 0
    assert land(table=None, query='SELECT "at", price, id, "user", amount, open FROM orders WHERE id < 4').written == 0
    assert land(fetch_rows=1).written == 0
    ask('ALTER TABLE orders ALTER "at" TYPE text USING to_json("at") #>> \'{}\'')
    assert land().written == 0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("INSERT INTO orders VALUES (5, 'lost', 1, 1, true, NULL)", "such as null"),
        ("INSERT INTO orders VALUES (5, 'lost', 1, 1, true, 'infinity')", "such as infinity"),
        (
            'ALTER TABLE orders ALTER "at" TYPE text USING to_json("at") #>> \'{}\';'
            " INSERT INTO orders VALUES (5, 'lost', 1, 1, true, 'yesterday')",
            "such as yesterday",
        ),
    ],
)
def test_a_row_without_an_hour_refuses_the_drop(
    spoil: str, told: str, ask: Ask, land: Callable[..., Queried], tmp_path: Path
) -> None:
    """It would belong to no hour's drop and be lost without a word; no other column is told."""
    ask(spoil)
    with pytest.raises(RefusedError, match="1 rows without an hour") as refused:
        land()
    assert told in refused.value.found
    assert "lost" not in refused.value.found
    assert not (tmp_path / "orders").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": "nothing"}, 'relation "nothing" does not exist'),
        ({"table": None, "query": "SELECT id, FROM orders"}, "syntax error"),
        ({"table": "pg_authid"}, "permission denied"),
        ({"partition": {"column": "price", "lower": 0, "upper": 4, "count": 2}}, "no whole number"),
    ],
)
def test_a_question_that_no_retry_helps_is_a_fault_of_usage(
    changes: dict[str, Any], said: str, ask: Ask, land: Callable[..., Queried]
) -> None:
    with pytest.raises(UsageError, match=said):
        land(**changes)


def test_nothing_is_written_even_where_the_role_may(ask: Ask, land: Callable[..., Queried]) -> None:
    """A query may call a function; the session is read-only whoever signs in."""
    ask(
        "CREATE OR REPLACE FUNCTION spoil() RETURNS SETOF orders LANGUAGE sql AS 'DELETE FROM orders RETURNING *';"
        "GRANT DELETE ON orders TO reader"
    )
    with pytest.raises(UsageError, match="read-only transaction"):
        land(table=None, query="SELECT * FROM spoil()")
    assert land().rows == 3


def test_a_wrong_password_is_told_without_it_and_a_host_that_is_not_named_is_not_spoken_to_in_the_open(
    ask: Ask, land: Callable[..., Queried], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This server has no TLS: without plain_hosts it is not signed in to at all."""
    with pytest.raises((RetryError, UsageError), match="SSL"):
        land(plain_hosts=[])
    monkeypatch.setenv("SHOP_PASSWORD", "canary-4711")
    with pytest.raises(UsageError, match="password authentication failed") as told:
        land()
    assert "canary" not in str(told.value)
    monkeypatch.delenv("SHOP_PASSWORD")
    with pytest.raises(UsageError, match="SHOP_PASSWORD is not set"):
        land()


def test_a_server_that_is_not_there_or_too_slow_is_waited_for(
    ask: Ask, land: Callable[..., Queried], server: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RetryError, match="timeout"):
        land(table=None, query="SELECT o.* FROM orders o, pg_sleep(5)", timeout_s=1)
    monkeypatch.setenv("SHOP_URL", server[1].replace(":5432", ":5999"))
    with pytest.raises(RetryError, match="cannot be asked"):
        land()
