"""The same drops run hour by hour, as they arrive, and as one backfill make the same lake, row by row.

Late, corrected, repeated and broken rows in every hour; every third hour a bad drop: again with the same bytes or with
others, soon or after newer hours, emptied, late (its hour is run after newer ones), of one source alone, or empty.

What cannot be equal: a bulk run takes the newest version of each drop and never sees a version that came before it. So
between the arrivals of two versions of other bytes (a `Window`) as-known views differ, and with them cells as of that
time; a tile that is equal may be known since another time (rows that only the former version had came and went), or be
empty where it never was. And a row of another hour that was known then may have looked up what came first only
(`looked_up_meanwhile`: three of 6,000 rows of a month, with the tiles and cells of their two quays). All else is compared:
every table that readers see, every column but pub (and `hour` of a tile, which also says which run made it), now and as
known at instants outside of the windows, their ends among them.

A month takes hours: with TIDEGATE_LONG=<folder> the lakes of the long ones stay there, and the same seed goes on with them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.stages import silver
from tests.spark.visits import (
    FIRST,
    Harbour,
    Shown,
    Upstream,
    Window,
    differences,
    looked_up_meanwhile,
    run_at_once,
    run_hourly,
    write_history,
)

DAY, TWO_DAYS, MONTH = (24, 3), (48, 6), (720, 6)  # hours, and of how many one has a bad drop
SEED = 930565686  # every run compares this day; the long ones take the seed of their run


@dataclass(frozen=True)
class Both:
    """One upstream, and the lakes of the two ways to run it."""

    upstream: Upstream
    hourly: Harbour
    bulk: Harbour
    windows: list[Window]

    def instants(self) -> list[datetime | None]:
        """Now, the end of each of up to five windows, and five hours outside of all windows."""
        chance = random.Random(f"{self.upstream.seed} instants")
        ends = [window.end for window in self.windows]
        asked = [*chance.sample(ends, min(5, len(ends))), *self._outside(chance)]
        return [None, *sorted({at for at in asked if not self._inside(at)})]

    def _outside(self, chance: random.Random) -> list[datetime]:
        hours = [at for at in hours_between(FIRST + 2 * HOUR, self.upstream.end) if not self._inside(at)]
        return chance.sample(hours, 5)

    def _inside(self, at: datetime) -> bool:
        return any(window.start <= at < window.end for window in self.windows)

    def shown(self, lake: Harbour) -> dict[datetime | None, Shown]:
        """What readers of a lake see at each instant."""
        return {at: lake.shown(at, self.windows) for at in self.instants()}


@pytest.fixture(
    scope="module",
    params=[(SEED, *DAY), *(pytest.param((None, *long), marks=pytest.mark.long) for long in (TWO_DAYS, MONTH))],
    ids=["a_day", "two_days", "a_month"],
)
def both(
    request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """The lakes; while in force, the harbour's history is an installed package."""
    fixed, hours, slot = request.param
    seed, kept = fixed or int(os.environ["TIDEGATE_SEED"]), None if fixed else os.environ.get("TIDEGATE_LONG")
    folder = Path(kept) / f"{hours} hours of seed {seed}" if kept else tmp_path_factory.mktemp("harbour")
    upstream = Upstream(folder / "upstream", seed, hours, slot)
    hourly, bulk = (Harbour(folder / name, spark) for name in ("hourly", "bulk"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        if not (folder / "begun").exists():
            write_history(folder / "harbour_history", seed, hours)
            upstream.deliver()
            run_at_once(upstream, bulk)
            (folder / "begun").touch()
        yield Both(upstream, hourly, bulk, run_hourly(upstream, hourly))


def test_a_bulk_run_makes_what_the_hours_one_by_one_make(both: Both) -> None:
    """At every instant, every table; the lakes hold what could make them differ."""
    hourly, bulk = both.shown(both.hourly), both.shown(both.bulk)
    others = looked_up_meanwhile(both.hourly, both.bulk, both.windows)
    found = {at: differences(hourly[at], bulk[at], both.windows, others) for at in hourly}
    assert {at: tables for at, tables in found.items() if tables} == {}
    assert len(others) <= both.upstream.hours // 48  # seldom, or it hides more than it is for
    assert len(hourly) >= 6
    assert {window.end - window.start for window in both.windows} >= {timedelta(hours=1)}
    with both.hourly.reader(None) as (connection, _):
        [(late, corrected, held, empty, looked_up, unknown)] = connection.execute(
            """SELECT (FROM "silver/landings" SELECT count(*) FILTER (known_at > hour + INTERVAL 1 HOUR)),
                      (FROM "silver/plans" SELECT count(*) FILTER (hour > announced_at + INTERVAL 5 HOURS)),
                      (FROM quarantine SELECT count(*)), (FROM accounts SELECT count(*) FILTER (manifest = 0)),
                      (FROM "silver/landings" SELECT count(quay)), (FROM "silver/landings" SELECT count(*) - count(quay))"""
        ).fetchall()
    assert min(late, corrected, held, empty, looked_up, unknown) > 0


def test_control_a_bulk_run_that_looks_up_current_rows_differs(
    both: Both, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the looked-up column, and in what is made of it."""
    monkeypatch.setattr(silver, "known_then", lambda within: lambda version: version["known_until"].isNull())
    wrong = Harbour(tmp_path / "wrong", both.bulk.spark)
    run_at_once(both.upstream, wrong)
    found = differences(both.hourly.shown(None, both.windows), wrong.shown(None, both.windows), both.windows)
    assert found.keys() >= {"silver/landings", "tiles/landings", "features/landings"}
