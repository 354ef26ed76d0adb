import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from spark_jobs.learning.metrics import auc, calibration, log_loss


def _rows(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 2, n).astype(float), random.random(n)


@pytest.mark.parametrize("seed", range(5))
def test_area_and_log_loss_equal_those_of_sklearn(seed):
    labels, scores = _rows(seed)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert log_loss(labels, scores) == pytest.approx(sklearn_log_loss(labels, scores), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_tied_scores_count_one_half_as_in_sklearn(seed):
    labels, scores = _rows(seed)
    tied = np.round(scores, 1)
    assert auc(labels, tied) == pytest.approx(roc_auc_score(labels, tied), abs=1e-12)


def test_one_score_for_all_is_worth_one_half():
    assert auc(np.array([0.0, 1.0, 1.0]), np.full(3, 0.3)) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([1, 1], [0.1, 0.2]), ([0, 1], [0.1, math.nan]), ([0, 1], [0.1, math.inf]), ([0, math.nan], [0.1, 0.2]), ([], [])],
)
def test_what_cannot_be_told_is_nan_and_not_a_number_to_compare(labels, scores):
    assert math.isnan(auc(np.array(labels, float), np.array(scores, float)))


def test_log_loss_of_a_score_that_is_no_probability_is_nan():
    assert math.isnan(log_loss(np.array([0.0, 1.0]), np.array([0.2, 1.5])))


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one row each"):
        auc(np.zeros(3), np.zeros(2))


def test_calibration_cuts_ascending_scores_into_equal_parts():
    labels, scores = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.9, 0.1, 0.2, 0.8])
    low, high = calibration(labels, scores, bins=2)
    assert (low.rows, low.mean_score, low.share_positive) == (2, pytest.approx(0.15), 0.5)
    assert (high.rows, high.mean_score, high.share_positive) == (2, pytest.approx(0.85), 0.5)


def test_calibration_of_a_score_that_is_nan_is_empty():
    assert calibration(np.array([0.0, 1.0]), np.array([0.1, math.nan])) == []
