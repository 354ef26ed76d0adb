"""Bounds and sets of every type of column in every scope, as YAML gives them, through the code that gates run."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from spark_jobs.config.suites import Rule, Suite
from spark_jobs.quality import suites
from spark_jobs.quality.decide import hour_results
from spark_jobs.quality.measures import hour_measures, read_tallies
from spark_jobs.quality.split import split_rows
from spark_jobs.verdict import Outcome

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
BIG = 2**53
COLUMNS = "hour timestamp, at timestamp, day date, s string, x double, n int, big bigint, flag boolean"
ROWS = [
    (NOON, NOON, date(2013, 11, 1), "NO", 1.5, 1, BIG + 1, True),
    (NOON, NOON.replace(microsecond=250000), date(2013, 11, 2), "SE", 2.5, 2, BIG + 3, True),
    (NOON, NOON, None, None, None, None, None, None),
]
# column: (bounds that all rows keep, bounds that a row breaks), as text of YAML where YAML has no such type
BOUNDS = {
    "at": [({"min_value": "2013-11-01T12:00:00Z", "max_value": "2013-11-01T14:00:00+01:00"}, {"max_value": "2013-11-01T12:00:00Z"}),
           ({"min_value": "2013-11-01"}, {"min_value": "2013-11-02"}),
           ({"min_value": "2013-11-01 11:59"}, {"min_value": "2013-11-01T12:00:00Z", "strict_min": True})],
    "day": [({"min_value": "2013-11-01", "max_value": "2013-11-02"}, {"max_value": "2013-11-01"})],
    "s": [({"min_value": "NO", "max_value": "SE"}, {"min_value": "NP"}),
          ({"max_value": "SE"}, {"max_value": "SE", "strict_max": True})],
    "x": [({"min_value": 1.5, "max_value": 3}, {"max_value": 2})],
    "n": [({"min_value": 1, "max_value": 2.5}, {"min_value": 1.5})],
    "big": [({"min_value": BIG + 1, "max_value": BIG + 3}, {"max_value": BIG + 2})],
}  # fmt: skip
SETS = {
    "at": (["2013-11-01T12:00:00Z", "2013-11-01T12:00:00.25Z"], ["2013-11-01"]),
    "day": (["2013-11-01", "2013-11-02"], ["2013-11-02"]),
    "s": (["NO", "SE"], ["no", "SE"]), "x": ([1.5, 2.5], [2.5]), "n": ([1, 2], [2]), "big": ([BIG + 1, BIG + 3], [BIG, BIG + 2]),
    "flag": ([True], [False]),
}  # fmt: skip


def _rules(scope: str) -> list[tuple[Rule, Outcome]]:
    """Every rule of a type that compares values, with the outcome that it must have on `ROWS`."""
    found: list[tuple[Rule, Outcome]] = []

    def add(type_: str, column: str, args: dict[str, object], outcome: Outcome) -> None:
        budget = {"budget": 0} if scope == "row" else {}
        rule = Rule(id=f"r{len(found)}", type=type_, column=column, args=args, scope=scope, why="test", **budget)
        found.append((rule, outcome))

    outcomes = (Outcome.PASS, Outcome.FAIL)
    ranged = ["expect_column_values_to_be_between"] if scope == "row" else [
        "expect_column_values_to_be_between", "expect_column_min_to_be_between", "expect_column_max_to_be_between"]  # fmt: skip
    for column, pairs in BOUNDS.items():
        for pair in pairs if scope != "batch" else []:
            for args, outcome in zip(pair, outcomes, strict=True):
                add(ranged[0], column, args, outcome)
                for type_ in ranged[1:]:
                    part = "min_value" if "_min_" in type_ else "max_value"
                    if part in args:
                        add(type_, column, {k: v for k, v in args.items() if part.removesuffix("_value") in k}, outcome)
    for column, pair in SETS.items():
        for values, outcome in zip(pair, outcomes, strict=True):
            if scope == "batch":
                add(
                    "expect_column_most_common_value_to_be_in_set",
                    column,
                    {"value_set": values, "ties_okay": True},
                    outcome if column in ("at", "big", "flag") else Outcome.PASS,  # others have two most common values
                )
                continue
            add("expect_column_values_to_be_in_set", column, {"value_set": values}, outcome)
            if scope == "hour":
                add("expect_column_distinct_values_to_be_in_set", column, {"value_set": values}, outcome)
                add("expect_column_distinct_values_to_equal_set", column, {"value_set": values}, outcome)
                add("expect_column_distinct_values_to_contain_set", column, {"value_set": values},
                    Outcome.PASS if column in ("day", "x", "n") else outcome)  # fmt: skip
    return found


def _differences(wanted, results):
    got = {result.rule: result for result in results}
    return [(rule.type, rule.column, rule.args, got[rule.id].outcome, got[rule.id].observed)
            for rule, outcome in wanted if got[rule.id].outcome is not outcome]  # fmt: skip


def test_row_rules_compare_values_of_every_type_of_column(spark):
    frame, wanted = spark.createDataFrame(ROWS, COLUMNS), _rules("row")
    conditions = suites.row_conditions(frame, Suite(table="t", rules=[rule for rule, _ in wanted]))
    tallies = read_tallies(hour_measures(split_rows(frame, conditions), list(conditions), []), list(conditions), [])
    broken = {name: sum(tally.broken[name] for tally in tallies) for name in conditions}
    wrong = [(rule.type, rule.column, rule.args, broken.get(rule.id)) for rule, outcome in wanted
             if rule.id not in broken or (broken[rule.id] > 0) != (outcome is Outcome.FAIL)]  # fmt: skip
    assert wrong == []


def test_hour_rules_compare_values_of_every_type_in_one_hour_and_in_many(spark):
    frame, wanted = spark.createDataFrame(ROWS, COLUMNS), _rules("hour")
    rules = [rule for rule, _ in wanted]
    results = suites.validate(frame, rules, len(ROWS))
    assert _differences(wanted, results) == []
    assert {result.hours for result in results} == {()}  # not 1970: validate does not know which hour it judges
    tests, errors = suites.row_tests(
        frame, [rule for rule in rules if "_values_to_" in rule.type and "distinct" not in rule.type]
    )
    assert errors == []
    tallies = read_tallies(hour_measures(split_rows(frame, {}), [], rules, tests), [], rules)
    assert _differences(wanted, hour_results(rules, tallies, [NOON])) == []


def test_batch_rules_compare_values_of_every_type_of_column(spark):
    frame, wanted = spark.createDataFrame(ROWS, COLUMNS), _rules("batch")
    # a table rule in the same suite keeps counting the columns that the table has
    count = Rule(id="count", type="expect_table_column_count_to_equal", args={"value": 8}, scope="batch", why="test")
    wanted.append((count, Outcome.PASS))
    assert _differences(wanted, suites.validate(frame, [rule for rule, _ in wanted], len(ROWS))) == []


def test_the_report_of_a_rule_says_in_words_what_was_counted(spark):
    frame = spark.createDataFrame(ROWS, COLUMNS)
    query = {"unexpected_rows_query": "SELECT * FROM {batch} WHERE n >= 1"}
    rules = [
        Rule(id="sql", type="unexpected_rows_expectation", args=query, scope="batch", why="test"),
        Rule(id="late", type="expect_column_max_to_be_between", column="at", args={"max_value": "2013-11-01"}, scope="hour", why="t"),
        Rule(id="many", type="expect_table_row_count_to_equal", args={"value": 9}, scope="hour", why="test"),
    ]  # fmt: skip
    assert [result.observed for result in suites.validate(frame, rules, len(ROWS))] == [
        "the query returns 2 rows; no row is allowed", "largest value 2013-11-01T12:00:00.250Z", "3 rows",
    ]  # fmt: skip


@pytest.mark.parametrize("query", ["SELECT * FROM {batch} WHERE no_such > 1", "SELECT assert_true(false) FROM {batch}"])
def test_a_query_that_breaks_is_an_error_and_no_traceback(spark, query):
    rule = Rule(
        id="sql", type="unexpected_rows_expectation", args={"unexpected_rows_query": query}, scope="batch", why="test"
    )
    (result,) = suites.validate(spark.createDataFrame(ROWS, COLUMNS), [rule], len(ROWS))
    assert (result.rule, result.outcome) == ("sql", Outcome.ERROR)
