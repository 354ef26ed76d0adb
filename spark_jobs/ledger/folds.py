"""What the ledger's rows mean: which publications are live, which one covers an hour, how an hour stands.

Pure functions over rows; they read no table and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from heapq import heappop, heappush
from itertools import pairwise

from spark_jobs.invocation import HOUR, hours_between, parse_hour
from spark_jobs.steps.plan import OF_HOURS
from spark_jobs.storage import Row


@dataclass(frozen=True)
class Release:
    """One row of `releases`: what readers follow."""

    release: int
    pub: int
    parent: int | None
    kind: str
    covers: tuple[tuple[str, datetime, datetime], ...]
    dead: frozenset[int]
    rows: dict[str, int]
    why: str
    at: datetime

    @staticmethod
    def of(row: Row) -> Release:
        """The release that a ledger row states."""
        return Release(
            row["release"],
            row["pub"],
            row["parent"],
            row["kind"],
            _covers(row["covers"]),
            _dead(row["dead"]),
            json.loads(row["rows"]),
            row["why"] or "",
            row["at"],
        )


def _covers(text: str) -> tuple[tuple[str, datetime, datetime], ...]:
    found = json.loads(text)
    hours = {hour: parse_hour(hour) for hour in {hour for _, *span in found for hour in span}}  # mostly two
    return tuple((table, hours[start], hours[end]) for table, start, end in found)


@lru_cache(64)  # handed on from release to release
def _dead(text: str) -> frozenset[int]:
    return frozenset(json.loads(text))


def chain(releases: Iterable[Release], upto: int | None = None) -> list[Release]:
    """The release `upto` (default: the newest) and its ancestors, oldest first; empty when there is none.

    Raises:
        KeyError: there is no release `upto`, or a parent is missing.
    """
    by_number = {release.release: release for release in releases}
    if upto is None:
        if not by_number:
            return []
        upto = max(by_number)
    found: list[Release] = []
    number: int | None = upto
    while number is not None:
        found.append(by_number[number])
        number = by_number[number].parent
    return found[::-1]


def live(line: Sequence[Release]) -> frozenset[int]:
    """live(R) of docs/design/data-model.md: pubs of R (last of `line`) and its ancestors, less those that R lists as dead."""
    return frozenset(r.pub for r in line) - line[-1].dead if line else frozenset()


@dataclass(frozen=True)
class Segment:
    """The hours [start, end) of one table are covered by `pub`."""

    start: datetime
    end: datetime
    pub: int


def cover(line: Sequence[Release], table: str) -> list[Segment]:
    """For each hour of `table` the newest live pub that covers it, as disjoint segments in order of time.

    Sweeps over the edges of all claims: n log n in the number of releases, which only grows.
    """
    alive = live(line)
    claims = sorted((start, end, r.pub) for r in line if r.pub in alive for t, start, end in r.covers if t == table)
    edges = sorted({edge for start, end, _ in claims for edge in (start, end)})
    open_claims: list[tuple[int, datetime]] = []  # heap of (-pub, end): the newest pub first
    segments: list[Segment] = []
    taken = 0
    for low, high in pairwise(edges):
        while taken < len(claims) and claims[taken][0] <= low:
            heappush(open_claims, (-claims[taken][2], claims[taken][1]))
            taken += 1
        while open_claims and open_claims[0][1] <= low:
            heappop(open_claims)
        if open_claims:
            _extend(segments, Segment(low, high, -open_claims[0][0]))
    return segments


def _extend(segments: list[Segment], piece: Segment) -> None:
    """Add `piece` at the end, as part of the last segment where it goes on with the same pub."""
    if segments and (segments[-1].end, segments[-1].pub) == (piece.start, piece.pub):
        segments[-1] = Segment(segments[-1].start, piece.end, piece.pub)
    else:
        segments.append(piece)


def covered_hours(line: Sequence[Release]) -> set[datetime]:
    """Hours of which readers of the last release of `line` see a publication, be it without rows.

    Scores and restated cells publish no hour.
    """
    alive = live(line)
    return hours_published(release for release in line if release.pub in alive)


def hours_published(releases: Iterable[Release]) -> set[datetime]:
    """Hours that one of `releases` published; scores and restated cells publish none."""
    spans = {(a, b) for r in releases if r.kind in ("hour", "backfill") for _, a, b in r.covers}
    return {hour for a, b in spans for hour in hours_between(a, b)}


def spans(hours: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """`hours` as disjoint [from, to), oldest first."""
    found: list[tuple[datetime, datetime]] = []
    for hour in sorted(hours):
        start = found.pop()[0] if found and found[-1][1] == hour else hour
        found.append((start, hour + HOUR))
    return found


def hour_states(intervals: Iterable[Row], line: Sequence[Release]) -> dict[datetime, str]:
    """For each hour that a step touched its state: published while readers see it, whatever a later attempt met.

    Otherwise the state of the newest row about it; an hour once published that no live publication covers is withdrawn.
    A rollback withdraws only hours that were published: one that was refused, late or failed stays what it was, although a
    release of restated cells that reaches over it was taken back. Rows need step, from_hour, to_hour and state.
    """
    states: dict[datetime, str] = {}
    seen, once = covered_hours(line), hours_published(line)
    for row in intervals:
        hours = hours_between(row["from_hour"], row["to_hour"])
        if row["step"] == "rollback":
            states.update((hour, "withdrawn") for hour in hours if hour in once)
        elif row["step"] in OF_HOURS:
            states.update((hour, row["state"]) for hour in hours)
    return {
        hour: "published" if hour in seen else "withdrawn" if state == "published" else state
        for hour, state in states.items()
    }
