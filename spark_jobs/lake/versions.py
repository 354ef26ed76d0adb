"""Which rows count: `live`, `current` and `as_known` of data-model.md, as one piece of SQL for Spark and for DuckDB.

Nobody filters by publication by hand; the two engines differ only in how a relation is handed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from spark_jobs.invocation import hours_between
from spark_jobs.ledger import Segment


@dataclass(frozen=True)
class TableKind:
    """How the current rows of a table are chosen.

    `covered` (bronze, silver, quarantine, accounts): for each hour the rows of the newest live publication that covers
    it, then for each key the newest. Otherwise (tiles, features, predictions): for each key the newest live row,
    whatever its hour. An empty key keeps every row.
    """

    key: tuple[str, ...]
    covered: bool


def current_sql(kind: TableKind, columns: Sequence[str]) -> str:
    """The current rows of relation {rows}, given relation {chosen}.

    {chosen} has (hour, pub) for a covered table and (pub) for a keyed one. Rows are ordered by (known_at, pub), never
    by hour: a late row of an old hour still beats what was known before it.
    """
    listed = ", ".join(columns)
    on = "r.hour = c.hour AND r.pub = c.pub" if kind.covered else "r.pub = c.pub"
    picked = f"SELECT {', '.join(f'r.{name}' for name in columns)} FROM {{rows}} r JOIN {{chosen}} c ON {on}"
    if not kind.key:
        return picked
    newest = f"row_number() OVER (PARTITION BY {', '.join(kind.key)} ORDER BY known_at DESC, pub DESC)"
    return f"SELECT {listed} FROM (SELECT {listed}, {newest} AS version FROM ({picked}) p) v WHERE version = 1"


def covering_rows(
    segments: Iterable[Segment], start: datetime | None, end: datetime | None
) -> list[tuple[datetime, int]]:
    """(hour, pub) for every covered hour, within [start, end) where given."""
    found: list[tuple[datetime, int]] = []
    for segment in segments:
        low = max(segment.start, start) if start else segment.start
        high = min(segment.end, end) if end else segment.end
        found.extend((hour, segment.pub) for hour in hours_between(low, high))
    return found
