"""Tasks that find their hours when they run: without anything to do they end well and start no process."""

from __future__ import annotations

import logging
import subprocess
from datetime import UTC, datetime

import pytest
from dag_builder.due import HealDue, Maintain, ScoreDue
from dag_builder.gates import open_ledger
from dag_builder.partition import WEEK

from spark_jobs.invocation import HOUR
from spark_jobs.ledger import Release

NAME, WEEK_KEY = "nycflights13", "2013-10-21T00:00:00"
WEEK_END = datetime(2013, 10, 28, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_spark(monkeypatch):
    def refuse(*words, **options):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def publish(start, end):
    covers = (("silver/departures", start, end), ("accounts", start, end))
    ledger = open_ledger(NAME, "test")
    ledger.release(Release(0, 1, None, "backfill", covers, frozenset(), {}, "", end), None, [])
    return ledger


def score():
    return ScoreDue(task_id="score", pipeline=NAME, step="score", width=WEEK)


def test_heal_of_a_lake_without_a_release_does_nothing(project, run_of):
    HealDue(task_id="heal", pipeline=NAME, step="heal").execute(run_of("2013-11-01T00:00:00"))


def test_predictions_are_due_for_the_hours_published_since_the_training_data_ended(project, run_of):
    publish(WEEK_END - WEEK, WEEK_END + 3 * HOUR)
    call = score().call_of(run_of(WEEK_KEY))
    assert (call.step, call.start, call.end) == ("score", WEEK_END, WEEK_END + 3 * HOUR)


def test_no_predictions_are_due_when_nothing_was_published_since(project, run_of):
    assert score().call_of(run_of(WEEK_KEY)) is None
    publish(WEEK_END - WEEK, WEEK_END)
    assert score().call_of(run_of(WEEK_KEY)) is None
    score().execute(run_of(WEEK_KEY))


def test_maintenance_of_a_pipeline_that_never_ran_does_nothing(project, run_of, caplog):
    caplog.set_level(logging.INFO)
    Maintain(task_id="maintain", pipeline=NAME).execute(run_of("2013-11-01T00:00:00"))
    assert "vacuum" not in caplog.text
