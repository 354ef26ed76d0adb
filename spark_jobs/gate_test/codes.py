"""Mutators of codes: swapped, unknown, spelt otherwise."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

from spark_jobs.gate_test.mutators import Case, Mutant, mutator

_TRIES = 200  # draws of an unknown code; short codes of digits may all be known


@mutator(21, "two columns of codes stand in each other's place")
def two_codes_swapped(case: Case) -> Mutant | None:
    """Values of two columns exchanged in every row."""
    names = case.roles.codes
    if len(names) < 2:
        return None
    one, two = case.chance.sample(names, 2)
    return case.with_rows(({**row, one: row[two], two: row[one]} for row in case.drop.rows), one, two)


@mutator(22, "a code that the history does not have stands in 10 % of the rows")
def unknown_codes(case: Case) -> Mutant | None:
    """Codes of the same shape (letters stay letters, digits digits) that nobody ever used."""
    name = case.pick(case.roles.codes)
    if name is None:
        return None
    known = case.known(name)
    return case.changed(name, lambda text: _unknown(text, known, case.chance), case.some(0.1, case.filled(name)))


def _unknown(text: str, known: frozenset[str], chance: random.Random) -> str:
    for _ in range(_TRIES):
        new = "".join(_alike(one, chance) for one in text)
        if new not in known:
            return new
    return text


def _alike(one: str, chance: random.Random) -> str:
    for letters in (string.ascii_uppercase, string.ascii_lowercase, string.digits):
        if one in letters:
            return chance.choice(letters)
    return one


@mutator(23, "a code is written in lower case")
def codes_in_lower_case(case: Case) -> Mutant | None:
    """Lower case in every row."""
    return _spelt(case, str.lower)


@mutator(24, "a code has a blank at its end")
def codes_with_a_blank_at_the_end(case: Case) -> Mutant | None:
    """A blank more in every row."""
    return _spelt(case, lambda text: f"{text} ")


@mutator(25, "a code is cut to two characters")
def codes_cut_to_two_characters(case: Case) -> Mutant | None:
    """Two characters in every row."""
    return _spelt(case, lambda text: text[:2])


def _spelt(case: Case, spelling: Callable[[str], str]) -> Mutant | None:
    """The drop with one column of codes spelt otherwise, drawn among those that the spelling changes."""
    rows = case.drop.rows
    touched = [name for name in case.roles.codes if any((text := row[name]) and spelling(text) != text for row in rows)]
    name = case.pick(touched)
    return case.changed(name, spelling) if name else None
