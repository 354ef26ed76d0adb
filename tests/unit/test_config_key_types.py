"""Which declared types may meet in a key."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import get_args

from spark_jobs.config.key_types import are_comparable
from spark_jobs.config.tables import ColumnType


def test_only_equal_types_and_the_two_integers_are_comparable() -> None:
    """A join of int with double or text finds nothing, or fails on the first row."""
    pairs = combinations_with_replacement(get_args(ColumnType), 2)
    mixed = {pair for pair in pairs if are_comparable(*pair) and pair[0] != pair[1]}
    assert mixed == {("int", "bigint")}
    assert all(are_comparable(kind, kind) for kind in get_args(ColumnType))
    assert are_comparable("bigint", "int")
