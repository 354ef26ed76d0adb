"""The history served over HTTP: what is fetched from it is what a replay delivers, hour by hour."""

import gzip
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spark_jobs.config import load_pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.drops import find_drops
from spark_jobs.sources.http import fetch_drop
from spark_jobs.sources.replay import replay
from spark_jobs.sources.serve import HistoryServer, local_port

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline("nycflights13")


@pytest.fixture(scope="module")
def server(pipeline):
    """Weather by pages of JSON, departures as CSV."""
    with HistoryServer(pipeline.replay, ["weather", "departures"], 0) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


def _source(pipeline, server, name: str, **http: object):
    """The shipped source, of kind http at the test's port."""
    url = f"http://127.0.0.1:{server.server_port}/{name}?from={{from}}&to={{to}}"
    declared = pipeline.sources.sources[name].model_dump(exclude={"kind", "http"}, by_alias=True)
    return type(pipeline.sources.sources[name])(**declared, kind="http", http={"url": url, **http})


PAGED = {"pages": "cursor", "cursor": {"field": "/next", "parameter": "cursor"}, "rows": "/data"}


@pytest.mark.parametrize(("name", "http"), [("weather", PAGED), ("departures", {})])
def test_a_fetched_hour_holds_the_rows_of_a_replayed_one(pipeline, server, name, http, tmp_path: Path) -> None:
    """An hour with rows and the whole account of the drop: rows, arrival by the upstream's word."""
    source = _source(pipeline, server, name, **http, arrived="last_modified")
    done = fetch_drop(name, source, tmp_path / "fetched", NOON)
    replay(pipeline.replay, tmp_path / "replayed", NOON, NOON + HOUR, only=[name])
    [fetched] = find_drops(pipeline.sources, tmp_path / "fetched", name, [NOON]).values()
    [replayed] = find_drops(pipeline.sources, tmp_path / "replayed", name, [NOON]).values()
    assert Path(fetched.path).read_bytes() == gzip.decompress(Path(replayed.path).read_bytes())
    assert (fetched.rows, fetched.arrived_at) == (replayed.rows, replayed.arrived_at)
    assert fetched.rows == done.rows > 0


def test_long_intervals_come_in_pages(pipeline, server, tmp_path: Path) -> None:
    """A day of weather is more than a page; no row is lost or doubled between them."""
    url = f"http://127.0.0.1:{server.server_port}/weather?from=2013-11-01T00:00:00Z&to=2013-11-02T00:00:00Z"
    rows, cursor, pages = [], "0", 0
    while cursor:
        with urllib.request.urlopen(f"{url}&cursor={cursor}") as answer:
            page = json.load(answer)
        rows, cursor, pages = rows + page["data"], page["next"], pages + 1
    assert pages > 3
    delivered = replay(pipeline.replay, tmp_path, NOON.replace(hour=0), NOON.replace(day=2, hour=0), only=["weather"])
    assert len({(row["origin"], row["time_hour"]) for row in rows}) == len(rows) == delivered.rows > 60


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/planes?from=2013-11-01&to=2013-11-02", 404),
        ("/weather", 400),
        ("/weather?from=soon&to=2013-11-01", 400),
        ("/weather?from=2013-11-01&to=2013-11-02&cursor=x", 400),
    ],
)
def test_a_wrong_question_gets_a_status_and_the_server_goes_on(server, path: str, status: int) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url + path)
    assert refused.value.code == status
    refused.value.close()
    assert urllib.request.urlopen(f"{url}/weather?from=2013-11-01T12&to=2013-11-01T13").status == 200


def test_a_taken_port_is_told(pipeline, server) -> None:
    with pytest.raises(UsageError, match=f"port {server.server_port}"):
        HistoryServer(pipeline.replay, ["weather"], server.server_port)


def test_the_port_is_that_of_the_sources(pipeline, server) -> None:
    """One port of this machine for all of them."""
    weather, departures = (_source(pipeline, server, name) for name in ("weather", "departures"))
    assert local_port({"weather": weather, "departures": departures}) == server.server_port
    other = weather.model_copy(
        update={"http": weather.http.model_copy(update={"url": "https://example.org/w?from={from}"})}
    )
    assert local_port({"weather": weather, "other": other}) == server.server_port
    with pytest.raises(UsageError, match="0 ports"):
        local_port({"other": other})


def test_arrival_is_half_a_minute_after_the_hour(server) -> None:
    url = f"http://127.0.0.1:{server.server_port}/weather?from=2013-11-01T12:00:00Z&to=2013-11-01T13:00:00Z"
    with urllib.request.urlopen(url) as answer:
        told = datetime.strptime(answer.headers["Last-Modified"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert told == NOON + HOUR + timedelta(seconds=30)


def test_the_command_says_where_it_serves_and_ends_by_a_signal(project: Path) -> None:
    """At a free port; the shipped one may be in use."""
    command = [sys.executable, "-m", "spark_jobs.cli", "serve", "nycflights13", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        said = served.stderr.readline()
        url = said.removeprefix("serving ").split()[0]
        with urllib.request.urlopen(f"{url}?from=2013-11-01T12&to=2013-11-01T13") as answer:
            assert len(json.load(answer)["data"]) == 3
        served.send_signal(signal.SIGINT)
        assert (served.wait(), served.stderr.read()) == (0, "")
