"""The running platform seen by somebody who should not be there: what listens, what answers, who may run a job."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request

import pytest

from tests.platform.stack import DIRECT, Stack, basic


def _ask(url: str, body: object = None, **headers: str) -> int:
    """Status of a request, whatever it is."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json", **headers})
    try:
        with DIRECT.open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_host_listens_on_the_loopback_alone(stack: Stack) -> None:
    """Also what docker itself says, not only the file."""
    published = {}
    for service in stack.compose("config", "--services").split():
        for port, places in (stack.inspect(service)["NetworkSettings"]["Ports"] or {}).items():
            for place in places or []:
                published[service, port] = place["HostIp"]
    assert set(published.values()) == {"127.0.0.1"}
    assert {service for service, _ in published} == {
        "airflow-api",
        "spark-master",
        "mlflow",
        "mail-sink",
        "webhook-sink",
    }


def test_spark_takes_no_submission_over_rest_and_none_without_the_secret(stack: Stack) -> None:
    """6066 is closed, and a driver with another secret gets no executor."""
    probe = "import socket; s = socket.socket(); s.settimeout(3); print(s.connect_ex(('spark-master', {})))"
    _, closed = stack.run_in("spark-worker-1", "python", "-c", probe.format(6066))
    _, there = stack.run_in("spark-worker-1", "python", "-c", probe.format(7077))
    assert (closed.strip() != "0", there.strip()) == (True, "0")
    job = (
        "import os; from pyspark.sql import SparkSession\n"
        "secret = os.environ['_SPARK_AUTH_SECRET']\n"
        "spark = SparkSession.builder.config('spark.authenticate.secret', secret).getOrCreate()\n"
        "print('sum', spark.range(9).count())\n"
    )
    words = [
        "spark-submit",
        "--master",
        "spark://spark-master:7077",
        "--conf",
        "spark.cores.max=1",
        "--conf",
        "spark.authenticate=true",
        "--conf",
        "spark.network.crypto.enabled=true",
        "--conf",
        "spark.executor.memory=512m",
    ]
    stack.run_in("spark-worker-1", "python", "-c", f"open('/tmp/job.py', 'w').write({job!r})")
    began = time.monotonic()
    code, told = stack.run_in("spark-worker-1", "timeout", "90", *words, "/tmp/job.py", check=False)
    assert (code, "sum 9" in told) == (0, True), told[-2000:]  # the control: the same job with the secret
    longer = str(round(2 * (time.monotonic() - began) + 5))
    code, told = stack.run_in(
        "spark-worker-1", "timeout", longer, *words, "/tmp/job.py", check=False, _SPARK_AUTH_SECRET="x" * 32
    )
    assert code != 0
    assert "sum" not in told


def test_mlflow_answers_nobody_without_an_account(stack: Stack) -> None:
    """Neither reading nor writing; a foreign Host is refused even with one."""
    base = stack.url("MLFLOW_PORT") + "/api/2.0/mlflow"
    known = basic("admin", stack.secrets["MLFLOW_ADMIN_PASSWORD"])
    assert _ask(f"{base}/experiments/create", {"name": "planted"}) == 401
    assert _ask(f"{base}/registered-models/search") == 401
    assert _ask(f"{base}/experiments/create", {"name": "planted"}, Authorization=basic("admin", "password1234")) == 401
    assert _ask(f"{base}/registered-models/search", Authorization=known, Host="evil.example") == 403
    assert _ask(f"{base}/registered-models/search", Authorization=known) == 200


@pytest.mark.parametrize("path", ["/api/v2/dags", "/api/v2/connections", "/api/v2/config"])
def test_airflow_answers_nobody_without_an_account(path: str, stack: Stack) -> None:
    url = stack.url("AIRFLOW_PORT")
    assert _ask(url + path) in (401, 403)
    assert _ask(f"{url}/auth/token", {"username": "admin", "password": "admin"}) == 401


def test_no_process_shows_a_secret_in_its_arguments(stack: Stack) -> None:
    """Nor does what docker was told to run."""
    secrets = [value for name, value in stack.secrets.items() if re.search("PASSWORD|SECRET|KEY", name)]
    look = "import pathlib; print([p.read_bytes().decode() for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')])"
    for service in ("airflow-api", "airflow-scheduler", "spark-master", "spark-worker-1", "mlflow"):
        told = stack.run_in(service, "python", "-c", look)[1] + str(stack.inspect(service)["Args"])
        assert "python" in told
        assert not [secret for secret in secrets if secret in told]


def test_containers_run_as_nobody_special_and_cannot_write_their_image(stack: Stack) -> None:
    for service in ("airflow-scheduler", "spark-worker-1", "mlflow"):
        _, told = stack.run_in(
            service, "sh", "-c", "id -u; touch /opt/tidegate/planted 2>&1; grep CapEff /proc/1/status"
        )
        assert told.split()[0] == "10001"
        assert "Read-only file system" in told
        assert told.split()[-1] == "0000000000000000"
