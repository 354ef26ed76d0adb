"""Estimators that train on the Spark executors, registered by name; each returns a booster as bytes.

A new estimator is one function below `@estimator`: rows with float32 inputs and a 0/1 label in, UBJSON bytes out.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.config.model import EstimatorCall, Inputs
from spark_jobs.config.section import Scalar
from spark_jobs.errors import RefusedError, RetryError, UsageError, nearest
from spark_jobs.learning.encode import Encoder, fit_encoder

LABEL = "label"
FEWEST_ROWS = 100  # a worker without rows would hang the others
WAIT_FOR_SLOTS = 30  # seconds; executors of a busy cluster may be later than the first jobs
Fit = Callable[..., bytes]
_REGISTERED: dict[str, Fit] = {}


@dataclass(frozen=True)
class Trained:
    """A model: booster (UBJSON), the encoder it was trained through, rows and positive rows it saw."""

    booster: bytes
    encoder: Encoder
    rows: int
    positives: int


def estimator(name: str) -> Callable[[Fit], Fit]:
    """Register the function under `name`; options come by keyword.

    Raises:
        ValueError: the name is taken.
    """

    def register(function: Fit) -> Fit:
        if name in _REGISTERED:
            raise ValueError(f"estimator '{name}' is registered twice")
        _REGISTERED[name] = function
        return function

    return register


def train_model(
    training_rows: DataFrame,
    key: Sequence[str],
    inputs: Inputs,
    features: Mapping[str, Sequence[str]],
    call: EstimatorCall,
    options: Mapping[str, Scalar] | None = None,
) -> Trained:
    """The model of `training_rows` (the training fold only); equal rows, in whatever order, give equal bytes.

    Args:
        training_rows: columns of `key`, of the inputs, and label (0 or 1, not null).
        key: columns that name one row; they fix which worker sees a row, and when.
        inputs: what the model sees.
        features: feature group -> its columns in `training_rows`.
        call: estimator, its options, workers and seed.
        options: options that replace those of `call`, as a baseline has them.

    Raises:
        UsageError: unknown estimator, option or column, or too few free cores.
        RefusedError: fewer than 100 rows, a null label, or rows of one class only.
    """
    fit = _REGISTERED.get(call.use)
    if fit is None:
        raise UsageError("estimator.use", f"no estimator '{call.use}'", nearest(call.use, list(_REGISTERED)))
    chosen = {**call.options, **(options or {})}
    legal = [name for name, p in inspect.signature(fit).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in chosen:
        if name not in legal:
            raise UsageError(f"estimator.options.{name}", f"{call.use} has no such option", nearest(name, legal))
    count, positives = _classes(training_rows)
    encoder = fit_encoder(training_rows, inputs, features)
    rows = training_rows.select(*[F.col(k).alias(f"__key_{k}") for k in key], F.col(LABEL), *encoder.columns())
    place = [f"__key_{k}" for k in key]
    dealt = rows.repartition(call.workers, *place).sortWithinPartitions(*place)
    booster = fit(dealt, encoder.names, call.workers, call.seed, **chosen)
    return Trained(booster, encoder, count, positives)


def _classes(rows: DataFrame) -> tuple[int, int]:
    found = rows.agg(F.count("*"), F.count(LABEL), F.coalesce(F.sum(F.col(LABEL).cast("bigint")), F.lit(0))).first()
    count, labelled, positives = found if found else (0, 0, 0)
    if count < FEWEST_ROWS or labelled < count or positives in (0, count):
        raise RefusedError(
            "training set", f"{count:,} rows, {labelled:,} with a label, {positives:,} positive",
            f"at least {FEWEST_ROWS} rows, each with a label, both classes",
            "look at the training set's manifest: rows without an on-time feature cell or outcome are left out",
        )  # fmt: skip
    return int(count), int(positives)


@estimator("xgboost")
def xgboost_trees(
    rows: DataFrame,
    names: Sequence[str],
    workers: int,
    seed: int,
    *,
    rounds: int = 200,
    max_depth: int = 6,
    learning_rate: float = 0.1,
    min_child_weight: float = 1.0,
    subsample: float = 1.0,
    colsample_bytree: float = 1.0,
    reg_lambda: float = 1.0,
    max_bin: int = 256,
) -> bytes:
    """Gradient-boosted trees (logistic loss, histogram splits) by xgboost.spark, one barrier task a worker.

    Raises:
        UsageError: more workers than task slots, or dynamic allocation is on (xgboost.spark then waits for ever).
        RetryError: slots that the environment has are not there: an executor, or its machine, is gone.
    """
    from xgboost.spark import SparkXGBClassifier

    _check_slots(rows.sparkSession, workers)
    model = SparkXGBClassifier(
        features_col=list(names), label_col=LABEL, num_workers=workers, random_state=seed, n_estimators=rounds,
        max_depth=max_depth, learning_rate=learning_rate, min_child_weight=min_child_weight, subsample=subsample,
        colsample_bytree=colsample_bytree, reg_lambda=reg_lambda, max_bin=max_bin, tree_method="hist",
        verbosity=0, verbose=False,  # else one line a round on the task's stderr
    ).fit(rows)  # fmt: skip
    return bytes(model.get_booster().save_raw("ubj"))


def _check_slots(spark: SparkSession, workers: int) -> None:
    context = spark.sparkContext
    if context.getConf().get("spark.dynamicAllocation.enabled", "false") == "true":
        raise UsageError("estimator.workers", "spark.dynamicAllocation.enabled is true", "false while training")
    scala = context._jsc.sc()
    profile = scala.resourceProfileManager().defaultResourceProfile()
    free = int(scala.maxNumConcurrentTasks(profile))
    planned = max(free, int(context.getConf().get("spark.cores.max", "0")))  # set where executors come and go
    if workers > planned:
        raise UsageError(
            "estimator.workers", f"{workers} workers and {planned} task slots", f"at most {planned}",
            "raise cores or executors in spark of the environment, or lower estimator.workers",
        )  # fmt: skip
    for _ in range(WAIT_FOR_SLOTS):
        if workers <= free:
            break
        time.sleep(1)
        free = int(scala.maxNumConcurrentTasks(profile))
    if workers > free:
        raise RetryError(
            "training", f"{free} of {planned} task slots are there, after {WAIT_FOR_SLOTS} s", f"{workers}, one a worker",
            "see on Spark's page which worker is gone; the same command works once it is back",
        )  # fmt: skip
