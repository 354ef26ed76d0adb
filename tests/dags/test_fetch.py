"""The task that fetches a source: over HTTP, against the served history; from a database; from another file system."""

from __future__ import annotations

import sqlite3
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler
from socketserver import TCPServer

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from dag_builder.fetch import FetchDrop

from spark_jobs.config.load import load_pipeline
from spark_jobs.sources.serve import HistoryServer

KEY = "2013-11-01T12:00:00"


@pytest.fixture
def upstream(project):
    """The shipped project, its weather served at another port."""
    conf = load_pipeline("nycflights13").replay
    with HistoryServer(conf, ["weather"], 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = project / "conf/pipelines/nycflights13/sources.yaml"
        path.write_text(path.read_text().replace("127.0.0.1:8092", f"127.0.0.1:{server.server_port}"))
        yield path
        server.shutdown()


def fetch() -> FetchDrop:
    return FetchDrop(task_id="fetch_weather", pipeline="nycflights13", source="weather")


def test_it_lands_the_drop_of_its_hour_and_a_second_time_nothing(upstream, project, run_of):
    fetch().execute(run_of(KEY))
    landed = project / "var/landing/nycflights13/weather/2013-11-01"
    files = {path.name: path.read_bytes() for path in landed.iterdir()}
    assert set(files) == {"12.jsonl", "12.manifest.json"}
    fetch().execute(run_of(KEY))
    assert {path.name: path.read_bytes() for path in landed.iterdir()} == files


def test_a_wrong_url_fails_at_once_and_an_early_hour_is_tried_again(upstream, run_of):
    """Airflow retries what may pass, and only that."""
    pipeline = upstream.with_name("pipeline.yaml")
    pipeline.write_text("".join(line for line in pipeline.read_text().splitlines(True) if not line.startswith("end:")))
    with pytest.raises(AirflowException, match="the hour is not over") as early:
        fetch().execute(run_of("2199-01-01T00:00:00"))
    assert not isinstance(early.value, AirflowFailException)
    upstream.write_text(upstream.read_text().replace("/weather?from", "/wether?from"))
    with pytest.raises(AirflowFailException, match="status 404"):
        fetch().execute(run_of(KEY))


def fetch_planes() -> FetchDrop:
    return FetchDrop(task_id="fetch_planes", pipeline="nycflights13", source="planes")


def test_a_database_is_read_once_per_hour(project, run_of):
    """A cleared run finds the drop and does not read what the table holds by now; an absent database is tried again."""
    with pytest.raises(AirflowException, match="cannot be queried") as absent:
        fetch_planes().execute(run_of(KEY))
    assert not isinstance(absent.value, AirflowFailException)
    database = project / "var/upstream/planes.db"
    database.parent.mkdir(parents=True)
    columns = list(load_pipeline("nycflights13").sources.sources["planes"].columns)
    connection = sqlite3.connect(database)
    connection.execute(f"CREATE TABLE planes ({', '.join(columns)})")
    values = [None] * (len(columns) - 1)
    connection.execute(
        f"INSERT INTO planes VALUES ({', '.join('?' * len(columns))})", [*values, "2013-11-01T12:30:00Z"]
    )
    connection.commit()
    fetch_planes().execute(run_of(KEY))
    landed = project / "var/landing/nycflights13/planes/2013-11-01"
    assert {path.name for path in landed.iterdir()} == {"12.jsonl", "12.manifest.json"}
    connection.execute("DROP TABLE planes")
    connection.commit()
    fetch_planes().execute(run_of(KEY))
    with pytest.raises(AirflowFailException, match="no such table: planes"):
        fetch_planes().execute(run_of("2013-11-01T13:00:00"))


@pytest.mark.parametrize("grace", ["15m", "36500d"])
def test_files_of_another_file_system_are_waited_for_until_their_grace_is_over(grace, project, run_of):
    """Then the task ends well and `drops_ready` reports the hour as late."""
    (project / "deliveries").mkdir()
    with TCPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(project / "deliveries"))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = project / "conf/pipelines/nycflights13/sources.yaml"
        sources = yaml.safe_load(path.read_text())["sources"]
        sources["departures"] |= {
            "remote": {"root": f"http://127.0.0.1:{server.server_address[1]}/"},
            "grace": grace,
        }
        path.write_text(yaml.safe_dump({"sources": sources}))
        task = FetchDrop(task_id="fetch_departures", pipeline="nycflights13", source="departures")
        if grace == "15m":
            task.execute(run_of(KEY))
        else:
            with pytest.raises(
                AirflowException, match=r"waiting: no manifest http://.*/departures/2013-11-01/12\.manif"
            ):
                task.execute(run_of(KEY))
        server.shutdown()
    assert not list((project / "var/landing").rglob("*.csv*"))
