"""Drop hours that hold other versions of the keys that a read of some hours returns: those that a bounded read must add.

Of the versions of a business key the newest counts, wherever it lies. `event_within` ties a row's event to its drop hour, but
nothing ties two versions of a key to each other, unless the key decides the event: a corrected row can lie a year away
from the row that it replaces. A read of some hours returns the current rows only if it also reads the other versions.

No Spark: the log by delta-rs, the key columns by DuckDB. A file without a row of the hours looked for is not opened, and of
the others only the row groups are read whose keys can match by the statistics of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from spark_jobs.config.tables import EventWithin
from spark_jobs.identifiers import quoted, text_literal
from spark_jobs.invocation import HOUR
from spark_jobs.lake.hours import Hours, at_most, complement, hours_that_may_hold, instant, micros, whole_hours
from spark_jobs.lake.reading import connect, paths_of, rows_of, with_fresh_log
from spark_jobs.lake.versions import may_hold
from spark_jobs.ledger.staleness import Span, merged
from spark_jobs.storage.damage import open_log

_MOST_SPANS = 30  # in the conditions of a Spark query


@dataclass(frozen=True)
class KeyedRows:
    """The rows of a silver table that a publication sees: of live publications, and its own staged files."""

    root: Path  # the pipeline's folder in the lake
    table: str
    key: tuple[str, ...]
    pubs: frozenset[int]  # live ones
    staged: tuple[Path, ...] | None = None  # none: the publication does not change the table


@dataclass(frozen=True)
class TileHours:
    """What a publication reads to restate tiles."""

    event_hours: tuple[Span, ...]  # of the tiles that it can change
    drop_hours: tuple[Span, ...]  # that hold every row of these tiles, and every version of the keys of these rows


def hours_elsewhere(rows: KeyedRows, inside: Hours, searched: Hours) -> list[Span]:
    """The drop hours of `searched` with live versions of keys that have a live or staged version in the hours `inside`.

    Where they are scattered, hours between them as well, so that a query has few conditions.

    Raises:
        RetryError: a file of the table is gone.
    """

    def query() -> list[Span]:
        if not _has_files(rows, searched):
            return []
        with connect(rows.root) as connection:
            search = _Search(connection, rows)
            search.load(inside, searched)
            return at_most(search.hours_found(), _MOST_SPANS)

    return with_fresh_log(f"{rows.root.name}/{rows.table}", query)


def tile_hours(
    rows: KeyedRows, start: datetime, end: datetime, within: EventWithin, *, key_decides_event: bool = False
) -> TileHours:
    """What a publication of the drop hours [start, end) reads: near the interval, and wherever its keys lie otherwise.

    A publication can change the tiles of events that rows of its hours can have, and those of any version of a key that
    it stages or that an earlier publication has in these hours: such a version counts no longer, or again. Without
    staged rows, as in a rebuild, no key moves.

    Raises:
        RetryError: a file of the table is gone.
    """
    events = [whole_hours(start - within.lateness, end + within.ahead)]
    near = _drop_hours(events, within)
    if key_decides_event:
        return TileHours(tuple(events), tuple(near))

    def query() -> TileHours:
        if not _has_files(rows, complement([(start, end)])):
            return TileHours(tuple(events), tuple(near))
        with connect(rows.root) as connection:
            search = _Search(connection, rows)
            search.load(near, complement(near))
            moved = search.event_hours((start, end), events) if rows.staged is not None else []
            tiles = at_most(merged([*events, *moved]), _MOST_SPANS)
            drops = merged(_drop_hours(tiles, within))
            if drops != near:
                search.load(drops, complement(drops))
            return TileHours(tuple(tiles), tuple(at_most(merged([*drops, *search.hours_found()]), _MOST_SPANS)))

    return with_fresh_log(f"{rows.root.name}/{rows.table}", query)


def _drop_hours(events: Sequence[Span], within: EventWithin) -> list[Span]:
    return merged(hours_that_may_hold(low, high, within.lateness, within.ahead) for low, high in events)


def _has_files(rows: KeyedRows, hours: Hours) -> bool:
    """Whether a live publication can have a row in `hours`, by the log alone."""
    log = open_log(rows.root / rows.table)
    return log is not None and any(may_hold(path, rows.pubs) for path in paths_of(log, hours))


class _Search:
    """Versions `inside` some hours, and the versions of the same keys `elsewhere`: hour_us, at_us and the key, each."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, rows: KeyedRows) -> None:
        self.connection, self.rows = connection, rows
        self._keys = [f"k{number}" for number in range(len(rows.key))]
        named = [f"{quoted(name)} AS {key}" for name, key in zip(rows.key, self._keys, strict=True)]
        self._columns = ", ".join(["epoch_us(hour) AS hour_us", "epoch_us(event_at) AS at_us", *named])

    def load(self, inside: Hours, searched: Hours) -> None:
        """Fill the tables `inside`, staged rows among them, and `elsewhere`, of the hours `searched`."""
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE inside AS {self._live(inside)} {self._staged()}")
        bounds = ["true"]
        for number, (name, key) in enumerate(zip(self.rows.key, self._keys, strict=True)):
            for which in ("min", "max"):  # constants, unlike sub-queries, are compared with a file's statistics
                self.connection.execute(f"SET VARIABLE {which}_{number} = (SELECT {which}({key}) FROM inside)")
            column = quoted(name)
            bounds.append(f"{column} BETWEEN getvariable('min_{number}') AND getvariable('max_{number}')")
        self.connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE elsewhere AS
                FROM ({self._live(searched)} AND {" AND ".join(bounds)}) SEMI JOIN inside USING ({", ".join(self._keys)})"""
        )

    def hours_found(self) -> list[Span]:
        """The drop hours of the versions elsewhere."""
        found = self.connection.execute("SELECT DISTINCT hour_us FROM elsewhere").fetchall()
        return _spans(hour for (hour,) in found)

    def event_hours(self, own: Span, known: Sequence[Span]) -> list[Span]:
        """The hours of events, but for those `known`, of all versions of the keys with a version in the hours `own`."""
        hour_us = HOUR // timedelta(microseconds=1)
        query = f"""
            WITH versions AS (FROM inside UNION ALL FROM elsewhere),
                 own AS (SELECT {", ".join(self._keys)} FROM inside WHERE {_in_spans("hour_us", [own])})
            SELECT DISTINCT at_us - ((at_us % {hour_us}) + {hour_us}) % {hour_us}
            FROM (FROM versions SEMI JOIN own USING ({", ".join(self._keys)}))
            WHERE at_us IS NOT NULL AND NOT {_in_spans("at_us", known)}"""
        return _spans(hour for (hour,) in self.connection.execute(query).fetchall())

    def _live(self, hours: Hours) -> str:
        """A query of the live versions in `hours`."""
        relation = rows_of(self.connection, self.rows.root, self.rows.table, self.rows.pubs, "columns", hours)
        limits = [
            " AND ".join(f"hour {test} TIMESTAMPTZ '{at.isoformat()}'" for test, at in ((">=", low), ("<", high)) if at)
            for low, high in hours
        ]
        pubs = ", ".join(map(str, sorted(self.rows.pubs)))
        inside = " OR ".join(f"({limit or 'true'})" for limit in limits)
        return f"SELECT {self._columns} FROM {relation} WHERE pub IN ({pubs}) AND ({inside})"

    def _staged(self) -> str:
        if not self.rows.staged:
            return ""
        files = ", ".join(text_literal(str(path)) for path in self.rows.staged)
        return f"UNION ALL BY NAME SELECT {self._columns} FROM read_parquet([{files}], hive_partitioning = false)"


def _in_spans(column: str, spans: Sequence[Span]) -> str:
    return f"({' OR '.join(f'({column} >= {micros(low)} AND {column} < {micros(high)})' for low, high in spans)})"


def _spans(hours_us: Iterable[int]) -> list[Span]:
    hours = map(instant, hours_us)
    return merged((hour, hour + HOUR) for hour in hours)
