"""What readers of one release see that readers of another do not: hours, publications, rows. Needs no JVM.

Which rows count is `versions.py`'s work; this module only looks where the two choices differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import duckdb

from spark_jobs.identifiers import quoted, quoted_list
from spark_jobs.lake.reading import chosen_rows, columns_of, connect, kept, rows_of, with_fresh_log
from spark_jobs.lake.versions import TableKind, current_sql
from spark_jobs.ledger import Release, Segment, folds


@dataclass(frozen=True)
class CoverChange:
    """The hours [start, end) are covered by `pub_a` in release A and by `pub_b` in release B; none: by none."""

    start: datetime
    end: datetime
    pub_a: int | None
    pub_b: int | None


@dataclass(frozen=True)
class TableDifference:
    """Rows of one table that readers of B see and readers of A do not (added), and the reverse (removed).

    `changed`: rows of the same key with another value in any column but `pub`, which every publication sets anew;
    none for a table without a key, where such a row counts as removed and added. `columns`: changed rows by column.
    """

    table: str
    added: int = 0
    removed: int = 0
    changed: int | None = None
    columns: dict[str, int] = field(default_factory=dict)
    hours: tuple[CoverChange, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.changed or self.hours)


def differences(
    root: Path, kinds: dict[str, TableKind], line_a: list[Release], line_b: list[Release]
) -> list[TableDifference]:
    """Every table, with what differs between the last releases of two lines.

    Raises:
        RetryError: a file of the lake is gone.
    """

    def asking(table: str, kind: TableKind) -> Callable[[], TableDifference]:
        return lambda: _table_difference(root, table, kind, line_a, line_b)

    return [with_fresh_log(f"{root.name}/{table}", asking(table, kind)) for table, kind in kinds.items()]


def cover_changes(before: list[Segment], after: list[Segment]) -> list[CoverChange]:
    """Hours whose covering publication differs, in order of time, as few ranges as there can be."""
    edges = sorted({edge for segment in (*before, *after) for edge in (segment.start, segment.end)})
    found: list[CoverChange] = []
    for low, high in pairwise(edges):
        pub_a, pub_b = _covering(before, low), _covering(after, low)
        if pub_a == pub_b:
            continue
        last = found[-1] if found else None
        if last and (last.end, last.pub_a, last.pub_b) == (low, pub_a, pub_b):
            found[-1] = CoverChange(last.start, high, pub_a, pub_b)
        else:
            found.append(CoverChange(low, high, pub_a, pub_b))
    return found


def _covering(segments: list[Segment], hour: datetime) -> int | None:
    at = bisect_right(segments, hour, key=lambda segment: segment.start) - 1
    return segments[at].pub if at >= 0 and hour < segments[at].end else None


def _table_difference(
    root: Path, table: str, kind: TableKind, line_a: list[Release], line_b: list[Release]
) -> TableDifference:
    hours = tuple(cover_changes(folds.cover(line_a, table), folds.cover(line_b, table))) if kind.covered else ()
    with connect(root) as connection:
        chosen = [
            kept(connection, name, chosen_rows(table, kind, line)) for name, line in (("a", line_a), ("b", line_b))
        ]
        for name, here, there in (("only_a", *chosen), ("only_b", *chosen[::-1])):
            connection.execute(f"CREATE TABLE {name} AS FROM {here} EXCEPT FROM {there}")
        pubs = _pubs(connection, "only_a", "only_b")
        rows = rows_of(connection, root, table, pubs, "columns") if pubs else None
        if rows is None:
            return TableDifference(table, changed=0 if kind.key else None, hours=hours)
        if not kind.key:
            added, removed = _without_key(connection, kind, rows)
            return TableDifference(table, added, removed, None, hours=hours)
        _see_touched(connection, kind, rows, str(rows_of(connection, root, table, _pubs(connection, *chosen), "every")))
        return _with_key(connection, table, kind, hours)


def _see_touched(connection: duckdb.DuckDBPyConnection, kind: TableKind, rows: str, every: str) -> None:
    """Tables seen_a and seen_b: what each side sees of the keys that have a row in a choice of only one side.

    Every other key has the same versions on both sides, so that it shows the same row. Keys come from `rows`, of the
    differing publications alone; their other versions are looked for in `every`.
    """
    on = "r.hour = c.hour AND r.pub = c.pub" if kind.covered else "r.pub = c.pub"
    keys = quoted_list(kind.key, of="r")
    touched = " UNION ".join(f"SELECT {keys} FROM {rows} r JOIN {one} c ON {on}" for one in ("only_a", "only_b"))
    connection.execute(f"CREATE TABLE touched AS {touched}")
    same = _same(kind.key, "r", "t")
    versions = f"(SELECT * FROM {every} r SEMI JOIN touched t ON {same})"
    for one in "ab":
        body = current_sql(kind, columns_of(connection, every)).format(rows=versions, chosen=f"_tidegate.{one}")
        connection.execute(f"CREATE TABLE seen_{one} AS {body}")


def _pubs(connection: duckdb.DuckDBPyConnection, *chosen: str) -> set[int]:
    asked = " UNION ".join(f"SELECT pub FROM {one}" for one in chosen)
    return {pub for (pub,) in connection.execute(asked).fetchall()}


def _without_key(connection: duckdb.DuckDBPyConnection, kind: TableKind, rows: str) -> tuple[int, int]:
    """Rows added and removed; what is not in the differing choices is the same on both sides."""
    columns = [name for name in columns_of(connection, rows) if name != "pub"]
    for one in "ab":
        body = current_sql(kind, [*columns, "pub"]).format(rows=rows, chosen=f"only_{one}")
        connection.execute(f"CREATE TABLE seen_{one} AS SELECT {quoted_list(columns)} FROM ({body})")
    counts = [
        connection.execute(f"SELECT count(*) FROM (FROM seen_{one} EXCEPT ALL FROM seen_{other})").fetchall()[0][0]
        for one, other in (("b", "a"), ("a", "b"))
    ]
    return counts[0], counts[1]


def _with_key(
    connection: duckdb.DuckDBPyConnection, table: str, kind: TableKind, hours: tuple[CoverChange, ...]
) -> TableDifference:
    """Tables seen_a and seen_b held against each other, key by key."""
    columns = columns_of(connection, "seen_a")
    values = [name for name in columns if name != "pub" and name not in kind.key]
    other = [f"a.{quoted(name)} IS DISTINCT FROM b.{quoted(name)}" for name in values]
    both = "a.pub IS NOT NULL AND b.pub IS NOT NULL"
    counted = [
        "count(*) FILTER (a.pub IS NULL)",
        "count(*) FILTER (b.pub IS NULL)",
        f"count(*) FILTER ({both} AND ({' OR '.join(other) or 'false'}))",
        *(f"count(*) FILTER ({both} AND {one})" for one in other),
    ]
    query = f"SELECT {', '.join(counted)} FROM seen_a a FULL JOIN seen_b b ON {_same(kind.key, 'a', 'b')}"
    [(added, removed, changed, *by_column)] = connection.execute(query).fetchall()
    named = {name: count for name, count in zip(values, by_column, strict=True) if count}
    return TableDifference(table, added, removed, changed, named, hours)


def _same(key: Iterable[str], left: str, right: str) -> str:
    """The condition that two aliases have equal keys, nulls included."""
    return " AND ".join(f"{left}.{quoted(name)} IS NOT DISTINCT FROM {right}.{quoted(name)}" for name in key)
