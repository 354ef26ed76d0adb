"""Made-up rows: `share` tells something of the label, `noise` nothing, `leak` everything."""

import numpy as np
import pytest
import xgboost as xgb
from pyspark.sql import functions as F

from spark_jobs.config.model import EstimatorCall, Inputs, PromoteBars, RegisterBars
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.learning import train
from spark_jobs.learning.evaluate import CHALLENGER, decide, judge, score_of_missing
from spark_jobs.learning.score import score_frame
from spark_jobs.learning.train import estimator, train_model

CALL = EstimatorCall(options={"rounds": 5, "max_depth": 3, "subsample": 0.8}, workers=2, seed=13)
INPUTS = Inputs(ids=["place"], numeric=["share", "noise"])


@pytest.fixture(scope="module")
def rows(spark):
    random = np.random.default_rng(5)
    share, noise = random.random(600), random.random(600)
    label = (random.random(600) < share).astype(int)
    values = [
        (i, "AB"[i % 2], float(share[i]) if i % 7 else None, float(noise[i]), int(label[i]), float(label[i]))
        for i in range(600)
    ]
    schema = "id int, place string, share double, noise double, label int, leak double"
    return spark.createDataFrame(values, schema).cache()


@pytest.fixture(scope="module")
def trained(rows):
    return train_model(rows.where("id < 400"), ["id"], INPUTS, {}, CALL)


def test_equal_rows_in_another_order_and_partitioning_give_equal_bytes(rows, trained):
    shuffled = rows.where("id < 400").orderBy(F.col("id").desc()).repartition(3)
    assert train_model(shuffled, ["id"], INPUTS, {}, CALL).booster == trained.booster
    assert trained.rows == 400


def test_an_estimator_or_option_that_does_not_exist_is_refused(rows):
    with pytest.raises(UsageError, match="did you mean 'xgboost'"):
        train_model(rows, ["id"], INPUTS, {}, EstimatorCall(use="xgbost"))
    with pytest.raises(UsageError, match="did you mean 'max_depth'"):
        train_model(rows, ["id"], INPUTS, {}, EstimatorCall(options={"maxdepth": 3}))


def test_more_workers_than_free_slots_are_refused_instead_of_waited_for(rows):
    with pytest.raises(UsageError, match="64 workers and 2 task slots"):
        train_model(rows, ["id"], INPUTS, {}, EstimatorCall(workers=64))


def test_slots_that_are_gone_are_a_fault_that_a_retry_may_mend(rows, monkeypatch):
    """The cluster has been asked for four cores; executors with two of them are there."""
    monkeypatch.setattr(train, "WAIT_FOR_SLOTS", 2)
    conf = rows.sparkSession.sparkContext._conf
    conf.set("spark.cores.max", "4")
    try:
        with pytest.raises(RetryError, match="2 of 4 task slots"):
            train_model(rows, ["id"], INPUTS, {}, EstimatorCall(workers=3))
        with pytest.raises(UsageError, match="5 workers and 4 task slots"):
            train_model(rows, ["id"], INPUTS, {}, EstimatorCall(workers=5))
    finally:
        conf.set("spark.cores.max", "0")


@pytest.mark.parametrize("left", ["id < 50", "label = 1"])
def test_too_few_rows_or_one_class_only_are_refused(rows, left):
    with pytest.raises(RefusedError, match="both classes"):
        train_model(rows.where(left), ["id"], INPUTS, {}, CALL)


def test_an_estimator_name_is_registered_once():
    with pytest.raises(ValueError, match="registered twice"):
        estimator("xgboost")(lambda *_: b"")


def test_scores_are_those_of_the_booster_whatever_the_partitioning(rows, trained):
    fifty = rows.where("id >= 550").coalesce(1)
    scored = {
        r.id: r.score for r in score_frame(fifty, trained.encoder, trained.booster).select("id", "score").collect()
    }
    many = score_frame(fifty.repartition(4), trained.encoder, trained.booster).select("id", "score").collect()
    assert {r.id: r.score for r in many} == scored
    table = fifty.select("id", *trained.encoder.columns()).toPandas()
    expected = xgb.Booster(model_file=bytearray(trained.booster)).predict(
        xgb.DMatrix(table[trained.encoder.names].to_numpy(np.float32), feature_names=trained.encoder.names)
    )
    assert [scored[i] for i in table["id"]] == pytest.approx(list(expected), abs=1e-6)


def test_no_rows_give_no_scores_and_keep_the_columns(rows, trained):
    scored = score_frame(rows.where("id < 0"), trained.encoder, trained.booster, into="p")
    assert scored.columns == [*rows.columns, "p"]
    assert scored.collect() == []


def test_rows_without_an_input_are_refused(rows, trained):
    with pytest.raises(UsageError, match="no column 'share'"):
        score_frame(rows.drop("share"), trained.encoder, trained.booster)


def test_a_column_that_knows_the_future_is_refused_and_an_honest_model_is_not(rows, trained):
    training, judged = rows.where("id < 400"), rows.where("id >= 400")
    leaky = train_model(training, ["id"], Inputs(numeric=["share", "leak"]), {}, CALL)
    silent = score_of_missing(training, "share")
    bars = RegisterBars(auc_at_least=0.6, auc_below=0.95, beat=["noise"], min_rows=100)
    for model, registered in ((trained, True), (leaky, False)):
        figures = judge(
            judged, {CHALLENGER: (model.booster, model.encoder)}, {"noise": ("noise", 0.5), "share": ("share", silent)}
        )
        decision = decide(figures, bars, PromoteBars())
        assert decision.register is registered, decision
        assert figures["share"].rows == 200


def test_missing_values_of_a_column_score_as_such_rows_ended_in_training(spark):
    rows = spark.createDataFrame([(None, 1), (None, 0), (0.5, 0)], "share double, label int")
    assert score_of_missing(rows, "share") == 0.5
    assert score_of_missing(rows.where("share is not null"), "share") == 0.0
