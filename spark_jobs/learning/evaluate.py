"""Models judged on the same rows, and the decision to register and to promote, as data.

Measures and decides; registering and moving aliases is tracking.py's work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.model import PromoteBars, RegisterBars
from spark_jobs.learning import metrics
from spark_jobs.learning.encode import Encoder
from spark_jobs.learning.metrics import CalibrationBin
from spark_jobs.learning.score import score_models
from spark_jobs.learning.train import LABEL

CHALLENGER = "challenger"
CHAMPION = "champion"


@dataclass(frozen=True)
class Figures:
    """What one prediction showed on the judged rows; log_loss is NaN for a score that is no probability."""

    rows: int
    positives: int
    auc: float
    log_loss: float
    calibration: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True)
class Decision:
    """Whether to register and to promote, and each bar with what was measured; `blocked` lists those not passed."""

    register: bool
    promote: bool
    reasons: tuple[str, ...]
    blocked: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The decision as plain data for JSON."""
        return asdict(self)


def judge(
    judged_rows: DataFrame,
    models: Mapping[str, tuple[bytes, Encoder]],
    columns: Mapping[str, tuple[str, float]],
) -> dict[str, Figures]:
    """Figures of every model and of every single column, by name, all on the same `judged_rows`.

    Collects one label and one float32 a model and row: bounded by the judged part of history (4 bytes x rows x models).

    Args:
        judged_rows: the evaluation fold, label 0 or 1.
        models: name -> (booster, encoder).
        columns: name -> (column taken as the score, score of rows where it is null; see `score_of_missing`).
    """
    if set(models) & set(columns):
        raise ValueError(f"named twice: {sorted(set(models) & set(columns))}")
    used = {one.column for _, encoder in models.values() for one in encoder.inputs} | {c for c, _ in columns.values()}
    for _, encoder in models.values():
        encoder.check(judged_rows)
    needed = judged_rows.select(LABEL, *sorted(used - {LABEL}))
    scored = score_models(needed, {f"__score_{place}": one for place, one in enumerate(models.values())})
    names = [*models, *columns]
    values = [F.col(f"__score_{place}") for place in range(len(models))]
    values += [F.coalesce(F.col(column).cast("double"), F.lit(missing)) for column, missing in columns.values()]
    named = [value.alias(f"s{place}") for place, value in enumerate(values)]
    table = scored.select(F.col(LABEL).cast("double").alias("l"), *named).toArrow()
    labels = _floats(table["l"])
    return {name: figures(labels, _floats(table[f"s{i}"])) for i, name in enumerate(names)}


def score_of_missing(training_rows: DataFrame, column: str) -> float:
    """Share of label 1 among the training rows in which `column` is null, of all training rows when none is.

    So a column that is a share stays an honest baseline on rows where it is silent (no event in its window).
    """
    found = training_rows.agg(F.avg(F.when(F.col(column).isNull(), F.col(LABEL))), F.avg(LABEL)).first()
    without, overall = found if found else (None, None)
    return float(without if without is not None else overall if overall is not None else math.nan)


def figures(labels: metrics.Floats, scores: metrics.Floats) -> Figures:
    """Figures of `scores` against `labels`, both of shape (n,)."""
    return Figures(
        len(labels),
        int(np.sum(labels == 1)),
        metrics.auc(labels, scores),
        metrics.log_loss(labels, scores),
        tuple(metrics.calibration(labels, scores)),
    )


def decide(found: Mapping[str, Figures], register: RegisterBars, promote: PromoteBars) -> Decision:
    """Hold the figures of 'challenger', of the baselines and, if there is one, of 'champion' against the bars.

    NaN passes no bar. Promotion needs registration, and no champion or a challenger not worse on the same rows.
    """
    own = found[CHALLENGER]
    bars: list[tuple[bool, str]] = [
        (own.rows >= register.min_rows, f"judged rows {own.rows:,}, at least {register.min_rows:,}"),
        (own.auc >= register.auc_at_least, f"auc {own.auc:.4f}, at least {register.auc_at_least:.4f}"),
        (
            own.auc < register.auc_below,
            f"auc {own.auc:.4f}, below {register.auc_below:.4f} (more means that an input knows the future)",
        ),
    ]
    for name in register.beat:
        other = found[name].auc if name in found else math.nan
        bars.append((own.auc > other, f"auc {own.auc:.4f}, above {other:.4f} of baseline {name}"))
    fit = all(passed for passed, _ in bars)
    if CHAMPION in found:
        champion = found[CHAMPION].auc
        lowest = champion - promote.worse_by_at_most
        text = f"auc {own.auc:.4f}, at least {lowest:.4f} (champion {champion:.4f} on the same rows)"
        bars.append((own.auc >= lowest, text))
    reasons, blocked = tuple(t for _, t in bars), tuple(t for passed, t in bars if not passed)
    return Decision(fit, not blocked, reasons, blocked)


def summary(found: Mapping[str, Figures], decision: Decision, rows: int) -> dict[str, object]:
    """What a person reads of one training: rows by fold, figures of every model and baseline, bars, decision.

    Args:
        found: figures by name, all on the same judged rows.
        decision: made of them.
        rows: of the training set, both folds.
    """
    judged = found[CHALLENGER].rows
    return {
        "rows": {"training": rows - judged, "judged": judged},
        "figures": {name: {"auc": one.auc, "log_loss": one.log_loss} for name, one in found.items()},
        "bars": list(decision.reasons),
        "failed_bars": list(decision.blocked),
        "registered": decision.register,
        "promoted": False,
        "version": None,
        "champion_before": None,
    }


def _floats(column: object) -> metrics.Floats:
    return np.asarray(column, dtype=np.float64)
