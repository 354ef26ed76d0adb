"""More parts of the running platform are killed (test_story.py kills a worker). Each test has an hour of its own."""

from __future__ import annotations

from tests.platform.stack import PIPELINE, Stack

SCHEDULER_HOUR, MAIL_HOUR = "2013-07-01T14:00:00", "2013-07-01T15:00:00"


def test_the_scheduler_killed_in_the_middle_of_a_step(live: Stack) -> None:
    """Its tasks die with it; the next try of the step converges."""
    live.deliver(SCHEDULER_HOUR)
    live.start_dag("hourly", SCHEDULER_HOUR)
    live.at_work("ingest", SCHEDULER_HOUR)
    live.docker("kill", "airflow-scheduler")
    live.docker("start", "airflow-scheduler")
    live.healthy("airflow-scheduler")
    run = live.end_of_dag("hourly", SCHEDULER_HOUR)
    assert live.tries("hourly", SCHEDULER_HOUR)["ingest"] == 2
    live.is_whole(SCHEDULER_HOUR, run)


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
