"""How much of a window's past a lake holds: published hours before an instant, as plain values. No Spark."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)


def covered_hours(
    known: Mapping[datetime, datetime], as_ofs: Iterable[datetime], longest: timedelta
) -> dict[datetime, int]:
    """Number of hours in [as_of - longest, as_of) that were published and known by as_of, for each as_of.

    Args:
        known: when each published hour was first known; hours that are not published are not in it.
        as_ofs: whole hours.
        longest: length of the longest window; the largest possible count.
    """
    on_time = sorted(hour for hour, known_at in known.items() if known_at <= hour + HOUR)  # known by any as_of after it
    late = [(hour, known_at) for hour, known_at in known.items() if known_at > hour + HOUR]
    return {
        as_of: bisect_left(on_time, as_of)
        - bisect_left(on_time, as_of - longest)
        + sum(as_of - longest <= hour < as_of and known_at <= as_of for hour, known_at in late)
        for as_of in as_ofs
    }
