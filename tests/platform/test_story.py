"""The story of the demo on the platform: history, an hour, a blocked hour and its mails, a week, a champion that scores."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

import pytest

from tests.platform.conftest import _DIRECT, PIPELINE, Stack, wait_for

FIRST, LIVE = "2012-12-31T00:00:00", "2013-11-01T12:00:00"
BROKEN, LAST = "2013-11-01T13:00:00", "2013-11-01T14:00:00"
WEEK = "2013-10-25T00:00:00"
GREEN = {"success"}


def _next(hour: str) -> str:
    return f"{hour[:11]}{int(hour[11:13]) + 1:02}:00:00"


def _deliver(stack: Stack, hour: str, *options: str) -> None:
    stack.tidegate("replay", PIPELINE, "--from", hour, "--to", _next(hour), *options)


def _hosts(stack: Stack, step: str) -> set[str]:
    """Hosts on which tasks of the newest application of that step ran, from Spark's event logs."""
    find = (
        "import json, pathlib, sys\n"
        "found = {}\n"
        "for path in sorted(pathlib.Path('/data/spark-events').rglob('events_*')):\n"
        "    name, hosts = '', set()\n"
        "    for line in path.open():\n"
        "        event = json.loads(line)\n"
        "        name = event.get('App Name', name)\n"
        "        if event['Event'] == 'SparkListenerTaskEnd':\n"
        "            hosts.add(event['Task Info']['Host'])\n"
        "    found[name] = sorted(hosts)\n"
        "print(json.dumps(found))\n"
    )
    told = json.loads(stack.run_in("airflow-scheduler", "python", "-c", find)[1])
    return {host for name, hosts in told.items() if step in name for host in hosts}


@pytest.fixture(scope="module")
def past(stack: Stack) -> Stack:
    """Ten months as one publication, made by the command line on the cluster; DAGs on."""
    stack.tidegate("replay", PIPELINE, "--from", FIRST, "--to", LIVE)
    stack.run_in(
        "airflow-scheduler", "tidegate", "fetch", PIPELINE, "--from", FIRST, "--to", LIVE, "--source", "planes"
    )
    stack.run_in("airflow-scheduler", "tidegate", "backfill", PIPELINE, "--from", FIRST, "--to", LIVE)
    for cadence in ("hourly", "weekly"):
        wait_for(lambda cadence=cadence: _unpaused(stack, f"{PIPELINE}_{cadence}"), 120)
    return stack


def _unpaused(stack: Stack, dag: str) -> Any:
    try:
        return stack.airflow.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
    except OSError:
        return None


@pytest.fixture(scope="module")
def live(past: Stack) -> Stack:
    """One good hour, by Airflow."""
    _deliver(past, LIVE, "--source", "schedules", "--source", "departures")
    run = past.run_dag("hourly", LIVE)
    assert (run["state"], set(run["tasks"].values())) == ("success", GREEN), run
    return past


@pytest.fixture(scope="module")
def blocked(live: Stack) -> Stack:
    """The next hour with delays in seconds, refused; then corrected, and the same run again."""
    _deliver(live, BROKEN, "--source", "schedules")
    _deliver(live, BROKEN, "--source", "departures", "--scale", "departures.dep_delay=60")
    before = live.tidegate("release", "list", PIPELINE)
    run = live.run_dag("hourly", BROKEN)
    assert (run["state"], run["tasks"]["gate_silver"]) == ("failed", "failed"), run
    assert live.tidegate("release", "list", PIPELINE) == before
    return live


def test_the_hour_is_readable_and_its_tasks_ran_on_both_workers(live: Stack) -> None:
    rows = live.tidegate(
        "read", PIPELINE, "silver/departures", "--where", f"hour = TIMESTAMP '{LIVE}'", "--limit", "500"
    )
    assert len(rows["rows"]) > 20
    assert _hosts(live, f"{PIPELINE}.prepare") == {"spark-worker-1", "spark-worker-2"}
    events = live.airflow.call("GET", "/api/v2/assets/events?limit=10")["asset_events"]
    assert [event["extra"]["dag_run"] for event in events] == [f"by_key__{LIVE}"]


def test_a_week_trains_on_two_executors_and_its_champion_scores(live: Stack) -> None:
    run = live.run_dag("weekly", WEEK, limit=1200)
    assert (run["state"], set(run["tasks"].values())) == ("success", GREEN), run
    assert _hosts(live, f"{PIPELINE}.train") == {"spark-worker-1", "spark-worker-2"}
    known = base64.b64encode(f"admin:{live.secrets['MLFLOW_ADMIN_PASSWORD']}".encode()).decode()
    path = "/api/2.0/mlflow/registered-models/alias?name=late_departure&alias=champion"
    request = urllib.request.Request(live.url("MLFLOW_PORT") + path, headers={"Authorization": f"Basic {known}"})
    with _DIRECT.open(request, timeout=20) as answer:
        assert json.loads(answer.read())["model_version"]["version"] == "1"
