import json
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import Row

from spark_jobs.config.model import Calendar, Inputs
from spark_jobs.config.section import TransformCall
from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.learning.encode import Encoder, fit_encoder
from spark_jobs.learning.folds import fold
from spark_jobs.transforms import apply


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _coded(rows, encoder):
    return [list(row) for row in rows.select(*encoder.columns()).collect()]


def test_id_codes_come_from_training_rows_and_tell_null_from_unknown(spark):
    training = spark.createDataFrame([("B",), ("A",), (None,)], "place string")
    encoder = fit_encoder(training, Inputs(ids=["place"]), {})
    later = spark.createDataFrame([("A",), ("B",), ("C",), (None,)], "place string")
    assert _coded(later, encoder) == [[0.0], [1.0], [-1.0], [None]]


def test_numbers_beyond_float32_keep_their_order_and_stay_finite(spark):
    """XGBoost ends with a traceback on an infinity; null and NaN are missing values."""
    rows = spark.createDataFrame(
        [(1e300, 2**62), (-1e300, None), (0.5, 7), (float("nan"), 0), (None, 1)], "total double, visits bigint"
    )
    largest = 3.4028234663852886e38
    assert _coded(rows, fit_encoder(rows, Inputs(numeric=["total", "visits"]), {})) == [
        [largest, 2.0**62],
        [-largest, None],
        [0.5, 7.0],
        [None, 0.0],
        [None, 1.0],
    ]


def test_minutes_beyond_int_leave_no_instant(spark):
    """The row breaks event_within then; a cast would end the hour with CAST_OVERFLOW."""
    call = TransformCall(use="minutes_after", columns=["at", "minutes"])
    noon = _at("2024-01-01T12:00:00")
    rows = spark.createDataFrame(
        [(noon, 2**40), (noon, -(2**40)), (noon, None), (noon, -5)], "at timestamp, minutes bigint"
    )
    instant = apply(call, {name: rows[name] for name in rows.columns}, "test")
    found = [row[0] for row in rows.select(instant.cast("string")).collect()]
    assert found == [None, None, "2024-01-01 12:00:00", "2024-01-01 11:55:00"]


def test_encoder_of_schema_version_1_still_codes_a_null_id_as_unknown(spark):
    encoder = fit_encoder(spark.createDataFrame([("A",)], "place string"), Inputs(ids=["place"]), {})
    facts = json.loads(encoder.to_json())
    inputs = [{k: v for k, v in one.items() if k != "null_is_unknown"} for one in facts["inputs"]]
    old = Encoder.from_json(json.dumps({"inputs": inputs, "schema_version": 1}))
    assert _coded(spark.createDataFrame([("A",), ("C",), (None,)], "place string"), old) == [[0.0], [-1.0], [-1.0]]
    assert Encoder.from_json(old.to_json()) == old


def test_ids_that_differ_in_case_blanks_or_unicode_form_have_codes_of_their_own(spark):
    words = ["a", "A", "a ", "\u00e9", "e\u0301", "", "null"]
    rows = spark.createDataFrame([(word,) for word in words], "place string")
    codes = _coded(rows, fit_encoder(rows, Inputs(ids=["place"]), {}))
    assert len({code for (code,) in codes}) == len(words)


def test_an_id_without_any_word_in_training_is_unknown_everywhere(spark):
    encoder = fit_encoder(spark.createDataFrame([(None,)], "place string"), Inputs(ids=["place"]), {})
    assert _coded(spark.createDataFrame([("",), ("A",)], "place string"), encoder) == [[-1.0], [-1.0]]


@pytest.mark.parametrize(
    ("instant", "parts"),
    [
        ("2013-03-10T06:59:00", [1.0, 6.0, 119.0]),  # the last minute before clocks go forward
        ("2013-03-10T07:00:00", [3.0, 6.0, 180.0]),
        ("2013-11-03T05:30:00", [1.0, 6.0, 90.0]),  # half past one, twice
        ("2013-11-03T06:30:00", [1.0, 6.0, 90.0]),
        ("2013-11-04T04:59:00", [23.0, 6.0, 1439.0]),  # Monday in UTC, Sunday on the wall
    ],
)
def test_T1_T2_calendar_parts_are_those_of_the_wall_clock(spark, instant, parts):
    calendar = Calendar(of="planned_at", zone="America/New_York", parts=["hour", "weekday", "minute_of_day"])
    rows = spark.createDataFrame([(_at(instant),)], "planned_at timestamp")
    assert _coded(rows, fit_encoder(rows, Inputs(calendar=calendar), {})) == [parts]


def test_the_vector_holds_the_same_numbers_as_the_columns_with_nan_for_null(spark):
    rows = spark.createDataFrame([("A", 2, None)], "place string, distance int, share float")
    encoder = fit_encoder(rows, Inputs(ids=["place"], numeric=["distance"], features=["events"]), {"events": ["share"]})
    assert encoder.names == ["id_place", "distance", "share"]
    assert _coded(rows, encoder) == [[0.0, 2.0, None]]
    (vector,) = rows.select(encoder.vector()).first()
    assert [str(number) for number in vector] == ["0.0", "2.0", "nan"]


def test_an_encoder_survives_json_and_another_version_is_refused(spark):
    encoder = fit_encoder(spark.createDataFrame([("é",)], "place string"), Inputs(ids=["place"]), {})
    assert Encoder.from_json(encoder.to_json()) == encoder
    with pytest.raises(RefusedError, match="schema_version 99"):
        Encoder.from_json(encoder.to_json().replace('"schema_version": 2', '"schema_version": 99'))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (Inputs(ids=["plce"]), "did you mean 'place'"),
        (Inputs(features=["event"]), "did you mean 'events'"),
        (Inputs(numeric=["share"], features=["events"]), "named twice"),
        (Inputs(ids=["number"]), "1,001 distinct values"),
    ],
)
def test_inputs_that_the_rows_cannot_give_are_refused(spark, inputs, said):
    rows = spark.range(1001).selectExpr("'A' as place", "id as number", "1.0f as share")
    with pytest.raises(UsageError, match=said):
        fit_encoder(rows, inputs, {"events": ["share"]})


def test_a_row_is_in_a_fold_only_when_its_outcome_was_known_then(spark):
    end, day, hour = _at("2013-11-01T00:00:00"), timedelta(days=1), timedelta(hours=1)
    cut, start = end - 31 * day, _at("2013-01-01T00:00:00")
    rows = [
        Row(id=0, prediction_at=start - hour, label_known_at=start),
        Row(id=1, prediction_at=start, label_known_at=start + hour),
        Row(id=2, prediction_at=cut - 25 * hour, label_known_at=cut + hour),
        Row(id=3, prediction_at=cut - 24 * hour, label_known_at=cut - 20 * hour),
        Row(id=4, prediction_at=cut, label_known_at=end),
        Row(id=5, prediction_at=end - 24 * hour, label_known_at=end),
        Row(id=6, prediction_at=cut + hour, label_known_at=None),
    ]
    schema = "id int, prediction_at timestamp, label_known_at timestamp"
    folds = spark.createDataFrame(rows, schema).select("id", fold(start, end, 31 * day, day).alias("fold")).collect()
    assert {row.id: row.fold for row in folds if row.fold} == {1: "train", 4: "evaluate"}
