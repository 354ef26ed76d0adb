"""Stretches around refused hours, and which hours a verdict names; without Spark."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.cli.backfill import Span, _tell_refused, around_refused
from spark_jobs.invocation import HOUR, format_hour, hours_between
from spark_jobs.ledger import folds
from spark_jobs.verdict import Outcome, RuleResult, Verdict, hours_at_fault

START = datetime(2024, 1, 1, tzinfo=UTC)


def at(hour: int) -> datetime:
    return START + hour * HOUR


@given(st.sets(st.integers(0, 23)), st.sets(st.integers(0, 23)))
def test_every_hour_is_run_to_its_end_or_left_out_and_none_twice(bad, found_later):
    """Hours that only a shorter run finds to be bad are left out as well; stretches come in order of time."""
    published: list[Span] = []

    def run(low, high):
        hours = set(hours_between(low, high))
        known = bad if (low, high) == (at(0), at(24)) else bad | found_later
        refused = folds.spans(hours & {at(hour) for hour in known})
        if refused:
            return 65, refused
        published.append((low, high))
        return 0, []

    code, left_out = around_refused(at(0), at(24), run)
    hours = [hour for low, high in [*published, *left_out] for hour in hours_between(low, high)]
    assert sorted(hours) == list(hours_between(at(0), at(24)))
    assert published == sorted(published)
    assert code == (65 if left_out else 0)
    assert bool(left_out) == bool(bad)  # where the whole interval passes, nobody looks at a shorter one


@pytest.mark.parametrize(
    ("code", "spans"), [(75, []), (1, []), (64, []), (65, [])], ids=["late", "bug", "usage", "all of it"]
)
def test_what_is_of_no_single_hour_ends_the_backfill_with_its_exit_code(code, spans):
    """What was published before stays."""
    calls: list[Span] = []

    def run(low, high):
        calls.append((low, high))
        if (low, high) == (at(0), at(9)):
            return 65, [(at(2), at(3)), (at(6), at(7))]
        return (code, spans) if low == at(3) else (0, [])

    assert around_refused(at(0), at(9), run) == (code, [(at(2), at(3)), (at(6), at(7))])
    assert calls == [(at(0), at(9)), (at(0), at(2)), (at(3), at(6))]


def rule(outcome: Outcome, *hours: int) -> RuleResult:
    return RuleResult("r", outcome, hours=tuple(at(hour) for hour in hours))


@pytest.mark.parametrize(
    ("rules", "hours"),
    [
        ([rule(Outcome.FAIL, 1, 2), rule(Outcome.FAIL, 2, 5), rule(Outcome.PASS)], {1, 2, 5}),
        ([rule(Outcome.FAIL, 1), rule(Outcome.WARN, 7)], {1}),  # what only warns is published
        ([rule(Outcome.FAIL, 1), rule(Outcome.FAIL)], set()),  # a rule on the whole run
        ([rule(Outcome.FAIL, 1), rule(Outcome.ERROR)], set()),  # a rule that is broken itself
        ([rule(Outcome.PASS)], set()),
        ([], set()),
    ],
    ids=["each", "warnings", "batch", "error", "none", "no rule"],
)
def test_hours_are_at_fault_only_where_nothing_else_blocks(rules, hours):
    verdicts = [Verdict.of("silver/t", "silver", [one]) for one in rules]
    assert hours_at_fault(verdicts) == {at(hour) for hour in hours}


def test_the_ledgers_verdict_does_not_hold_hours():
    """A year's would be thousands; the answer of the step tells them as spans."""
    text = Verdict.of("silver/t", "silver", [rule(Outcome.FAIL, 1, 2)]).to_json()
    assert "hours" not in json.loads(text)["rules"][0]
    assert Verdict.from_json(text).rules[0].hours == ()


def test_the_last_line_for_machines_is_the_refused_hours(capsys):
    """As spans; for people at most ten of them."""
    spans = [(at(number), at(number + 1)) for number in range(0, 30, 2)]
    _tell_refused("harbour", spans, "local", as_json=True)
    _tell_refused("harbour", spans, "local", as_json=False)
    told, *lines = capsys.readouterr().out.splitlines()
    assert json.loads(told)["refused"] == [[format_hour(low), format_hour(high)] for low, high in spans]
    assert lines[0] == "left out: 15 hours that a gate refused"
    assert lines[11].startswith("  and 5 more: tidegate quarantine list ")
