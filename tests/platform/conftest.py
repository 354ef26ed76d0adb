"""The platform from nothing: a compose project of its own on free ports, taken down with its data afterwards.

TIDEGATE_PLATFORM=keep takes the one that `make up` started, and leaves it running: for work on these tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_services import Rest, free_port

CHECKOUT = Path(__file__).resolve().parents[2]
PIPELINE = "nycflights13"
KEEP = os.environ.get("TIDEGATE_PLATFORM") == "keep"
PORTS = ("AIRFLOW_PORT", "SPARK_PORT", "MLFLOW_PORT", "MAIL_PORT", "WEBHOOK_PORT")
DEFAULTS = ("8080", "8081", "5000", "1080", "8090")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def why_not() -> str:
    """Why there can be no platform here; nothing where there can."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no docker engine answers here (docker info)"
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    return "" if plugin or shutil.which("docker-compose") else "docker has no compose here"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is the platform's; the test that loses it comes last."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("platform")
    items.sort(key=lambda item: item.path == Path(__file__).with_name("test_backup.py"))


@dataclass
class Stack:
    """The running platform and how it is spoken to."""

    environment: dict[str, str] = field(repr=False)
    secrets: dict[str, str] = field(repr=False)  # never in the report of a failed test

    def make(self, *words: str) -> None:
        """A target of the Makefile, its output shown."""
        done = subprocess.run(["make", *words], cwd=CHECKOUT, env=self.environment, check=False)
        assert done.returncode == 0, f"make {' '.join(words)} ended with {done.returncode}"

    def compose(self, *words: str, check: bool = True) -> str:
        """What a compose command prints."""
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        command = [*(["docker", "compose"] if plugin else ["docker-compose"]), *words]
        done = subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def run_in(self, service: str, *words: str, check: bool = True, **variables: str) -> tuple[int, str]:
        """Exit code and output of a command in a running container of `service`."""
        options = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
        command = ["docker", "exec", *options, self.container(service), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.returncode, done.stdout + done.stderr

    def tidegate(self, *words: str) -> Any:
        """The JSON that a command of ours prints, run where the tasks run."""
        return json.loads(self.run_in("airflow-scheduler", "tidegate", *words, "--json")[1].strip().splitlines()[-1])

    def container(self, service: str) -> str:
        """Id of the service's container."""
        return self.compose("ps", "-q", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What docker knows of the service's container."""
        told = subprocess.run(["docker", "inspect", self.container(service)], capture_output=True, check=True).stdout
        return dict(json.loads(told)[0])

    def url(self, port: str) -> str:
        """Address of one of the PORTS."""
        return f"http://127.0.0.1:{self.environment[port]}"

    def get(self, port: str, path: str) -> Any:
        """JSON of a page without accounts."""
        with _DIRECT.open(self.url(port) + path, timeout=20) as answer:
            return json.loads(answer.read())

    @cached_property
    def airflow(self) -> Rest:
        """Airflow's REST API, signed in."""
        return Rest(self.url("AIRFLOW_PORT"), self.secrets["AIRFLOW_ADMIN_PASSWORD"])

    def run_dag(self, cadence: str, key: str, again: bool = False, limit: float = 900) -> dict[str, Any]:
        """The run of that key after it ended, with the states of its tasks; `again` clears what is there."""
        dag, run_id = f"{PIPELINE}_{cadence}", f"by_key__{key}"
        base = f"/api/v2/dags/{dag}/dagRuns"
        if again:
            body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
            self.airflow.call("POST", f"/api/v2/dags/{dag}/clearTaskInstances", body)
        else:
            self.airflow.call("POST", base, {"logical_date": None, "partition_key": key, "dag_run_id": run_id})
        found = wait_for(lambda: self._ended(base, run_id), limit, lambda: str(self._tasks(base, run_id)))
        return found | {"tasks": self._tasks(base, run_id)}

    def _ended(self, base: str, run_id: str) -> dict[str, Any] | None:
        run = self.airflow.call("GET", f"{base}/{run_id}")
        return run if run["state"] in ("success", "failed") else None

    def _tasks(self, base: str, run_id: str) -> dict[str, str]:
        told = self.airflow.call("GET", f"{base}/{run_id}/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task["state"] for task in told}


def wait_for(ask: Callable[[], Any], limit: float, explain: Callable[[], str] = str) -> Any:
    """The first answer that is not None.

    Raises:
        AssertionError: none within `limit` seconds.
    """
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = ask()
        if found is not None:
            return found
        time.sleep(1)
    raise AssertionError(f"not within {limit:.0f} s: {explain()}")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Built and started from nothing by `make up`; gone afterwards."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    if KEEP:
        yield Stack({**os.environ, **dict(zip(PORTS, DEFAULTS, strict=True))}, _secrets())
        return
    ports = {port: os.environ.get(port) or str(free_port(0)) for port in PORTS}
    found = Stack({**os.environ, **ports, "COMPOSE_PROJECT_NAME": "tidegatetest"}, {})
    found.make("down", "VOLUMES=1")
    try:
        found.make("up")
        found.secrets = _secrets()
        yield found
    finally:
        logs = CHECKOUT / "var" / "platform.log"
        logs.parent.mkdir(exist_ok=True)
        logs.write_text(found.compose("logs", "--no-color", check=False))
        found.make("down", "VOLUMES=1")


def _secrets() -> dict[str, str]:
    lines = (CHECKOUT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


if __name__ == "__main__":
    sys.exit(why_not())
