"""Spine rows that an hour predicts for or misses, through the real steps: none, half and all of them missed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from visits import FIRST, NAME, PROJECT, Harbour

from spark_jobs.cli.look import _accounts, _print_hour
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.model import Model
from spark_jobs.features import spine, spine_accounts
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.report.facts import hour_facts
from spark_jobs.sources.replay import deliver
from spark_jobs.stages import training_set
from spark_jobs.steps.context import Context
from spark_jobs.verdict import Outcome

MINUTE = timedelta(minutes=1)


def _plans(lake: Harbour, hour: datetime, due: list[tuple[str, int]], quay: int = 1) -> None:
    """A drop of plans, each announced five minutes into `hour` and due so many minutes after the hour; no landings."""
    lines = [f"{boat},{hour + minutes * MINUTE:%FT%TZ},{hour + 5 * MINUTE:%FT%TZ},{quay}" for boat, minutes in due]
    text = "\n".join(["boat,due_at,announced_at,quay", *lines, ""]).encode()
    deliver(lake.landing, "plans", "csv", hour, text, len(lines))
    deliver(lake.landing, "landings", "csv", hour, b"boat,due_at,delay\n", 0)


def _deliver_all(lake: Harbour) -> None:
    """Predictions are made one hour before due_at: with 150 minutes of notice in time, with 75 or less too late."""
    _plans(lake, FIRST, [(f"a{n}", 150) for n in range(4)])
    _plans(lake, FIRST + HOUR, [("b0", 150), ("b1", 150), ("b2", 70), ("b3", 70)])
    again = [("b0", 90)]  # a correction of a row that was known in time: its key is not missed
    _plans(lake, FIRST + 2 * HOUR, [*((f"c{n}", 75) for n in range(4)), *again], quay=2)


@pytest.fixture(scope="module")
def lakes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Harbour, Harbour]:
    """Three hours one by one, and the same hours as one backfill."""
    folder = tmp_path_factory.mktemp("spine")
    hourly, bulk = Harbour(folder / "hourly", spark), Harbour(folder / "bulk", spark)
    for lake in (hourly, bulk):
        _deliver_all(lake)
    for number in range(3):
        hourly.publish(FIRST + number * HOUR)
    bulk.publish(FIRST, 3, "backfill")
    return hourly, bulk


def _accounted(lake: Harbour) -> list[tuple[Any, ...]]:
    """(hour, as_of, expected, predicted, not known) as readers see it, hours counted from the first."""
    with lake.reader(None) as (connection, _):
        rows = connection.execute(
            "SELECT hour, as_of, expected, predicted, not_known FROM spine_accounts ORDER BY hour, as_of DESC"
        ).fetchall()
    return [((hour - FIRST) // HOUR, (as_of - FIRST) // HOUR, *counts) for hour, as_of, *counts in rows]


def test_every_hour_accounts_for_predicted_and_missed_spine_rows(lakes: tuple[Harbour, Harbour]) -> None:
    """Rows that arrive too late are booked in the hour that brings them, for the as_of that they missed."""
    assert _accounted(lakes[0]) == [(0, 1, 4, 4, 0), (1, 2, 2, 2, 0), (1, 1, 2, 0, 2), (2, 3, 0, 0, 0), (2, 2, 4, 0, 4)]


def test_backfill_accounts_for_the_same_spine_rows_as_hourly_runs(lakes: tuple[Harbour, Harbour]) -> None:
    assert _accounted(lakes[1]) == _accounted(lakes[0])


def test_missed_spine_rows_are_a_warning_of_the_features_gate(lakes: tuple[Harbour, Harbour]) -> None:
    ledger = Ledger.open(lakes[0].root)
    verdicts = [v for release in ledger.line() for v in ledger.verdicts(release.pub) if v.table == "spine_accounts"]
    results = [verdict.rules[0] for verdict in verdicts]
    assert {(verdict.scope, result.rule) for verdict, result in zip(verdicts, results, strict=True)} == {
        ("features", "spine_missed")
    }
    assert [result.outcome for result in results] == [Outcome.PASS, Outcome.WARN, Outcome.WARN]
    assert [(result.bad, result.total) for result in results] == [(0, 4), (2, 4), (4, 4)]
    assert "50.0% of the spine rows of 2024-05-01T21:00:00 (not known 2)" in results[1].observed


def test_status_of_an_hour_shows_its_spine_rows(
    lakes: tuple[Harbour, Harbour], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline, hour = load_pipeline(NAME, PROJECT), FIRST + HOUR
    facts = hour_facts(lakes[0].root, pipeline, hour, *_accounts(lakes[0].root, pipeline, hour))
    assert [(row["as_of"][:13], row["expected"], row["not_known"]) for row in facts["spine"]] == [
        ("2024-05-01T21", 2, 2),
        ("2024-05-01T22", 2, 0),
    ]
    _print_hour(facts, "local")
    assert "not_known" in capsys.readouterr().out


def _context(spark: SparkSession, folder: Path) -> Context:
    """A publication of an hour of an empty lake."""
    lake = Harbour(folder, spark)
    with lake.here():
        environment, places = load_environment("local", PROJECT)
    call = Invocation(NAME, "ingest", FIRST, FIRST + HOUR, "run")
    pipeline = load_pipeline(NAME, PROJECT)
    return Context(pipeline, environment, places, Ledger.open(lake.root), call, 1, [], lambda: spark)


def test_cells_record_how_many_hours_of_their_windows_were_published(lakes: tuple[Harbour, Harbour]) -> None:
    """The windows reach 12 hours back, the lake one or two; hourly runs and a backfill record the same."""
    for lake in lakes:
        with lake.reader(None) as (connection, _):
            asked = 'SELECT DISTINCT as_of, covered_h FROM "features/landings" ORDER BY ALL'
            assert connection.execute(asked).fetchall() == [(FIRST + HOUR, 1), (FIRST + 2 * HOUR, 2)]


@pytest.mark.parametrize(("wanted", "kept"), [(None, [11, 12, None]), ("3h", [11, 12]), ("12h", [12]), ("20h", [12])])
def test_a_training_set_drops_rows_without_the_coverage_that_its_model_requires(
    spark: SparkSession, tmp_path: Path, wanted: str | None, kept: list[int | None]
) -> None:
    """A group whose windows are shorter than the requirement is asked for its longest window."""
    label = {"table": "landings", "use": "at_least", "columns": ["delay_min"], "options": {"threshold": 15}}
    settings = {"rows": {"min_coverage": wanted}, "inputs": {"features": ["landings", "last_landing"]}}
    model = Model.model_validate({"label": label, "evaluate": "31d", **settings})
    rows = spark.createDataFrame([(11,), (12,), (None,)], "covered int").withColumnRenamed(
        "covered", spine.covered("landings")
    )
    found = rows.where(training_set._is_covered(_context(spark, tmp_path), model)).collect()
    assert [row[0] for row in found] == kept
    counts = training_set.Counts(5000, 4000, 100, 300, 0, 2000, 0, 3000, 600)
    results = {rule.rule: rule for rule in training_set._built_in(model, counts)}
    assert counts.kept == 3600
    assert ("coverage" in results) == (wanted is not None)
    assert wanted is None or results["coverage"].observed == "300 rows dropped"


def test_rows_without_key_or_cells_are_missed_and_those_with_some_are_incomplete(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Row 1 has all cells, row 2 no boat, row 3 neither boat nor quay, row 4 lost its only cells to the gate."""
    context = _context(spark, tmp_path)
    rows = spark.createDataFrame(
        [("a", 1, 1), (None, 2, 2), (None, None, 3), (None, 9, 4)], "boat string, quay int, minute int"
    ).withColumns({"due_at": F.lit(FIRST) + F.make_dt_interval(mins=F.col("minute")), "as_of": F.lit(FIRST + HOUR)})
    lost = spark.createDataFrame(
        [("features/landings", {"entity": "quay", "key": "9"}, FIRST)],
        "table string, cols map<string, string>, hour timestamp",
    )
    (account,) = spine_accounts._on_time(context, rows, [lost])
    assert (account.expected, account.predicted, account.incomplete) == (4, 2, 1)
    assert (account.entity_null, account.no_cells, account.missed) == (1, 1, 2)
