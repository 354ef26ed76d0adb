"""Parts of the running platform are killed; hours still arrive, once and whole. Each test has an hour of its own."""

from __future__ import annotations

from typing import Any

from tests.platform.stack import PIPELINE, Stack, wait_for

WORKER_HOUR, SCHEDULER_HOUR, MAIL_HOUR = "2013-03-25T14:00:00", "2013-03-25T15:00:00", "2013-03-25T16:00:00"


def _is_whole(stack: Stack, hour: str, run: dict[str, Any]) -> None:
    """Green, readable, and each row that the drop brought is there once or held back."""
    assert (run["state"], set(run["tasks"].values())) == ("success", {"success"}), run
    [account] = [
        one for one in stack.tidegate("status", PIPELINE, "--hour", hour)["account"] if one["source"] == "departures"
    ]
    rows = stack.rows("silver/departures", f"hour = TIMESTAMP '{hour}'")
    keys = {(row["carrier"], row["flight"], row["origin"], str(row["scheduled_at"])) for row in rows}
    assert len(rows) == len(keys) > 20
    assert account["silver"] == len(rows)
    assert account["manifest"] == sum(account[name] for name in ("silver", "quarantined", "duplicates", "discarded"))


def test_a_worker_killed_in_the_middle_of_a_step_and_postgres_restarted_after_it(live: Stack) -> None:
    """C1: the other worker does its tasks; the scheduler finds its database again."""
    live.deliver(WORKER_HOUR)
    live.start_dag("hourly", WORKER_HOUR)
    name = f"{PIPELINE}.ingest {WORKER_HOUR}"
    wait_for(lambda: True if live.applications(name) else None, 300, lambda: "no task of ingest has run")
    live.docker("kill", "spark-worker-2")
    live.reached("hourly", WORKER_HOUR, "build_features", "running")
    live.docker("restart", "postgres")
    run = live.end_of_dag("hourly", WORKER_HOUR)
    live.docker("start", "spark-worker-2")
    live.healthy("spark-worker-2", "postgres", "airflow-scheduler")
    assert live.tries("hourly", WORKER_HOUR)["ingest"] == 1
    _is_whole(live, WORKER_HOUR, run)


def test_the_scheduler_killed_in_the_middle_of_a_step(live: Stack) -> None:
    """Its tasks die with it; the next try of the step converges."""
    live.deliver(SCHEDULER_HOUR)
    live.start_dag("hourly", SCHEDULER_HOUR)
    live.reached("hourly", SCHEDULER_HOUR, "ingest", "running")
    name = f"{PIPELINE}.ingest {SCHEDULER_HOUR}"
    wait_for(lambda: True if live.applications(name) else None, 300, lambda: "no task of ingest has run")
    live.docker("kill", "airflow-scheduler")
    live.docker("start", "airflow-scheduler")
    live.healthy("airflow-scheduler")
    run = live.end_of_dag("hourly", SCHEDULER_HOUR)
    assert live.tries("hourly", SCHEDULER_HOUR)["ingest"] == 2
    _is_whole(live, SCHEDULER_HOUR, run)


def test_a_dead_mail_server_changes_nothing_and_is_reported(live: Stack) -> None:
    """The other channel is told, the verdict is the same, and status names the channel that failed."""
    live.docker("stop", "mail-sink", "--time", "2")
    try:
        live.deliver(MAIL_HOUR, "--scale", "departures.dep_delay=60")
        run = live.run_dag("hourly", MAIL_HOUR)
        assert (run["state"], run["tasks"]["gate_silver"]) == ("failed", "failed"), run
        assert len([post for post in live.get("WEBHOOK_PORT", "/") if MAIL_HOUR in str(post)]) == 1
        failed = live.tidegate("status", PIPELINE)["failed_channels"]
        assert [one["channel"] for one in failed] == ["data_team"], failed
    finally:
        live.docker("start", "mail-sink")
        live.healthy("mail-sink")
