"""The lakes that drivers are killed on, made once: what stands before the hour that is hit, and what should come of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import driver
import gauges
import pytest
from lakes import HOUR_HIT, HOUR_NEXT, PAST, STEPS, RiverLake, Shown

from spark_jobs.runtime import process_environment


@dataclass(frozen=True)
class Oracle:
    """What readers see when nobody is killed, and which failpoints a run passes in each step."""

    before: Shown  # the past hours
    after: Shown  # and the hour that is hit
    skipped: Shown  # the past hours and the hour next to the one that is hit, which was never run
    passed: dict[str, list[str]]  # step -> failpoints, in order


@pytest.fixture(scope="session")
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RiverLake:
    """The past is published, the next hour is staged as run `next`. Copy it, never write to it."""
    os.environ.update(process_environment())
    driver.start_server()
    jvm = driver.jvm_environment(request.getfixturevalue("spark"))
    lake = RiverLake(tmp_path_factory.mktemp("ready") / "data", jvm)
    gauges.deliver(lake.landing, 4)
    lake.run(PAST, hours=2)
    lake.run(HOUR_NEXT, STEPS[:-1], dag_run="next")
    return lake


@pytest.fixture(scope="session")
def staged(ready: RiverLake, tmp_path_factory: pytest.TempPathFactory) -> tuple[RiverLake, dict[str, list[str]]]:
    """As `ready`, and the hour that is hit is staged; with the failpoints that each step passes."""
    lake = ready.copy(tmp_path_factory.mktemp("staged") / "data")
    return lake, {step: lake.run(HOUR_HIT, (step,), note=True).passed for step in STEPS[:-1]}


@pytest.fixture(scope="session")
def oracle(ready: RiverLake, staged: Any, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """The same drops, hour by hour, nobody killed."""
    lake, staging = staged
    whole = lake.copy(tmp_path_factory.mktemp("whole") / "data")
    publishing = whole.run(HOUR_HIT, ("publish",), note=True).passed
    skipping = ready.copy(tmp_path_factory.mktemp("skipping") / "data")
    skipping.run(HOUR_NEXT, ("publish",), dag_run="next")
    passed = {**staging, "publish": publishing}
    told = Oracle(ready.seen(), whole.seen(), skipping.seen(), passed)
    assert all(told.before[table] != told.after[table] != told.skipped[table] for table in told.before)
    return told
