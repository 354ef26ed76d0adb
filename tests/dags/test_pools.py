"""No task waits for ever: its pool exists, its Spark connection names a master, and doctor says what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException
from dag_builder.daily import daily_dag
from dag_builder.hourly import hourly_dag
from dag_builder.spark_step import SparkStep
from dag_builder.weekly import weekly_dag

from spark_jobs.runtime import scheduler
from spark_jobs.runtime.scheduler import check_airflow, judge, spark_pool

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "nycflights13"
FACTS = {
    "version": "3.3.2", "dags_folder": str(CHECKOUT / "dags"), "pools": {"default_pool": 128},
    "connection": {"conn_type": "spark", "host": "local[2]", "port": None},
    "dags": {f"{NAME}_hourly": False, f"{NAME}_weekly": True},
}  # fmt: skip


def _pools() -> set[str]:
    return {task.pool for dag in (hourly_dag(NAME), daily_dag(NAME), weekly_dag(NAME)) for task in dag.tasks}


def test_by_default_all_tasks_use_the_pool_that_airflow_creates(project, monkeypatch):
    """The fault: a pool named like the pipeline, which only the demo and the platform create."""
    monkeypatch.delenv("TIDEGATE_POOL", raising=False)
    assert _pools() == {"default_pool"}


def test_where_we_start_airflow_we_create_every_pool_that_tasks_use(project, monkeypatch):
    """Compose and the demo name a pool per pipeline: both create one for each folder of conf/pipelines."""
    sys.path.insert(0, str(CHECKOUT / "demo"))
    from airflow_services import Airflow

    compose = (CHECKOUT / "docker-compose.yaml").read_text()
    [template] = re.findall(r'TIDEGATE_POOL: "([^"]+)"', compose)
    assert 'airflow pools set "$(basename "$folder")" 1' in (CHECKOUT / "docker/airflow-init.sh").read_text()
    monkeypatch.delenv("TIDEGATE_POOL", raising=False)
    services, created = Airflow(project / "var", CHECKOUT, port=0, environment={"TIDEGATE_PROJECT": str(project)}), []
    (project / "conf/pipelines/second").mkdir()
    monkeypatch.setattr(services, "ensure_pool", created.append)
    services._ensure_pools()
    assert created == [NAME, "second"]
    monkeypatch.setenv("TIDEGATE_POOL", template)
    assert _pools() == {NAME, "default_pool"}
    assert _pools() - {"default_pool"} <= set(created)


@pytest.mark.parametrize(
    ("text", "pool"),
    [("", "default_pool"), ("  ", "default_pool"), ("spark", "spark"), ("{pipeline}_spark", "taxi_spark")],
)
def test_the_pool_is_named_by_a_variable(text, pool):
    assert spark_pool("taxi", {"TIDEGATE_POOL": text}) == pool


@pytest.mark.parametrize(
    ("master", "refused"),
    [("yarn", True), ("spark://host", True), ("nothing", True), ("local[2]", False), ("spark://host:7077", False)],
)
def test_a_step_refuses_what_is_no_spark_master_before_it_submits(master, refused, project):
    """A missing connection resolves to yarn."""
    step = SparkStep(task_id="ingest", pipeline=NAME, step="ingest")
    if refused:
        with pytest.raises(AirflowFailException, match=r"airflow connections add spark_default .*local\[2\]"):
            step._require_master(master)
    else:
        step._require_master(master)


def _bad(**changed: object) -> dict[str, str]:
    return {check.name: check.fix for check in judge({**FACTS, **changed}, [NAME], "local[2]") if not check.ok}


def test_doctor_passes_an_airflow_that_has_everything_and_names_paused_dags(monkeypatch):
    monkeypatch.delenv("TIDEGATE_POOL", raising=False)
    assert _bad() == {}
    [dags] = [check for check in judge(FACTS, [NAME], "local[2]") if check.name.startswith("dags")]
    assert dags.found == f"2 known; no run starts before: airflow dags unpause {NAME}_weekly"


@pytest.mark.parametrize(
    ("changed", "name", "fix"),
    [
        ({"pools": {}}, "pool default_pool", 'airflow pools set default_pool 128 "Spark steps"'),
        ({"pools": {"default_pool": 0}}, "pool default_pool", 'airflow pools set default_pool 128 "Spark steps"'),
        ({"connection": None}, "spark_default", "airflow connections add spark_default --conn-type spark --conn-host 'local[2]'"),
        ({"connection": {"conn_type": "spark", "host": "spark://h", "port": None}}, "spark_default", "airflow connections delete"),
        ({"connection": {"conn_type": "spark", "host": "yarn", "port": None}}, "spark_default", "airflow connections delete"),
        ({"dags_folder": "/nowhere", "dags": {}}, f"dags {NAME}", "AIRFLOW__CORE__DAGS_FOLDER="),
    ],
)  # fmt: skip
def test_doctor_names_what_is_missing_and_the_command_that_creates_it(changed, name, fix, monkeypatch):
    monkeypatch.delenv("TIDEGATE_POOL", raising=False)
    found = _bad(**changed)
    assert found.keys() == {name}
    assert fix in found[name]


def test_doctor_checks_the_pool_that_the_variable_names(monkeypatch):
    monkeypatch.setenv("TIDEGATE_POOL", "{pipeline}")
    assert _bad() == {f"pool {NAME}": f'airflow pools set {NAME} 1 "Spark steps"'}


def test_doctor_without_an_airflow_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AIRFLOW_HOME", raising=False)
    [check] = check_airflow([NAME], "local[2]")
    assert (check.ok, check.found) == (True, "not checked: AIRFLOW_HOME is not set")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "gone"))
    [check] = check_airflow([NAME], "local[2]")
    assert not check.ok
    assert "airflow db migrate" in check.fix


def test_doctor_asks_a_real_airflow(monkeypatch, tmp_path):
    """A database as a user's own `airflow db migrate` leaves it: the default pool, no connection of ours."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environ |= {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(CHECKOUT / "dags")
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TIDEGATE_POOL", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    [before] = check_airflow([NAME], "local[2]")
    assert (before.ok, before.fix) == (False, "airflow db migrate")
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, env=environ)
    found = {check.name: (check.ok, check.found) for check in check_airflow([NAME], "local[2]")}
    assert found["pool default_pool"] == (True, "128 slots")
    assert found["spark_default"][0] is False
    assert found[f"dags {NAME}"] == (True, "0 known")
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", '{"conn_type": "spark", "host": "local[2]"}')
    assert scheduler._ask()["connection"]["host"] == "local[2]"
