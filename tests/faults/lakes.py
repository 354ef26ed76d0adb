"""A lake of the small pipeline: what its scheduler does by drivers, and what its readers see meanwhile."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from driver import Driver, Orders
from gauges import FIRST

from spark_jobs import failpoints
from spark_jobs.config import load_pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.ledger import Ledger, Release

PROJECT = Path(__file__).with_name("small")
NAME = "river"
KINDS = table_kinds(load_pipeline(NAME, PROJECT))
PAST, HOUR_HIT, HOUR_NEXT = FIRST, FIRST + 2 * HOUR, FIRST + 3 * HOUR  # two hours are past; one is hit; the next
STEPS = ("ingest", "build_features", "publish")
Shown = dict[str, list[tuple[Any, ...]]]  # table -> its current rows, without pub


@dataclass(frozen=True)
class RiverLake:
    """A data folder and the JVM for what runs on it."""

    data: Path
    jvm: dict[str, str] = field(repr=False)
    env: str = "local"

    @property
    def root(self) -> Path:
        """The pipeline's folder in the lake."""
        return self.data / "lake" / NAME

    @property
    def landing(self) -> Path:
        """The pipeline's landing folder."""
        return self.data / "landing" / NAME

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return Ledger.open(self.root)

    def copy(self, data: Path) -> RiverLake:
        """The same in another folder; files that are never changed are linked."""
        shutil.copytree(self.data, data, copy_function=_link_data)
        return replace(self, data=data)

    def start(
        self,
        start: datetime,
        steps: tuple[str, ...] = STEPS,
        *,
        dag_run: str = "",
        hours: int = 1,
        kill_at: str = "",
        stop_at: str = "",
        note: bool = False,
    ) -> Driver:
        """A driver of its own that runs `steps` of [start, start + hours), as Airflow's tasks would one after the other."""
        run = dag_run or f"run {start}"
        calls = tuple(Invocation(NAME, step, start, start + hours * HOUR, run, self.env) for step in steps)
        environ = {**self.jvm, "TIDEGATE_PROJECT": str(PROJECT), "TIDEGATE_DATA": str(self.data)}
        return Driver(Orders(calls, {**environ, failpoints.VARIABLE: kill_at}, stop_at, note))

    def run(self, start: datetime, steps: tuple[str, ...] = STEPS, **options: Any) -> Driver:
        """As `start`, to its end, which must be a good one."""
        driver = self.start(start, steps, **options).end()
        assert [result.exit_code for result in driver.results] == [0] * len(steps), driver.results
        return driver

    def seen(self, line: list[Release] | None = None) -> Shown:
        """All rows that a reader of the last release of `line` (default: of the newest) sees of each table, sorted."""
        line = self.ledger.line() if line is None else line
        shown: Shown = {}
        with connect(self.root) as connection:
            for table, kind in KINDS.items():
                shown[table] = []
                if register_current(connection, self.root, table, kind, line, "shown"):
                    shown[table] = connection.execute("SELECT * EXCLUDE (pub) FROM shown ORDER BY ALL").fetchall()
        return shown


def _link_data(source: str, target: str) -> None:
    if source.endswith((".parquet", ".gz")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


class Watch:
    """A reader that looks again and again while the block runs, and once more at its end."""

    def __init__(self, lake: RiverLake) -> None:
        self.lake = lake
        self.states: list[Shown] = []  # as they came after each other
        self._done = threading.Event()
        self._faults: list[BaseException] = []  # of the reader, raised when the block ends
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if self._faults:
            raise self._faults[0]
        self._look()

    def _look_on(self) -> None:
        try:
            while not self._done.wait(0.2):
                self._look()
        except BaseException as fault:
            self._faults.append(fault)

    def _look(self) -> None:
        shown = self.lake.seen()
        if self.states[-1:] != [shown]:
            self.states.append(shown)


def word_for(shown: Shown, **known: Shown) -> str:
    """The name of the state of `known` that is shown; else which table shows which state."""
    for name, state in known.items():
        if shown == state:
            return name
    parts = {
        table: [name for name, state in known.items() if state[table] == rows] or f"{len(rows)} other rows"
        for table, rows in shown.items()
    }
    return f"a mix: {parts}"
