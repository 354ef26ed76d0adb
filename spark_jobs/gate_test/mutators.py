"""The fixed list of ways in which one hour's good drop can be bad, by number; each a function from a case to a drop.

Source: docs/design/fault-matrix.md. They are in rows.py, values.py, codes.py, clocks.py and files.py.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from spark_jobs.gate_test.delivery import Delivery, Record
from spark_jobs.gate_test.roles import Roles


@dataclass(frozen=True)
class Case:
    """A good drop that is to be made bad, and the other good drops that a fault may take rows from.

    `before`, `day_before`: of the hour and of 24 hours before. `other`: of another hour. `zone`: whose wall clock an
    upstream might send as UTC. `known`: all values that the history has in a column.
    """

    drop: Delivery
    before: Delivery
    day_before: Delivery
    other: Delivery
    roles: Roles
    chance: random.Random
    zone: ZoneInfo
    known: Callable[[str], frozenset[str]]

    def pick(self, names: Iterable[str]) -> str | None:
        """One of `names` that has a value in the drop; none when there is none."""
        full = [name for name in names if any(row[name] is not None for row in self.drop.rows)]
        return self.chance.choice(full) if full else None

    def some(self, share: float, places: list[int]) -> list[int]:
        """A share of `places`, at least one if there is one."""
        return sorted(self.chance.sample(places, min(len(places), max(1, round(share * len(places))))))

    def filled(self, name: str) -> list[int]:
        """Places of the rows that have a value in column `name`."""
        return [place for place, row in enumerate(self.drop.rows) if row[name] is not None]

    def changed(
        self, name: str, change: Callable[[str], str | None], places: Iterable[int] | None = None
    ) -> Mutant | None:
        """The drop with the values of column `name` changed, where there are any; none when nothing changes."""
        wanted = set(self.filled(name) if places is None else places)
        rows = tuple(
            {**row, name: change(value)} if place in wanted and (value := row[name]) is not None else row
            for place, row in enumerate(self.drop.rows)
        )
        return self.with_rows(rows, name)

    def with_rows(self, rows: Iterable[Record], *columns: str) -> Mutant | None:
        """The drop with other rows; none when they are the same. `columns`: the delivered ones that were changed."""
        drop = replace(self.drop, rows=tuple(rows))
        return None if drop.rows == self.drop.rows else Mutant(drop, columns)


@dataclass(frozen=True)
class Mutant:
    """A drop that was made bad; `columns` are the delivered columns that were changed, none when whole rows were."""

    drop: Delivery
    columns: tuple[str, ...] = ()


Make = Callable[[Case], Mutant | None]


@dataclass(frozen=True)
class Mutator:
    """One entry of the list. `make` gives none where the drop has nothing that could be changed so.

    `loses`: rows of the hour are not delivered, so that holding the others helps nobody.
    """

    number: int
    name: str
    meaning: str
    make: Make
    loses: bool = False


_REGISTERED: dict[int, Mutator] = {}


def mutator(number: int, meaning: str, *, loses: bool = False) -> Callable[[Make], Make]:
    """Register the function under `number`; its name, with blanks, is the mutator's.

    Raises:
        ValueError: the number is taken.
    """

    def register(function: Make) -> Make:
        if number in _REGISTERED:
            raise ValueError(f"mutator {number} is registered twice")
        _REGISTERED[number] = Mutator(number, function.__name__.replace("_", " "), meaning, function, loses)
        return function

    return register


def mutators() -> list[Mutator]:
    """The whole list, by number."""
    for room in ("rows", "values", "codes", "clocks", "files"):
        importlib.import_module(f"spark_jobs.gate_test.{room}")
    return [_REGISTERED[number] for number in sorted(_REGISTERED)]
