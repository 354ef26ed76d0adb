"""Mutators of the file: bytes that are no text, columns that are missing, new, renamed, in another order.

No column counts as changed: what stops them guards no column's values.
"""

from __future__ import annotations

from dataclasses import replace

from spark_jobs.gate_test.mutators import Case, Mutant, mutator

_MARK = "\ue000"  # a private character that no value has; becomes what no value can hold
_ADDED = "added"


@mutator(26, "one value holds a byte that is no UTF-8")
def bad_utf8(case: Case) -> Mutant | None:
    """One bad byte."""
    return _marked(case, _MARK.encode(), b"\xff")


@mutator(27, "a quote is not closed in one row")
def open_quote(case: Case) -> Mutant | None:
    """CSV: a quote that opens before a value and never ends. JSON: a text without its closing quote."""
    if case.drop.form == "csv":
        return _marked(case, _MARK.encode(), b'"')
    return _marked(case, f'{_MARK}"'.encode(), b"")


def _marked(case: Case, mark: bytes, instead: bytes) -> Mutant | None:
    """One text with a mark (CSV: before it, JSON: behind it) that is written as other bytes."""
    name = case.pick(case.roles.codes)
    if name is None:
        return None
    first = case.drop.form == "csv"
    marked = case.changed(
        name, lambda text: _MARK + text if first else text + _MARK, [case.chance.choice(case.filled(name))]
    )
    return marked and Mutant(replace(marked.drop, marks=((mark, instead),)))


@mutator(28, "a column is missing")
def column_missing(case: Case) -> Mutant | None:
    """One column less."""
    name = case.chance.choice([*case.roles.typed])
    return _named(case, [(one, one) for one in case.drop.names if one != name])


@mutator(29, "a column is there that nobody knows")
def column_added(case: Case) -> Mutant | None:
    """One column more, a copy of another."""
    return _named(case, [*((one, one) for one in case.drop.names), (_ADDED, case.drop.names[0])])


@mutator(30, "the columns come in another order; may pass, since columns are matched by name")
def columns_reordered(case: Case) -> Mutant | None:
    """The columns in reverse."""
    return _named(case, [(one, one) for one in reversed(case.drop.names)])


@mutator(31, "a column has another name")
def column_renamed(case: Case) -> Mutant | None:
    """One column under a name that nobody knows."""
    name = case.chance.choice([*case.roles.typed])
    return _named(case, [(f"{one}_{_ADDED}" if one == name else one, one) for one in case.drop.names])


def _named(case: Case, columns: list[tuple[str, str]]) -> Mutant | None:
    """The drop with `columns`, as (new name, name of the column that it holds)."""
    rows = tuple({new: row[old] for new, old in columns} for row in case.drop.rows)
    names = tuple(new for new, _ in columns)
    return None if names == case.drop.names else Mutant(replace(case.drop, names=names, rows=rows))
