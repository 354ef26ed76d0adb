import math

import pytest

from spark_jobs.config.model import PromoteBars, RegisterBars
from spark_jobs.learning.evaluate import CHALLENGER, CHAMPION, Figures, decide

BARS = RegisterBars(auc_at_least=0.72, auc_below=0.78, beat=["calendar"], min_rows=100)


def _decide(challenger: float, baseline: float = 0.7, champion: float | None = None, rows: int = 1000):
    found = {CHALLENGER: Figures(rows, 200, challenger, 0.4), "calendar": Figures(rows, 200, baseline, 0.5)}
    if champion is not None:
        found[CHAMPION] = Figures(rows, 200, champion, 0.4)
    return decide(found, BARS, PromoteBars(worse_by_at_most=0.002))


def test_a_model_over_every_bar_is_registered_and_becomes_the_first_champion():
    decision = _decide(0.74)
    assert (decision.register, decision.promote, decision.blocked) == (True, True, ())
    assert any("0.7400" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"challenger": 0.71}, "at least 0.7200"),
        ({"challenger": 0.95}, "an input knows the future"),
        ({"challenger": 0.74, "baseline": 0.75}, "baseline calendar"),
        ({"challenger": 0.74, "baseline": 0.74}, "baseline calendar"),
        ({"challenger": 0.74, "rows": 99}, "judged rows 99"),
        ({"challenger": 0.74, "baseline": math.nan}, "baseline calendar"),
    ],
)
def test_a_model_below_one_bar_is_neither_registered_nor_promoted(facts, said):
    decision = _decide(**facts)
    assert (decision.register, decision.promote) == (False, False)
    assert len(decision.blocked) == 1
    assert said in decision.blocked[0]


def test_a_model_that_cannot_be_judged_passes_no_bar():
    decision = _decide(math.nan, champion=0.1)
    assert (decision.register, decision.promote) == (False, False)
    assert len(decision.blocked) == 4


def test_a_baseline_that_was_not_measured_blocks():
    decision = decide({CHALLENGER: Figures(1000, 200, 0.74, 0.4)}, BARS, PromoteBars())
    assert not decision.register


@pytest.mark.parametrize(("champion", "promoted"), [(0.7419, True), (0.7421, False), (math.nan, False)])
def test_a_registered_model_replaces_only_a_champion_that_is_not_better(champion, promoted):
    decision = _decide(0.74, champion=champion)
    assert (decision.register, decision.promote) == (True, promoted)
