"""What Airflow, ledger, command line and pages agree upon; a change here needs an ADR (docs/design/data-model.md)."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs import errors
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.failpoints import VARIABLE
from spark_jobs.invocation import HOUR_FORMAT, Invocation, format_hour, parse_hour
from spark_jobs.ledger.schemas import KINDS, SCHEMA_VERSION, SCHEMAS, STATES
from spark_jobs.result import Result
from spark_jobs.verdict import Outcome, RuleResult, Verdict

CHECKOUT = Path(__file__).parents[2]
SIX, SEVEN = datetime(2013, 11, 1, 6, tzinfo=UTC), datetime(2013, 11, 1, 7, tzinfo=UTC)

LEDGER = {
    "intervals": "dag_run step from_hour to_hour state pub drops rows staged base seconds code_version config_hash why",
    "verdicts": "pub table scope from_hour to_hour outcome verdict suite_hash staged_digest",
    "releases": "release pub parent kind covers dead rows why",
    "quarantine_actions": "pub table file line drop_sha256 action why",
    "incidents": "incident event channel message_key severity owner body",
    "promotions": "model alias from_version to_version why proof_digest",
    "definitions": "digest model version definitions",
}


# the call of a step
_hours = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001  # made UTC in the next line
    lambda at: at.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
)
_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(_words, _words, _hours, st.integers(1, 9_000), _words, _words)
def test_a_call_survives_its_own_command_line(pipeline, step, start, hours, dag_run, env):
    """Airflow hands over `argv()`, run_step.py reads it with `parse`: nothing is lost, whatever the names."""
    call = Invocation(pipeline, step, start, start + timedelta(hours=hours), dag_run, env)
    assert Invocation.parse(call.argv()) == call
    assert call.hours == hours


def test_the_words_of_a_call_are_these():
    call = Invocation("p", "ingest", SIX, SEVEN, "scheduled__1", "local")
    assert " ".join(call.argv()) == (
        "--pipeline p --step ingest --from 2013-11-01T06:00:00 --to 2013-11-01T07:00:00 --dag-run scheduled__1 --env local"
    )


_GOOD = Invocation("p", "ingest", SIX, SEVEN, "r").argv()


@pytest.mark.parametrize(
    "words",
    [[], _GOOD[:-1], _GOOD[:-2], [*_GOOD, "--more", "x"], [*_GOOD[:-2], "--step", "again"], ["--pipelin", *_GOOD[1:]]],
    ids=["none", "no value", "missing", "unknown", "doubled", "misspelt"],
)
def test_a_call_with_a_wrong_word_is_a_fault_of_usage(words):
    with pytest.raises(UsageError, match="--dag-run"):
        Invocation.parse(words)


@pytest.mark.parametrize("end", [SIX, SIX - timedelta(hours=1)])
def test_T6_an_interval_without_an_hour_is_refused(end):
    """[from, to) in whole hours, never empty."""
    with pytest.raises(UsageError, match="holds no hour"):
        Invocation("p", "ingest", SIX, end, "r")


def test_the_partition_key_of_an_hour_is_its_utc_start_to_the_second():
    assert HOUR_FORMAT == "%Y-%m-%dT%H:%M:%S"
    assert format_hour(SIX) == "2013-11-01T06:00:00"
    assert format_hour(SIX.astimezone(timezone(timedelta(hours=-4)))) == "2013-11-01T06:00:00"
    assert parse_hour("2013-11-01T06:00:00") == parse_hour("2013-11-01T06:00:00Z") == SIX
    assert parse_hour("2013-11-01") == SIX - timedelta(hours=6)


@pytest.mark.parametrize("text", ["2013-11-01T06:30:00", "2013-11-01T06:00:00-04:00", "yesterday", "", "2013-13-01"])
def test_T6_what_is_not_a_whole_utc_hour_is_refused(text):
    with pytest.raises(UsageError):
        parse_hour(text)


# the answer of a step
def test_the_result_is_one_line_of_json_with_these_keys():
    line = Result("p", "ingest", "a", "b", "r", "staged", 4, why="two\nlines").to_json()
    assert "\n" not in line
    assert list(json.loads(line)) == [
        "pipeline", "step", "start", "end", "dag_run", "state", "pub", "release", "rows", "seconds", "why", "exit_code",
        "refused", "warnings", "warnings_total", "models", "schema_version",
    ]  # fmt: skip
    assert line.startswith('{"pipeline"')  # by which the command line and Airflow find it


def test_exit_codes_say_whether_a_retry_may_help():
    fixed = (errors.EXIT_OK, errors.EXIT_BUG, errors.EXIT_USAGE, errors.EXIT_REFUSED, errors.EXIT_RETRY)
    assert fixed == (0, 1, 64, 65, 75)
    codes = {kind: kind("w", "f").exit_code for kind in (TidegateError, UsageError, RefusedError, RetryError)}
    assert codes == {TidegateError: 1, UsageError: 64, RefusedError: 65, RetryError: 75}


def test_an_error_keeps_its_four_parts_when_it_is_pickled():
    error = pickle.loads(pickle.dumps(RetryError("where", "found", "allowed", "todo")))
    assert str(error) == "where: found\n  allowed: allowed\n  do: todo"
    assert (error.where, error.found, error.allowed, error.todo) == ("where", "found", "allowed", "todo")


# verdicts
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_rules = st.builds(
    RuleResult, _texts, st.sampled_from(Outcome), _texts, _texts, _texts, st.integers(0), st.integers(0),
    st.lists(_texts, max_size=5).map(tuple), _texts,
)  # fmt: skip


@given(st.lists(_rules, max_size=4), _texts)
def test_a_verdict_survives_its_json(rules, digest):
    verdict = Verdict.of("silver/t", "silver", rules, "suite", digest)
    text = verdict.to_json()
    assert "\n" not in text
    assert json.loads(text)["schema_version"] == 1
    assert Verdict.from_json(text) == verdict


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [("PASS", "PASS"), ("PASS WARN", "WARN"), ("FAIL WARN", "FAIL"), ("FAIL ERROR PASS", "ERROR"), ("", "ERROR")],
)
def test_G4_a_verdict_is_as_bad_as_its_worst_rule_and_no_rule_is_an_error(outcomes, whole):
    verdict = Verdict.of("t", "silver", [RuleResult("r", Outcome(o)) for o in outcomes.split()])
    assert verdict.outcome == whole
    assert verdict.outcome.blocks == (whole in ("FAIL", "ERROR"))


# the ledger
def test_the_ledger_has_these_tables_with_these_columns():
    """The four columns that every row has come first."""
    found = {name: " ".join(schema.names) for name, schema in SCHEMAS.items()}
    assert found == {name: f"seq at by schema_version {columns}" for name, columns in LEDGER.items()}


def test_schema_versions_are_one():
    defaults = {f.name: f.default for f in (*fields(Result), *fields(Verdict)) if f.name == "schema_version"}
    assert (SCHEMA_VERSION, defaults) == (1, {"schema_version": 1})


def test_states_and_kinds_are_those_of_the_data_model():
    states = "waiting late empty started staged refused published superseded withdrawn failed"
    assert (" ".join(STATES), " ".join(KINDS)) == (states, "hour backfill rebuild heal score rollback")


# failpoints
_AT = "from spark_jobs.failpoints import failpoint; failpoint('here'); print('alive')"


@pytest.mark.parametrize(
    ("asked", "code", "said"), [("here", -signal.SIGKILL, ""), ("there", 0, "alive\n"), ("", 0, "alive\n")]
)
def test_a_failpoint_kills_its_process_only_when_it_is_the_one_asked_for(asked, code, said):
    ended = subprocess.run(
        [sys.executable, "-c", _AT], cwd=CHECKOUT, env={**os.environ, VARIABLE: asked}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (code, said)


# what spark_jobs knows of the world
def _spoken(pattern: str, folder: Path = CHECKOUT / "spark_jobs") -> list[str]:
    """Lines below `folder` that match, as file:line."""
    wanted = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    return [
        f"{path.relative_to(folder)}:{number}"
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".html")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if wanted.search(line)
    ]


def test_jobs_speak_no_word_of_the_example():
    assert _spoken("flight|departure|carrier|tail_?num|airport|airline") == []


def test_jobs_never_import_the_scheduler():
    assert _spoken(r"^\s*(from|import)\s+airflow\b") == []


def test_control_the_search_finds_what_it_looks_for(tmp_path):
    (tmp_path / "job.py").write_text("import os\n    from airflow.sdk import dag\ncarrier = 1\n")
    assert _spoken(r"^\s*(from|import)\s+airflow\b", tmp_path) == ["job.py:2"]
    assert _spoken("flight|carrier", tmp_path) == ["job.py:3"]
