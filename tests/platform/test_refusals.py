"""What people with an account ask and must not get: runs for hostile hours, and the server's own files from MLflow."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.platform.stack import PIPELINE, Mlflow, Stack, ask, wait_for

DAG = f"/api/v2/dags/{PIPELINE}_hourly"
KEYS = {  # what it is -> partition key
    "sql": "x'; DROP TABLE dag_run; --",
    "path": "../../etc/passwd",
    "shell": "$(touch /data/planted)",
    "jinja": "{{ ''.__class__.__mro__ }}",
    "half hour": "2013-06-15T00:30:00",
    "other zone": "2013-06-15T00:00:00+02:00",
    "other spelling": "2013-06-15",
    "control characters": "2013-06-15T00:00:00\r\nX: y",
    "nothing": "",
    "null": None,
    "a megabyte": "A" * 1_000_000,
    "number": 5,
    "list": ["2013-06-15T00:00:00"],
}
SHORT = ("shell", "a megabyte")  # also as the parameter that stands in for a key


def _applications(stack: Stack) -> int:
    """Spark applications that the master has ever seen."""
    told = stack.get("SPARK_PORT", "/json/")
    return len(told["activeapps"]) + len(told["completedapps"])


@pytest.fixture(scope="module")
def ask_airflow(stack: Stack) -> Any:
    """Starts a run of the hourly DAG with these fields; gives status and text."""
    login = {"username": "admin", "password": stack.secrets["AIRFLOW_ADMIN_PASSWORD"]}
    url = stack.url("AIRFLOW_PORT")

    def awake() -> bool | None:
        try:
            return stack.airflow.call("PATCH", DAG, {"is_paused": False}) and True
        except urllib.error.HTTPError:
            return None  # not parsed yet

    wait_for(awake, 120)
    token = json.loads(ask(f"{url}/auth/token", "", login)[1])["access_token"]
    return lambda body: ask(f"{url}{DAG}/dagRuns", f"Bearer {token}", {"logical_date": None, **body})


def _bodies() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {kind: {"partition_key": key} for kind, key in KEYS.items()}
    return found | {f"{kind} as parameter": {"conf": {"hour": KEYS[kind]}} for kind in SHORT}


def test_a_run_for_a_hostile_hour_is_refused_and_starts_no_spark(stack: Stack, ask_airflow: Any) -> None:
    """By the API, or by the run's first tasks."""
    before, stamp, accepted = _applications(stack), time.time_ns(), {}
    for kind, body in _bodies().items():
        run = f"hostile__{kind.replace(' ', '_')}_{stamp}"
        status, told = ask_airflow({"dag_run_id": run, **body})
        assert status in (200, 400, 413, 422), (kind, status, told[:300])
        if status == 200:
            accepted[kind] = run
    for kind, run in accepted.items():
        base = f"{DAG}/dagRuns/{run}"
        ended = wait_for(lambda base=base: _ended(stack, base), 300, lambda kind=kind: kind)
        tasks = stack.airflow.call("GET", f"{base}/taskInstances?limit=100")["task_instances"]
        states = {task["task_id"]: task["state"] for task in tasks}
        assert (ended, states["drops_ready"]) == ("failed", "failed"), kind
        assert set(states.values()) == {"failed", "upstream_failed"}, (kind, states)
    assert "half hour" in accepted  # the control: this API takes any text for a key, so the task did refuse it
    assert _applications(stack) == before
    for service in ("airflow-scheduler", "spark-worker-1"):
        assert stack.run_in(service, "ls", "/data/planted", check=False)[0] != 0
    assert stack.airflow.call("GET", DAG)["dag_id"] == f"{PIPELINE}_hourly"


def _ended(stack: Stack, base: str) -> str | None:
    state = str(stack.airflow.call("GET", base)["state"])
    return state if state in ("success", "failed") else None


@pytest.fixture(scope="module")
def mlflow(stack: Stack) -> Mlflow:
    return stack.mlflow


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc",
        "/etc",
        "file:///tmp/accounts.ini",
        "http://evil.example/model",
        "mlflow-artifacts:/../etc",
        "mlflow-artifacts:/a/%2e%2e/%2e%2e/etc",
        "models:/planted/../../etc",
    ],
)
def test_a_model_cannot_come_from_the_servers_own_disk_or_from_elsewhere(mlflow: Mlflow, source: str) -> None:
    name = f"planted {time.time_ns()}"
    mlflow.make("registered-models", {"name": name})
    status, told = mlflow.call("/api/2.0/mlflow/model-versions/create", {"name": name, "source": source})
    assert (status, json.loads(told)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_model_may_come_from_a_run(mlflow: Mlflow) -> None:
    """The control of the refusals above."""
    run, name = mlflow.run(), f"planted {time.time_ns()}"
    mlflow.make("registered-models", {"name": name})
    told = json.loads(mlflow.call(f"/api/2.0/mlflow/runs/get?run_id={run}")[1])["run"]["info"]["artifact_uri"]
    assert mlflow.make("model-versions", {"name": name, "source": f"{told}/model", "run_id": run})


def test_an_artifact_root_on_another_host_is_refused(mlflow: Mlflow) -> None:
    body = {"name": f"planted {time.time_ns()}", "artifact_location": "http://evil.example/x"}
    status, told = mlflow.call("/api/2.0/mlflow/experiments/create", body)
    assert (status, "INVALID_PARAMETER_VALUE" in told) == (400, True)


@pytest.mark.parametrize(
    "root", ["file:///etc", "/etc", "file:///etc?x=", "file:///tmp", "mlflow-artifacts:/../../etc"]
)
def test_an_artifact_root_on_the_servers_disk_shows_none_of_its_files(mlflow: Mlflow, root: str) -> None:
    """MLflow takes such a root (200), but a run's own folder lies below it, and no path leads out of that."""
    run = mlflow.run(artifact_location=root)
    for path in (
        "passwd",
        "accounts.ini",
        "../../passwd",
        "%2e%2e/%2e%2e/passwd",
        "%252e%252e/%252e%252e/passwd",
        "/etc/passwd",
    ):
        status, told = mlflow.call(f"/get-artifact?run_uuid={run}&path={path}")
        assert status >= 400, (path, told[:200])
        assert "root:" not in told
        assert "admin_password" not in told
    assert not json.loads(mlflow.call(f"/api/2.0/mlflow/artifacts/list?run_id={run}")[1]).get("files")


def test_an_artifact_of_a_run_is_shown(mlflow: Mlflow) -> None:
    """The control of the roots above: the same requests, where a file is."""
    run = mlflow.run()
    root = json.loads(mlflow.call(f"/api/2.0/mlflow/runs/get?run_id={run}")[1])["run"]["info"]["artifact_uri"]
    place = root.replace("mlflow-artifacts:", "/api/2.0/mlflow-artifacts/artifacts")
    assert mlflow.call(f"{place}/passwd", b"root:mine", method="PUT")[0] == 200
    assert mlflow.call(f"/get-artifact?run_uuid={run}&path=passwd") == (200, "root:mine")
    assert json.loads(mlflow.call(f"/api/2.0/mlflow/artifacts/list?run_id={run}")[1])["files"]


def test_no_encoding_of_dots_leads_out_of_the_artifact_store(mlflow: Mlflow) -> None:
    """Neither reading nor writing; the control puts a file where one may and gets it back."""
    store = "/api/2.0/mlflow-artifacts/artifacts/"
    for path in (
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e/%252e%252e/etc/passwd",
        "..%2f..%2fetc/passwd",
    ):
        assert mlflow.call(store + path)[0] == 400
        assert mlflow.call(store + path, b"x", method="PUT")[0] == 400
        assert mlflow.call(f"{store.rstrip('/')}?path={path}")[0] == 400
    assert mlflow.call(f"{store}planted.txt", b"mine", method="PUT")[0] == 200
    assert mlflow.call(f"{store}planted.txt") == (200, "mine")
    assert mlflow.call(f"{store}planted.txt", method="DELETE")[0] == 200


@pytest.mark.parametrize("header", ["Host", "Origin"])
def test_a_page_of_another_site_cannot_speak_to_mlflow(mlflow: Mlflow, header: str) -> None:
    """Nor DNS that was bent to this machine."""
    body = {"name": f"planted {time.time_ns()}"}
    foreign = {"Host": "evil.example", "Origin": "http://evil.example"}[header]
    assert mlflow.call("/api/2.0/mlflow/experiments/create", body, **{header: foreign})[0] == 403
    assert mlflow.call("/api/2.0/mlflow/experiments/create", body)[0] == 200
