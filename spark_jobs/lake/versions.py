"""Which rows count: `live`, `current` and `as_known` of docs/design/data-model.md, as one piece of SQL for Spark and for DuckDB.

Nobody filters by publication by hand; the two engines differ only in how a relation is handed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from spark_jobs.identifiers import Engine, in_template, quoted, quoted_list
from spark_jobs.invocation import hours_between
from spark_jobs.lake.hours import ALL_HOURS, Hours, whole_hours
from spark_jobs.ledger import Segment


@dataclass(frozen=True)
class TableKind:
    """How the current rows of a table are chosen.

    `covered` (bronze, silver, quarantine, accounts): for each hour the rows of the newest live publication that covers
    it, then for each key the newest. Otherwise (tiles, features, predictions): for each key the newest live row,
    whatever its hour. An empty key keeps every row. `valid_from`: the column of the key that orders the rows of a
    slowly changing table; the others name what changes.
    """

    key: tuple[str, ...]
    covered: bool
    valid_from: str = ""


EVERY = TableKind((), covered=False)  # every row of live publications, in all its versions


def current_sql(kind: TableKind, columns: Sequence[str], *, as_known: bool = False, engine: Engine = "duckdb") -> str:
    """The rows of relation {rows} that count, given relation {chosen}; `columns` are names as they are, not quoted.

    {chosen} has (hour, pub) for a covered table and (pub) for a keyed one. Rows are ordered by known_at, never by hour
    first: a late row of an old hour still beats what was known before it. Of versions known at once that of the newest
    publication counts, in a covered table that of the latest hour: a bulk run has one publication for all its hours.
    With `as_known`, {rows} has one column more, `_known_by`, the instant at which it is asked, and {chosen} of a covered
    table is that of `known_cover_sql`.
    """
    listed = in_template(quoted_list(columns, engine))
    on = "r.hour = c.hour AND r.pub = c.pub" if kind.covered else "r.pub = c.pub"
    picked = f"SELECT {in_template(quoted_list(columns, engine, 'r'))} FROM {{rows}} r JOIN {{chosen}} c ON {on}"
    if as_known:
        picked += " WHERE r.known_at <= r._known_by"
        picked += " AND (c.known_until IS NULL OR c.known_until > r._known_by)" if kind.covered else ""
    if not kind.key:
        return picked
    at_once = "hour DESC" if kind.covered else "pub DESC"  # no two versions of a covered hour count together
    key = in_template(quoted_list(kind.key, engine))
    newest = f"row_number() OVER (PARTITION BY {key} ORDER BY known_at DESC, {at_once})"
    return f"SELECT {listed} FROM (SELECT {listed}, {newest} AS _version FROM ({picked}) p) v WHERE _version = 1"


def shown_sql(kind: TableKind, body: str, engine: Engine = "duckdb") -> str:
    """Query `body`, of rows that count, as readers see them: a slowly changing table has valid_to beside valid_from.

    valid_to is the instant from which the key's next row holds; null: none does yet.
    """
    if not kind.valid_from:
        return body
    held = quoted(kind.valid_from, engine)
    same = quoted_list([name for name in kind.key if name != kind.valid_from], engine)
    following = f"lead({held}) OVER (PARTITION BY {same} ORDER BY {held})"
    return f"SELECT *, {following} AS valid_to FROM ({body}) s"


def known_cover_sql() -> str:
    """(hour, pub, known_until) of relation {accounts}, live rows of `accounts`: when a publication stopped covering its hour.

    A publication covers its hour until the next one that covers it was known; null: it still does. An hour whose drop
    came again empty has an account as well, so its former rows end there, too.
    """
    once = "SELECT hour, pub, max(known_at) AS known_at FROM {accounts} GROUP BY hour, pub"
    later = "PARTITION BY hour ORDER BY pub ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
    return f"SELECT hour, pub, min(known_at) OVER ({later}) AS known_until FROM ({once}) a"


def covering_rows(segments: Iterable[Segment], hours: Hours = ALL_HOURS) -> list[tuple[datetime, int]]:
    """(hour, pub) for every covered hour of `hours`, whose ranges are disjoint and may begin within an hour."""
    pairs: list[tuple[datetime, int]] = []
    for segment in segments:
        for start, end in hours:
            low = max(segment.start, whole_hours(segment.start, start)[1]) if start else segment.start
            high = min(segment.end, end) if end else segment.end
            pairs.extend((hour, segment.pub) for hour in hours_between(low, high))
    return pairs


def may_hold(path: str, pubs: Collection[int]) -> bool:
    """Whether the file at `path` below a table's folder can hold a row of one of `pubs`.

    `pub-<n>/…` holds rows of publication n alone; any other, such as `compacted-<n>/…`, may hold rows of several.
    """
    pub = pub_of(path)
    return pub is None or pub in pubs


def pub_of(path: str) -> int | None:
    """The publication that alone wrote the file at `path` below a table's folder; none for one that compaction wrote."""
    prefix, _, number = path.partition("/")[0].partition("-")
    return int(number) if prefix == "pub" and number.isdecimal() else None
