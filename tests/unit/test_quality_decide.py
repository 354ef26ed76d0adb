"""Counts in, verdict out, by hand: budgets, hour rules, the account, the key, and what a person reads."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from spark_jobs.config.suites import BuiltIn, Rule, Suite
from spark_jobs.invocation import Invocation
from spark_jobs.quality.decide import (
    Account,
    HourTally,
    SpineAccount,
    account_results,
    arrival_result,
    decide,
    hour_results,
    key_result,
    row_results,
    spine_result,
)
from spark_jobs.quality.message import message
from spark_jobs.verdict import Outcome

NOON, ONE = datetime(2013, 11, 1, 12, tzinfo=UTC), datetime(2013, 11, 1, 13, tzinfo=UTC)
CALL = Invocation("city", "ingest", NOON, ONE, "run")
HOURS = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(4)]
WAIT = Rule(
    id="wait", type="expect_column_values_to_be_between", column="wait_min", args={"min_value": 0, "max_value": 90},
    scope="row", budget=0.1, why="a wait is never negative",
)  # fmt: skip
MEAN = Rule(
    id="mean_wait", type="expect_column_mean_to_be_between", column="wait_min", args={"max_value": 30}, scope="hour",
    severity="warning", why="long waits are rare",
)  # fmt: skip
COUNT = Rule(
    id="busy", type="expect_table_row_count_to_be_between", args={"min_value": 1}, scope="hour", why="never empty"
)
SUITE = Suite(table="rides", rules=[WAIT])


def wait_tally(hour, rows, broken):
    return HourTally(hour, rows, rows - broken, {"wait": broken})


@pytest.mark.parametrize(("broken", "outcome"), [(0, Outcome.PASS), (2, Outcome.PASS), (3, Outcome.FAIL)])
def test_a_row_rule_fails_when_more_than_its_budget_of_the_hour_is_broken(broken, outcome):
    result = row_results([WAIT], [wait_tally(NOON, 20, broken)])[0]
    assert (result.outcome, result.bad, result.total) == (outcome, broken, 20)


def test_budgets_are_judged_hour_by_hour_so_a_bad_hour_cannot_hide_in_a_month():
    tallies = [wait_tally(NOON, 1000, 0), wait_tally(ONE, 4, 1)]
    result = row_results([WAIT], tallies, examples={"wait": [-5.0, None, -5.0]})[0]
    assert result.outcome is Outcome.FAIL
    assert result.observed == "25.0% of the rows of 2013-11-01T13:00:00, over budget in 1 of 2 hours"
    assert result.examples == ("-5", "null")


def test_a_warning_rule_over_budget_warns_and_a_built_in_rule_blocks():
    tally = HourTally(NOON, 10, 8, {"wait": 2, "required:wait_min": 1})
    warning = WAIT.model_copy(update={"severity": "warning"})
    results = row_results([warning], [tally], ["required:wait_min"])
    assert [(r.outcome, r.column) for r in results] == [(Outcome.WARN, "wait_min"), (Outcome.FAIL, "wait_min")]


@pytest.mark.parametrize(
    ("built_in", "rule", "broken", "outcome"),
    [
        ({}, "parse", 1, Outcome.FAIL),
        ({"allow_rows": 1}, "parse", 1, Outcome.PASS),
        ({"allow_rows": 1}, "parse", 2, Outcome.FAIL),
        ({"budget": 0.2}, "type:wait_min", 2, Outcome.PASS),
        ({"budget": 0.2}, "type:wait_min", 3, Outcome.FAIL),
        ({"budget": 0.2, "rules": {"type": {"budget": 0}}}, "type:wait_min", 1, Outcome.FAIL),
        ({"budget": 0.2, "rules": {"type": {"budget": 0}}}, "parse", 1, Outcome.PASS),
        ({"rules": {"type:wait_min": {"allow_rows": 3}, "type": {"budget": 0}}}, "type:wait_min", 3, Outcome.PASS),
        ({"rules": {"type:wait_min": {"allow_rows": 3}, "type": {"budget": 0}}}, "type:other", 1, Outcome.FAIL),
        ({"rules": {"contradiction": {"budget": 1}}}, "contradiction", 14, Outcome.PASS),
    ],
)
def test_allowances_of_built_in_rules_are_declared_by_share_and_by_number_of_rows(built_in, rule, broken, outcome):
    """For all rules, for a kind of rule and for one column; the larger of share and number counts."""
    allowances = BuiltIn.model_validate(built_in)
    result = row_results([], [HourTally(NOON, 14, 14 - broken, {rule: broken})], [rule], allowances=allowances)[0]
    assert result.outcome is outcome


def test_a_row_rule_may_allow_a_number_of_rows_beside_its_budget():
    rule = WAIT.model_copy(update={"allow_rows": 2})
    assert [row_results([rule], [wait_tally(NOON, 10, broken)])[0].outcome for broken in (2, 3)] == [
        Outcome.PASS,
        Outcome.FAIL,
    ]
    assert row_results([rule], [wait_tally(NOON, 10, 3)])[0].allowed.endswith("10% of an hour's rows broken, or 2 rows")


@pytest.mark.parametrize("name", ["typo", "parse:wait_min", "volume", "type:"])
def test_an_allowance_of_an_unknown_rule_is_refused(name):
    with pytest.raises(ValidationError, match="is not a built-in rule on rows"):
        BuiltIn.model_validate({"rules": {name: {"allow_rows": 1}}})


def test_G6_a_row_rule_that_was_not_counted_is_an_error_and_not_a_pass():
    assert row_results([WAIT], [HourTally(NOON, 10, 10)])[0].outcome is Outcome.ERROR


def test_an_hour_rule_names_its_first_broken_hour_and_counts_hours():
    tallies = [HourTally(NOON, 5, 5, {}, {"mean_wait": 12.0}), HourTally(ONE, 5, 5, {}, {"mean_wait": 40.0})]
    result = hour_results([MEAN], tallies, [NOON, ONE])[0]
    assert (result.outcome, result.bad, result.total) == (Outcome.WARN, 1, 2)
    assert result.observed == "mean 40 in 2013-11-01T13:00:00, broken in 1 of 2 hours"


@pytest.mark.parametrize("value", [None, float("nan")])
def test_G2_a_measure_of_nothing_breaks_its_rule_so_that_an_all_null_column_is_seen(value):
    assert hour_results([MEAN], [HourTally(NOON, 5, 5, {}, {"mean_wait": value})], [NOON])[0].outcome is Outcome.WARN


def test_G1_an_hour_without_rows_is_judged_by_row_count_rules_alone():
    results = hour_results([MEAN, COUNT], [], [NOON])
    assert [result.outcome for result in results] == [Outcome.PASS, Outcome.FAIL]


@pytest.mark.parametrize(
    ("account", "outcomes"),
    [
        (Account(NOON, 10, 7, 1, 1, 1), (Outcome.PASS, Outcome.PASS)),
        (Account(NOON, 10, 7, 1, 1, 0), (Outcome.FAIL, Outcome.PASS)),
        (Account(NOON, 0, 0), (Outcome.PASS, Outcome.PASS)),
        (Account(NOON, 10, 0, 10), (Outcome.PASS, Outcome.FAIL)),
        (Account(NOON, 0, 3), (Outcome.FAIL, Outcome.PASS)),
    ],
)
def test_G1_rows_add_up_and_an_empty_hour_needs_a_manifest_that_says_so(account, outcomes):
    assert tuple(result.outcome for result in account_results([account])) == outcomes


def test_no_account_at_all_is_an_error():
    assert {result.outcome for result in account_results([])} == {Outcome.ERROR}


def test_a_doubled_key_blocks():
    assert key_result(["ride"], 0, 10).outcome is Outcome.PASS
    assert key_result(["ride"], 2, 10, ["r1"]).outcome is Outcome.FAIL


def test_G6_a_declared_rule_without_exactly_one_result_makes_the_verdict_an_error():
    once = row_results([WAIT], [wait_tally(NOON, 20, 0)])
    assert decide("rides", "silver", SUITE, once).outcome is Outcome.PASS
    assert decide("rides", "silver", SUITE, []).outcome is Outcome.ERROR
    assert decide("rides", "silver", SUITE, once * 2).outcome is Outcome.ERROR


def test_a_message_tells_column_rule_numbers_examples_release_and_one_command():
    results = row_results([WAIT], [wait_tally(NOON, 20, 9)], examples={"wait": [-300, -240, -180, -120]})
    text = message(decide("rides", "silver", SUITE, results), CALL, 7)
    assert text.splitlines() == [
        "FAIL: city/rides 2013-11-01T12:00:00 to 2013-11-01T13:00:00 refused",
        "FAIL rides.wait_min, rule wait: 45.0% of the rows of 2013-11-01T12:00:00 (bad 9 of 20 rows)",
        "    allowed: column values to be between: min_value 0, max_value 90; at most 10% of an hour's rows broken",
        "    examples: -300, -240, -180",
        "readers still see release 7",
        "see the rows that were held back: tidegate quarantine list city --refused --hour 2013-11-01T12:00:00 --env local",
    ]


def test_a_message_has_at_most_twelve_bounded_lines_however_much_is_broken():
    tally = HourTally(NOON, 10, 0, {f"required:c{i}": 10 for i in range(40)})
    results = row_results([], [tally], list(tally.broken), {name: ["x" * 999] * 9 for name in tally.broken})
    text = message(decide("rides", "silver", SUITE, results), CALL, 7)
    assert len(text.splitlines()) <= 12
    assert max(map(len, text.splitlines())) <= 320  # names that are not shown, and the command that shows them
    assert text.splitlines()[0].endswith("refused, 41 rules broken")  # and `wait`, not run


def test_an_hour_rule_on_fewer_rows_than_it_asks_for_passes_and_says_so():
    """Nineteen rows of a far too high mean pass, twenty fail; in a backfill each hour is judged by its own rows."""
    from_20 = MEAN.model_copy(update={"min_rows": 20})
    few, enough = (HourTally(hour, rows, rows, {}, {"mean_wait": 99.0}) for hour, rows in ((NOON, 19), (ONE, 20)))
    told = hour_results([from_20], [few], [NOON])[0]
    assert (told.outcome, told.observed) == (Outcome.PASS, "19 rows, judged from 20 on")
    assert told.allowed.endswith("judged from 20 rows on")
    told = hour_results([from_20], [few, enough], [NOON, ONE])[0]
    assert (told.outcome, told.observed) == (Outcome.WARN, "mean 99 in 2013-11-01T13:00:00, broken in 1 of 2 hours")


def test_what_a_verdict_shows_of_a_sensitive_column_is_masked_and_counts_stay():
    rules = [WAIT, MEAN, MEAN.model_copy(update={"id": "other", "column": "age"})]
    results = row_results([WAIT], [wait_tally(NOON, 10, 5)], examples={"wait": [777]})
    results += hour_results(rules[1:], [HourTally(NOON, 5, 5, {}, {"mean_wait": 777.0, "other": 33.0})], [NOON])
    suite = SUITE.model_copy(update={"rules": rules})
    shown = decide("silver/rides", "silver", suite, results, sensitive={"wait_min"}).rules
    assert [(r.observed, r.examples, r.bad) for r in shown] == [
        ("50.0% of the rows of 2013-11-01T12:00:00", ("•••",), 5), ("•••", (), 1), ("mean 33", (), 1),
    ]  # fmt: skip
    plain = decide("silver/rides", "silver", suite, results).rules
    assert plain[0].examples == ("777",)
    assert plain[1].observed == "mean 777"


def test_G5_a_message_says_when_the_rule_is_broken_and_not_the_data():
    told = message(decide("silver/rides", "silver", SUITE, []), CALL, 3).splitlines()
    assert told[1] == "ERROR silver/rides.wait_min, rule wait: 0 results; exactly 1 is due"
    assert told[2] == "    the rule is broken, not the data: fix it in expectations/, then run the interval again"
    good = message(decide("silver/rides", "silver", SUITE, row_results([WAIT], [wait_tally(NOON, 20, 9)])), CALL, 3)
    assert "the rule is broken" not in good


def test_a_backfill_whose_drops_arrived_long_after_their_hours_warns():
    """Nearly all of them, or a single hour; some late drops among many are ordinary."""
    hours = [NOON + number * timedelta(hours=1) for number in range(20)]
    late = datetime(2026, 1, 1, tzinfo=UTC)
    warned = arrival_result(dict.fromkeys(hours, late))
    assert (warned.outcome, warned.bad, warned.total) == (Outcome.WARN, 20, 20)
    assert "2026-01-01T00:00:00" in warned.observed
    assert "history_until" in warned.allowed
    on_time = {hour: hour + timedelta(hours=1) for hour in hours}
    assert arrival_result({**on_time, NOON: late}).outcome is Outcome.PASS
    assert arrival_result({NOON: late}).outcome is Outcome.WARN
    assert arrival_result({}).outcome is Outcome.PASS


def test_spine_rule_judges_each_hour_by_its_share_of_missed_rows() -> None:
    """An hour's late rows count with those due at its end; an hour without rows is not judged."""
    accounts = [
        SpineAccount(HOURS[0], HOURS[1], 8, 8), SpineAccount(HOURS[0], HOURS[0], 1, not_known=1),
        SpineAccount(HOURS[1], HOURS[2], 4, 2, entity_null=1, no_cells=1), SpineAccount(HOURS[2], HOURS[3], 0),
    ]  # fmt: skip
    assert spine_result(accounts, 0.5, "critical").outcome is Outcome.PASS
    result = spine_result(accounts, 0.12, "critical")
    assert (result.outcome, result.bad, result.total, result.hours) == (Outcome.FAIL, 3, 13, (HOURS[1],))
    assert "50.0% of the spine rows" in result.observed
    assert "entity null 1, no cells 1" in result.observed
    assert spine_result(accounts, 0.1, "warning").outcome is Outcome.WARN
    assert spine_result([], 0.0, "critical").outcome is Outcome.PASS
