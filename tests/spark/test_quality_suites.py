"""Great Expectations and our split, side by side, on small rows with nulls, NaN, nothing at all."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from spark_jobs.config.catalogue import CATALOGUE, class_name
from spark_jobs.config.suites import Rule, Suite
from spark_jobs.quality import suites
from spark_jobs.quality.decide import hour_results
from spark_jobs.quality.measures import hour_measures, read_tallies
from spark_jobs.quality.split import split_rows
from spark_jobs.verdict import Outcome

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
HOURS = [NOON + timedelta(hours=n) for n in range(3)]
COLUMNS = "hour timestamp, a int, b int, x double, s string, t string, gone int"

ROW_ARGS = {
    "expect_column_values_to_be_between": ("x", {"min_value": -0.5, "max_value": 1}),
    "expect_column_values_to_not_be_null": ("x", {}),
    "expect_column_values_to_be_null": ("a", {}),
    "expect_column_values_to_be_in_set": ("s", {"value_set": ["AA", "BB"]}),
    "expect_column_values_to_not_be_in_set": ("a", {"value_set": [1, 2]}),
    "expect_column_values_to_match_regex": ("s", {"regex": "^[A-Z]{2}$"}),
    "expect_column_values_to_not_match_regex": ("s", {"regex": "^A"}),
    "expect_column_values_to_match_regex_list": ("s", {"regex_list": ["^A", "^B"]}),
    "expect_column_values_to_not_match_regex_list": ("s", {"regex_list": ["^A", "9$"]}),
    "expect_column_value_lengths_to_be_between": ("s", {"min_value": 1, "max_value": 2}),
    "expect_column_value_lengths_to_equal": ("s", {"value": 2}),
    "expect_column_values_to_be_unique": ("a", {}),
    "expect_column_pair_values_a_to_be_greater_than_b": (["a", "b"], {"or_equal": True}),
    "expect_column_pair_values_to_be_equal": (["a", "b"], {"ignore_row_if": "either_value_is_missing"}),
    "expect_column_pair_values_to_be_in_set": (["a", "b"], {"value_pairs_set": [[1, 1], [2, 3]]}),
    "expect_compound_columns_to_be_unique": (["a", "b"], {}),
    "expect_multicolumn_sum_to_equal": (["a", "b"], {"sum_total": 4}),
    "expect_multicolumn_values_to_be_equal": (["a", "b"], {}),
    "expect_select_column_values_to_be_unique_within_record": (["s", "t"], {"ignore_row_if": "any_value_is_missing"}),
}
HOUR_ARGS = {
    "expect_table_row_count_to_be_between": (None, {"min_value": 5}),
    "expect_table_row_count_to_equal": (None, {"value": 12}),
    "expect_column_mean_to_be_between": ("x", {"max_value": 0.2}),
    "expect_column_median_to_be_between": ("x", {"min_value": -1.1, "max_value": 0.3}),
    "expect_column_stdev_to_be_between": ("a", {"min_value": 1.0}),
    "expect_column_min_to_be_between": ("a", {"min_value": 1, "strict_min": True}),
    "expect_column_max_to_be_between": ("x", {"max_value": 2}),
    "expect_column_sum_to_be_between": ("a", {"min_value": 20}),
    "expect_column_unique_value_count_to_be_between": ("s", {"min_value": 4}),
    "expect_column_proportion_of_non_null_values_to_be_between": ("a", {"min_value": 0.8}),
    "expect_column_distinct_values_to_be_in_set": ("s", {"value_set": ["AA", "BB", "C9", "a"]}),
    "expect_column_distinct_values_to_contain_set": ("s", {"value_set": ["AA", "BB"]}),
    "expect_column_distinct_values_to_equal_set": ("s", {"value_set": ["AA", "BB", "C9", "a", ""]}),
}

KIND = {"values": ["AA", "BB"], "weights": [0.5, 0.5]}
BATCH_ARGS = {  # type: column, arguments that the rows of `batch_frame` obey, arguments that they break
    "expect_column_kl_divergence_to_be_less_than": ("s", {"partition_object": KIND, "threshold": 0.1},
        {"partition_object": {**KIND, "weights": [0.99, 0.01]}, "threshold": 0.1}),
    "expect_column_most_common_value_to_be_in_set": ("a", {"value_set": [1]}, {"value_set": [2]}),
    "expect_column_proportion_of_unique_values_to_be_between": ("b", {"min_value": 1}, {"max_value": 0.5}),
    "expect_column_quantile_values_to_be_between": ("b",
        {"quantile_ranges": {"quantiles": [0.5], "value_ranges": [[4, 6]]}},
        {"quantile_ranges": {"quantiles": [0.5], "value_ranges": [[7, 9]]}}),
    "expect_column_value_z_scores_to_be_less_than": ("b", {"threshold": 3, "double_sided": True},
        {"threshold": 0.5, "double_sided": True}),
    "expect_column_values_to_not_be_outliers": ("b", {"method": "iqr", "multiplier": 1.5},
        {"method": "iqr", "multiplier": 0.01}),
    "expect_column_values_to_be_of_type": ("x", {"type_": "DoubleType"}, {"type_": "LongType"}),
    "expect_column_values_to_be_in_type_list": ("x", {"type_list": ["DoubleType"]}, {"type_list": ["LongType"]}),
    "expect_column_type_to_be": ("x", {"type_": "DoubleType"}, {"type_": "LongType"}),
    "expect_column_to_exist": ("x", {"column_index": 3}, {"column_index": 1}),
    "expect_table_column_count_to_be_between": (None, {"min_value": 7}, {"min_value": 8}),
    "expect_table_column_count_to_equal": (None, {"value": 7}, {"value": 8}),
    "expect_table_columns_to_match_ordered_list": (None, {"column_list": ["hour", "a", "b", "x", "s", "t", "gone"]},
        {"column_list": ["a", "hour", "b", "x", "s", "t", "gone"]}),
    "expect_table_columns_to_match_set": (None, {"column_set": ["a", "b"], "exact_match": False},
        {"column_set": ["a", "b"]}),
    "unexpected_rows_expectation": (None, {"unexpected_rows_query": "SELECT * FROM {batch} WHERE b > 10"},
        {"unexpected_rows_query": "SELECT * FROM {batch} WHERE b > 9"}),
}  # fmt: skip
LEFT_OUT = {  # why: see the catalogue
    "a Python function per row": ["dateutil_parseable", "json_parseable", "match_json_schema", "strftime_format"],
    "the order of rows": ["increasing", "decreasing"],
    "a second table": ["equal_other_table", "match_comparison"],
    "no Spark code": ["like_pattern", "multicolumn_values_to_be_unique"],
}


def rule(type_, where, args, **more):
    named = {} if where is None else {"column": where} if isinstance(where, str) else {"columns": where}
    return Rule(id=type_, type=type_, args=args, why="test", **named, **more)


def row_rule(type_, where, args):
    return rule(type_, where, args, scope="row", budget=0)


def hour_rule(type_, where, args):
    return rule(type_, where, args, scope="hour")


def random_rows(seed, hours=1, count=12):
    pick = random.Random(seed).choice
    return [
        (
            HOURS[hour], pick([1, 2, 3, None]), pick([1, 2, 3, None]), pick([-2.0, -0.5, 0.0, 1.0, float("nan"), None]),
            pick(["AA", "BB", "C9", "a", "", None]), pick(["AA", "BB", None]), None,
        )
        for hour in range(hours) for _ in range(count - 4 * hour)
    ]  # fmt: skip


def plain_gx(frame, rules):
    """Rule id -> GX's own unexpected count, without any of our code but the expectation objects."""
    found = suites._run(frame, rules, "SUMMARY")
    return {name: answers[0].result["unexpected_count"] or 0 for name, answers in found.items()}  # None: no row


def split_counts(frame, rules):
    conditions = suites.row_conditions(frame, Suite(table="rides", rules=rules))
    tally = read_tallies(hour_measures(split_rows(frame, conditions), list(conditions), []), list(conditions), [])
    return {name: sum(t.broken[name] for t in tally) for name in conditions}


def test_the_catalogue_names_real_types_with_their_real_arguments():
    for name, known in CATALOGUE.items():
        found = getattr(suites._expectations(), class_name(name))
        assert set(known.args) <= set(found.__fields__), name
        assert set(known.needs) | set(known.one_of) <= set(known.args), name
        assert (known.kind == "row") <= hasattr(found, "map_metric"), name
        assert (known.kind == "hour") <= (not hasattr(found, "map_metric")), name
    assert set(CATALOGUE) == set(ROW_ARGS) | set(HOUR_ARGS) | set(BATCH_ARGS)


def test_every_type_of_the_installed_gx_is_in_the_catalogue_or_left_out_for_a_reason():
    installed = {name for name in vars(suites._expectations()) if name.startswith(("Expect", "Unexpected"))}
    missing = installed - {class_name(name) for name in CATALOGUE} - {"Expectation"}
    words = [class_name(word) for why in LEFT_OUT.values() for word in why]
    assert {name for name in missing if not any(word in name for word in words)} == set()
    assert {word for word in words if not any(word in name for name in missing)} == set()


def batch_frame(spark):
    """Ten rows: a mostly 1, b 1 to 10, s half AA and half BB."""
    rows = [(HOURS[n % 2], 1 if n < 7 else 2, n + 1, float(n), ["AA", "BB"][n % 2], "BB", None) for n in range(10)]
    return spark.createDataFrame(rows, COLUMNS)


@pytest.mark.parametrize("type_", BATCH_ARGS)
def test_each_batch_type_passes_and_fails_on_the_whole_interval(spark, type_):
    where, obeyed, broken = BATCH_ARGS[type_]
    rules = [rule(type_, where, args, scope="batch") for args in (obeyed, broken)]
    results = [suites.validate(batch_frame(spark), [one], 10)[0] for one in rules]
    assert [result.outcome for result in results] == [Outcome.PASS, Outcome.FAIL]
    assert results[1].allowed.endswith("judged on the whole interval")


@pytest.mark.parametrize("rows", [random_rows(1, count=60), random_rows(2, count=7), []], ids=["many", "few", "none"])
def test_G3_every_row_type_splits_the_rows_that_plain_gx_counts(spark, rows):
    """Nulls, NaN and empty texts among the values."""
    frame = spark.createDataFrame(rows, COLUMNS)
    rules = [row_rule(t, *a) for t, a in ROW_ARGS.items()]
    assert split_counts(frame, rules) == plain_gx(frame, rules)


def test_G2_an_all_null_column_breaks_only_what_plain_gx_says(spark):
    frame = spark.createDataFrame([(NOON, None, None, None, None, None, None)] * 3, COLUMNS)
    rules = [row_rule(t, *a) for t, a in ROW_ARGS.items()]
    counted = split_counts(frame, rules)
    assert counted == plain_gx(frame, rules)
    assert {name: bad for name, bad in counted.items() if bad} == {"expect_column_values_to_not_be_null": 3}


def test_uniqueness_is_judged_within_the_hour_in_a_bulk_frame(spark):
    rows = [(HOURS[h], a, 1, 0.0, "AA", "BB", None) for h, a in [(0, 1), (1, 1), (1, 2), (1, 2), (0, None), (0, None)]]
    frame = spark.createDataFrame(rows, COLUMNS)
    unique = row_rule("expect_column_values_to_be_unique", "a", {})
    tests, errors = suites.row_tests(frame, [unique], ["hour"])
    broken = split_rows(frame, {"u": tests[unique.id].broken}).where("size(broken) > 0").select("hour", "a").collect()
    assert errors == []
    assert [row.a for row in broken] == [2, 2]


def test_bulk_and_single_hour_give_equal_verdicts_for_every_hour_type(spark):
    rules = [hour_rule(t, *a) for t, a in HOUR_ARGS.items()]
    mostly = [
        rule(t, where, {**args, "mostly": 0.6}, scope="hour")
        for t, (where, args) in list(ROW_ARGS.items())[::3] if not CATALOGUE[t].windowed
    ]  # fmt: skip
    rules += mostly
    frame = spark.createDataFrame(random_rows(7, hours=2), COLUMNS)  # the third hour has no rows
    tests, errors = suites.row_tests(frame, mostly)
    assert errors == []
    tallies = read_tallies(hour_measures(split_rows(frame, {}), [], rules, tests), [], rules)
    for hour in HOURS:
        rows = [tally for tally in tallies if tally.hour == hour]
        single = suites.validate(frame.where(frame.hour == hour), rules, rows[0].good if rows else 0)
        bulk = hour_results(rules, rows, [hour])
        assert [(r.rule, r.outcome) for r in single] == [(r.rule, r.outcome) for r in bulk], hour
    outcomes = {result.outcome for result in hour_results(rules, tallies, HOURS)}
    assert outcomes == {Outcome.PASS, Outcome.FAIL}


def test_G1_an_empty_hour_does_not_pass_a_row_count_rule(spark):
    rules = [hour_rule("expect_table_row_count_to_be_between", None, {"min_value": 1}),
             hour_rule("expect_column_mean_to_be_between", "a", {"min_value": 1})]  # fmt: skip
    results = suites.validate(spark.createDataFrame([], COLUMNS), rules, 0)
    assert [result.outcome for result in results] == [Outcome.FAIL, Outcome.PASS]


@pytest.mark.parametrize(
    ("where", "type_", "args", "told"),
    [
        ("nope", "expect_column_values_to_not_be_null", {}, "column 'nope' does not exist"),
        ("s", "expect_column_values_to_match_regex", {"regex": "("}, "regular expression ( is broken"),
        ("s", "expect_column_values_to_be_between", {"min_value": 1}, "column 's' is string"),
        ("a", "expect_column_values_to_be_in_set", {"value_set": ["AA"]}, "column 'a' is int"),
        ("s", "expect_column_mean_to_be_between", {"min_value": 1}, "column 's' is string"),
    ],
)
def test_G5_a_check_that_cannot_work_is_an_error_and_never_bad_data(spark, where, type_, args, told):
    frame = spark.createDataFrame([(NOON, 1, 1, 1.0, "AA", "BB", None)], COLUMNS)
    broken = hour_rule(type_, where, args)
    assert [(r.outcome, told in r.observed) for r in suites.validate(frame, [broken], 1)] == [(Outcome.ERROR, True)]
    if CATALOGUE[type_].kind == "row":
        tests, errors = suites.row_tests(frame, [row_rule(type_, where, args)])
        assert tests == {}
        assert [(r.outcome, told in r.observed) for r in errors] == [(Outcome.ERROR, True)]


def test_G5_a_check_that_breaks_inside_gx_is_an_error_and_the_others_keep_their_results(spark):
    frame = spark.createDataFrame([(NOON, 1, 1, 1.0, "AA", "BB", None)], COLUMNS)
    type_, args = "expect_column_values_to_match_regex_list", {"regex_list": ["A"], "match_on": "all"}
    good = hour_rule("expect_column_max_to_be_between", "a", {"max_value": 1})
    nested = hour_rule("expect_column_values_to_be_in_set", "s", {"value_set": [["AA"], ["BB"]]})
    results = suites.validate(frame, [good, nested, hour_rule(type_, "s", args)], 1)
    assert [result.outcome for result in results] == [Outcome.PASS, Outcome.ERROR, Outcome.PASS]
    sideways = row_rule(type_, "s", {**args, "match_on": "sideways"})
    assert [r.outcome for r in suites.row_tests(frame, [sideways])[1]] == [Outcome.ERROR]


def test_a_failed_rule_tells_bounded_examples_and_a_warning_does_not_block(spark):
    rows = [(NOON, n, 1, 1.0, "z" * 500 + str(n), "BB", None) for n in range(30)]
    wrong = rule("expect_column_values_to_match_regex", "s", {"regex": "^[A-Z]+$"}, scope="hour", severity="warning")
    result = suites.validate(spark.createDataFrame(rows, COLUMNS), [wrong], 30)[0]
    assert (result.outcome, result.observed) == (Outcome.WARN, "100.0% of the rows")
    assert len(result.examples) <= 5
    assert max(map(len, result.examples)) <= 40
