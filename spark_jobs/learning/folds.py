"""Which rows are learnt from and which judge: by time alone, and never a row whose outcome was not yet known."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

TRAIN = "train"
EVALUATE = "evaluate"


def fold(start: datetime, end: datetime, evaluate: timedelta, maturity: timedelta) -> Column:
    """'train', 'evaluate' or null (in neither) of a row with prediction_at and label_known_at.

    With cut = end - evaluate: train is prediction_at in [start, cut - maturity) with the label known at cut, as a run
    at cut would have had it; evaluate is prediction_at in [cut, end - maturity) with the label known at end. The
    maturity keeps out the last hours, of which only the outcomes that come early are known.
    """
    cut = end - evaluate
    at, known = F.col("prediction_at"), F.col("label_known_at")
    train = (at >= F.lit(start)) & (at < F.lit(cut - maturity)) & (known <= F.lit(cut))
    judged = (at >= F.lit(cut)) & (at < F.lit(end - maturity)) & (known <= F.lit(end))
    return F.when(train, F.lit(TRAIN)).when(judged, F.lit(EVALUATE))
