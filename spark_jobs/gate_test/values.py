"""Mutators of measures: missing, of another unit or sign, no number at all, pushed to one side, swapped."""

from __future__ import annotations

import math
from collections.abc import Callable

from spark_jobs.gate_test.mutators import Case, Mutant, mutator


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _written(value: float, *, whole: bool) -> str:
    return str(round(value)) if whole else f"{value:.10g}"


def _computed(case: Case, compute: Callable[[float, list[float]], float]) -> Mutant | None:
    """The drop with every value of one measure replaced by `compute(value, all values in order)`."""
    name = case.pick(case.roles.measures)
    if name is None:
        return None
    texts = [row[name] for row in case.drop.rows]
    values = sorted(value for text in texts if text is not None and (value := _number(text)) is not None)
    if not values:
        return None

    def change(text: str) -> str:
        value = _number(text)
        if value is None:
            return text
        new = compute(value, values)
        return text if new == value else _written(new, whole=name in case.roles.whole)

    return case.changed(name, change)


def _told(case: Case, share: float | None, text: Callable[[str], str | None]) -> Mutant | None:
    """The drop with some values of one measure replaced by text; `share` none: one row."""
    name = case.pick(case.roles.measures)
    if name is None:
        return None
    places = case.filled(name)
    return case.changed(name, text, [case.chance.choice(places)] if share is None else case.some(share, places))


@mutator(8, "a measure has no value in 30 % of the rows that have one")
def measure_null_in_some(case: Case) -> Mutant | None:
    """Values missing here and there."""
    return _told(case, 0.3, lambda _: None)


@mutator(9, "a measure has no value in any row")
def measure_null_in_all(case: Case) -> Mutant | None:
    """A column without values."""
    return _told(case, 1.0, lambda _: None)


@mutator(10, "a measure has its median in every row")
def measure_constant(case: Case) -> Mutant | None:
    """One value for all."""
    return _computed(case, lambda _, values: values[len(values) // 2])


@mutator(11, "a measure is a hundred times too large")
def measure_times_100(case: Case) -> Mutant | None:
    """Times 100."""
    return _computed(case, lambda value, _: value * 100)


@mutator(12, "a measure is a hundred times too small")
def measure_times_a_hundredth(case: Case) -> Mutant | None:
    """Times 0.01; whole numbers stay whole."""
    return _computed(case, lambda value, _: value * 0.01)


@mutator(13, "a measure has the other sign")
def sign_flipped(case: Case) -> Mutant | None:
    """Times -1."""
    return _computed(case, lambda value, _: -value if value else value)


@mutator(14, "a measure comes in hours instead of minutes: a sixtieth")
def minutes_given_as_hours(case: Case) -> Mutant | None:
    """Divided by 60; whole numbers stay whole."""
    return _computed(case, lambda value, _: value / 60)


@mutator(15, "a measure is NaN in 1 % of the rows")
def not_a_number(case: Case) -> Mutant | None:
    """NaN in some rows."""
    return _told(case, 0.01, lambda _: "NaN")


@mutator(16, "a measure is infinite in one row")
def infinity(case: Case) -> Mutant | None:
    """One infinity."""
    return _told(case, None, lambda _: "Infinity")


@mutator(17, "a measure is 1e400 in one row, which no double holds")
def beyond_a_double(case: Case) -> Mutant | None:
    """One number that becomes an infinity when read."""
    return _told(case, None, lambda _: "1e400")


@mutator(18, "a measure holds words in 5 % of the rows")
def text_in_a_number(case: Case) -> Mutant | None:
    """Words instead of some numbers."""
    return _told(case, 0.05, lambda _: "unknown")


@mutator(19, "a measure is written with a decimal comma")
def decimal_comma(case: Case) -> Mutant | None:
    """1.5 as 1,5 and 2 as 2,0."""
    return _told(case, 1.0, lambda text: text.replace(".", ",") if "." in text else f"{text},0")


@mutator(20, "two measures stand in each other's column")
def two_measures_swapped(case: Case) -> Mutant | None:
    """Values of two measures exchanged in every row."""
    names = case.roles.measures
    if len(names) < 2:
        return None
    one, two = case.chance.sample(names, 2)
    return case.with_rows(({**row, one: row[two], two: row[one]} for row in case.drop.rows), one, two)


@mutator(40, "a measure is nowhere below the 90th percentile of its hour: all late")
def all_high(case: Case) -> Mutant | None:
    """Values below the 90th percentile raised to it."""
    return _computed(case, lambda value, values: max(value, values[math.ceil(0.9 * len(values)) - 1]))


@mutator(41, "a measure is nowhere above the 10th percentile of its hour: nobody late")
def all_low(case: Case) -> Mutant | None:
    """Values above the 10th percentile lowered to it."""
    return _computed(case, lambda value, values: min(value, values[math.ceil(0.1 * len(values)) - 1]))


@mutator(42, "a measure is half as large")
def measure_halved(case: Case) -> Mutant | None:
    """Divided by 2; whole numbers stay whole."""
    return _computed(case, lambda value, _: value / 2)
