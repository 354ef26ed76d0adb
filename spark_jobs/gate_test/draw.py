"""Which hours a trial changes and which it leaves alone: drawn by a seed, each hour once."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from datetime import date, datetime

HARD_SHARE = 0.25  # of the clean hours, from the days that are unlike others


def hour_of_a_row(chance: random.Random, rows: Mapping[datetime, int], taken: Collection[datetime]) -> datetime | None:
    """The hour of a row drawn among all rows, `rows` by hour, outside of the hours `taken`; none when none is left."""
    left = {hour: count for hour, count in rows.items() if count and hour not in taken}
    return chance.choices(list(left), weights=list(left.values()))[0] if left else None


def clean_hours(
    chance: random.Random,
    hours: Collection[datetime],
    hard_days: Collection[date],
    count: int,
    taken: Collection[datetime],
) -> list[datetime]:
    """`count` of `hours`, in order, outside of those `taken`: a quarter of the hard days where there are any, else of all.

    Fewer, where no more are left.
    """
    free = [hour for hour in sorted(hours) if hour not in taken]
    hard = [hour for hour in free if hour.date() in hard_days]
    chosen = set(chance.sample(hard, min(len(hard), round(HARD_SHARE * count))))
    rest = [hour for hour in free if hour not in chosen]
    return sorted(chosen | set(chance.sample(rest, min(len(rest), count - len(chosen)))))
