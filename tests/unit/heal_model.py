"""A lake of cells small enough to run thousands of times: what readers see beside what they should see.

Runs, backfills, rollbacks and heals follow the rules of docs/design/data-model.md in plain Python; which hours a heal looks at is the
code under test. Times are minutes since BEGAN. A row is (key, entity, event, value); a key may move to another hour, event
or entity with any delivery.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from spark_jobs.invocation import HOUR
from spark_jobs.lake import stale_hours
from spark_jobs.lake.stale_hours import NEVER, Heal, Reach
from spark_jobs.ledger import Release, folds, releasing

BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
HOURS, WINDOW, STALENESS, KEYS, ENTITIES = 14, 4 * 60, 3 * 60, 7, 2  # windows and staleness in minutes
TABLE, CELLS = "silver/rows", "features/cells"
Cell = tuple[int, int]  # entity, as_of
Values = tuple[Any, ...]


def at(minute: int) -> datetime:
    """The instant of a minute."""
    return BEGAN + timedelta(minutes=minute)


def hour_of(instant: datetime) -> int:
    """Number of the hour that starts at an instant."""
    return (instant - BEGAN) // HOUR


class SilentMissError(AssertionError):
    """A cell is wrong though a heal found nothing more to do, or is looked at though it was just healed."""


@dataclass(frozen=True)
class Row:
    """One row of silver; `hour` and `pub` of the drop that brought it."""

    key: int
    entity: int
    event: int
    value: int
    hour: int
    pub: int
    known: int


@dataclass
class World:
    """The lake, its ledger, and a scheduler that does as the seed says."""

    chance: random.Random
    line: list[Release] = field(default_factory=list)
    bases: dict[int, int | None] = field(default_factory=dict)
    heals: list[tuple[Heal, int | None]] = field(default_factory=list)  # its publication; none: it found nothing
    known: dict[tuple[int, int], int] = field(default_factory=dict)  # (hour, pub) -> minute
    rows: list[Row] = field(default_factory=list)
    tiles: dict[tuple[int, int], list[tuple[int, int, tuple[Row, ...]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    cells: dict[Cell, list[tuple[int, int, Values]]] = field(default_factory=lambda: defaultdict(list))
    pubs: int = 0

    # what readers of the newest release see
    def live(self) -> frozenset[int]:
        """Publications that count."""
        return folds.live(self.line)

    def rows_known(self, by: int | None, own: int | None = None) -> dict[int, Row]:
        """The row of each key that counts as known at a minute; none: as of everything that is known."""
        alive = self.live() | ({own} if own else set())
        covers: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (hour, pub), known in self.known.items():
            if pub in alive and (by is None or known <= by):
                covers[hour].append((pub, known))
        newest = {hour: max(versions)[0] for hour, versions in covers.items()}
        found: dict[int, Row] = {}
        for row in self.rows:
            if newest.get(row.hour) == row.pub:
                other = found.get(row.key, row)
                found[row.key] = max(row, other, key=lambda r: (r.known, r.hour))
        return found

    def tile(self, entity: int, hour: int, by: int | None) -> tuple[Row, ...]:
        """The rows in the version of a tile that counts."""
        alive = self.live()
        versions = [v for v in self.tiles[entity, hour] if v[1] in alive and (by is None or v[0] <= by)]
        return max(versions, key=lambda v: v[:2])[2] if versions else ()

    def cell(self, cell: Cell) -> tuple[int, Values] | None:
        """known_at and values of a cell as readers see it."""
        versions = [version for version in self.cells[cell] if version[1] in self.live()]
        newest = max(versions, key=lambda v: v[:2], default=None)
        return (newest[0], newest[2]) if newest else None

    def values(self, cell: Cell, by: int | None, *, from_tiles: bool) -> Values:
        """Window, as-of join and look-up of a cell; the window of silver rows when not `from_tiles`."""
        entity, as_of = cell
        mine = [row for row in self.rows_known(by).values() if row.entity == entity]
        if from_tiles:
            hours = range((as_of - WINDOW) // 60, as_of // 60)
            window = [row for hour in hours for row in self.tile(entity, hour, by)]
        else:
            window = [row for row in mine if as_of - WINDOW <= row.event < as_of]
        recent = [(row.event, row.value) for row in mine if as_of - STALENESS <= row.event < as_of]
        held = [(row.event, row.value) for row in mine if row.event <= as_of]
        return tuple(sorted((r.key, r.value) for r in window)), max(recent, default=None), max(held, default=None)

    # what a scheduler does
    def publish(self, start: int, end: int, drops: dict[int, tuple[int, list[tuple[int, int, int, int]]]]) -> None:
        """A run or backfill of hours [start, end): rows, tiles and the cells that its spine demands."""
        pub = self._start()
        base = self.line[-1].release if self.line else None
        self.bases[pub] = base
        before = self.rows_known(None)
        known = {hour: drops[hour][0] for hour in range(start, end)}
        self.known |= {(hour, pub): minute for hour, minute in known.items()}
        for hour, (minute, rows) in drops.items():
            self.rows += [Row(*row, hour, pub, minute) for row in rows]
        span = (at(start * 60), at(end * 60))
        now = max(known.values()) if end - start == 1 else start * 60 + 60
        tiles = self._restated(pub, before, now)
        self._release(pub, "hour" if end - start == 1 else "backfill", [(TABLE, *span), (CELLS, *span)])
        for tile, versions in tiles.items():
            self.tiles[tile] += versions
        for hour in range(start, end):
            for entity in range(ENTITIES):
                if self.chance.random() < 0.8:
                    cell = (entity, hour * 60 + 60)
                    served = self.values(cell, cell[1], from_tiles=True)
                    self.cells[cell].append((max(cell[1], known[hour]), pub, served))

    def _restated(self, pub: int, before: dict[int, Row], now: int) -> dict[tuple[int, int], Any]:
        """New versions of the tiles that differ, as `healed_tiles` makes them."""

        def of(rows: dict[int, Row]) -> dict[tuple[int, int], set[Values]]:
            found: dict[tuple[int, int], set[Values]] = defaultdict(set)
            for row in rows.values():
                found[row.entity, row.event // 60].add((row.key, row.event, row.value))
            return found

        old, new = of(before), of(self.rows_known(None, pub))
        times = sorted({minute for (_, p), minute in self.known.items() if p in self.live() | {pub}})
        result = {}
        for tile in old.keys() | new.keys():
            if old.get(tile) == new.get(tile):
                continue
            replaced = max((v[0] for v in self.tiles[tile] if v[1] in self.live()), default=now)
            versions = []
            content: set[Values] = set()
            for minute in times:
                rows = self.rows_known(minute, pub).values()
                here = tuple(r for r in rows if (r.entity, r.event // 60) == tile)
                if {(r.key, r.event, r.value) for r in here} != content:
                    versions.append((minute, pub, here))
                    content = {(r.key, r.event, r.value) for r in here}
            if not versions:
                versions = [(now, pub, ())]
            *others, final = versions
            kept = [version for version in others if version[0] >= now]
            result[tile] = [*kept, (max(now, final[0], replaced), pub, final[2])]
        return result

    def rollback(self, to: int) -> None:
        """Readers see again what they saw at release `to`."""
        self._release(self._start(), "rollback", [], releasing.dead_at(self.line, to))

    def heal(self, start: int, end: int, between: Callable[[], None] = lambda: None, *, refused: bool = False) -> None:
        """Recompute the cells of hours [start, end); `between` happens before the heal is released."""
        base, pub = self.line[-1].release, self._start()
        newest = max(self.known.values())
        restated = {}
        for cell in list(self.cells):
            shown = self.cell(cell)
            if shown and start <= cell[1] // 60 - 1 < end:
                right = self.values(cell, None, from_tiles=True)
                if right != shown[1]:
                    restated[cell] = (self.known_at(newest, cell, shown[0]), pub, right)
        between()
        heal = Heal(at(start * 60), at(end * 60), base)
        if refused or any(release.kind == "rollback" and release.release > base for release in self.line):
            return
        if restated:
            self._release(pub, "heal", [(CELLS, heal.start, heal.end)])
            for cell, version in restated.items():
                self.cells[cell].append(version)
        self.heals.append((heal, pub if restated else None))

    def known_at(self, newest: int, cell: Cell, shown: int) -> int:
        """When a restated cell is known."""
        return max(newest, cell[1] + 60, shown)

    # what the code under test is given
    def look(self) -> tuple[list[datetime], bool]:
        """The stale hours, and whether times of rows were read."""
        alive = self.live()
        heals = [
            heal for heal, pub in self.heals
            if (pub in alive if pub else stale_hours.is_state_of(self.line, heal.base))
        ]  # fmt: skip
        known = {(at(hour * 60), pub): at(minute) for (hour, pub), minute in self.known.items()}
        return stale_hours.stale_hours(self.line, self.bases, heals, known, [TABLE], self.reaches)

    def reaches(self, table: str, hours: set[datetime]) -> dict[datetime, Reach]:
        """Rule 2, of the longest reach: a look-up."""
        alive, found = self.live(), {}
        for hour in hours:
            mine = {row.key for row in self.rows if row.pub in alive and row.hour == hour_of(hour)}
            events = [row.event for row in self.rows if row.pub in alive and row.key in mine]
            if events:
                found[hour] = (stale_hours.micros(at(min(events))) - 1, NEVER)
        return found

    def heal_as_the_command_does(self, between: Callable[[], None] = lambda: None, *, refused: bool = False) -> None:
        """`tidegate heal` without an interval."""
        hours, asked = self.look()
        end = 1 + max(hour_of(release_end) for r in self.line for _, _, release_end in r.covers)
        span = (hour_of(hours[0]), hour_of(hours[-1]) + 1) if hours else (0, 0)
        if asked:
            base = self.line[-1].release
            around = ((0, span[0]), (span[1], end))
            self.heals += [(Heal(at(a * 60), at(b * 60), base), None) for a, b in around if a < b]
        if hours:
            self.heal(*span, between, refused=refused)

    def check(self) -> int:
        """That every cell is right and nothing is left to look at; number of cells."""
        shown = {cell: self.cell(cell) for cell in list(self.cells)}
        for cell, seen in shown.items():
            if seen and seen[1] != self.values(cell, None, from_tiles=False):
                raise SilentMissError(f"cell {cell}: {seen[1]}, not {self.values(cell, None, from_tiles=False)}")
        if self.look() != ([], False):
            raise SilentMissError(f"just healed, but {self.look()}")
        return sum(seen is not None for seen in shown.values())

    def _start(self) -> int:
        self.pubs += 1
        return self.pubs

    def _release(self, pub: int, kind: str, covers: list[Any], dead: frozenset[int] | None = None) -> None:
        before = self.line[-1] if self.line else Release(0, 0, None, "", (), frozenset(), {}, "", BEGAN)
        self.line.append(
            replace(before, release=before.release + 1, parent=before.release or None, pub=pub, kind=kind,
                    covers=tuple(covers), dead=before.dead if dead is None else dead)
        )  # fmt: skip


def run_schedule(seed: int) -> int:
    """One random schedule, healed and checked several times; number of cells compared.

    Raises:
        SilentMissError: a cell is wrong after a heal.
    """
    chance = random.Random(seed)
    world = World(chance)
    clock = chance.randrange(3, HOURS) * 60  # what was delivered by then comes as a backlog, in any order
    waiting = list(range(clock // 60))
    if chance.random() < 0.5:
        chance.shuffle(waiting)
    if chance.random() < 0.5:
        first = chance.randrange(0, len(waiting))
        _publish(world, first, chance.randrange(first + 1, len(waiting) + 1), clock)
    compared = 0
    for _ in range(chance.randrange(6, 16)):
        act = chance.random()
        if act < 0.35 or not world.line:
            if waiting and chance.random() < 0.7:
                hour = waiting.pop(0)
            else:
                clock += 60
                hour = clock // 60 - 1
                if chance.random() < 0.3:
                    waiting.append(hour)  # published later
                    continue
            _publish(world, hour, hour + 1, clock)
        elif act < 0.55:
            hour = chance.randrange(0, clock // 60)
            _publish(world, hour, min(hour + chance.choice([1, 1, 1, 3]), clock // 60), clock)
        elif act < 0.65:
            targets = [release.release for release in world.line if release.kind != "rollback"]
            world.rollback(chance.choice(targets))
        elif act < 0.72:
            start = chance.randrange(0, clock // 60)
            world.heal(start, chance.randrange(start + 1, clock // 60 + 2), refused=chance.random() < 0.2)
        elif act < 0.85:
            hour = chance.randrange(0, clock // 60)
            between = chance.choice([
                lambda: None, lambda: None, lambda hour=hour, clock=clock: _publish(world, hour, hour + 1, clock),
            ])  # fmt: skip
            world.heal_as_the_command_does(between, refused=chance.random() < 0.3)
        elif world.line:
            world.heal_as_the_command_does()
            compared += world.check()
    if world.line:
        world.heal_as_the_command_does()
        compared += world.check()
    return compared


def _publish(world: World, start: int, end: int, clock: int) -> None:
    """Drops that arrived some time up to `clock`, on time or late, with rows of any keys and events around their hour."""
    chance, drops = world.chance, {}
    for hour in range(start, end):
        on_time = hour * 60 + 60
        late = chance.randrange(on_time, max(clock, on_time) + 1, 60)
        rows = [
            (key, chance.randrange(ENTITIES), chance.randrange(max(0, hour - 5) * 60, hour * 60 + 90), chance.randrange(100))
            for key in chance.sample(range(KEYS), chance.randrange(0, 4))
        ]  # fmt: skip
        drops[hour] = (on_time if chance.random() < 0.5 else late, rows)
    world.publish(start, end, drops)
