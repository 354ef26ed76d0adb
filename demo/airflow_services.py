"""Real Airflow on this machine: api-server, scheduler and dag-processor as processes, spoken to over REST.

For the demo and `make airflow-ui`; it never imports the airflow package (5 CPU s) and knows no pipeline. What the
DAGs do is `dags/`; what the platform runs instead (Postgres, containers) is docker-compose.yaml.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from spark_jobs.errors import RetryError, TidegateError, UsageError
from spark_jobs.runtime.parent import die_with_parent
from spark_jobs.runtime.scheduler import spark_pool

VERSION = "3.3"
USER = "admin"
FINISHED = ("success", "failed")
MARKER = "TIDEGATE_AIRFLOW_HOME"  # in the environment of every process started here, so that none is lost
STOP_SECONDS = 6.0
START_SECONDS = 180.0
POLL_SECONDS = 0.5

# What LocalExecutor's forked task processes would otherwise import anew: 5 CPU s a task (measured).
PRELOAD = """\
# Written by demo/airflow_services.py: imported once by the scheduler, inherited by the task processes it forks.
import sys

if "scheduler" in sys.argv:
    import pandas  # pyarrow's to_pylist wants it for timestamps: 2 CPU s in every task that reads the ledger
    import pyarrow.dataset
    import airflow.sdk.execution_time.task_runner
    import airflow.sdk.execution_time.supervisor
    import airflow.providers.apache.spark.operators.spark_submit
    import spark_jobs.config.load
    import spark_jobs.ledger
    import spark_jobs.sources.drops
    import spark_jobs.runtime.spark
"""


def settings(home: Path, dags: Path, port: int, keys: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """airflow.cfg by section: SQLite, LocalExecutor, everything local, tuned for two cores."""
    url = f"http://127.0.0.1:{port}"
    return {
        "core": {
            "dags_folder": str(dags), "load_examples": "False", "executor": "LocalExecutor", "parallelism": "3",
            "fernet_key": keys["fernet_key"], "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(home / "passwords.json"),
            "execute_tasks_new_python_interpreter": "False", "dag_discovery_safe_mode": "False",
            "min_serialized_dag_update_interval": "5",
        },
        "api": {
            "host": "127.0.0.1", "port": str(port), "workers": "1", "base_url": url, "secret_key": keys["secret_key"],
        },
        "api_auth": {"jwt_secret": keys["jwt_secret"]},
        # A task whose process died is found by its heart-beat: 30 s rather than 5 min, so a killed demo goes on soon.
        "scheduler": {
            "scheduler_idle_sleep_time": "0.3", "scheduler_heartbeat_sec": "5", "task_instance_heartbeat_timeout": "30",
            "orphaned_tasks_check_interval": "15", "catchup_by_default": "False", "use_job_schedule": "True",
        },
        # How late the supervisor sees that a failed or skipped task has ended (5 s by default).
        "workers": {"min_heartbeat_interval": "1"},
        "dag_processor": {
            "parsing_processes": "1", "min_file_process_interval": "600", "refresh_interval": "600",
            "bundle_refresh_check_interval": "30", "stale_dag_threshold": "900",
        },
        "logging": {"base_log_folder": str(home / "logs"), "logging_level": "INFO", "colored_console_log": "False"},
        "usage_data_collection": {"enabled": "False"},
    }  # fmt: skip


SERVER_FAULT_TRIES = 5  # 2 s apart
FIRST_SERVER_FAULT = 500


class Rest:
    """Airflow's REST API under one address, with a token of its own."""

    def __init__(self, url: str, password: str) -> None:
        self.url, self._password, self._token = url, password, ""

    def call(self, method: str, path: str, body: object = None, accept: str = "application/json") -> Any:
        """The answer's JSON (None when empty); asked again when the server failed, as on a locked SQLite file.

        Raises:
            urllib.error.HTTPError: the API refused; its body is in the message.
        """
        if not self._token and not path.startswith("/auth"):
            login = {"username": USER, "password": self._password}
            self._token = self.call("POST", "/auth/token", login)["access_token"]
        headers = {"Content-Type": "application/json", "Accept": accept, "Authorization": f"Bearer {self._token}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        for left in range(SERVER_FAULT_TRIES, -1, -1):
            try:
                with _LOCAL.open(request, timeout=30) as answer:
                    text = answer.read().decode()
                break
            except urllib.error.HTTPError as error:
                error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:500]}"
                if error.code < FIRST_SERVER_FAULT or not left:
                    raise
                time.sleep(2)
        return json.loads(text) if text else None


_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy: it is this machine


class Airflow:
    """Airflow's services under `{data}/airflow`, and what a driver asks of them.

    Args:
        data: the data folder; state, logs and secrets go to `{data}/airflow`.
        checkout: the folder with dags/ and spark_jobs/.
        port: of the UI and API; 0 takes any free one.
        master: the Spark master of the connection `spark_default`.
        environment: further environment variables of the services and so of the tasks.
    """

    def __init__(
        self,
        data: Path,
        checkout: Path,
        port: int = 8080,
        master: str = "local[2]",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home, self.checkout, self.port = (data / "airflow").resolve(), checkout.resolve(), port
        self.master, self.environment = master, dict(environment or {})
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.rest = Rest("", "")

    @property
    def url(self) -> str:
        """Address of the UI and of the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password_file(self) -> Path:
        """JSON file (mode 0600) that holds the password of `admin`."""
        return self.home / "passwords.json"

    def start(self) -> None:
        """Start the services and return when the API answers (what was asked is done once the scheduler is up, too).

        Raises:
            UsageError: the port is taken.
            TidegateError: a service died; the message ends with its last lines.
        """
        self._end_leftovers()
        self.port = free_port(self.port)
        self._configure()
        try:
            fresh = not (self.home / "airflow.db").exists()
            if fresh:
                self._migrate()
            self._spawn("api-server")
            self._spawn("dag-processor")
            if fresh:  # no task waits; otherwise a scheduler fails tasks while the API is away
                self._spawn_scheduler()
            self._wait_for_api()
            self._ensure_pools()
            if not fresh:
                self._spawn_scheduler()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process that `start` led to: TERM, then KILL; nothing is left after about 6 s."""
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes.values()):
            time.sleep(0.1)
        self._end_leftovers()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def __enter__(self) -> Airflow:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def unpause(self, dag_id: str, timeout: float = 90.0) -> None:
        """Let `dag_id` run; waits until the dag-processor has read it.

        Raises:
            UsageError: a DAG file cannot be imported.
            RetryError: the DAG did not appear in time.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                self.rest.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
                return
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
            for fault in self.rest.call("GET", "/api/v2/importErrors")["import_errors"]:
                raise UsageError(str(fault["filename"]), str(fault["stack_trace"])[-1500:], "", "tidegate validate")
            time.sleep(POLL_SECONDS)
        raise RetryError(f"Airflow {self.url}", f"no DAG {dag_id} after {timeout:.0f} s", "", f"see {self.home}/logs")

    def _ensure_pools(self) -> None:
        """The pools of all pipelines of the project exist: a task in one that does not would wait for ever."""
        environ = self._environment()
        folder = Path(environ.get("TIDEGATE_PROJECT") or self.checkout) / "conf/pipelines"
        for name in dict.fromkeys(spark_pool(path.name, environ) for path in sorted(folder.glob("*/"))):
            self.ensure_pool(name)

    def ensure_pool(self, name: str, slots: int = 1) -> None:
        """A pool of that name exists; the Spark tasks of a pipeline share its one slot."""
        try:
            self.rest.call("POST", "/api/v2/pools", {"name": name, "slots": slots})
        except urllib.error.HTTPError as error:
            if error.code != 409:  # 409: it is there from an earlier start
                raise

    def trigger(self, dag_id: str, partition_key: str) -> str:
        """The id of the run of that partition key; asking again for a key names the run that exists.

        Raises:
            UsageError: the DAG does not take this key.
        """
        run_id = f"by_key__{partition_key}"
        body = {"logical_date": None, "partition_key": partition_key, "dag_run_id": run_id}
        try:
            self.rest.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        except urllib.error.HTTPError as error:
            if error.code in (400, 404, 422):
                raise UsageError(f"{dag_id} {partition_key}", error.msg, "a key such as 2013-11-01T06:00:00") from error
            if error.code != 409:
                raise
        return run_id

    def prior_state(self, dag_id: str, partition_key: str) -> str | None:
        """State of the run that `trigger` made for that key; None when there is none yet."""
        try:
            return self.run_state(dag_id, f"by_key__{partition_key}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def run_state(self, dag_id: str, run_id: str) -> str:
        """queued, running, success or failed."""
        return str(self.rest.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run as Airflow's REST API gives them (task_id, state, try_number, duration, …)."""
        answer = self.rest.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100")
        return list(answer["task_instances"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task of a run; 'none' before it is scheduled."""
        return {task["task_id"]: task["state"] or "none" for task in self.tasks(dag_id, run_id)}

    def wait(
        self,
        dag_id: str,
        run_id: str,
        on_progress: Callable[[dict[str, str]], None] = lambda states: None,
        timeout: float = 1800.0,
    ) -> str:
        """Final state of a run, success or failed; `on_progress` gets the task states whenever they change.

        Raises:
            RetryError: the run did not end within `timeout` seconds.
        """
        deadline, before = time.monotonic() + timeout, {"": ""}
        while time.monotonic() < deadline:
            self._check_alive()
            state = self.run_state(dag_id, run_id)
            states = self.task_states(dag_id, run_id)
            if states != before:
                on_progress(states)
                before = states
            if state in FINISHED:
                return state
            time.sleep(POLL_SECONDS)
        raise RetryError(f"{dag_id} {run_id}", f"still {before} after {timeout:.0f} s", "", f"open {self.url}")

    def task_log(self, dag_id: str, run_id: str, task_id: str, last: int = 15) -> list[str]:
        """The last lines of a task's newest try, without Airflow's own frames of a traceback."""
        tries = {task["task_id"]: max(1, int(task["try_number"])) for task in self.tasks(dag_id, run_id)}
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{tries[task_id]}"
        try:
            answer = self.rest.call("GET", f"{path}?full_content=true")
        except urllib.error.HTTPError:
            return [f"no log of {task_id} yet"]
        return [line for event in answer["content"] for line in _event_lines(event)][-last:]

    def clear(self, dag_id: str, run_id: str, only_failed: bool = False) -> None:
        """Run all tasks of the same run again (or only the failed ones and what waits for them)."""
        body = {
            "dry_run": False, "dag_run_id": run_id, "only_failed": only_failed, "include_downstream": True,
            "reset_dag_runs": True,
        }  # fmt: skip
        self.rest.call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)

    def clear_failed(self, dag_id: str, run_id: str) -> None:
        """Run a failed run again: all of it when a gate is red, since its data must be prepared anew."""
        red = [task for task, state in self.task_states(dag_id, run_id).items() if state == "failed"]
        self.clear(dag_id, run_id, only_failed=not any(task.startswith("gate_") for task in red))

    def _configure(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "config").mkdir(exist_ok=True)
        (self.home / "config" / "airflow_local_settings.py").write_text(PRELOAD)
        keys = _keys(self.home / "keys.json")
        _write_private(self.password_file, json.dumps({USER: keys["password"]}))
        cfg = configparser.RawConfigParser()
        for section, values in settings(self.home, self.checkout / "dags", self.port, keys).items():
            cfg[section] = {name: value.replace("%", "%%") for name, value in values.items()}
        text = io.StringIO()
        cfg.write(text)
        _write_private(self.home / "airflow.cfg", text.getvalue())
        self.rest = Rest(self.url, keys["password"])

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        paths = [str(self.checkout), str(self.home / "config"), os.environ.get("PYTHONPATH", "")]
        return {
            "TIDEGATE_POOL": "{pipeline}",  # one Spark application at a time for each pipeline; `start` creates the pools
            "TIDEGATE_CATCHUP": "false",  # unpaused DAGs of a history would make thousands of runs; say true to catch up
            **kept,
            "TIDEGATE_DATA": str(self.home.parent),
            **self.environment,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONFIG": str(self.home / "airflow.cfg"),
            "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": self.master}),
            MARKER: str(self.home),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "127.0.0.1,localhost," + os.environ.get("NO_PROXY", ""),
        }

    def _migrate(self) -> None:
        """Make the metadata database under another name, so that one cut short is never taken for a whole one."""
        fresh = self.home / "airflow.db.new"
        fresh.unlink(missing_ok=True)
        env = {**self._environment(), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{fresh}"}
        log = self._log("migrate")
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        with log.open("wb") as out:
            code = subprocess.run(command, env=env, stdout=out, stderr=out, check=False).returncode
        if code:
            raise TidegateError("airflow db migrate", _tail(log))
        fresh.rename(self.home / "airflow.db")

    def _log(self, name: str) -> Path:
        folder = self.home / "logs" / "services"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def _spawn(self, service: str, *options: str) -> None:
        with self._log(service).open("wb") as out:
            self._processes[service] = subprocess.Popen(
                [sys.executable, "-m", "airflow", service, *options],
                env=self._environment(), cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )  # fmt: skip

    def _spawn_scheduler(self) -> None:
        self._spawn("scheduler", "--skip-serve-logs")  # logs are local files: no log server on all interfaces

    def _wait_for_api(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._check_alive()
            try:
                with _LOCAL.open(f"{self.url}/api/v2/version", timeout=5) as answer:
                    version = str(json.loads(answer.read())["version"])
                if not version.startswith(VERSION):
                    found = f"answers as Airflow {version}"
                    raise UsageError(self.url, found, f"Airflow {VERSION}", "use another port")
                return
            except (OSError, ValueError):
                time.sleep(0.2)
        raise RetryError("api-server", f"no answer after {START_SECONDS:.0f} s\n{_tail(self._log('api-server'))}")

    def _check_alive(self) -> None:
        for service, process in self._processes.items():
            if process.poll() is not None:
                last = _tail(self._log(service))
                raise TidegateError(f"Airflow's {service}", f"ended with {process.returncode}\n{last}")

    def _end_leftovers(self) -> None:
        """Kill what still carries our marker: tasks and their Spark drivers, or the services of a killed demo."""
        for pid in marked(str(self.home)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def marked(home: str) -> list[int]:
    """Process ids whose environment carries this AIRFLOW_HOME as our marker (Linux; elsewhere none)."""
    wanted, found = f"{MARKER}={home}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if wanted in words and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def free_port(port: int) -> int:
    """`port` when nothing listens there; any free one for 0.

    Raises:
        UsageError: the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            todo, found = "stop what listens there, or choose another with --port", f"is taken ({error.strerror})"
            raise UsageError(f"port {port}", found, "a free port, or 0 for any", todo) from error
        return int(probe.getsockname()[1])


def _keys(path: Path) -> dict[str, str]:
    """The secrets of one AIRFLOW_HOME, made at its first start."""
    if not path.exists():
        keys = {name: secrets.token_urlsafe(32) for name in ("jwt_secret", "secret_key")}
        keys["fernet_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        _write_private(path, json.dumps({**keys, "password": secrets.token_urlsafe(12)}))
    return {str(name): str(value) for name, value in json.loads(path.read_text()).items()}


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    fresh.replace(path)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "no log"


def _event_lines(event: Any) -> list[str]:
    """A log event of Airflow as lines: its text, and of an exception only the value."""
    if isinstance(event, str):
        return [event]
    errors = [f"{e.get('exc_type', '')}: {e.get('exc_value', '')}" for e in event.get("error_detail") or []]
    text = str(event.get("event", ""))
    return [] if text.startswith("::") else [line for part in (text, *errors) for line in part.splitlines()]


def main(words: list[str] | None = None) -> int:
    """`serve`: run Airflow on a data folder until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", help="run until Ctrl-C")
    serve.add_argument("--data", type=Path, default=Path("var"), help="data folder (default: var)")
    serve.add_argument("--port", type=int, default=8080, help="port of the UI (default: 8080; 0: any free one)")
    asked = parser.parse_args(words)
    services = Airflow(asked.data, Path(__file__).resolve().parent.parent, asked.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with services:
            print(f"Airflow: {services.url}\nuser {USER}, password in {services.password_file}", flush=True)
            print("Ctrl-C stops it", flush=True)
            while True:
                services._check_alive()
                time.sleep(1)
    except KeyboardInterrupt:
        return 0
    except TidegateError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
