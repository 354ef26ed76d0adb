"""What tidegate needs of an Airflow: a pool, a Spark connection, its DAG files. Doctor's checks of them, without importing Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spark_jobs.runtime.checks import Check
from spark_jobs.runtime.places import CHECKOUT

DEFAULT_POOL = "default_pool"  # Airflow creates it
_NAME = "airflow"
_PROBE_SECONDS = 120


def spark_pool(pipeline: str, environ: Mapping[str, str] = os.environ) -> str:
    """The Airflow pool of a pipeline's Spark tasks: TIDEGATE_POOL with {pipeline} filled in, by default the one that always exists.

    A task in a pool that does not exist is never started, and Airflow reports nothing.
    """
    return environ.get("TIDEGATE_POOL", "").strip().replace("{pipeline}", pipeline) or DEFAULT_POOL


def check_airflow(pipelines: Iterable[str], master: str) -> list[Check]:
    """Checks of the Airflow of this environment; one that says so where there is none.

    Args:
        pipelines: whose DAGs it shall run.
        master: Spark master of the environment, which a missing connection is created with.
    """
    home = Path(os.environ.get("AIRFLOW_HOME") or Path.home() / "airflow").expanduser()
    if not home.is_dir():
        fix = "create that folder and run: airflow db migrate; or unset AIRFLOW_HOME"
        if "AIRFLOW_HOME" in os.environ:
            return [Check(_NAME, False, f"AIRFLOW_HOME {home} is not a folder", "the folder of your Airflow", fix)]
        return [Check(_NAME, True, "not checked: AIRFLOW_HOME is not set", "AIRFLOW_HOME, where Airflow runs the DAGs")]
    return judge(_ask(), list(pipelines), master)


def _ask() -> dict[str, Any]:
    command = [sys.executable, str(CHECKOUT / "dags/dag_builder/probe.py")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
        facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"no answer after {_PROBE_SECONDS} s"}
    except (IndexError, ValueError):
        return {"error": (done.stderr.strip().splitlines() or ["no answer"])[-1][:300]}
    return facts


def judge(facts: Mapping[str, Any], pipelines: list[str], master: str) -> list[Check]:
    """Checks made of what `dag_builder/probe.py` reports."""
    if "error" in facts:
        return [Check(_NAME, False, facts["error"], "an Airflow whose database can be read", "airflow db migrate")]
    return [
        Check(_NAME, True, f"version {facts['version']}", ""),
        *(_pool(name, facts["pools"]) for name in dict.fromkeys(map(spark_pool, pipelines))),
        _connection(facts["connection"], master),
        *(_dag(name, facts) for name in pipelines),
    ]


def _pool(name: str, pools: Mapping[str, int]) -> Check:
    slots = pools.get(name)
    found = "does not exist: tasks in it wait for ever" if slots is None else f"{slots} slots"
    ok = slots is not None and (slots > 0 or slots == -1)  # -1: without a limit
    fix = f'airflow pools set {name} {128 if name == DEFAULT_POOL else 1} "Spark steps"'
    return Check(f"pool {name}", ok, found, "a pool with at least 1 slot", "" if ok else fix)


def _connection(connection: Mapping[str, Any] | None, master: str) -> Check:
    fix = f"airflow connections add spark_default --conn-type spark --conn-host '{master}'"
    allowed = f"a connection of type spark; the environment's master is {master}"
    if connection is None:
        return Check("spark_default", False, "no such connection: Airflow would submit to YARN", allowed, fix)
    found = master_of(connection)
    ok = is_master(found) and (found != "yarn" or master == "yarn")
    again = f"airflow connections delete spark_default; {fix}"
    return Check("spark_default", ok, found or "no host", allowed, "" if ok else again)


def master_of(connection: Mapping[str, Any]) -> str:
    """The Spark master that Airflow's provider makes of a connection."""
    host, port, kind = connection["host"], connection["port"], connection["conn_type"]
    master = host if kind == "spark" and host and ("://" in host or not port) else f"{kind}://{host}"
    return f"{master}:{port}" if port else master


def is_master(master: str) -> bool:
    """Whether Spark takes this for a master: local[n], yarn, k8s://…, or spark:// with a port."""
    scheme, found, rest = master.partition("://")
    if found:
        return scheme == "k8s" or (
            scheme == "spark" and all(part.rpartition(":")[2].isdigit() and ":" in part for part in rest.split(","))
        )
    return master == "yarn" or master.startswith("local")


def _dag(pipeline: str, facts: Mapping[str, Any]) -> Check:
    """The pipeline's DAGs are known; a paused one is no fault, since Airflow starts with all paused."""
    name, file = f"dags {pipeline}", Path(facts["dags_folder"]) / f"{pipeline}.py"
    names = {f"{pipeline}_{rhythm}" for rhythm in ("hourly", "daily", "weekly")}
    known = {dag: paused for dag, paused in facts["dags"].items() if dag in names}
    allowed = f"{file}, read by Airflow's dag-processor"
    if not file.exists() and not known:
        fix = f"write dags/{pipeline}.py like the DAG file of another pipeline, and set AIRFLOW__CORE__DAGS_FOLDER={CHECKOUT / 'dags'}"
        return Check(name, False, f"no file {file}", allowed, fix)
    paused = sorted(dag for dag, stopped in known.items() if stopped)
    told = f"{len(known)} known" + (
        f"; no run starts before: airflow dags unpause {' '.join(paused)}" if paused else ""
    )
    return Check(name, True, told, allowed)
