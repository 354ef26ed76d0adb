"""Hours outside a pipeline's [start, end): refused with 64 by every command that takes an interval, before anything starts."""

from __future__ import annotations

import pytest

from spark_jobs.cli.act import step_call
from spark_jobs.cli.fetch import fetch_drops
from spark_jobs.cli.planning import show_plan
from spark_jobs.config.load import load_pipeline
from spark_jobs.errors import EXIT_USAGE, UsageError
from spark_jobs.invocation import Invocation, parse_hour
from spark_jobs.steps.run import StepRun

P = "nycflights13"
OUTSIDE = [
    ("2012-12-30T23:00:00", "2012-12-31T00:00:00", "before the pipeline's start", "choose hours of the pipeline"),
    ("2012-12-30", "2013-01-01", "before the pipeline's start", "--from 2012-12-31T00:00:00 --to 2013-01-01T00:00:00"),
    (
        "2013-12-31",
        "2014-01-01T01:00:00",
        "after the pipeline's end",
        "--from 2013-12-31T00:00:00 --to 2014-01-01T00:00:00",
    ),
    ("2014-01-01", "2014-01-02", "after the pipeline's end", "choose hours of the pipeline"),
]


@pytest.mark.parametrize(("low", "high", "said", "hint"), OUTSIDE)
def test_hours_that_the_pipeline_does_not_have_are_refused(project, monkeypatch, tmp_path, low, high, said, hint):
    monkeypatch.setenv("TIDEGATE_PROJECT", str(project))
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path / "data"))
    span = parse_hour(low), parse_hour(high)
    for command in (
        lambda: step_call(P, "ingest", low, high, "", "local"),
        lambda: step_call(P, "publish", low, high, "", "local"),
        lambda: fetch_drops(P, low, high, [], "local", as_json=False),
        lambda: show_plan(P, "ingest", low, high, "local", as_json=False),
        lambda: StepRun(Invocation(P, "heal", *span, "manual"), lambda: None),
    ):
        with pytest.raises(UsageError) as caught:
            command()
        assert caught.value.exit_code == EXIT_USAGE
        assert said in caught.value.found
        assert "[2012-12-31T00:00:00, 2014-01-01T00:00:00)" in caught.value.allowed
        assert hint in caught.value.todo
    assert not (tmp_path / "data").exists()


def test_the_first_and_the_last_hour_are_hours_of_the_pipeline(project, monkeypatch):
    monkeypatch.setenv("TIDEGATE_PROJECT", str(project))
    whole = load_pipeline(P)
    step_call(P, "ingest", "2012-12-31", "2014-01-01", "", "local")
    assert whole.end is not None
