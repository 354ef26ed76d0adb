"""A story on the platform: history by the command line, an hour by Airflow, a blocked hour and its alerts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.platform.conftest import PIPELINE, Stack, wait_for

FIRST, LIVE, BROKEN = "2013-06-01T00:00:00", "2013-06-15T00:00:00", "2013-06-15T01:00:00"
GREEN = {"success"}


def _next(hour: str) -> str:
    return f"{hour[:11]}{int(hour[11:13]) + 1:02}:00:00"


def _deliver(stack: Stack, hour: str, *options: str) -> None:
    stack.tidegate("replay", PIPELINE, "--from", hour, "--to", _next(hour), *options)


def _hosts(stack: Stack, step: str) -> set[str]:
    """Addresses at which tasks of the newest application of that step ran, from Spark's event logs."""
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
    """Two weeks as one publication, made by the command line on the cluster; DAGs on."""
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
    assert len(_hosts(live, f"{PIPELINE}.prepare")) == 2
    events = live.airflow.call("GET", "/api/v2/assets/events?limit=10")["asset_events"]
    assert [event["extra"]["dag_run"] for event in events] == [f"by_key__{LIVE}"]


def test_a_blocked_hour_sends_one_mail_and_one_webhook_and_its_correction_one_of_each(blocked: Stack) -> None:
    """With rule, table, owner and the commands; the second look of a gate sends nothing more."""
    mails, posts = blocked.get("MAIL_PORT", "/email"), blocked.get("WEBHOOK_PORT", "/")
    assert (len(mails), len(posts)) == (1, 1)
    for text in (mails[0]["text"], posts[0]["text"]):
        for part in (
            "silver/departures",
            "delay_in_minutes",
            "data-team",
            f"tidegate status {PIPELINE} --hour {BROKEN}",
        ):
            assert part in text
    assert "blocked" in mails[0]["subject"]
    _deliver(blocked, BROKEN, "--source", "departures", "--correction")
    run = blocked.run_dag("hourly", BROKEN, again=True)
    assert (run["state"], set(run["tasks"].values())) == ("success", GREEN), run
    mails, posts = blocked.get("MAIL_PORT", "/email"), blocked.get("WEBHOOK_PORT", "/")
    assert (len(mails), len(posts)) == (2, 2)
    assert "recovered" in mails[1]["subject"]
