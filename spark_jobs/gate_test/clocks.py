"""Mutators of instants: a clock that is wrong, a zone forgotten, a unit mistaken. All instants of a row alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from spark_jobs.gate_test.mutators import Case, Mutant, mutator


def _shifted(case: Case, shift: Callable[[datetime], datetime]) -> Mutant | None:
    """The drop with every instant shifted and written as UTC with Z; what is no instant stays as it is."""

    def change(text: str) -> str:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return text
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        return shift(at).strftime("%Y-%m-%dT%H:%M:%SZ")

    names = case.roles.instants
    rows = (
        {**row, **{name: change(text) for name in names if (text := row[name]) is not None}} for row in case.drop.rows
    )
    return case.with_rows(rows, *names)


@mutator(32, "the clock is an hour fast")
def clock_an_hour_fast(case: Case) -> Mutant | None:
    """One hour later."""
    return _shifted(case, lambda at: at + timedelta(hours=1))


@mutator(33, "the clock is a day fast")
def clock_a_day_fast(case: Case) -> Mutant | None:
    """24 hours later."""
    return _shifted(case, lambda at: at + timedelta(days=1))


@mutator(34, "the clock is a year slow")
def clock_a_year_slow(case: Case) -> Mutant | None:
    """365 days earlier."""
    return _shifted(case, lambda at: at - timedelta(days=365))


@mutator(35, "the wall clock of a zone is sent as UTC")
def local_time_sent_as_utc(case: Case) -> Mutant | None:
    """What a clock on the wall shows, with Z behind it."""
    return _shifted(case, lambda at: at.astimezone(case.zone).replace(tzinfo=UTC))


@mutator(36, "seconds since 1970 are taken for milliseconds")
def seconds_as_milliseconds(case: Case) -> Mutant | None:
    """Instants in January 1970."""
    return _shifted(case, lambda at: datetime.fromtimestamp(at.timestamp() / 1000, UTC))
