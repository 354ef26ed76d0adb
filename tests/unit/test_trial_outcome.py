"""Which hours a trial draws, and what it says of a changed one: blocked, held, harmless or missed, and why."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from typing import Any

import pytest

from spark_jobs.config.suites import Rule, Suite
from spark_jobs.config.tables import Column, SilverTable
from spark_jobs.gate_test.draw import clean_hours, hour_of_a_row
from spark_jobs.gate_test.mutators import Mutator
from spark_jobs.gate_test.outcome import Judgement, Seen, judgement
from spark_jobs.gate_test.report import Trial
from spark_jobs.invocation import HOUR, parse_hour
from spark_jobs.verdict import Outcome, RuleResult, Verdict

NOON = parse_hour("2013-11-01T12:00:00")
HOURS = [NOON + n * HOUR for n in range(200)]
A, B, C, WRONG = ("a", 1), ("b", 2), ("c", 3), ("a", 9)


def mutator(*, loses: bool = False) -> Mutator:
    return Mutator(8, "some fault", "what it does", lambda case: None, loses)


def seen(rows: list[Any], held: dict[str, int] | None = None, **rules: str) -> Seen:
    """An hour with these readable rows; `held`: rows by broken rule, one rule a row; rules: outcome by rule."""
    results = [RuleResult(rule, Outcome(outcome)) for rule, outcome in rules.items()] or [RuleResult("r", Outcome.PASS)]
    return Seen(Verdict.of("silver/t", "silver", results), Counter(rows), sum((held or {}).values()), held or {})


def judged(clean: Seen, bad: Seen, *, loses: bool = False) -> Judgement:
    return judgement(mutator(loses=loses), NOON, ("x",), clean, bad)


# draws
def test_an_hour_is_drawn_as_often_as_it_has_rows_and_never_one_that_is_taken() -> None:
    chance = random.Random(1)
    rows = {HOURS[0]: 0, HOURS[1]: 10, HOURS[2]: 30, HOURS[3]: 1000}
    drawn = Counter(hour_of_a_row(chance, rows, [HOURS[3]]) for _ in range(4000))
    assert set(drawn) == {HOURS[1], HOURS[2]}
    assert 0.2 < drawn[HOURS[1]] / 4000 < 0.3
    assert hour_of_a_row(chance, rows, HOURS[1:]) is None


def test_clean_hours_are_drawn_once_a_quarter_of_them_from_hard_days() -> None:
    hard, taken = [date(2013, 11, 3)], HOURS[::2]
    drawn = clean_hours(random.Random(1), HOURS, hard, 40, taken)
    assert len(set(drawn)) == 40
    assert drawn == sorted(drawn)
    assert not set(drawn) & set(taken)
    assert sum(hour.date() in hard for hour in drawn) >= 10
    assert drawn == clean_hours(random.Random(1), HOURS, hard, 40, taken)
    assert drawn != clean_hours(random.Random(2), HOURS, hard, 40, taken)
    assert len(clean_hours(random.Random(1), HOURS, [], 400, taken)) == 100


# outcomes
def test_a_blocked_hour_is_caught_by_its_rules() -> None:
    found = judged(seen([A, B]), seen([A], bounds="FAIL", pattern="ERROR", told="WARN", fine="PASS"))
    assert (found.outcome, found.rules, found.warnings, found.reason) == (
        "blocked",
        ("bounds", "pattern"),
        ("told",),
        "",
    )
    assert found.caught


def test_a_rule_that_refuses_the_clean_hour_too_catches_nothing() -> None:
    found = judged(seen([A], bounds="FAIL"), seen([A], bounds="FAIL"))
    assert found.outcome == "missed"
    assert "the hour as it was is refused, too, by bounds" in found.reason
    other = judged(seen([A], bounds="FAIL"), seen([A], bounds="FAIL", pattern="FAIL"))
    assert (other.outcome, other.rules) == ("blocked", ("pattern",))


def test_readers_who_see_the_same_rows_are_not_harmed() -> None:
    assert judged(seen([A, B, B]), seen([B, A, B])).outcome == "harmless"
    assert judged(seen([A, B, B]), seen([A, B])).outcome == "missed"


def test_an_altered_row_that_is_held_is_caught_by_the_rules_that_hold_it() -> None:
    found = judged(seen([A, B, C], {"old": 1}), seen([B, C], {"old": 1, "bounds": 1}))
    assert (found.outcome, found.rules) == ("held", ("bounds",))


@pytest.mark.parametrize(
    ("clean", "bad", "loses", "said"),
    [
        (
            seen([A, B]),
            seen([WRONG, B]),
            False,
            "1 of 2 readable rows are wrong, 1 of 2 right ones missing; no rule spoke",
        ),
        (seen([A, B]), seen([A]), False, "0 of 1 readable rows are wrong, 1 of 2 right ones missing; no rule"),
        (seen([A, B, C]), seen([C], {"bounds": 1}), False, "2 of 3 right ones missing, 1 held; no rule"),
        (seen([A, B]), seen([A], {"bounds": 1}), True, "1 of 2 right ones missing, 1 held"),
        (seen([A, B]), seen([A, B, B]), False, "1 of 3 readable rows are wrong, 0 of 2 right ones missing"),
        (seen([A, B]), seen([WRONG, B], count="WARN"), False, "only warned by count"),
    ],
    ids=["another value", "a row gone", "one of two held", "held but lost", "one more", "warned"],
)
def test_what_is_missed_says_what_readers_see_and_who_warned(clean: Seen, bad: Seen, loses: bool, said: str) -> None:
    found = judged(clean, bad, loses=loses)
    assert found.outcome == "missed"
    assert not found.caught
    assert said in found.reason


# the report
COLUMNS = {name: Column(type="int", meaning="A column.") for name in ("named", "caught", "open")}
TABLE = SilverTable.model_validate(
    {"source": "s", "grain": "g", "key": ["named"], "event_at": {"use": "itself"}, "columns": COLUMNS}
)
SUITE = Suite(
    table="t",
    rules=[Rule(id="busy", type="expect_column_values_to_be_null", column="named", scope="row", budget=0, why="test")],
)


def test_a_report_counts_and_names_what_is_idle_and_what_nothing_guards() -> None:
    clean = {
        NOON: seen([A], busy="PASS", idle="PASS"),
        NOON + HOUR: seen([A], {"idle": 2}, busy="PASS", idle="FAIL"),
    }
    one = judgement(mutator(), NOON, ("caught",), clean[NOON], seen([], busy="FAIL", idle="PASS"))
    two = judgement(mutator(), NOON + HOUR, ("open",), clean[NOON + HOUR], seen([A, B], idle="FAIL"))
    facts = Trial("p", "t", 7, [one, two], [mutator()], clean).facts(TABLE, SUITE)
    assert (facts["caught"], facts["total"], facts["seed"]) == (1, 2, 7)
    assert (facts["false_alarms"], facts["clean_hours"], facts["clean_rows_held"]) == (1, 2, 2)
    assert facts["false_alarm_hours"] == [{"hour": "2013-11-01T13:00:00", "rules": ["idle"]}]
    assert facts["idle_rules"] == ["idle"]
    assert facts["unguarded_columns"] == ["open"]
    assert facts["not_applicable"] == [{"number": 8, "name": "some fault"}]
    assert [one["outcome"] for one in facts["mutants"]] == ["blocked", "missed"]
    assert facts["mutants"][0]["hour"] == "2013-11-01T12:00:00"
