"""The result line of a step, as people see it: rows, warnings, figures, decision."""

from __future__ import annotations

import json
import math
from typing import Any

from spark_jobs.cli.results import show_result
from spark_jobs.learning.evaluate import Figures, decide, summary
from spark_jobs.result import Result
from spark_jobs.verdict import Outcome, RuleResult, Verdict


def _figures(**auc: float) -> dict[str, Figures]:
    return {name: Figures(200, 40, value, math.nan if name == "alone" else 0.45) for name, value in auc.items()}


def _bars(register: float, worse_by_at_most: float = 0.0) -> tuple[Any, Any]:
    from spark_jobs.config.model import PromoteBars, RegisterBars

    return (
        RegisterBars(min_rows=100, auc_at_least=register, auc_below=0.9, beat=["alone"]),
        PromoteBars(worse_by_at_most=worse_by_at_most),
    )


def _printed(capsys: Any, **facts: Any) -> list[str]:
    result = Result("taxi", "train", "2013-11-01T12:00:00", "b", "r", "published", 9, **facts)
    show_result(json.loads(result.to_json()), as_json=False)
    return capsys.readouterr().out.splitlines()


def test_a_training_shows_rows_figures_bars_decision_and_version(capsys):
    found = _figures(alone=0.6, champion=0.7, challenger=0.75)
    facts = summary(found, decide(found, *_bars(0.65)), 1000)
    facts |= {"version": "3", "champion_before": "2", "promoted": True}
    lines = _printed(capsys, models={"late": facts}, rows={"late/training": 800, "late/judged": 200})
    assert lines[0] == "train: published, publication 9, 1000 rows, {}"
    assert lines[1].startswith(
        "  late: trained on 800 rows, judged on 200 later rows; registered as version 3 and promoted"
    )
    assert [line.split() for line in lines[2:6]] == [
        ["on", "the", "judged", "rows", "auc", "log", "loss"],
        ["challenger", "0.7500", "0.4500"],
        ["champion", "0.7000", "0.4500"],
        ["alone", "0.6000"],
    ]
    assert "  passed: auc 0.7500, above 0.6000 of baseline alone" in lines
    assert not [line for line in lines if "not passed" in line]


def test_a_training_that_misses_a_bar_says_which_first(capsys):
    found = _figures(alone=0.8, challenger=0.75)
    lines = _printed(capsys, models={"late": summary(found, decide(found, *_bars(0.65)), 1000)})
    assert lines[1].endswith("not registered, the champion stays")
    assert lines[5] == "  not passed: auc 0.7500, above 0.8000 of baseline alone"


def test_a_training_that_is_not_promoted_names_the_champion(capsys):
    found = _figures(alone=0.6, champion=0.8, challenger=0.75)
    facts = summary(found, decide(found, *_bars(0.65)), 1000) | {"version": "3", "champion_before": "2"}
    assert _printed(capsys, models={"late": facts})[1].endswith(
        "registered as version 3, not promoted: version 2 stays champion"
    )


def test_a_training_set_shows_what_was_left_out(capsys):
    facts = {
        "rows": {"kept": 7},
        "spine_rows": 10,
        "positive_labels": 3,
        "dropped_without_label": 2,
        "dropped_without_cells": 1,
    }
    [_, line] = _printed(capsys, models={"late": facts})
    assert line == (
        "  late: 7 rows of 10 spine rows, 3 labels are 1; left out: 2 without a label, 1 without on-time features"
    )


def test_warnings_of_a_green_run_are_bounded_and_counted(capsys):
    """Sixty rules warn: the line of the step has fifty, people see ten, and how many there are stands in both."""
    rules = [RuleResult(f"rule_{n}", Outcome.WARN, "", f"{n} of 99 rows", "none") for n in range(60)]
    result = Result("taxi", "ingest", "2013-11-01T12:00:00", "b", "r", "staged", 9)
    result.warn([Verdict.of("silver/rides", "silver", [*rules, RuleResult("good", Outcome.PASS)])])
    line = json.loads(result.to_json())
    assert (len(line["warnings"]), line["warnings_total"]) == (50, 60)
    show_result(line, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  WARN silver/rides, rule rule_0: 0 of 99 rows; allowed: none"
    assert lines[-1] == "  … 50 more warnings: tidegate status taxi --hour 2013-11-01T12:00:00 --env local"
    assert len(lines) == 12


def test_a_result_line_of_an_older_version_is_printed(capsys):
    show_result({"step": "ingest", "state": "staged", "rows": {"a": 1}, "seconds": {}}, as_json=False)
    assert capsys.readouterr().out == "ingest: staged, 1 rows, {}\n"
