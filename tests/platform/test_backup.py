"""A platform that was lost with its volumes and came back from its backup. The last of this folder's tests (conftest.py)."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.platform.conftest import LIVE
from tests.platform.stack import KEEP, PIPELINE, Stack, wait_for

MODEL = "backed_up"
DAG = f"/api/v2/dags/{PIPELINE}_hourly"


def _known(stack: Stack) -> dict[str, Any]:
    """What must be there afterwards: releases, rows, runs with their tasks, versions, a model's bytes, who may sign in."""
    runs = stack.airflow.call("GET", f"{DAG}/dagRuns?limit=100&order_by=id")["dag_runs"]
    rows = stack.tidegate(
        "read", PIPELINE, "silver/departures", "--where", f"hour >= TIMESTAMP '{LIVE}'", "--limit", "9999"
    )["rows"]
    mlflow = stack.mlflow
    versions = json.loads(mlflow.call("/api/2.0/mlflow/model-versions/search")[1])["model_versions"]
    return {
        "releases": stack.tidegate("release", "list", PIPELINE),
        "rows": sorted(map(json.dumps, rows)),  # which file DuckDB reads first is its own affair
        "runs": [(run["dag_run_id"], run["state"], run["end_date"]) for run in runs],
        "versions": sorted((one["name"], one["version"], one["source"]) for one in versions),
        "model": mlflow.call(f"/api/2.0/mlflow-artifacts/artifacts/{MODEL}.txt"),
    }


def _fail(stack: Stack, run: str) -> None:
    """A run that ends at its first tasks."""
    body = {"logical_date": None, "partition_key": "2013-03-01T00:30:00", "dag_run_id": run}
    stack.airflow.call("POST", f"{DAG}/dagRuns", body)
    ended = lambda: stack.airflow.call("GET", f"{DAG}/dagRuns/{run}")["state"]  # noqa: E731
    wait_for(lambda: True if ended() == "failed" else None, 300)


@pytest.fixture(scope="module")
def worked(live: Stack) -> Stack:
    """Released hours, a failed run, a registered version with a file."""
    stack = live
    if KEEP:
        pytest.skip("it takes the platform down with its volumes; TIDEGATE_PLATFORM=keep keeps it")
    _fail(stack, "backed_up")
    mlflow = stack.mlflow
    mlflow.make("registered-models", {"name": MODEL})
    run = mlflow.run()
    info = json.loads(mlflow.call(f"/api/2.0/mlflow/runs/get?run_id={run}")[1])["run"]["info"]
    mlflow.make("model-versions", {"name": MODEL, "source": f"{info['artifact_uri']}/model", "run_id": run})
    assert mlflow.call(f"/api/2.0/mlflow-artifacts/artifacts/{MODEL}.txt", b"bytes", method="PUT")[0] == 200
    return stack


def _make(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", *words]
    return subprocess.run(
        command,
        cwd=Path(__file__).resolve().parents[2],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_lost_platform_comes_back_from_its_backup(worked: Stack, tmp_path: Path) -> None:
    """Nothing but the folder and .env outlives the loss."""
    folder = tmp_path / "backup"
    before = _known(worked)
    assert before["rows"]
    worked.make("backup", f"TO={folder}")
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert _known(worked) == before  # it went on afterwards

    over = _make(worked, "restore", f"FROM={folder}")
    assert (over.returncode != 0, "the platform holds" in over.stderr) == (True, True)
    assert _known(worked) == before  # the refusal removed nothing

    worked.make("down", "VOLUMES=1")
    worked.make("up")
    del worked.airflow  # its token was signed for accounts that are gone
    assert worked.airflow.call("GET", f"{DAG}/dagRuns")["total_entries"] == 0  # the control: it was lost
    worked.make("restore", f"FROM={folder}")
    del worked.airflow
    assert _known(worked) == before

    _fail(worked, "after_all")  # the scheduler works on, with the tables and accounts that came back
