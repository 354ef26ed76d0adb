"""The running platform and how tests speak to it: compose, docker, our command line, REST."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from demo.airflow_services import Rest

CHECKOUT = Path(__file__).resolve().parents[2]
PIPELINE = "nycflights13"
KEEP = os.environ.get("TIDEGATE_PLATFORM") == "keep"
PORTS = ("AIRFLOW_PORT", "SPARK_PORT", "MLFLOW_PORT", "MAIL_PORT", "WEBHOOK_PORT")
DEFAULTS = ("8080", "8081", "5000", "1080", "8090")
# What ran where, from Spark's own account of it.
_EVENTS = """
import json, pathlib
found = {}
for path in sorted(pathlib.Path('/data/spark-events').rglob('events_*')):
    name, hosts = '', []
    for line in path.open():
        if not line.endswith('}\\n'):
            break  # being written
        event = json.loads(line)
        name = event.get('App Name', name)
        if event['Event'] == 'SparkListenerTaskEnd':
            hosts.append(event['Task Info']['Host'])
    found[name] = [*found.get(name, []), *hosts]
print(json.dumps(found))
"""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def why_not() -> str:
    """Why there can be no platform here; nothing where there can."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "no docker engine answers here (docker info)"
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    return "" if plugin or shutil.which("docker-compose") else "docker has no compose here"


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

    def upstream(self, statement: str) -> None:
        """What the owner of the upstream's table does to it."""
        psql = ("psql", "-U", "postgres", "-d", "upstream", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qc")
        self.run_in("postgres", *psql, statement)

    def tidegate(self, *words: str) -> Any:
        """The JSON that a command of ours prints, run where the tasks run."""
        return json.loads(self.run_in("airflow-scheduler", "tidegate", *words, "--json")[1].strip().splitlines()[-1])

    def deliver(self, hour: str, *options: str) -> None:
        """Drops of departures and of schedules of that hour; `options` for the former."""
        for source, more in (("schedules", ()), ("departures", options)):
            if source == "departures" or "--correction" not in options:
                self.tidegate("replay", PIPELINE, "--from", hour, "--to", next_hour(hour), "--source", source, *more)

    def container(self, service: str, stopped: bool = False) -> str:
        """Id of the service's container."""
        return self.compose("ps", *(["-a"] if stopped else []), "-q", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What docker knows of the service's container."""
        told = subprocess.run(["docker", "inspect", self.container(service)], capture_output=True, check=True).stdout
        return dict(json.loads(told)[0])

    def url(self, port: str) -> str:
        """Address of one of the PORTS."""
        return f"http://127.0.0.1:{self.environment[port]}"

    def get(self, port: str, path: str) -> Any:
        """JSON of a page without accounts."""
        with DIRECT.open(self.url(port) + path, timeout=20) as answer:
            return json.loads(answer.read())

    def told(self, hour: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Mails and webhook calls about that hour, oldest first."""
        mails = [mail for mail in self.get("MAIL_PORT", "/email") if hour in mail["subject"]]
        return mails, [post for post in self.get("WEBHOOK_PORT", "/") if hour in json.dumps(post)]

    @property
    def mlflow(self) -> Mlflow:
        """MLflow's REST API, signed in."""
        return Mlflow(self.url("MLFLOW_PORT"), self.secrets["MLFLOW_ADMIN_PASSWORD"])

    @cached_property
    def airflow(self) -> Rest:
        """Airflow's REST API, signed in."""
        return Rest(self.url("AIRFLOW_PORT"), self.secrets["AIRFLOW_ADMIN_PASSWORD"])

    def run_dag(self, cadence: str, key: str) -> dict[str, Any]:
        """The run of that key, begun now, after it ended, with the states of its tasks."""
        self.start_dag(cadence, key)
        return self.end_of_dag(cadence, key)

    def start_again(self, cadence: str, key: str) -> None:
        """Clear all tasks of the run of that key, as a person does after mending the data."""
        body = {"dry_run": False, "dag_run_id": f"by_key__{key}", "only_failed": False, "reset_dag_runs": True}
        self.airflow.call("POST", f"/api/v2/dags/{PIPELINE}_{cadence}/clearTaskInstances", body)

    def start_dag(self, cadence: str, key: str) -> str:
        """Begin the run of that key; its id."""
        run_id = f"by_key__{key}"
        body = {"logical_date": None, "partition_key": key, "dag_run_id": run_id}
        self.airflow.call("POST", f"/api/v2/dags/{PIPELINE}_{cadence}/dagRuns", body)
        return run_id

    def end_of_dag(self, cadence: str, key: str, limit: float = 900) -> dict[str, Any]:
        """The run of that key after it ended, with the states of its tasks."""
        base, run_id = f"/api/v2/dags/{PIPELINE}_{cadence}/dagRuns", f"by_key__{key}"
        found = wait_for(lambda: self._ended(base, run_id), limit, lambda: str(self._tasks(base, run_id)))
        return found | {"tasks": self._tasks(base, run_id)}

    def reached(self, cadence: str, key: str, task: str, state: str, limit: float = 600) -> None:
        """Wait until that task is in that state."""
        base, run_id = f"/api/v2/dags/{PIPELINE}_{cadence}/dagRuns", f"by_key__{key}"
        wait_for(
            lambda: True if self._tasks(base, run_id).get(task) == state else None,
            limit,
            lambda: str(self._tasks(base, run_id)),
        )

    def tries(self, cadence: str, key: str) -> dict[str, int]:
        """How often each task of the run was tried."""
        base, run_id = f"/api/v2/dags/{PIPELINE}_{cadence}/dagRuns", f"by_key__{key}"
        told = self.airflow.call("GET", f"{base}/{run_id}/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task["try_number"] for task in told}

    def docker(self, verb: str, service: str, *words: str) -> None:
        """What somebody does to a container: kill, start, restart, stop."""
        done = subprocess.run(
            ["docker", verb, *words, self.container(service, stopped=True)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def healthy(self, *services: str, limit: float = 180) -> None:
        """Wait until their containers are."""
        for service in services:
            wait_for(
                lambda service=service: (
                    True if self.inspect(service)["State"]["Health"]["Status"] == "healthy" else None
                ),
                limit,
                lambda service=service: service,
            )

    def applications(self, within: str = "") -> dict[str, list[str]]:
        """Address of each task that ended, of the Spark applications that have `within` in their name, from their event logs."""
        told = json.loads(self.run_in("airflow-scheduler", "python", "-c", _EVENTS)[1].strip().splitlines()[-1])
        return {name: hosts for name, hosts in told.items() if within in name}

    def tasks(self, within: str) -> int:
        """How many tasks of these applications have ended."""
        return sum(map(len, self.applications(within).values()))

    def at_work(self, step: str, hour: str) -> None:
        """Wait until executors have done tasks of the newest application of that step and hour."""
        name = f"{PIPELINE}.{step} {hour}"
        before = self.tasks(name)
        wait_for(lambda: True if self.tasks(name) > before else None, 300, lambda: f"no task of {name} has ended")

    def is_whole(self, hour: str, run: dict[str, Any]) -> None:
        """Green, readable, and each row that the drop brought is there once or held back."""
        assert (run["state"], set(run["tasks"].values())) == ("success", {"success"}), run
        [account] = [
            one for one in self.tidegate("status", PIPELINE, "--hour", hour)["account"] if one["source"] == "departures"
        ]
        rows = self.rows("silver/departures", f"hour = TIMESTAMP '{hour}'")
        keys = {(row["carrier"], row["flight"], row["origin"], str(row["scheduled_at"])) for row in rows}
        assert len(rows) == len(keys) > 20
        assert account["silver"] == len(rows)
        assert account["manifest"] == sum(
            account[name] for name in ("silver", "quarantined", "duplicates", "discarded")
        )

    def rows(self, table: str, where: str, limit: int = 500) -> list[dict[str, Any]]:
        """Published rows."""
        return list(self.tidegate("read", PIPELINE, table, "--where", where, "--limit", str(limit))["rows"])

    def _ended(self, base: str, run_id: str) -> dict[str, Any] | None:
        try:
            run = self.airflow.call("GET", f"{base}/{run_id}")
        except OSError:  # what it needs is being restarted
            return None
        return run if run["state"] in ("success", "failed") else None

    def _tasks(self, base: str, run_id: str) -> dict[str, str]:
        told = self.airflow.call("GET", f"{base}/{run_id}/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task["state"] for task in told}


def basic(user: str, password: str) -> str:
    """The header of an account."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(url: str, authorization: str, body: Any = None, method: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of a request."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers |= {"Content-Type": "application/json", "Authorization": authorization}
    try:
        with DIRECT.open(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


class Mlflow:
    """MLflow's REST API, signed in."""

    def __init__(self, url: str, password: str) -> None:
        self.url, self.known = url, basic("admin", password)

    def call(self, path: str, body: Any = None, **more: str) -> tuple[int, str]:
        """Status and text."""
        return ask(self.url + path, self.known, body, **more)

    def make(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """JSON of what was made."""
        status, told = self.call(f"/api/2.0/mlflow/{what}/create", body)
        assert status == 200, told
        return dict(json.loads(told))

    def get(self, path: str, **query: str) -> Any:
        """JSON of one of its lists or records."""
        status, told = self.call(f"/api/2.0/mlflow/{path}?{urlencode(query)}")
        assert status == 200, told
        return json.loads(told)

    def run(self, **experiment: str) -> str:
        """A run in an experiment of its own."""
        number = self.make("experiments", {"name": f"planted {time.time_ns()}", **experiment})["experiment_id"]
        run = self.make("runs", {"experiment_id": number, "start_time": 1})["run"]["info"]
        return str(run["run_id"] if "run_id" in run else run["run_uuid"])


def next_hour(hour: str) -> str:
    """The hour after `hour`, of the same day."""
    return f"{hour[:11]}{int(hour[11:13]) + 1:02}:00:00"


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


def secrets_of_env() -> dict[str, str]:
    """What `make init` wrote."""
    lines = (CHECKOUT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
