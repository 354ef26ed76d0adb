"""What a suite file may say; every refusal names the field and what is legal."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from spark_jobs.config.suites import Suite

GOOD = {
    "table": "rides",
    "rules": [
        {
            "id": "wait",
            "type": "expect_column_values_to_be_between",
            "column": "wait_min",
            "args": {"min_value": 0},
            "severity": "critical",
            "scope": "row",
            "budget": 0.02,
            "why": "a wait is never negative",
        }
    ],
}


def changed(**fields):
    """GOOD with fields of its only rule replaced; None removes the field."""
    suite = deepcopy(GOOD)
    rule = {**suite["rules"][0], **fields}
    suite["rules"] = [{name: value for name, value in rule.items() if value is not None}]
    return suite


def test_a_suite_keeps_its_rules_by_scope_and_its_digest_follows_every_rule():
    suite, other = Suite.model_validate(GOOD), Suite.model_validate(changed(budget=0.03))
    assert ([r.id for r in suite.row_rules], suite.hour_rules) == (["wait"], [])
    assert suite.digest == Suite.model_validate(GOOD).digest != other.digest


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"type": "expect_column_values_to_be_betwen"}, "did you mean 'expect_column_values_to_be_between'"),
        ({"budget": None}, "needs a budget"),
        ({"budget": 1.5}, "less than or equal to 1"),
        ({"args": {"min_value": 0, "mostly": 0.9}}, "'mostly' is for row types in scope 'hour'"),
        (
            {"scope": "hour", "budget": None, "type": "expect_column_quantile_values_to_be_between"},
            "write scope: batch",
        ),
        ({"type": "unexpected_rows_expectation", "scope": "batch", "column": None, "budget": None}, "query is missing"),
        ({"min_rows": 20}, "min_rows belongs to rules on columns of scope hour or batch"),
        ({"scope": "hour", "budget": None, "min_rows": -1}, "greater than or equal to 0"),
        ({"scope": "hour"}, "budget belongs to scope 'row'"),
        ({"args": {"min_valu": 0, "max_value": 1}}, "did you mean 'min_value'"),
        ({"args": {}}, "one of min_value, max_value"),
        ({"column": None}, "takes column: one name"),
        ({"columns": ["a", "b"]}, "takes column: one name"),
        ({"type": "expect_column_mean_to_be_between"}, "write scope: hour"),
        ({"type": "expect_column_values_to_be_in_set", "args": {}}, "value_set is missing"),
        ({"type": "expect_column_values_to_be_in_set", "args": {"value_set": []}}, "a list that is not empty"),
        (
            {"type": "expect_column_values_to_be_unique", "args": {}, "scope": "hour", "budget": None},
            "compares rows with each other",
        ),
        (
            {"type": "expect_column_values_to_be_unique", "args": {}, "scope": "batch", "budget": None},
            "compares rows with each other",
        ),
        ({"id": "row_count"}, "every table has"),
        ({"severity": "fatal"}, "critical"),
        ({"wy": "misspelt"}, "Extra inputs are not permitted"),
        ({"why": None}, "Field required"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields, told):
    with pytest.raises(ValidationError) as refusal:
        Suite.model_validate(changed(**fields))
    assert told in str(refusal.value)


def test_mostly_is_legal_for_a_row_type_that_judges_the_hour():
    rule = Suite.model_validate(changed(scope="hour", budget=None, args={"min_value": 0, "mostly": 0.9})).rules[0]
    assert rule.args["mostly"] == 0.9


def test_a_batch_rule_and_the_fewest_rows_of_an_hour_rule_are_legal():
    quantiles = {"quantiles": [0.5, 0.9], "value_ranges": [[0, 20], [10, 60]]}
    batch = {"type": "expect_column_quantile_values_to_be_between", "scope": "batch", "budget": None}
    suite = Suite.model_validate(changed(**batch, args={"quantile_ranges": quantiles}))
    assert ([rule.id for rule in suite.batch_rules], suite.row_rules, suite.hour_rules) == (["wait"], [], [])
    hourly = changed(type="expect_column_mean_to_be_between", scope="hour", budget=None, min_rows=20)
    assert Suite.model_validate(hourly).hour_rules[0].min_rows == 20


@pytest.mark.parametrize(
    "table", ["Rides", "features/", "training_sets/", "training_sets/a/1", "gold/rides", "../rides"]
)
def test_a_table_is_a_silver_name_a_feature_group_or_a_training_set(table):
    with pytest.raises(ValidationError, match=r"a silver table's name, features/<name> or training_sets/<model>"):
        Suite.model_validate({**GOOD, "table": table})
    assert Suite.model_validate({**GOOD, "table": "training_sets/late"}).table == "training_sets/late"


def test_no_rule_and_a_doubled_rule_are_refused():
    with pytest.raises(ValidationError):
        Suite.model_validate({**GOOD, "rules": []})
    with pytest.raises(ValidationError, match="used twice: wait"):
        Suite.model_validate({**GOOD, "rules": GOOD["rules"] * 2})


@pytest.mark.parametrize("path", sorted(Path("expectations").rglob("*.yaml")), ids=str)
def test_every_shipped_suite_is_legal(path):
    assert Suite.model_validate(yaml.safe_load(path.read_text())).rules
