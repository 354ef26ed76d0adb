"""Rows keep the names of the rules they break; built-in rules need no Great Expectations."""

from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from spark_jobs.quality.split import broken_rows, built_ins, examples, good_rows, split_rows

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
COLUMNS = "ride string, hour timestamp, event_at timestamp, wait_min double, note string"


def rides(spark, *rows):
    return spark.createDataFrame(list(rows), COLUMNS)


def broken(split):
    return {row.ride: row.broken for row in split.collect()}


def test_a_row_names_every_rule_it_breaks_and_a_null_condition_is_obeyed(spark):
    rows = rides(
        spark, ("ok", NOON, NOON, 5.0, "n"), ("bad", NOON, NOON, -1.0, None), ("unknown", NOON, NOON, None, "n")
    )
    split = split_rows(rows, {"wait": F.col("wait_min") < 0, "note": F.col("note").isNull()})
    assert broken(split) == {"ok": [], "bad": ["wait", "note"], "unknown": []}
    assert [row.ride for row in broken_rows(split).collect()] == ["bad"]
    assert good_rows(split).columns == rows.columns
    assert good_rows(split).count() == 2
    assert examples(split, {"wait": ["wait_min"], "note": ["ride", "note"]}) == {
        "wait": [-1.0],
        "note": [("bad", None)],
    }


def test_without_rules_every_row_is_good(spark):
    assert broken(split_rows(rides(spark, ("ok", NOON, NOON, 5.0, "n")), {})) == {"ok": []}


def test_G3_N9_null_in_the_key_or_in_a_required_column_nan_and_infinity_are_broken(spark):
    rows = rides(
        spark, ("ok", NOON, NOON, None, "n"), (None, NOON, NOON, 1.0, "n"), ("empty", NOON, NOON, 1.0, None),
        ("nan", NOON, NOON, float("nan"), "n"), ("inf", NOON, NOON, float("-inf"), "n"),
    )  # fmt: skip
    split = split_rows(rows, built_ins(rows, key=["ride"], required=["note", "ride"]))
    assert broken(split) == {
        "ok": [], None: ["key_null"], "empty": ["required:note"],
        "nan": ["finite:wait_min"], "inf": ["finite:wait_min"],
    }  # fmt: skip


def test_an_event_must_lie_from_lateness_before_the_hour_to_ahead_after_its_end(spark):
    second, hour = timedelta(seconds=1), timedelta(hours=1)
    at = {
        "early": NOON - 2 * hour - second, "late": NOON - 2 * hour, "last": NOON + hour + timedelta(minutes=5) - second,
        "future": NOON + hour + timedelta(minutes=5), "none": None,
    }  # fmt: skip
    rows = rides(spark, *((name, NOON, event, 1.0, "n") for name, event in at.items()))
    rules = built_ins(rows, event_at="event_at", lateness=2 * hour, ahead=timedelta(minutes=5))
    found = broken(split_rows(rows, rules))
    assert {name for name, rule in found.items() if rule == ["event_within"]} == {"early", "future", "none"}
