"""A story on the platform: history, a week, an hour, a blocked hour and what people are told of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.platform.conftest import FIRST, LIVE, WEEK
from tests.platform.stack import PIPELINE, Stack

BROKEN = "2013-07-01T13:00:00"


def test_a_week_trains_on_both_workers_and_promotes_while_mlflow_was_away(history: Stack, week: dict[str, Any]) -> None:
    """One version, one run with its figures; what was tried again in vain left no second one."""
    assert (week["state"], set(week["tasks"].values())) == ("success", {"success"}), week
    assert history.tries("weekly", WEEK)["train"] == 2
    name = "late_departure"
    [version] = history.mlflow.get("model-versions/search", filter=f"name = '{name}'")["model_versions"]
    champion = history.mlflow.get("registered-models/alias", name=name, alias="champion")["model_version"]
    assert (version["version"], champion["version"]) == ("1", "1")
    figures = history.mlflow.get("runs/get", run_id=version["run_id"])["run"]["data"]["metrics"]
    assert 0.72 <= {one["key"]: one["value"] for one in figures}["auc"] < 0.78
    [hosts] = history.applications(f"{PIPELINE}.train {WEEK}").values()
    assert len(set(hosts)) == 2


def test_the_aircraft_of_postgresql_are_in_the_lake_once(history: Stack) -> None:
    """By the backfill; the hour after it brings two that were changed."""
    accounts = history.tidegate("status", PIPELINE, "--hour", FIRST)["account"]
    [account] = [one for one in accounts if one["source"] == "planes"]
    assert (account["manifest"], account["silver"]) == (3322, 3322)


def test_the_hour_is_readable_judged_and_scored_and_its_tasks_ran_on_both_workers(live: Stack) -> None:
    rows = live.rows("silver/departures", f"hour = TIMESTAMP '{LIVE}'")
    assert len(rows) > 20
    hosts = live.applications(f"{PIPELINE}.ingest {LIVE}") | live.applications(f"{PIPELINE}.build_features {LIVE}")
    assert len(hosts) == 2
    assert len({host for both in hosts.values() for host in both}) == 2
    events = live.airflow.call("GET", "/api/v2/assets/events?limit=50")["asset_events"]
    assert f"by_key__{LIVE}" in [event["extra"].get("dag_run") for event in events]
    status = live.tidegate("status", PIPELINE, "--hour", LIVE)
    judged = {verdict["table"]: verdict["outcome"] for verdict in status["verdicts"]}
    assert {"silver/departures", "features/departures"} <= judged.keys()
    assert set(judged.values()) == {"PASS"}
    assert [one["silver"] for one in status["account"] if one["source"] == "planes"] == [2]
    scores = live.rows("predictions/late_departure", f"hour = TIMESTAMP '{LIVE}'")
    assert {(str(row["model_version"]), row["role"]) for row in scores} == {("1", "champion")}
    assert all(0 < row["score"] < 1 for row in scores)


@pytest.fixture(scope="module")
def blocked(live: Stack) -> Stack:
    """The next hour with delays in seconds, refused."""
    live.deliver(BROKEN, "--scale", "departures.dep_delay=60")
    before = live.tidegate("release", "list", PIPELINE)
    run = live.run_dag("hourly", BROKEN)
    assert (run["state"], run["tasks"]["gate_silver"]) == ("failed", "failed"), run
    assert live.tidegate("release", "list", PIPELINE) == before
    return live


def test_a_blocked_hour_sends_one_mail_and_one_webhook(blocked: Stack) -> None:
    """With rule, table, owner and the commands; the second look of a gate sends nothing more."""
    mails, posts = blocked.told(BROKEN)
    assert (len(mails), len(posts)) == (1, 1)
    look = f"tidegate status {PIPELINE} --hour {BROKEN}"
    for text in (mails[0]["text"], posts[0]["text"]):
        for part in ("silver/departures", "delay_in_minutes", "data-team", look):
            assert part in text
    assert "blocked" in mails[0]["subject"]


def test_its_correction_arrives_whole_though_a_worker_is_killed_and_the_database_restarted(blocked: Stack) -> None:
    """C1: the other worker does the tasks, the scheduler finds its database again; one recovery message a channel."""
    blocked.deliver(BROKEN, "--correction")
    blocked.start_again("hourly", BROKEN)
    blocked.at_work("ingest", BROKEN)
    blocked.docker("kill", "spark-worker-2")
    blocked.reached("hourly", BROKEN, "build_features", "running")
    blocked.docker("restart", "postgres")
    run = blocked.end_of_dag("hourly", BROKEN)
    blocked.docker("start", "spark-worker-2")
    blocked.healthy("spark-worker-2", "postgres", "airflow-scheduler")
    blocked.is_whole(BROKEN, run)
    mails, posts = blocked.told(BROKEN)
    assert (len(mails), len(posts)) == (2, 2)
    assert "recovered" in mails[1]["subject"]
