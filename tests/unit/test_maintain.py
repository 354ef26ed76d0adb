"""`tidegate maintain`: what pipeline.yaml keeps no longer goes, what readers see stays, wherever the process dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hour_lake import BRONZE, MODEL, NAME, SILVER, TABLES, land, publish_hour

from spark_jobs.config import ConfigError, load_pipeline
from spark_jobs.failpoints import VARIABLE
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.reading import read_current
from spark_jobs.lake.versions import TableKind
from spark_jobs.ledger import Ledger
from spark_jobs.storage.delta import DeltaStorage

CHECKOUT = Path(__file__).parents[2]
DAYS = 6
NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)  # the first of one published hour a day
RETENTION = "retention: {history: 2d, landing: 2d, bronze: 3d, quarantine: 3d, training_sets: 30d, logs: 7d}"
KILLS = [
    "maintenance.unreleased.after", "maintenance.landing.removed", "maintenance.retention.after",
    "maintenance.compact.merged", "maintenance.training_sets.removed", "maintenance.vacuum.after",
    "maintenance.compact_ledger.after",
]  # fmt: skip


@pytest.fixture
def root(project: Path) -> Path:
    """Six days of one hour each, all older than the history by the ledger's clock, but for the last two."""
    settings = project / "conf" / "pipelines" / NAME / "pipeline.yaml"
    settings.write_text(settings.read_text() + RETENTION + "\n")
    root = project / "var" / "lake" / NAME
    for day in range(DAYS):
        clock = datetime.now(UTC) - timedelta(days=40 * (day < DAYS - 2))
        publish_hour(root, Ledger(DeltaStorage(root, lambda clock=clock: clock)), NOON + timedelta(days=day))
        _train(root, clock, day, promoted=day == 0)
    land(root, "departures", NOON + timedelta(days=1), b"corrected", version=2)  # nobody has taken it yet
    land(root, "departures", NOON + timedelta(days=1, hours=1), b"never published")
    for name, age in (("old", 8), ("young", 6)):
        log = project / "var" / "logs" / f"{NAME}-prepare-{name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text("")
        os.utime(log, (time.time() - age * 86_400,) * 2)
    (project / "var" / "logs" / "other-prepare-old.log").write_text("")
    os.utime(project / "var" / "logs" / "other-prepare-old.log", (0, 0))
    return root


def _train(root: Path, clock: datetime, day: int, *, promoted: bool) -> None:
    run = f"week__{day}"
    ledger = Ledger(DeltaStorage(root, lambda: clock), by=run)
    pub = ledger.start(Invocation(NAME, "training_set", NOON, NOON + HOUR, run), "", "", None)
    made = root / "training_sets" / MODEL / str(pub) / "manifest.json"
    made.parent.mkdir(parents=True)
    made.write_text(str(day))
    rows = root / "training_sets" / MODEL / f"pub-{pub}" / "day=2024-05-01" / "part.parquet"
    rows.parent.mkdir(parents=True)
    rows.write_bytes(b"rows")
    if promoted:
        ledger.add_promotion({"model": MODEL, "alias": "champion", "to_version": "1"})


def _maintain(*words: str, die_at: str = "") -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "spark_jobs.cli", "maintain", NAME, *words], cwd=CHECKOUT, check=False,
        env={**os.environ, VARIABLE: die_at}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == (-signal.SIGKILL if die_at else 0), ended.stderr
    return ended


def _landed(root: Path) -> list[str]:
    landing = root.parents[1] / "landing" / NAME / "departures"
    return sorted(f"{p.parent.name[-2:]} {p.name}" for p in landing.rglob("*") if p.is_file())


def _seen(root: Path, keep: Callable[[str, datetime], bool]) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """What every release inside the history shows of every table, of the days that retention keeps."""
    ledger, kinds = Ledger.open(root), {table: TableKind((), True) for table in TABLES}
    return {
        (number, table): [
            row for row in read_current(root, table, kinds[table], ledger.line(number))
            if keep(table, datetime.fromisoformat(row["hour"]))
        ]
        for number in (DAYS - 1, DAYS) for table in TABLES
    }  # fmt: skip


def _kept(table: str, hour: datetime) -> bool:
    """Bronze and quarantine go back three days from the end of the oldest release inside the history, the fifth: to the second day."""
    return table in (SILVER, "accounts") or hour >= NOON.replace(hour=0) + timedelta(days=1)


def _days(root: Path, table: str) -> list[str]:
    return sorted({path.split("day=")[1][8:10] for path in DeltaTable(root / table).file_uris()})


def _is_swept(root: Path) -> bool:
    """Everything that RETENTION says, and nothing else, is gone."""
    sets = sorted(path.read_text() for path in root.glob(f"training_sets/{MODEL}/*/manifest.json"))
    logs = sorted(path.name for path in (root.parents[1] / "logs").iterdir())
    return (
        [name.split()[0] for name in _landed(root) if ".manifest" in name] == ["02", "02", "02", "05", "06"]
        and len(_landed(root)) == 10
        and _days(root, BRONZE) == _days(root, "quarantine") == ["02", "03", "04", "05", "06"]
        and _days(root, SILVER) == ["01", "02", "03", "04", "05", "06"]
        and sets == ["0", "4", "5"]
        and len(list(root.glob(f"training_sets/{MODEL}/pub-*/day=*/*.parquet"))) == len(sets)
        and logs == [f"{NAME}-prepare-young.log", "other-prepare-old.log"]
    )


def test_what_is_declared_goes_and_every_release_of_the_history_reads_the_same(root: Path) -> None:
    """Landing: hours before two days ago that were taken. Sets: the promoted, the young and the newest stay."""
    before = _seen(root, _kept)
    assert all(rows for rows in before.values())
    assert not _is_swept(root)
    removed = json.loads(_maintain("--json").stdout)["removed"]
    assert _is_swept(root)
    assert _seen(root, _kept) == before
    assert {what: removed[what] for what in ("landed files", "bronze files", "quarantine files", "training sets", "logs")} == {
        "landed files": 6, "bronze files": 1, "quarantine files": 1, "training sets": 3, "logs": 1
    }  # fmt: skip
    assert not any(json.loads(_maintain("--json").stdout)["removed"].values())


def test_killed_anywhere_it_goes_on_and_readers_see_the_same(root: Path) -> None:
    """One process after the other dies one failpoint later; the last one finishes."""
    again = Ledger.open(root)  # one closed day in two files, so that there is something to compact
    publish_hour(root, again, NOON + 2 * HOUR)
    before = _seen(root, _kept)
    for failpoint in KILLS:
        _maintain(die_at=failpoint)
        assert _seen(root, _kept) == before
    _maintain()
    assert _seen(root, _kept) == before
    assert _days(root, BRONZE) == ["02", "03", "04", "05", "06"]
    assert len(DeltaTable(root / SILVER).file_uris()) == DAYS


def test_without_retention_only_dead_files_go(root: Path, project: Path) -> None:
    """The negative control of the first test: nothing of what it removes is removed by itself."""
    settings = project / "conf" / "pipelines" / NAME / "pipeline.yaml"
    settings.write_text(settings.read_text().replace(RETENTION, ""))
    landed, days = _landed(root), _days(root, BRONZE)
    _maintain()
    assert (_landed(root), _days(root, BRONZE)) == (landed, days)
    assert len(list(root.glob(f"training_sets/{MODEL}/*"))) == 2 * DAYS


def test_a_pipeline_that_never_ran_is_left_alone(project: Path) -> None:
    assert "nothing to maintain" in _maintain().stdout
    assert not (project / "var").exists()


def test_an_age_below_a_day_is_refused(project: Path) -> None:
    """What is under way must never be removed."""
    settings = project / "conf" / "pipelines" / NAME / "pipeline.yaml"
    settings.write_text(settings.read_text() + "retention: {history: 0h, bronze: 23h, logs: 1d}\n")
    with pytest.raises(ConfigError) as refused:
        load_pipeline(NAME)
    assert [fault.path for fault in refused.value.faults] == ["retention.history", "retention.bronze"]
    assert all("less than a day" in fault.found for fault in refused.value.faults)
