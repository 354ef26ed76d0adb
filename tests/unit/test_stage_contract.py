"""What every stage has in common: frozen inputs and outputs, and no table besides those that plan.py declares for it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from spark_jobs import stages
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.tables import UndeclaredTableError
from spark_jobs.ledger import Ledger
from spark_jobs.steps import plan, run
from spark_jobs.steps.context import Context
from spark_jobs.steps.dispatch import STAGES

NAME, NOON = "nycflights13", datetime(2013, 11, 1, 12, tzinfo=UTC)
ENTRY_POINTS = ("run", "stage")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A publication of an hour of an empty lake; no session is started."""
    environment, places = load_environment("local")
    call = Invocation(NAME, "ingest", NOON, NOON + HOUR, "run")
    ledger = Ledger.open(tmp_path)
    return Context(load_pipeline(NAME), environment, places, ledger, call, 1, [], lambda: None)


def _entry_points() -> Iterator[tuple[str, Any]]:
    for module in pkgutil.iter_modules(stages.__path__):
        loaded = importlib.import_module(f"{stages.__name__}.{module.name}")
        for name in ENTRY_POINTS:
            if hasattr(loaded, name):
                yield f"{module.name}.{name}", getattr(loaded, name)


def _is_frozen(kind: Any) -> bool:
    return is_dataclass(kind) and kind.__dataclass_params__.frozen


@pytest.mark.parametrize(("name", "function"), _entry_points())
def test_a_stage_takes_frozen_inputs_and_returns_frozen_outputs(name: str, function: Any) -> None:
    """What a stage needs and what it made are in its signature; nothing is handed on by filling a shared object."""
    types = get_type_hints(function)
    assert set(types) == {*inspect.signature(function).parameters, "return"}
    assert {kind for kind in types.values() if not _is_frozen(kind)} == set()


def test_every_stage_of_the_plan_has_a_function_and_no_other_has() -> None:
    """`publish` and `score` release what is staged: steps/run.py calls them."""
    assert STAGES.keys() | {"publish", "score"} == {name for step in plan.STEPS.values() for name in step.stages}


def test_every_step_of_the_plan_can_be_run() -> None:
    assert run.STEPS.keys() == plan.STEPS.keys()


def test_what_a_stage_knows_cannot_be_changed(context: Context) -> None:
    with pytest.raises(FrozenInstanceError):
        context.pub = 2


def test_a_later_context_has_the_staged_tables_and_the_earlier_one_has_not(context: Context) -> None:
    later = context.after({"tiles/departures": None}, {NOON: NOON + HOUR})
    assert (dict(context.staged), dict(context.known)) == ({}, {})
    assert (list(later.staged), dict(later.known)) == (["tiles/departures"], {NOON: NOON + HOUR})


@pytest.mark.parametrize(
    ("stage", "table"),
    [
        ("bronze", "silver/weather"),
        ("silver", "features/departures"),
        ("tiles", "bronze/weather"),
        ("features", "predictions/late_departure"),
        ("predictions", "tiles/departures"),
        ("heal", "quarantine"),
    ],
)
def test_a_stage_cannot_touch_a_table_that_the_plan_does_not_declare(context: Context, stage: str, table: str) -> None:
    lake = context.for_stage(stage).lake
    for touch in (lake.is_made, lake.current, lake.versions, lake.known_versions, lake.newest_known, lake.staged_rows):
        with pytest.raises(UndeclaredTableError, match=rf"{table} is not declared in steps/plan\.py"):
            touch(table)
    with pytest.raises(UndeclaredTableError):
        lake.stage(table, None)


def test_a_stage_reads_and_writes_the_tables_that_the_plan_declares(context: Context) -> None:
    lake = context.for_stage("tiles").lake
    for table in [*plan.tables_read(context.pipeline, ["tiles"]), *plan.tables_written(context.pipeline, ["tiles"])]:
        assert lake.is_made(table) is False
