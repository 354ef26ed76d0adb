"""A cron line that conf/ takes is one that Airflow's own library takes; what is none is told before Airflow meets it."""

import json
from pathlib import Path

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from spark_jobs.config import load_pipeline
from spark_jobs.config.section import Cron
from spark_jobs.errors import EXIT_USAGE, UsageError

CRON = TypeAdapter(Cron)
PIPELINE = "nycflights13"
WORDS = (
    "*", "MON", "jan", "*/5", "*/0", "*/70", "1-5", "5-1", "fri-mon", "sun-tue", "7", "0-59/10", "x", "?", "L",
)  # fmt: skip
VALUES = st.one_of(st.integers(0, 70).map(str), st.sampled_from(WORDS))


def _taken(line: str) -> bool:
    try:
        return CRON.validate_python(line) == line
    except ValidationError:
        return False


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3).map(",".join), min_size=4, max_size=6).map(" ".join))
def test_what_is_taken_is_a_cron_line_to_airflows_library(line):
    assert not _taken(line) or croniter.is_valid(line)


@pytest.mark.parametrize("line", ["0 6 * * 1", "*/15 0-6/2 1,15 * MON-FRI", "59 23 31 12 7", "0 6 * jan,Feb sun"])
def test_ordinary_lines_are_taken(line):
    assert _taken(line)
    assert croniter.is_valid(line)


@pytest.mark.parametrize(
    "line",
    ["@daily", "* * * *", "60 6 * * 1", "0 6 * * 8", "0 6 0 * 1", "0 6 * * 1; ls", "0 6 * * 1\n", "٣ 6 * * 1", ""],
)
def test_other_lines_are_refused_at_their_line_of_pipeline_yaml(line, project: Path):
    assert not _taken(line)
    file = project / f"conf/pipelines/{PIPELINE}/pipeline.yaml"
    file.write_text(file.read_text().replace('cron: "0 6 * * 1"', f"cron: {json.dumps(line)}"))
    with pytest.raises(UsageError, match="is no cron line; write minute, hour") as caught:
        load_pipeline(PIPELINE, project)
    assert caught.value.exit_code == EXIT_USAGE
