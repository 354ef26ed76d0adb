"""The rules that every training set has, from counts alone; what a suite adds is judged elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_jobs.config.model import Model
from spark_jobs.config.suites import RESERVED_OF_SETS
from spark_jobs.stages.training_set import Counts, _built_in, _facts
from spark_jobs.verdict import Outcome

GOOD = Counts(
    rows=1000,
    labelled=900,
    without_cells=180,
    without_coverage=0,
    leaks=0,
    positives=200,
    not_binary=0,
    to_train=600,
    to_judge=120,
)


def model(**rows: object) -> Model:
    label = {"table": "landings", "use": "at_least", "columns": ["delay_min"], "options": {"threshold": 15}}
    return Model.model_validate({"label": label, "evaluate": "31d", "rows": rows, "inputs": {"numeric": ["a"]}})


def broken(counts: Counts, **rows: object) -> dict[str, Outcome]:
    return {one.rule: one.outcome for one in _built_in(model(**rows), counts) if one.outcome is not Outcome.PASS}


def test_a_good_training_set_passes_and_every_built_in_rule_is_reserved():
    assert broken(GOOD) == {}
    assert {one.rule for one in _built_in(model(min_coverage="3h"), GOOD)} == {*RESERVED_OF_SETS}


@pytest.mark.parametrize(
    ("rule", "counts"),
    [
        ("both_classes", {"positives": 0}),
        ("both_classes", {"positives": 900}),
        ("no_future", {"leaks": 1}),
        ("cells_present", {"without_cells": 181}),
        ("folds", {"to_train": 0}),
        ("folds", {"to_judge": 0}),
    ],
)
def test_each_built_in_rule_of_a_training_set_fails_alone(rule, counts):
    assert broken(replace(GOOD, **counts)) == {rule: Outcome.FAIL}


def test_a_label_that_is_no_class_is_an_error_of_its_definition():
    assert broken(replace(GOOD, not_binary=1)) == {"label_is_0_or_1": Outcome.ERROR}


def test_the_model_states_how_many_rows_may_lack_features():
    assert broken(GOOD, missed_at_most=0.2) == {}
    assert broken(GOOD, missed_at_most=0.19) == {"cells_present": Outcome.FAIL}
    [result] = [one for one in _built_in(model(missed_at_most=0.19), GOOD) if one.rule == "cells_present"]
    assert (result.observed, result.bad, result.total) == ("20.0% of the labelled rows have no features", 180, 900)
    assert "rows.missed_at_most of model.yaml" in result.allowed


def test_no_labelled_row_at_all_fails_instead_of_dividing_by_zero():
    nothing = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert {*broken(nothing)} == {"both_classes", "cells_present", "folds"}


def test_every_spine_row_is_in_the_set_or_counted_as_left_out():
    facts = _facts(replace(GOOD, without_coverage=20), rows=690)
    assert (
        facts["rows"] + sum(count for name, count in facts.items() if name.startswith("dropped")) == facts["spine_rows"]
    )
    assert facts["dropped_by_rules"] == 10
