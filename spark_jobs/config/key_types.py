"""Which declared types of tables.yaml may be compared with one another: in keys, look-ups, labels and entities."""

from __future__ import annotations

from spark_jobs.config.tables import ColumnType

_SAME = ({"int", "bigint"},)  # equal values have equal text and compare without loss


def are_comparable(one: ColumnType, other: ColumnType) -> bool:
    """Whether equal values of the two types always match, as values in a join and as the text of an entity's key.

    int and bigint match. Every other pair of different types is refused: int 1, double 1.0 and text '1' have three
    different texts, a date has another text than the timestamp of its midnight.
    """
    return one == other or any({one, other} <= alike for alike in _SAME)
