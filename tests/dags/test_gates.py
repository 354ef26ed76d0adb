"""Gates over a real ledger: green, red, skipped, and red when nothing was judged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from dag_builder.gates import Announce, Gate, missing_hours, open_ledger
from dag_builder.partition import invocation

from spark_jobs.invocation import format_hour
from spark_jobs.ledger import Ledger, Release
from spark_jobs.verdict import Outcome, RuleResult, Verdict

KEY = "2013-11-01T13:00:00"


def gate(scope: str, *after: str) -> Gate:
    return Gate(task_id=f"gate_{scope}", pipeline="nycflights13", step="prepare", scope=scope, after=after)


def rule(outcome: Outcome, number: int = 0) -> RuleResult:
    return RuleResult(f"rule_{number}", outcome, "delay", "max 5400", "-60 to 1440", 40, 55, ("5400", "3600"))


def record(context, state: str, *verdicts: tuple[str, Outcome]) -> Ledger:
    """The ledger after a `prepare` of this run that ended in `state` with these verdicts (scope, outcome)."""
    ledger, call = open_ledger("nycflights13", "test"), invocation(context, "nycflights13", "prepare")
    pub = ledger.start(call, "code", "config", None)
    for number, (scope, outcome) in enumerate(verdicts):
        ledger.add_verdict(call, pub, Verdict.of(f"table_{number}", scope, [rule(outcome)]))
    ledger.record(call, state, pub)
    return ledger


def test_a_gate_is_green_when_every_verdict_of_its_scope_passes_or_warns(project, run_of):
    context = run_of(KEY)
    record(context, "staged", ("silver", Outcome.PASS), ("silver", Outcome.WARN), ("features", Outcome.PASS))
    gate("silver").execute(context)
    gate("features", "silver").execute(context)


def test_a_red_gate_says_what_broke_what_readers_see_and_what_to_do_in_twelve_lines(project, run_of):
    context = run_of(KEY)
    record(context, "refused", *[("silver", Outcome.FAIL)] * 20)
    with pytest.raises(AirflowFailException) as caught:
        gate("silver").execute(context)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 12
    assert "max 5400" in str(caught.value)
    assert "readers still see release none" in str(caught.value)
    assert "clear prepare with downstream" in lines[-1]


def test_a_check_that_broke_blocks_too(project, run_of):
    context = run_of(KEY)
    record(context, "refused", ("silver", Outcome.ERROR))
    with pytest.raises(AirflowFailException):
        gate("silver").execute(context)


def test_features_are_skipped_not_red_when_silver_was_refused(project, run_of):
    context = run_of(KEY)
    record(context, "refused", ("silver", Outcome.FAIL))
    with pytest.raises(AirflowSkipException, match="silver was refused"):
        gate("features", "silver").execute(context)


def test_no_verdict_at_all_is_red(project, run_of):
    context = run_of(KEY)
    record(context, "staged")
    for scope, after in (("silver", ()), ("features", ("silver",))):
        with pytest.raises(AirflowFailException, match="no verdict"):
            gate(scope, *after).execute(context)


def test_a_step_that_left_no_trace_is_red(project, run_of):
    with pytest.raises(AirflowFailException, match="no row in the ledger"):
        gate("silver").execute(run_of(KEY))


def test_only_the_newest_try_of_a_step_counts(project, run_of):
    context = run_of(KEY)
    record(context, "refused", ("silver", Outcome.FAIL))
    record(context, "staged", ("silver", Outcome.PASS))
    gate("silver").execute(context)


def test_nothing_is_announced_that_was_not_published(project, run_of):
    context = run_of(KEY)
    record(context, "staged", ("silver", Outcome.PASS))
    announce = Announce(task_id="announce", pipeline="nycflights13", step="prepare")
    with pytest.raises(AirflowFailException, match="'staged', not published"):
        announce.execute(context)


def test_hours_missing_in_any_table_are_missing_from_the_week(project, run_of):
    ledger = record(run_of(KEY), "published")
    hours = [datetime(2013, 11, 1, hour, tzinfo=UTC) for hour in range(6)]
    covers = (("silver/a", hours[0], hours[4]), ("silver/b", hours[1], hours[3]))
    now = datetime(2013, 11, 2, tzinfo=UTC)
    ledger.release(Release(0, 0, None, "hour", covers, frozenset(), {}, "", now), None, [])
    missing = missing_hours(ledger, ["silver/a", "silver/b"], hours[0], hours[5])
    assert [format_hour(hour)[11:13] for hour in missing] == ["00", "03", "04"]
