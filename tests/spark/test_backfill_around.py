"""A backfill that leaves refused hours out makes what the hours one by one make, of which the same are refused.

Ten hours with late, repeated and corrected rows; two that follow one another and one more hour are broken, each its own way.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.cli.backfill import Span, around_refused
from spark_jobs.invocation import HOUR, format_hour, hours_between, parse_hour
from spark_jobs.ledger import Ledger, folds
from spark_jobs.result import Result
from spark_jobs.sources.replay import _Folder
from tests.spark.visits import FIRST, NAME, PROJECT, Harbour, Shown, Upstream, differences, write_history

SEED, HOURS = 77, 10
END = FIRST + HOURS * HOUR
TEXT, CUT, OTHER = FIRST + 3 * HOUR, FIRST + 4 * HOUR, FIRST + 7 * HOUR  # text in numbers, a cut file, a column renamed
LEFT_OUT = [(TEXT, CUT + HOUR), (OTHER, OTHER + HOUR)]
STRETCHES = [(FIRST, TEXT), (CUT + HOUR, OTHER), (OTHER + HOUR, END)]


@dataclass(frozen=True)
class Lakes:
    """The same drops run hour by hour, and as a backfill around what is refused."""

    hourly: Harbour
    around: Harbour
    refused_hours: dict[datetime, Result]
    answers: list[Result]  # of the backfill's steps
    code: int
    left_out: list[Span]


def _upstream(folder: Path) -> Path:
    upstream = Upstream(folder / "upstream", SEED, HOURS, HOURS)
    upstream._replay(FIRST, HOURS)
    for hour, source, change in (
        (TEXT, "landings", lambda text: _with_delays(text, "soon")),
        (CUT, "landings", lambda text: text[: len(text) // 2]),
        (OTHER, "plans", lambda text: text.replace("quay", "berth", 1)),
    ):
        day = upstream.landing / source / f"{hour:%F}"
        file = next(day.glob(f"{hour:%H}.csv.gz"))
        text = change(gzip.decompress(file.read_bytes()).decode())
        data = gzip.compress(text.encode(), mtime=0)
        data = data[:-20] if hour == CUT else data
        rows = len(text.splitlines()) - 1
        _Folder(day).deliver(source, hour, "csv.gz", data, rows, hour + HOUR + timedelta(minutes=1), True)
    return upstream.landing


def _with_delays(text: str, delay: str) -> str:
    head, *lines = text.splitlines()
    at = head.split(",").index("delay")
    rows = [line.split(",") for line in lines]
    return "\n".join([head, *(",".join([*row[:at], delay, *row[at + 1 :]]) for row in rows)]) + "\n"


def _steps(lake: Harbour, low: datetime, high: datetime, answers: list[Result]) -> tuple[int, list[Span]]:
    for step in ("ingest", "build_features", "publish"):
        answers.append(lake.run(step, low, int((high - low) / HOUR)))
        if answers[-1].exit_code:
            return answers[-1].exit_code, [(parse_hour(a), parse_hour(b)) for a, b in answers[-1].refused]
    return 0, []


@pytest.fixture(scope="module")
def lakes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakes]:
    """Both lakes; while in force, the harbour's history is an installed package."""
    folder = tmp_path_factory.mktemp("around")
    hourly, around = (Harbour(folder / name, spark) for name in ("hourly", "around"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        write_history(folder / "harbour_history", SEED, HOURS)
        landing = _upstream(folder)
        for lake in (hourly, around):
            shutil.copytree(landing, lake.landing)
        refused: dict[datetime, Result] = {}
        for hour in hours_between(FIRST, END):
            answers: list[Result] = []
            if _steps(hourly, hour, hour + HOUR, answers)[0]:
                refused[hour] = answers[-1]
        answers = []
        code, left_out = around_refused(FIRST, END, lambda low, high: _steps(around, low, high, answers))
        yield Lakes(hourly, around, refused, answers, code, left_out)


def _shown(lake: Harbour) -> list[Shown]:
    return [lake.shown(at, []) for at in (None, FIRST + 4 * HOUR, FIRST + 7 * HOUR, END)]


def test_a_backfill_around_refused_hours_makes_what_the_hours_make(lakes: Lakes) -> None:
    """Every table, now and as known at three hours; what could make them differ is there."""
    hourly, around = _shown(lakes.hourly), _shown(lakes.around)
    assert [differences(a, b, []) for a, b in zip(hourly, around, strict=True)] == [{}] * 4
    assert {"features/landings", "silver/landings", "tiles/landings", "quarantine"} <= hourly[0].keys()
    with lakes.around.reader(None) as (connection, _):
        [found] = connection.execute(
            """SELECT (FROM "silver/landings" SELECT count(*) FILTER (hour > event_at + INTERVAL 1 HOUR)),
                      (FROM "silver/plans" SELECT count(*) FILTER (hour > announced_at + INTERVAL 5 HOURS)),
                      (FROM quarantine SELECT count(*))"""
        ).fetchall()
    assert min(found) > 0  # late, corrected, held


def test_hours_at_fault_are_left_out_and_each_stretch_between_them_is_a_publication(lakes: Lakes) -> None:
    """The first run names all of them; nothing of them is readable, and the ledger calls them refused."""
    assert (lakes.code, lakes.left_out) == (65, LEFT_OUT)
    assert sorted(lakes.refused_hours) == [hour for a, b in LEFT_OUT for hour in hours_between(a, b)]
    ledger = Ledger.open(lakes.around.root)
    line = ledger.line()
    assert [sorted({(a, b) for _, a, b in release.covers}) for release in line] == [[one] for one in STRETCHES]
    states = folds.hour_states(ledger.intervals("step", "from_hour", "to_hour", "state"), line)
    assert {hour for hour, state in states.items() if state == "refused"} == set(lakes.refused_hours)
    assert {state for hour, state in states.items() if hour not in lakes.refused_hours} == {"published"}


def test_the_refusal_of_many_hours_says_how_to_publish_the_others(lakes: Lakes) -> None:
    """One hour by itself has nothing beside it to publish."""
    first = lakes.answers[0]
    span = f"--from {format_hour(FIRST)} --to {format_hour(END)} --env local"
    assert first.why.splitlines()[-1] == (
        f"  do: to publish the other 7 hours: tidegate backfill harbour {span} --leave-out-refused"
    )
    for hour, result in lakes.refused_hours.items():
        assert "--leave-out-refused" not in result.why
        assert result.refused == [(format_hour(hour), format_hour(hour + HOUR))]


def test_control_the_newest_stretch_first_makes_other_rows(lakes: Lakes, tmp_path: Path) -> None:
    """Its windows look back upon hours that are not published yet."""
    wrong = Harbour(tmp_path / "wrong", lakes.around.spark)
    shutil.copytree(lakes.around.landing, wrong.landing)
    for low, high in reversed(STRETCHES):
        assert _steps(wrong, low, high, [])[0] == 0
    assert "features/landings" in differences(_shown(lakes.hourly)[0], _shown(wrong)[0], [])


def test_the_command_leaves_hours_out_and_says_which(lakes: Lakes, tmp_path: Path) -> None:
    """By spark-submit: four hours of which the two in the middle are refused; then again, with nothing left to do but them."""
    lake = Harbour(tmp_path / "lake", lakes.around.spark)
    shutil.copytree(lakes.around.landing, lake.landing)
    words = ["--from", format_hour(TEXT - HOUR), "--to", format_hour(CUT + 2 * HOUR), "--leave-out-refused"]
    environ = {**os.environ, "TIDEGATE_PROJECT": str(PROJECT), "TIDEGATE_DATA": str(lake.data)}
    command = [sys.executable, "-m", "spark_jobs.cli", "backfill", NAME, *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 65, done.stderr[-3000:]
    assert done.stdout.splitlines()[-4:] == [
        "left out: 2 hours that a gate refused",
        f"  [{format_hour(TEXT)}, {format_hour(CUT + HOUR)})",
        f"why: tidegate status harbour --hour {format_hour(TEXT)} --env local",
        "once it is corrected: tidegate backfill harbour"
        f" --from {format_hour(TEXT)} --to {format_hour(CUT + HOUR)} --env local",
    ]
    assert "to publish the other 2 hours: tidegate backfill" in done.stderr
    assert folds.covered_hours(Ledger.open(lake.root).line()) == {TEXT - HOUR, CUT + HOUR}
