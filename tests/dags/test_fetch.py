"""The task that asks an upstream over HTTP, against the served history."""

from __future__ import annotations

import threading

import pytest
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
    with pytest.raises(AirflowException, match="the hour is not over") as early:
        fetch().execute(run_of("2999-01-01T00:00:00"))
    assert not isinstance(early.value, AirflowFailException)
    upstream.write_text(upstream.read_text().replace("/weather?from", "/wether?from"))
    with pytest.raises(AirflowFailException, match="status 404"):
        fetch().execute(run_of(KEY))
