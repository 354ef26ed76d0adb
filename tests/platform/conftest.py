"""The platform from nothing: a compose project of its own on free ports, taken down with its data afterwards.

TIDEGATE_PLATFORM=keep takes the one that `make up` started, and leaves it running: for work on these tests.
The fixtures tell one story: history, a champion, an hour; what tests break afterwards has hours of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_services import free_port
from tests.platform.stack import CHECKOUT, DEFAULTS, KEEP, PIPELINE, PORTS, Stack, secrets_of_env, wait_for, why_not

FIRST, WEEK, LIVE = "2013-05-13T00:00:00", "2013-06-24T00:00:00", "2013-07-01T12:00:00"

# The mail server forgets its mails in test_faults; test_backup loses the whole platform.
ORDER = {"test_story": 0, "test_traces": 2, "test_full_disk": 3, "test_faults": 4, "test_backup": 5}
# Twelve minutes; none of them begins after TIDEGATE_UNTIL (unix seconds).
LAST = ("test_full_disk", "test_faults", "test_backup")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is the platform's, in an order: what a test takes away, others have looked at before."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("platform")
    items.sort(key=lambda item: ORDER.get(item.path.stem, 1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI has 90 minutes in all: on a slow machine its last tests are skipped, with the reason, before it is cut off."""
    until = float(os.environ.get("TIDEGATE_UNTIL") or "inf")
    if item.path.stem in LAST and time.time() > until:
        pytest.skip("CI's time is nearly over; do: make test-platform")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Built and started from nothing by `make up`; gone afterwards."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    if KEEP:
        yield Stack({**os.environ, **dict(zip(PORTS, DEFAULTS, strict=True))}, secrets_of_env())
        return
    ports = {port: os.environ.get(port) or str(free_port(0)) for port in PORTS}
    found = Stack({**os.environ, **ports, "COMPOSE_PROJECT_NAME": "tidegatetest"}, {})
    found.make("init")
    found.make("down", "VOLUMES=1")  # of tests that were killed
    try:
        found.make("up")
        found.secrets = secrets_of_env()
        yield found
    finally:
        logs = CHECKOUT / "var" / "platform.log"
        logs.parent.mkdir(exist_ok=True)
        logs.write_text(found.compose("logs", "--no-color", check=False))
        found.make("down", "VOLUMES=1")


@pytest.fixture(scope="session")
def history(stack: Stack) -> Stack:
    """Seven weeks as one publication, made by the command line on the cluster; DAGs on."""
    if not [one for one in stack.tidegate("release", "list", PIPELINE) if one["kind"] == "backfill"]:
        words = (PIPELINE, "--from", FIRST, "--to", LIVE)
        stack.tidegate("replay", *words)
        stack.upstream(f"UPDATE planes SET changed_at = '{FIRST}Z'")  # else they are older than these weeks
        stack.run_in("airflow-scheduler", "tidegate", "fetch", *words, "--source", "planes")
        stack.run_in("airflow-scheduler", "tidegate", "backfill", *words)
    for cadence in ("hourly", "weekly"):
        wait_for(lambda cadence=cadence: _unpaused(stack, f"{PIPELINE}_{cadence}"), 120)
    return stack


def _unpaused(stack: Stack, dag: str) -> Any:
    try:
        return stack.airflow.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
    except OSError:
        return None


@pytest.fixture(scope="session")
def week(history: Stack) -> dict[str, Any]:
    """The weekly run; MLflow goes away while it trains, and comes back when the first try has failed for it."""
    history.start_dag("weekly", WEEK)
    history.reached("weekly", WEEK, "train", "running")
    history.docker("stop", "mlflow", "--time", "2")
    history.reached("weekly", WEEK, "train", "up_for_retry")
    history.docker("start", "mlflow")
    return history.end_of_dag("weekly", WEEK)


@pytest.fixture(scope="session")
def live(history: Stack, week: dict[str, Any]) -> Stack:
    """One good hour, by Airflow, scored with the champion of the week."""
    assert week["state"] == "success", week
    history.deliver(LIVE)
    history.upstream(
        f"INSERT INTO planes SELECT tailnum, year, type, manufacturer, model, engines, seats + 1, speed, engine, '{LIVE}Z'"
        " FROM planes ORDER BY tailnum LIMIT 2"
    )
    run = history.run_dag("hourly", LIVE)
    assert (run["state"], set(run["tasks"].values())) == ("success", {"success"}), run
    return history
