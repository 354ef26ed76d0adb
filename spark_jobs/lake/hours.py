"""Ranges of hours [start, end): which drop hours a read is limited to; and instants as SQL counts them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from spark_jobs.invocation import HOUR
from spark_jobs.ledger.staleness import Span

Hours = Sequence[tuple[datetime | None, datetime | None]]  # ranges [start, end); None: no bound
ALL_HOURS: Hours = ((None, None),)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """Microseconds since the epoch."""
    return (at - EPOCH) // timedelta(microseconds=1)


def instant(us: int) -> datetime:
    """The instant that is `us` microseconds after the epoch."""
    return EPOCH + timedelta(microseconds=us)


def at_most(spans: Sequence[Span], count: int) -> list[Span]:
    """`spans`, disjoint and sorted, with the smallest gaps filled until `count` are left."""
    kept = list(spans)
    while len(kept) > count:
        left = min(range(len(kept) - 1), key=lambda index: kept[index + 1][0] - kept[index][1])
        kept[left : left + 2] = [(kept[left][0], kept[left + 1][1])]
    return kept


def complement(spans: Sequence[Span]) -> Hours:
    """All hours outside of `spans`, which are disjoint and sorted."""
    edges: list[datetime | None] = [None, *[edge for span in spans for edge in span], None]
    return list(zip(edges[::2], edges[1::2], strict=True))


def overlap(first: datetime | None, last: datetime | None, hours: Hours) -> bool:
    """Whether a file whose rows lie in [first, last], both included, can hold a row of `hours`; None: unknown."""
    return any(
        (start is None or last is None or last >= start) and (end is None or first is None or first < end)
        for start, end in hours
    )


def hours_that_may_hold(
    event_from: datetime, event_to: datetime, lateness: timedelta, ahead: timedelta
) -> tuple[datetime, datetime]:
    """Whole drop hours [start, end) that contain all in which a row with event_at in [event_from, event_to) can lie.

    `event_within` of a silver table holds for every published row: event_at is at most `lateness` before its hour and
    at most `ahead` after the hour's end, so that old days need not be read.
    """
    return whole_hours(event_from - ahead - HOUR, event_to + lateness + HOUR)


def whole_hours(start: datetime, end: datetime) -> Span:
    """The smallest range of whole UTC hours that contains [start, end)."""
    low, high = (at.replace(minute=0, second=0, microsecond=0) for at in (start, end))
    return low, high if high == end else high + HOUR
