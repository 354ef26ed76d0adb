"""Which hours have cells that can differ from what is known now: a pure function of releases, heals and times of rows.

A cell belongs to the hour before its as_of. An hourly run or a backfill computes it from the rows known at as_of, a heal
from all rows that are current in the release on which the heal is based. Either result is right as long as no row comes,
goes or changes that the computation did not take into account. Therefore:

1. **Only the live history counts.** A rollback to release P restores exactly the publications that were live at P, and a
   publication is released on top of all live ones. So the live publications, in the order of their releases, are a history
   in which nothing was ever rolled back. A heal counts only if its base is a state of this history.
2. **A change is one hour of one table in one publication.** It adds the publication's rows of that hour, removes those of
   the publication that covered the hour before, and replaces, or lets reappear, rows of the same keys in *other* hours. It
   can affect a cell only if as_of lies after the earliest event of any version of any of these keys, and within the reach
   of the features (longest window, staleness; no limit for a look-up) after the latest.
3. **A heal takes a change into account** if the change was released by its base: it reads all that is current.
4. **A run takes a change into account** if it read the release of the change (or made the change itself) *and* the change
   was known at as_of. A run for an old hour, a backfill with late rows and a late drop all compute cells for which rows in
   the lake are not known yet. A tile that is restated out of order, or that loses all rows, is known no earlier than the
   version that it replaces, but that version belongs to a change that affects the same cells and is known as late.
5. **An hour holds cells of several computations**: a run replaces only the cells that its spine rows demand, and a heal
   that is known later hides what a run writes afterwards. An hour is safe only if its last heal and all runs released after
   the base of that heal take every change into account that can affect the hour.

An hour for which this does not hold is stale. The result may be larger than the set of wrong cells, never smaller: a run
whose base is not recorded counts as having read nothing, and rows without a known time count as never known.

What must be remembered is, per heal, its interval and its base. With that, every change and every published hour is looked
at once and not again. Which cells exist is not decided here: those that the spine, as known at as_of, demanded when the hour
was published. A spine row that becomes known or changes its entity later demands none, as it does when the hour is rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.lake.hours import EPOCH, micros
from spark_jobs.ledger import Release, folds

Span = tuple[datetime, datetime]
Reach = tuple[int, int]  # microseconds since the epoch: cells with first < as_of <= last can read the rows
TimesOf = Callable[[str, set[datetime]], Mapping[datetime, Reach]]

NEVER = 2**62  # later than every instant, in microseconds since the epoch
_NOTHING = -1  # no release was read


@dataclass(frozen=True)
class Heal:
    """A heal whose result readers see: it looked at the cells of [start, end), knowing all releases up to `base`."""

    start: datetime
    end: datetime
    base: int


def history(line: Sequence[Release]) -> list[Release]:
    """The live releases that hold rows or cells, oldest first: rule 1."""
    alive = folds.live(line)
    return [release for release in line if release.pub in alive and release.kind not in ("score", "rollback")]


def is_state_of(line: Sequence[Release], base: int) -> bool:
    """Whether readers of release `base` saw exactly those live publications of `line` that were released by then."""
    upto = [release for release in line if release.release <= base]
    return bool(upto) and history(upto) == [release for release in history(line) if release.release <= base]


class HourCells:
    """For each published hour what the computations of its cells took into account: rule 5."""

    def __init__(self, past: Sequence[Release], bases: Mapping[int, int | None], heals: Iterable[Heal]) -> None:
        """`past`: as `history` returns it. `bases`: publication -> release that it read, if recorded."""
        runs = [release for release in past if release.kind != "heal" and release.covers]
        spans = {release.release: _span(release) for release in runs}
        self._first = min((start for start, _ in spans.values()), default=EPOCH)
        count = self._index(max((end for _, end in spans.values()), default=EPOCH))
        self._as_of = micros(self._first + HOUR) + micros(EPOCH + HOUR) * np.arange(count, dtype=np.int64)
        healed = np.full(count, _NOTHING, dtype=np.int64)  # base of the last heal
        for heal in heals:
            within = self._slice(heal.start, heal.end)
            healed[within] = np.maximum(healed[within], heal.base)
        self._read = np.full(count, NEVER, dtype=np.int64)  # newest release that all computations read
        self._by_run = np.zeros(count, dtype=np.bool_)  # a run computed cells after the last heal
        by_heal = np.zeros(count, dtype=np.bool_)
        read = _releases_read(runs, bases)
        for run in runs:
            within = self._slice(*spans[run.release])
            newer = run.release > healed[within]
            self._read[within] = np.where(newer, np.minimum(self._read[within], read[run.release]), self._read[within])
            self._by_run[within] |= newer
            by_heal[within] |= ~newer
        self._read = np.where(by_heal, np.minimum(self._read, healed), self._read)
        self._stale = np.zeros(count, dtype=np.bool_)
        self._oldest_read = int(self._read.min(initial=NEVER))
        self._oldest_run = int(self._as_of[self._by_run].min(initial=NEVER))

    def is_unknown_somewhere(self, release: int, known_at: int) -> bool:
        """Whether some hour does not take into account a change of `release`, known at `known_at`, if it can reach it."""
        return self._oldest_read < release or self._oldest_run < known_at

    def mark(self, release: int, known_at: int, reach: Reach) -> None:
        """Mark the hours that a change can affect and that do not take it into account: rules 2 to 4."""
        first, last = np.searchsorted(self._as_of, reach, side="right")
        within = slice(int(first), int(last))
        self._stale[within] |= self._read[within] < release
        self._stale[within] |= self._by_run[within] & (self._as_of[within] < known_at)

    def stale(self) -> list[datetime]:
        """The hours marked so far, oldest first."""
        return [self._first + int(number) * HOUR for number in np.flatnonzero(self._stale)]

    def _index(self, hour: datetime) -> int:
        return (hour - self._first) // HOUR

    def _slice(self, start: datetime, end: datetime) -> slice:
        return slice(max(self._index(start), 0), max(self._index(end), 0))


def stale_hours(
    line: Sequence[Release],
    bases: Mapping[int, int | None],
    heals: Iterable[Heal],
    known: Mapping[tuple[datetime, int], datetime],
    tables: Iterable[str],
    times_of: TimesOf,
) -> tuple[list[datetime], bool]:
    """The stale hours, oldest first, and whether times of rows had to be read to find them.

    Args:
        line: the newest release and its ancestors.
        bases: publication -> the release that its run read.
        heals: as `is_state_of` lets them count.
        known: (hour, publication) -> when the rows of that hour were known.
        tables: silver tables that feature groups read.
        times_of: the reach of the rows of each hour of a table: rule 2. Hours without rows are left out.
    """
    past = history(line)
    cells, asked = HourCells(past, bases, heals), False
    wanted: dict[str, dict[datetime, list[tuple[int, int]]]] = {table: {} for table in tables}
    for table, hour, release, known_at in _changes(past, known, wanted.keys()):
        if cells.is_unknown_somewhere(release, known_at):
            wanted[table].setdefault(hour, []).append((release, known_at))
    for table, changes in wanted.items():
        reaches = times_of(table, set(changes)) if changes else {}
        asked = asked or bool(changes)
        for hour, reach in reaches.items():
            for number, known_at in changes[hour]:
                cells.mark(number, known_at, reach)
    return cells.stale(), asked


def _changes(
    past: Sequence[Release], known: Mapping[tuple[datetime, int], datetime], tables: Collection[str]
) -> Iterator[tuple[str, datetime, int, int]]:
    """(table, hour, release, since when it is known) of every change of `past`: rules 2 and 4."""
    for release in past:
        for table, start, end in release.covers if release.kind != "heal" else ():
            for hour in hours_between(start, end) if table in tables else ():
                instant = known.get((hour, release.pub))
                yield table, hour, release.release, micros(instant) if instant else NEVER


def _span(release: Release) -> Span:
    return min(start for _, start, _ in release.covers), max(end for _, _, end in release.covers)


def _releases_read(runs: Sequence[Release], bases: Mapping[int, int | None]) -> dict[int, int]:
    """For each run the newest release of which it read everything: its own where none came between its base and it."""
    read, before = {}, 0
    for run in runs:
        base = bases.get(run.pub, _NOTHING)
        read[run.release] = run.release if (base or 0) >= before else (base or 0)
        before = run.release
    return read
