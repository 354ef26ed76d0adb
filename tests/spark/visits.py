"""A harbour's visits as badly delivered drops, and a scheduler that runs the hours as the drops arrive, or all at once."""

from __future__ import annotations

import csv
import gzip
import random
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.config import load_pipeline
from spark_jobs.invocation import HOUR, Invocation, format_hour, hours_between, parse_hour
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.lake.versions import EVERY
from spark_jobs.ledger import Ledger
from spark_jobs.result import Result
from spark_jobs.sources.drops import drops_of, find_drops, known_at
from spark_jobs.sources.faults import Faults, Held
from spark_jobs.sources.replay import _Folder, replay
from spark_jobs.steps.plan import HOUR_STEPS
from spark_jobs.steps.run import StepRun

NAME, PROJECT = "harbour", Path(__file__).with_name("harbour")
FIRST = parse_hour("2024-05-01T20:00:00")
SOURCES = ("plans", "landings")
BAD = (  # what happens to the drops of an hour, one after the other in an order of the seed
    "again_soon", "again_later", "other_soon", "other_later", "emptied", "late", "one_late", "empty",
)  # fmt: skip
Shown = dict[str, list[tuple[Any, ...]]]


def write_history(package: Path, seed: int, hours: int) -> None:
    """About nine visits an hour, so that none has broken rows alone; each announced six to nine hours before it is due."""
    (package / "data").mkdir(parents=True)
    chance = random.Random(f"{seed} visits")
    boats = [f"b{number:02}" for number in range(12)]
    seen: set[tuple[str, datetime]] = set()
    with open(package / "data" / "visits.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["boat", "announced_at", "due_at", "quay", "delay"])
        for hour in hours_between(FIRST - 12 * HOUR, FIRST + hours * HOUR):
            for _ in range(chance.randrange(7, 12)):
                boat, announced = chance.choice(boats), hour + timedelta(minutes=chance.randrange(60))
                due = announced + timedelta(minutes=chance.randrange(360, 540))
                if (boat, due) not in seen:
                    seen.add((boat, due))
                    delay = "" if chance.random() < 0.05 else chance.randrange(-30, 90)
                    writer.writerow([boat, f"{announced:%FT%TZ}", f"{due:%FT%TZ}", chance.randrange(1, 5), delay])


@dataclass(frozen=True)
class Window:
    """Between these instants [start, end) readers of the hourly lake saw a drop that a bulk run never sees."""

    start: datetime
    end: datetime


@dataclass
class Harbour:
    """A data folder with landing and lake."""

    data: Path
    spark: SparkSession = field(repr=False)
    env: str = "local"
    project: Path = PROJECT

    @property
    def landing(self) -> Path:
        """Where its upstreams put drops."""
        return self.data / "landing" / NAME

    @property
    def root(self) -> Path:
        """The pipeline's folder in the lake."""
        return self.data / "lake" / NAME

    def publish(self, start: datetime, hours: int = 1, dag_run: str = "") -> None:
        """The steps of an hour, all of which must end with 0."""
        for step in HOUR_STEPS:
            result = self.run(step.name, start, hours, dag_run)
            assert result.exit_code == 0, result.why

    def run(self, step: str, start: datetime, hours: int = 1, dag_run: str = "") -> Result:
        """One step, as Airflow would call it."""
        call = Invocation(NAME, step, start, start + hours * HOUR, dag_run or f"run {start}", self.env)
        self.spark.catalog.clearCache()  # what a step leaves there goes with its application otherwise
        with self.here():
            return StepRun(call, lambda: self.spark).run()

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside, project and data folder are this lake's."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIDEGATE_PROJECT", str(self.project))
            patch.setenv("TIDEGATE_DATA", str(self.data))
            yield

    @contextmanager
    def reader(self, known_by: datetime | None) -> Iterator[tuple[Any, list[str]]]:
        """A connection with a view of each table that has rows for readers of the newest release, and their names."""
        line = Ledger.open(self.root).line()
        with connect(self.root) as connection:
            kinds = table_kinds(load_pipeline(NAME, PROJECT))
            yield connection, [
                table for table, kind in kinds.items()
                if register_current(connection, self.root, table, kind, line, table, known_by=known_by)
            ]  # fmt: skip

    def shown(self, known_by: datetime | None, windows: list[Window]) -> Shown:
        """All rows that readers see of each table, sorted, but for what cannot be equal.

        Left out: pub, and the hour of a tile (which run made it); cells as of an instant in a window. A tile that a window
        left empty is as one that never was.
        """
        seen: Shown = {}
        with self.reader(known_by) as (connection, tables):
            connection.execute("CREATE TABLE windows (a TIMESTAMPTZ, b TIMESTAMPTZ)")
            for window in windows:
                connection.execute("INSERT INTO windows VALUES (?, ?)", [window.start, window.end])
            for table in tables:
                columns, rows = "* EXCLUDE (pub)", ""
                if table.startswith("tiles/"):
                    columns = "* EXCLUDE (pub, hour)"
                    rows = "WHERE NOT (n = 0 AND EXISTS (FROM windows WHERE known_at BETWEEN a AND b))"
                if table.startswith("features/") or table == "spine_accounts":
                    rows = "WHERE NOT EXISTS (FROM windows WHERE as_of >= a AND as_of < b)"
                found = connection.execute(f'SELECT {columns} FROM "{table}" {rows} ORDER BY ALL')
                seen[table] = found.fetchall()
        return seen


@dataclass(frozen=True)
class Upstream:
    """What is delivered, in a landing folder of its own, from which the lakes get theirs."""

    landing: Path
    seed: int
    hours: int
    slot: int  # hours from one bad drop to the next; each is over before the next begins

    @property
    def end(self) -> datetime:
        """The first hour that is not delivered."""
        return FIRST + self.hours * HOUR

    def deliver(self) -> None:
        """All drops: rows that are late, repeated and corrected in all hours, and in every sixth hour a bad drop."""
        chance = random.Random(f"{self.seed} drops")
        kinds: list[str] = []
        while len(kinds) * self.slot < self.hours:
            kinds += chance.sample(BAD, len(BAD))
        bad = {FIRST + number * self.slot * HOUR: kind for number, kind in enumerate(kinds[: self.hours // self.slot])}
        self._replay(FIRST, self.hours, skip=frozenset((source, hour) for hour in bad for source in SOURCES))
        for hour, kind in bad.items():
            self._deliver_badly(hour, kind, chance)

    def _deliver_badly(self, hour: datetime, kind: str, chance: random.Random) -> None:
        soon = chance.randrange(20, 60)
        later = 60 * chance.randrange(self.slot // 3, self.slot - 1) + chance.randrange(20, 60)
        absent = {"late": SOURCES, "one_late": ("landings",), "empty": SOURCES, "other_later": ("plans",)}.get(kind, ())
        if set(absent) != set(SOURCES):
            self._replay(hour, only=[source for source in SOURCES if source not in absent])
        if kind in ("late", "one_late"):
            self._replay(hour, only=list(absent), minutes=later)
        elif kind in ("empty", "other_later"):
            for source in absent:
                self._hand_in_nothing(hour, source, 1)
        if kind in ("again_soon", "again_later"):
            both = frozenset((source, hour) for source in SOURCES)
            self._replay(hour, minutes=0.5 if kind == "again_soon" else later, redeliver=both)
        elif kind in ("other_soon", "other_later"):
            only = [source for source in SOURCES if source not in absent]
            self._replay(hour, only=only, minutes=soon if absent == () else later, seed=self.seed + 1)
        elif kind == "emptied":
            self._hand_in_nothing(hour, "landings", soon)

    def _replay(
        self, start: datetime, hours: int = 1, *, only: list[str] | None = None, minutes: float = 0.5, seed: int = 0,
        **drops: Any,
    ) -> None:  # fmt: skip
        corrected = {"plans": ("quay", Held(0.2, 7)), "landings": ("delay", Held(0.15, 3))}
        faults = Faults(seed or self.seed, Held(0.15, 2), 0.05, corrected, **drops)
        conf, end = load_pipeline(NAME, PROJECT).replay, start + hours * HOUR
        replay(conf, self.landing, start, end, only=only, arrived_minutes=minutes, faults=faults, correction=seed > 0)

    def _hand_in_nothing(self, hour: datetime, source: str, minutes: float) -> None:
        head = ",".join(load_pipeline(NAME, PROJECT).sources.sources[source].columns) + "\n"
        folder, arrived = _Folder(self.landing / source / f"{hour:%F}"), hour + HOUR + timedelta(minutes=minutes)
        folder.deliver(source, hour, "csv.gz", gzip.compress(head.encode(), mtime=0), 0, arrived, True)

    def arrivals(self) -> list[tuple[datetime, datetime, list[Any]]]:
        """(when a scheduler can run the hour, the hour, the drops that came then), in this order."""
        sources, came = load_pipeline(NAME, PROJECT).sources, {}
        for source in SOURCES:
            for hour, drops in drops_of(sources, self.landing, source, hours_between(FIRST, self.end)).items():
                for drop in drops:
                    came.setdefault((max(drop.arrived_at, hour + HOUR), hour), []).append(drop)
        return [(*at, came[at]) for at in sorted(came)]


def run_hourly(upstream: Upstream, lake: Harbour) -> list[Window]:
    """Each drop lands when it arrives, and its hour is run then, once all its drops are there; again when one comes again.

    A lake that was made up to some hour is gone on with. Returns the times in which readers saw what came again with other
    bytes later: a bulk run never sees that.
    """
    sources = load_pipeline(NAME, PROJECT).sources
    before: dict[datetime, tuple[datetime, list[str]]] = {}
    windows = []
    shutil.rmtree(lake.landing, ignore_errors=True)  # what lay there when it stopped has not arrived yet
    rows = Ledger.open(lake.root).intervals("dag_run", "state", "step")
    done = {row["dag_run"] for row in rows if (row["step"], row["state"]) == ("publish", "published")}
    for at, hour, drops in upstream.arrivals():
        for drop in drops:
            for path in (Path(drop.path), Path(drop.manifest)):
                target = lake.landing / path.relative_to(upstream.landing)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
        found = [find_drops(sources, lake.landing, source, [hour]).get(hour) for source in SOURCES]
        if None in found:
            continue
        if (run := f"{format_hour(hour)} at {at:%FT%T}") not in done:
            lake.publish(hour, dag_run=run)
        known = max(known_at(drop, sources.sources[source]) for source, drop in zip(SOURCES, found, strict=True))
        hashes = [drop.sha256 for drop in found]
        if hour in before and before[hour][1] != hashes:
            windows.append(Window(before[hour][0], known))
        before[hour] = known, hashes
    return windows


def run_at_once(upstream: Upstream, lake: Harbour) -> None:
    """The whole interval as one backfill, when everything has landed."""
    shutil.copytree(upstream.landing, lake.landing)
    lake.publish(FIRST, upstream.hours, "backfill")


@dataclass(frozen=True)
class OtherQuay:
    """A landing that looked up, in a window, a plan that a bulk run never sees: its line, its hour, and the quay in each lake."""

    file: str
    line: int
    event_hour: datetime
    quays: tuple[str, str]

    def is_in(self, table: str, row: tuple[Any, ...]) -> bool:
        """Whether a shown row is this landing, or is made of landings at one of the two quays of which this is one."""
        if table == "silver/landings":
            return (self.file, self.line) == row[2:4]
        if row[0] != "quay" or row[1] not in self.quays:
            return False
        if table == "tiles/landings":
            return bool(row[2] == self.event_hour)
        return table == "features/landings" and self.event_hour < row[2] <= self.event_hour + 12 * HOUR


def looked_up_meanwhile(hourly: Harbour, bulk: Harbour, windows: list[Window]) -> list[OtherQuay]:
    """The landings, in any of their versions, that were known in a window and have another quay in each lake."""
    with connect(hourly.root, bulk.root) as connection:
        for name, lake in (("here", hourly), ("there", bulk)):
            line = Ledger.open(lake.root).line()
            register_current(connection, lake.root, "silver/landings", EVERY, line, name)
        rows = connection.execute(
            """SELECT DISTINCT file, line, h.known_at, date_trunc('hour', h.event_at), h.quay::VARCHAR, t.quay::VARCHAR
               FROM here h JOIN there t USING (file, line) WHERE h.quay IS DISTINCT FROM t.quay ORDER BY ALL"""
        ).fetchall()
    return [OtherQuay(*row[:2], row[3], row[4:]) for row in rows if any(w.start <= row[2] < w.end for w in windows)]


def differences(
    hourly: Shown, bulk: Shown, windows: list[Window], others: Collection[OtherQuay] = ()
) -> dict[str, list[Any]]:
    """For each table that is not equal its number of rows in each, and the first rows that only one of them has.

    Equal tiles may be known since different times, if one of these lies in a window. What `others` are in is left out.
    """
    found = {}
    for table in sorted(hourly.keys() | bulk.keys()):
        a, b = (
            [row for row in lake.get(table, []) if not any(other.is_in(table, row) for other in others)]
            for lake in (hourly, bulk)
        )
        a = _as_if_known_with(b, a, windows) if table.startswith("tiles/") else a
        if a != b:
            here, there = ({repr(row) for row in rows} for rows in (a, b))
            found[table] = [(len(a), len(b)), sorted(here - there)[:4], sorted(there - here)[:4]]
    return found


def _as_if_known_with(other: list[Any], tiles: list[Any], windows: list[Window]) -> list[Any]:
    """`tiles` with the known_at of the same tile in `other`, where the values are equal and a window is the reason."""
    same = {(*row[:3], *row[4:]): row for row in other}  # entity, key, event_hour, known_at, values
    pairs = [(row, same.get((*row[:3], *row[4:]), row)) for row in tiles]
    return [
        there if any(w.start <= row[3] <= w.end for w in windows for row in (here, there)) else here
        for here, there in pairs
    ]
