"""From a run's key to spark-submit's words, and from its exit code to what Airflow does; a shell script plays spark-submit."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from dag_builder.partition import WEEK, interval
from dag_builder.spark_step import SparkStep

KEY = "2013-11-01T12:00:00"


@pytest.fixture
def submit(tmp_path: Path, monkeypatch, project):
    """A spark-submit that says what it was called with and exits as told."""

    def make(code: int) -> None:
        script = tmp_path / "bin" / "spark-submit"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\necho "the cause"\nexit {code}\n')
        script.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps({"conn_type": "spark", "host": "local[2]"}))
    return make


def step(name: str, width: timedelta = timedelta(hours=1), *, gated: bool = False) -> SparkStep:
    return SparkStep(task_id=name, pipeline="nycflights13", step=name, width=width, gated=gated)


def test_the_words_of_an_hour_come_from_its_partition_key(project, run_of):
    task = step("ingest")
    command = task.prepare(task.call_of(run_of(KEY)))
    assert task.application_args == [
        *("--pipeline", "nycflights13", "--step", "ingest"),
        *("--from", "2013-11-01T12:00:00", "--to", "2013-11-01T13:00:00"),
        *("--dag-run", "by_key__test", "--env", "local"),
    ]
    assert task.application.endswith("spark_jobs/submit/run_step.py")
    assert command == (
        "tidegate run nycflights13 ingest --from 2013-11-01T12:00:00 --to 2013-11-01T13:00:00 --env local"
    )


def test_the_words_of_a_week_end_seven_days_after_its_key(project, run_of):
    task = step("train", WEEK)
    task.prepare(task.call_of(run_of("2013-10-25T00:00:00")))
    assert task.application_args[4:8] == ["--from", "2013-10-25T00:00:00", "--to", "2013-11-01T00:00:00"]


def test_T6_a_parameter_stands_in_for_a_missing_key(run_of):
    start, end = interval(run_of(None, hour=KEY))
    assert (start.isoformat(), end - start) == ("2013-11-01T12:00:00+00:00", timedelta(hours=1))


@pytest.mark.parametrize(
    ("key", "hour", "told"),
    [
        (None, None, "names no hour"),
        ("yesterday", None, "is not a time"),
        (None, "2013-11-01T10:17:00", "use 2013-11-01T10:00:00"),
        ("2013-11-01 12:00:00", None, "allowed: 2013-11-01T12:00:00"),
        ("2013-11-01T12:00:00+01:00", None, "not in UTC"),
    ],
)
def test_T6_a_run_that_names_no_whole_hour_is_refused_and_not_retried(run_of, key, hour, told):
    with pytest.raises(AirflowFailException, match=told):
        interval(run_of(key, hour))


def test_exit_0_succeeds_and_hands_over_master_and_memory(submit, run_of, tmp_path):
    submit(0)
    step("build_features").execute(run_of(KEY))
    words = (tmp_path / "words").read_text().splitlines()
    assert words[words.index("--master") + 1] == "local[2]"
    assert words[words.index("--driver-memory") + 1].endswith("m")
    assert words[-12:-8] == ["--pipeline", "nycflights13", "--step", "build_features"]


def test_exit_65_of_a_gated_step_leaves_the_decision_to_its_gates(submit, run_of):
    submit(65)
    step("ingest", gated=True).execute(run_of(KEY))


@pytest.mark.parametrize(
    ("code", "tries", "final"),
    [(64, 1, True), (65, 1, True), (75, 1, False), (75, 3, False), (1, 1, False), (1, 2, True)],
)
def test_only_faults_that_a_retry_may_cure_are_retried(submit, run_of, code, tries, final):
    submit(code)
    with pytest.raises(AirflowException) as caught:
        step("build_features").execute(run_of(KEY, tries=tries))
    assert isinstance(caught.value, AirflowFailException) == final
    assert str(caught.value).splitlines()[-1].startswith("  do: tidegate run nycflights13 build_features --from")
