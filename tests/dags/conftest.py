"""DAG tests need no services: an empty AIRFLOW_HOME, dags/ on the path, runs and ledgers written literally."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
HOME = tempfile.mkdtemp(prefix="tidegate-airflow-")
os.environ.update(  # before the first import of airflow
    {"AIRFLOW_HOME": HOME, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
)
os.environ.pop("TIDEGATE_CATCHUP", None)
sys.path.insert(0, str(CHECKOUT / "dags"))


@pytest.fixture
def run_of() -> Callable[..., dict[str, Any]]:
    """A task's context for a run with this partition key, or with this parameter `hour`."""

    def make(key: str | None, hour: str | None = None, tries: int = 1) -> dict[str, Any]:
        run = SimpleNamespace(partition_key=key, run_id="by_key__test")
        return {"dag_run": run, "params": {"hour": hour}, "ti": SimpleNamespace(try_number=tries), "logical_date": None}

    return make
