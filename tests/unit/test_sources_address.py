"""A source's url in conf/, and the one that a variable of the environment says instead, under the same rules."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spark_jobs.cli.app import app
from spark_jobs.config import load_pipeline
from spark_jobs.config.database_source import DatabaseConf
from spark_jobs.config.http_source import HttpConf
from spark_jobs.errors import UsageError
from spark_jobs.sources.http import fetch_drop
from spark_jobs.sources.serve import HistoryServer

PIPELINE = load_pipeline("nycflights13")
HTTP = {"url": "https://api.example.com/{from}", "url_env": "ORDERS_URL", "plain_hosts": ["upstream"]}
DATABASE = {"url": "sqlite:///{data}/orders.db", "url_env": "ORDERS_URL", "plain_hosts": ["db"], "table": "orders"}
TAKEN = [
    (HttpConf, HTTP, "http://upstream:8092/{day}/{hour}"),
    (DatabaseConf, DATABASE, "postgresql://db:5432/orders"),
]
WINDOW = ["--from", "2013-01-01T00", "--to", "2013-01-01T02"]


@pytest.mark.parametrize(("model", "section", "other"), TAKEN)
def test_a_variable_says_another_url_and_says_nothing_when_it_is_not_set_or_empty(
    model: Any, section: dict[str, Any], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = model.model_validate(section)
    assert conf.address() == section["url"]
    monkeypatch.setenv("ORDERS_URL", "")
    assert conf.address() == section["url"]
    monkeypatch.setenv("ORDERS_URL", other)
    assert conf.address() == other


@pytest.mark.parametrize(
    ("model", "section", "given"),
    [
        (HttpConf, HTTP, "http://elsewhere-canary/{from}"),
        (HttpConf, HTTP, "https://upstream/canary"),
        (HttpConf, HTTP, "https://me:canary@upstream/{from}"),
        (DatabaseConf, DATABASE, "postgresql://me:canary@db/orders"),
        (DatabaseConf, DATABASE, "postgresql://db/orders?password=canary"),
        (DatabaseConf, DATABASE, "jdbc:postgresql://me:canary@db/orders"),
        (DatabaseConf, DATABASE, "mysql+pymysql://elsewhere/canary"),
    ],
)
def test_what_conf_may_not_say_a_variable_may_not_say_either(
    model: Any, section: dict[str, Any], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is shown: it may hold a password."""
    monkeypatch.setenv("ORDERS_URL", given)
    with pytest.raises(UsageError) as told:
        model.model_validate(section).address()
    assert "variable ORDERS_URL" in str(told.value)
    assert "canary" not in str(told.value)


def test_only_the_hosts_that_are_named_are_spoken_to_without_tls() -> None:
    conf = DatabaseConf.model_validate(DATABASE)
    plain = ["postgresql://db/orders", "postgresql://127.0.0.1:5432/orders"]
    assert [conf.is_plain(url) for url in plain] == [True, True]
    assert not conf.is_plain("postgresql://db.example.com/orders")


def test_rows_are_fetched_from_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that listens on all addresses, as on the platform."""
    assert PIPELINE.replay
    with HistoryServer(PIPELINE.replay, ["weather"], 0, "0.0.0.0") as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        monkeypatch.setenv("WEATHER_URL", f"http://localhost:{served.server_port}/weather?from={{from}}&to={{to}}")
        hour = datetime(2013, 11, 1, 12, tzinfo=UTC)
        assert fetch_drop("weather", PIPELINE.sources.sources["weather"], tmp_path, hour).rows == 3
        served.shutdown()


def test_a_replay_leaves_a_server_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are no drops; asked for by name it is refused, since nothing would be delivered."""
    monkeypatch.setenv("PLANES_URL", "postgresql://postgres:5432/upstream")
    done = CliRunner().invoke(app, ["replay", "nycflights13", *WINDOW])
    assert done.exit_code == 0, done.output
    landed = {path.name for path in (project / "var/landing/nycflights13").iterdir()}
    assert landed == {"departures", "schedules", "weather"}
    assert not (project / "var/upstream").exists()
    asked = CliRunner().invoke(app, ["replay", "nycflights13", *WINDOW, "--source", "planes"])
    assert isinstance(asked.exception, UsageError)
    assert "planes: a table of a server" in str(asked.exception)
