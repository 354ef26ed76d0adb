"""A year and more of hours in the ledger: what people ask and what every hour does stays as cheap as on the first day.

CPU seconds are compared within one run, a ledger of 10 publications with one of 10,000; nothing is held against a clock.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from lake_rows import COLUMNS
from long_ledger import stage_hour, write_ledger, write_logs

from spark_jobs.config import load_pipeline
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.ledger import Ledger

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
NAME, SHORT, LONG = "nycflights13", 10, 10_000
GROWTH = 4.0  # times the CPU seconds, for a thousand times the history; a read of every commit would be 100 and more
KINDS = table_kinds(load_pipeline(NAME))
COVERED = [table for table, kind in KINDS.items() if kind.covered]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory) -> dict[int, Path]:
    """By number of publications: a data folder whose lake has a ledger and logs, and no rows."""
    folders = {}
    for publications in (SHORT, LONG):
        folders[publications] = tmp_path_factory.mktemp(f"data_{publications}")
        root = folders[publications] / "lake" / NAME
        write_ledger(root, publications, COVERED, COVERED[:7])
        write_logs(root, COVERED, publications, pa.schema([*COLUMNS.items(), pa.field("day", pa.date32())]))
    return folders


def _spent(words: list[str], data: Path) -> float:
    """CPU seconds of a Python process, its start and imports included, as those who wait for it pay them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TIDEGATE_DATA": str(data), "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(HERE)])},
    )
    assert ended.returncode == 0, ended.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _command(data: Path, *words: str) -> float:
    """CPU seconds of a `tidegate` command, the best of three."""
    return min(_spent(["-m", "spark_jobs.cli", *words], data) for _ in range(3))


def _publish(data: Path, publications: int) -> float:
    """CPU seconds to publish one hour more, all tables staged; the best of three hours."""
    root, spent = data / "lake" / NAME, []
    for number in range(publications, publications + 3):
        pub = stage_hour(root, number, COVERED)
        asked = f"import long_ledger, pathlib; long_ledger.publish_hour(pathlib.Path({str(root)!r}), {number}, {pub})"
        spent.append(_spent(["-c", asked], data))
        assert Ledger.open(root).releases()[-1].release == number + 1
    return min(spent)


def _grown(what: str, seconds: dict[int, float]) -> None:
    print(
        f"\n  {what}: {seconds[SHORT]:.2f} CPU s after {SHORT} publications, {seconds[LONG]:.2f} after {LONG}", end=""
    )
    assert seconds[LONG] < GROWTH * seconds[SHORT]


def test_publishing_an_hour_stays_cheap(lakes):
    _grown("publish", {count: _publish(data, count) for count, data in lakes.items()})


@pytest.mark.parametrize("words", [("release", "list"), ("status",)], ids=" ".join)
def test_looking_stays_cheap(lakes, words):
    _grown(" ".join(words), {count: _command(data, *words, NAME) for count, data in lakes.items()})


def test_a_rollback_stays_cheap(lakes):
    """The second and third of its commands find it done and go through the same reads."""
    words = ("release", "rollback", NAME)
    to = {count: Ledger.open(data / "lake" / NAME).releases()[-1].release - 2 for count, data in lakes.items()}
    _grown(
        " ".join(words[:2]),
        {count: _command(data, *words, str(to[count]), "--why", "a test") for count, data in lakes.items()},
    )
