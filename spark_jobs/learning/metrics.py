"""Figures of scores against outcomes, on numpy arrays; pure. NaN says 'cannot be told', and NaN is never better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SMALLEST_SHARE = (
    1e-7  # a certain score that is wrong would cost infinitely much; the same clip as a float32 score needs
)


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of one tenth of the scores: how many, what was promised, what came."""

    rows: int
    mean_score: float
    share_positive: float


def auc(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, a tie counting one half.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), any scale.

    Returns:
        The exact area; NaN when a class is missing or a score or label is not finite.

    Source: Mann-Whitney U with average ranks (Hanley and McNeil 1982).
    """
    positives = float(np.sum(labels == 1))
    negatives = len(labels) - positives
    if not _judgeable(labels, scores) or positives == 0 or negatives == 0:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2  # average rank, from 1, of each distinct score
    above = float(np.sum(rank[place][labels == 1])) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def log_loss(labels: Floats, scores: Floats) -> float:
    """Mean negative log likelihood in nats of 0/1 `labels` under probabilities `scores`, both of shape (n,).

    Returns:
        The mean; NaN when empty, not finite, or a score lies outside [0, 1].
    """
    if not _judgeable(labels, scores) or scores.min() < 0 or scores.max() > 1:
        return float("nan")
    p = np.clip(scores, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def calibration(labels: Floats, scores: Floats, bins: int = 10) -> list[CalibrationBin]:
    """Rows in ascending score cut into at most `bins` parts of equal size; none when a value is not finite."""
    if not _judgeable(labels, scores):
        return []
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    return [
        CalibrationBin(len(part), float(scores[part].mean()), float(labels[part].mean())) for part in parts if len(part)
    ]


def _judgeable(labels: Floats, scores: Floats) -> bool:
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be one row each")
    return bool(len(labels) and np.isfinite(scores).all() and np.isin(labels, (0, 1)).all())
