"""A table's rows after the split: repeated lines, contradictions, and what uniqueness means between them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import SparkSession

from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.suites import Rule, Suite
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.quality import gate
from spark_jobs.steps.context import Context

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
ONCE = Rule(id="once", type="expect_column_values_to_be_unique", column="ride", scope="row", budget=1, why="test")
BOUNDS = Rule(
    id="bounds", type="expect_column_values_to_be_between", column="wait", args={"min_value": 0}, scope="row", budget=1,
    why="test",
)  # fmt: skip


def _broken(
    spark: SparkSession, folder: Path, rules: list[Rule], rows: list[tuple[int, str, int | None]]
) -> dict[int, list[str]]:
    """Line -> what the row breaks; rows are (line, ride, wait) of one hour, and the same again of the next one."""
    pipeline = load_pipeline("nycflights13")
    suites = {**pipeline.suites, "weather": Suite(table="weather", rules=rules)}
    environment, places = load_environment("local")
    call = Invocation("nycflights13", "ingest", NOON, NOON + 2 * HOUR, "test")
    work = Context(
        pipeline.model_copy(update={"suites": suites}), environment, places, Ledger.open(folder), call, 1, [], lambda: spark
    )  # fmt: skip
    both = [(hour, hour + HOUR, "f", *row) for hour in (NOON, NOON + HOUR) for row in rows]
    frame = spark.createDataFrame(
        both, "hour timestamp, known_at timestamp, file string, line bigint, ride string, wait int"
    )
    judged = gate.split(work, "silver/weather", frame, ["ride"], {}, {})
    found = {(row.hour, row.line): row.broken for row in judged.split.collect()}
    judged.split.unpersist()
    hours = sorted({hour for hour, _ in found})
    told = [{line: rules for (at, line), rules in found.items() if at == hour} for hour in hours]
    assert told[0] == told[1]
    return told[0]


def test_a_line_that_repeats_another_is_dropped_and_one_that_contradicts_it_is_held(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Of equal lines the last counts; a repeat neither hides a contradiction nor survives it."""
    rows = [(1, "a", 5), (2, "a", 5), (3, "b", 5), (4, "b", 6), (5, "c", 5), (6, "c", 5), (7, "c", 6), (8, "d", 5)]
    assert _broken(spark, tmp_path, [ONCE], rows) == {
        1: ["duplicate"], 2: [], 3: ["once"], 4: ["once"], 5: ["duplicate"], 6: ["once"], 7: ["once"], 8: [],
    }  # fmt: skip


def test_lines_with_the_same_key_and_different_values_are_all_quarantined(spark: SparkSession, tmp_path: Path) -> None:
    """Null is a value of its own; equal lines stay duplicates; a row that breaks a rule contradicts no other."""
    rows = [
        (1, "a", 5), (2, "a", 6), (3, "b", 5), (4, "b", -6), (5, "c", 5), (6, "c", 5), (7, "d", 5), (8, "d", None),
        (9, "e", 5), (10, "e", 5), (11, "e", 7), (12, "f", None), (13, "f", None),
    ]  # fmt: skip
    contradiction = ["contradiction"]
    assert _broken(spark, tmp_path, [BOUNDS], rows) == {
        1: contradiction, 2: contradiction, 3: [], 4: ["bounds"], 5: ["duplicate"], 6: [], 7: contradiction, 8: contradiction,
        9: contradiction, 10: contradiction, 11: contradiction, 12: ["duplicate"], 13: [],
    }  # fmt: skip
