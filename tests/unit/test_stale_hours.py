"""A heal looks at every cell that can be wrong: random schedules of runs, rollbacks and heals beside a brute-force oracle."""

import os
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import heal_model
import pytest
from heal_model import HOURS, SilentMissError, World, at, run_schedule

from spark_jobs.invocation import HOUR
from spark_jobs.lake import stale_hours
from spark_jobs.lake.stale_hours import Heal, HourCells
from spark_jobs.ledger import Release

FIRST = int(os.environ["TIDEGATE_SEED"])
SCHEDULES = int(os.environ.get("TIDEGATE_SCHEDULES", "1500"))
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("count", [SCHEDULES, pytest.param(100_000, marks=pytest.mark.long)])
def test_healed_equals_rebuilt_for_every_cell_under_any_schedule(count):
    """After each heal readers see every cell as computed from all that is known, and nothing is looked at twice."""
    broken, compared = [], 0
    for seed in range(FIRST, FIRST + count):
        try:
            compared += run_schedule(seed)
        except SilentMissError as error:
            broken.append(f"seed {seed}: {error}")
    assert broken[:3] == []
    assert compared > 10 * count


def _former_code(patch: Patch) -> None:
    """From the first change since the base of any heal to the newest hour but one."""

    def look(world: World) -> tuple[list[Any], bool]:
        alive = world.live()
        since = max((heal.base for heal, pub in world.heals if pub is None or pub in alive), default=0)
        released = [r.pub for r in world.line if r.release > since and r.kind not in ("heal", "rollback")]
        moved = [
            pub
            for a, b in zip(world.line, world.line[1:], strict=False)
            if b.release > since
            for pub in a.dead ^ b.dead
        ]
        hours = {row.hour for row in world.rows if row.pub in {*released, *moved}}
        events = [row.event for row in world.rows if row.hour in hours]
        covered = [heal_model.hour_of(h) for h in heal_model.folds.covered_hours(world.line)]
        if not events or not covered:
            return [], False
        return [at(hour * 60) for hour in range(min(events) // 60, max(covered)) if hour >= min(covered)], False

    patch.setattr(World, "look", look)


def _known_times_ignored(patch: Patch) -> None:
    """A run takes into account whatever its base holds."""
    mark = HourCells.mark
    patch.setattr(HourCells, "mark", lambda cells, release, known_at, reach: mark(cells, release, -(2**62), reach))


def _emptied_tiles_known_with_the_last_hour(patch: Patch) -> None:
    """A tile that a backfill empties is known as empty once all of its hours are."""
    restated = World._restated

    def late(world: World, pub: int, before: dict[int, Any], now: int) -> dict[tuple[int, int], Any]:
        last = max(minute for (_, p), minute in world.known.items() if p == pub)
        return {
            tile: [(known if rows else max(known, last), pub, rows) for known, pub, rows in versions]
            for tile, versions in restated(world, pub, before, now).items()
        }

    patch.setattr(World, "_restated", late)


def _keys_not_followed(patch: Patch) -> None:
    """Only rows of the hour itself are asked for their times, not the versions that they replace elsewhere."""

    def reaches(world: World, table: str, hours: set[Any]) -> dict[Any, Any]:
        found = {}
        for hour in hours:
            events = [r.event for r in world.rows if r.pub in world.live() and r.hour == heal_model.hour_of(hour)]
            if events:
                found[hour] = (stale_hours.micros(at(min(events))) - 1, stale_hours.NEVER)
        return found

    patch.setattr(World, "reaches", reaches)


def _heals_cover_everything(patch: Patch) -> None:
    """A heal of an interval counts for all hours."""
    begin = HourCells.__init__

    def init(cells: HourCells, past: Any, bases: Any, heals: Any) -> None:
        begin(cells, past, bases, [Heal(at(0), at(60 * HOURS * 3), heal.base) for heal in heals])

    patch.setattr(HourCells, "__init__", init)


def _empty_heals_survive_rollbacks(patch: Patch) -> None:
    """A heal that found nothing counts for a history of which its base is no state."""
    patch.setattr(stale_hours, "is_state_of", lambda line, base: True)


def _runs_hide_heals(patch: Patch) -> None:
    """A run that comes after a heal replaces all cells of its hour."""
    begin = HourCells.__init__

    def init(cells: HourCells, past: Any, bases: Any, heals: Any) -> None:
        begin(cells, past, bases, heals)
        cells._read[cells._by_run] = stale_hours.NEVER

    patch.setattr(HourCells, "__init__", init)


def _restated_cells_known_before_what_they_replace(patch: Patch) -> None:
    """A restated cell is known after its as_of, whatever version readers see."""
    patch.setattr(World, "known_at", lambda world, newest, cell, shown: cell[1] + 60)


CONTROLS: list[Callable[[Patch], None]] = [
    _former_code,
    _known_times_ignored,
    _keys_not_followed,
    _heals_cover_everything,
    _empty_heals_survive_rollbacks,
    _runs_hide_heals,
    _restated_cells_known_before_what_they_replace,
]


@pytest.mark.parametrize("control", CONTROLS)
def test_a_wrong_choice_of_hours_is_caught(control, monkeypatch):
    """Each rule of `stale_hours` is needed: without it a cell stays wrong within a few schedules of fixed seeds."""
    control(monkeypatch)

    def misses() -> bool:
        for seed in range(3_000):
            try:
                run_schedule(seed)
            except SilentMissError:
                return True
        return False

    assert misses()


class _Always(random.Random):
    """Every cell is demanded."""

    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize("control", [None, _emptied_tiles_known_with_the_last_hour])
def test_a_tile_is_empty_as_soon_as_its_key_moves(control, monkeypatch):
    """A backfill of hours 6 and 7: its cells as of the end of hour 6 read the tile that hour 6 empties."""
    if control:
        control(monkeypatch)
    world = World(_Always(1))
    world.publish(5, 6, {5: (420, [(1, 1, 288, 48)])})
    world.publish(6, 8, {6: (420, [(1, 0, 142, 91)]), 7: (480, [])})
    world.heal_as_the_command_does()
    if control:
        with pytest.raises(SilentMissError, match=r"cell \(1, 420\)"):
            world.check()
    else:
        assert world.check() == 2 * 3


def _release(number: int, kind: str, start: int, end: int) -> Release:
    covers = (("silver/rows", at(start * 60), at(end * 60)),)
    return Release(number, number, number - 1 or None, kind, covers, frozenset(), {}, "", at(0))


def test_two_years_of_hours_are_decided_within_seconds_and_looked_at_once():
    hours = 2 * 8760
    line = [_release(n + 1, "hour", n, n + 1) for n in range(hours)]
    bases = {release.pub: release.release - 1 for release in line}
    known = {(at(n * 60), n + 1): at(n * 60 + 60) for n in range(hours)}
    asked: list[int] = []

    def times_of(table, wanted):
        asked.append(len(wanted))
        return {
            hour: tuple(stale_hours.micros(hour + m * timedelta(minutes=1)) for m in (1, 59 + 72 * 60))
            for hour in wanted
        }

    heals = [Heal(at(0), at(60 * (hours - 24)), hours - 24)]
    assert stale_hours.stale_hours(line, bases, heals, known, ["silver/rows"], times_of) == ([], True)
    assert stale_hours.stale_hours(line, bases, [], known, ["silver/rows"], times_of) == ([], True)
    assert asked == [24, hours - 1]  # the first hour changed nothing that its own run did not read
    healed = Heal(at(0), at(60 * hours), hours)
    assert stale_hours.stale_hours(line, bases, [healed], known, ["silver/rows"], times_of) == ([], False)


def test_only_hours_within_reach_of_a_correction_are_stale():
    line = [_release(1, "backfill", 0, 100), _release(2, "hour", 20, 21)]
    known = {(at(n * 60), 1): at(n * 60 + 60) for n in range(100)} | {(at(20 * 60), 2): at(100 * 60)}
    heals = [Heal(at(0), at(100 * 60), 1)]

    def times_of(table, wanted):  # from five to fifty minutes past each hour, with windows of three hours
        minutes = timedelta(minutes=5), timedelta(minutes=50 + 180)
        return {hour: tuple(stale_hours.micros(hour + minute) for minute in minutes) for hour in wanted}

    hours, _ = stale_hours.stale_hours(line, {1: None, 2: 1}, heals, known, ["silver/rows"], times_of)
    assert hours == [at(20 * 60) + n * HOUR for n in range(3)]
