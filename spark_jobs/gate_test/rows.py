"""Mutators of whole rows: lost, repeated, from elsewhere, mixed up, without their key."""

from __future__ import annotations

from spark_jobs.gate_test.delivery import Record
from spark_jobs.gate_test.mutators import Case, Mutant, mutator


@mutator(1, "an empty file, and a manifest that says so", loses=True)
def all_rows_gone(case: Case) -> Mutant | None:
    """No row."""
    return case.with_rows([])


@mutator(2, "nine of ten rows are not delivered", loses=True)
def a_tenth_kept(case: Case) -> Mutant | None:
    """A tenth of the rows, at least one."""
    rows = case.drop.rows
    return case.with_rows(rows[place] for place in case.some(0.1, list(range(len(rows)))))


@mutator(3, "each row stands twice")
def rows_doubled(case: Case) -> Mutant | None:
    """The rows, and the same rows again."""
    return case.with_rows(case.drop.rows * 2)


@mutator(4, "the file of the hour before is delivered as this hour's", loses=True)
def last_file_twice(case: Case) -> Mutant | None:
    """The rows of the hour before; a drop without rows is no file that anyone would deliver again."""
    return case.with_rows(case.before.rows) if case.before.rows else None


@mutator(5, "a fifth of the rows stands twice, the second time with the facts of another row")
def keys_repeated_with_other_values(case: Case) -> Mutant | None:
    """The rows, and copies of some with the facts of rows whose facts differ."""
    rows, facts = case.drop.rows, case.roles.facts
    copies: list[Record] = []
    for place in case.some(0.2, list(range(len(rows)))):
        others = [row for row in rows if any(row[name] != rows[place][name] for name in facts)]
        if others:
            donor = case.chance.choice(others)
            copies.append({**rows[place], **{name: donor[name] for name in facts}})
    return case.with_rows([*rows, *copies], *facts)


@mutator(6, "a column of the key has no value in 5 % of the rows")
def key_null_in_some(case: Case) -> Mutant | None:
    """Some rows without their key."""
    name = case.chance.choice(case.roles.key)
    return case.changed(name, lambda _: None, case.some(0.05, case.filled(name)))


@mutator(7, "a column of the key has no value in any row")
def key_null_in_all(case: Case) -> Mutant | None:
    """All rows without their key."""
    return case.changed(case.chance.choice(case.roles.key), lambda _: None)


@mutator(37, "half of the rows are those of another hour", loses=True)
def half_from_another_hour(case: Case) -> Mutant | None:
    """Half of the rows replaced by rows of another hour's drop."""
    rows, others = case.drop.rows, list(case.other.rows)
    gone = set(case.some(0.5, list(range(len(rows)))))
    if not others:
        return None
    new = case.chance.sample(others, min(len(others), len(gone)))
    return case.with_rows([*(row for place, row in enumerate(rows) if place not in gone), *new])


@mutator(38, "only the rows of one value of a code of the key are delivered", loses=True)
def one_code_only(case: Case) -> Mutant | None:
    """The rows that have the same code as a row drawn among all."""
    return _by_code(case, keep=True)


@mutator(39, "the rows of one value of a code of the key are not delivered", loses=True)
def one_code_missing(case: Case) -> Mutant | None:
    """The rows that have not the same code as a row drawn among all."""
    return _by_code(case, keep=False)


def _by_code(case: Case, *, keep: bool) -> Mutant | None:
    """The coarsest code of the key is taken, the one of fewest values: it tells where rows are from."""
    values = {name: {row[name] for row in case.drop.rows} for name in case.roles.key_codes}
    if not values:
        return None
    name = min(values, key=lambda one: len(values[one]))
    value = case.chance.choice([row[name] for row in case.drop.rows if row[name] is not None])
    rows = [row for row in case.drop.rows if (row[name] == value) is keep]
    return case.with_rows(rows, name) if rows else None


@mutator(43, "the file of the same hour of the day before is delivered as this hour's", loses=True)
def yesterdays_file_again(case: Case) -> Mutant | None:
    """The rows of 24 hours before; a drop without rows is no file that anyone would deliver again."""
    return case.with_rows(case.day_before.rows) if case.day_before.rows else None


@mutator(44, "the facts of the rows are mixed up between their keys")
def facts_shuffled_between_rows(case: Case) -> Mutant | None:
    """The same keys and the same facts, in another pairing."""
    rows, facts = case.drop.rows, case.roles.facts
    donors = case.chance.sample(rows, len(rows))
    mixed = ({**row, **{name: donor[name] for name in facts}} for row, donor in zip(rows, donors, strict=True))
    return case.with_rows(mixed, *facts)
