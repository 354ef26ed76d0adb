"""Hours of a window that the lake holds, against a count one hour at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.windows.coverage import covered_hours

HOUR, FIRST = timedelta(hours=1), datetime(2024, 1, 1, tzinfo=UTC)


def at(hours: int) -> datetime:
    return FIRST + hours * HOUR


def test_coverage_grows_from_the_first_hour_to_the_longest_window() -> None:
    """Ten hours from the first on; the cell at 3 sees three of them, and none more than the window of six."""
    known = {at(hour): at(hour + 1) for hour in range(10)}
    found = covered_hours(known, [at(0), at(1), at(3), at(6), at(10), at(12), at(20)], 6 * HOUR)
    assert list(found.values()) == [0, 1, 3, 6, 6, 4, 0]


@given(st.dictionaries(st.integers(0, 30), st.integers(1, 20)), st.integers(1, 12))
def test_gaps_and_hours_that_were_not_known_yet_are_uncovered(waits: dict[int, int], longest: int) -> None:
    known = {at(hour): at(hour + wait) for hour, wait in waits.items()}
    expected = {at(t): sum(h in waits and h + waits[h] <= t for h in range(t - longest, t)) for t in range(50)}
    assert covered_hours(known, [at(t) for t in range(50)], longest * HOUR) == expected
