"""Kind database: the rows of some hours, read in one transaction, land as a drop for each hour; bronze reads the drops.

What was read once stays as it was, whatever the database holds later, and the same rows have the same bytes every time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection

from spark_jobs.config.database_source import DatabaseConf, PartitionConf
from spark_jobs.connectors.database.connection import Database
from spark_jobs.connectors.database.dialects import INSTANT
from spark_jobs.connectors.database.spool import Spool
from spark_jobs.connectors.delivery import Delivery, FetchRequest
from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.sources.landing import FetchedDrop, land_parts
from spark_jobs.sources.shape import MAX_UNPACKED, differing_names
from spark_jobs.verdict import MASKED

_BEGINS = re.compile(INSTANT)
# As Spark writes JSON, whose lines earlier drops hold: control characters in capitals.
_ESCAPES = {code: f"\\u{code:04X}" for code in range(32)} | {
    ord(char): f"\\{name}" for char, name in (("\b", "b"), ("\t", "t"), ("\n", "n"), ("\f", "f"), ("\r", "r"), ('"', '"'), ("\\", "\\"))
}  # fmt: skip


def land_rows(request: FetchRequest) -> Delivery:
    """Read the rows of the interval and make each hour's rows its newest drop.

    Nothing lands before all rows are read. The same rows again change nothing. A snapshot belongs to the last hour; an
    earlier hour without a drop gets an empty one.

    Raises:
        UsageError: not of kind database, a variable is not set, or the database rejects the login or the query.
        RefusedError: columns are not those declared, a row has no hour, a value no text form, or there are too many rows.
        RetryError: the last hour is not over, or the database cannot be reached, is locked or too slow.
    """
    where, source, conf = request.where, request.source, request.source.database
    if conf is None:
        raise UsageError(where, f"a source of kind {source.kind}", "one of kind database", "name another source")
    request.require_past()
    there, drops = request.landed(), list[FetchedDrop]()
    with closing(Spool()) as spool:
        RowReader(request, Database(where, conf, request.data)).read(spool)
        sizes = spool.sizes()
        _check_sizes(where, conf, sizes)
        for hour in request.hours:
            count, _ = sizes.get(format_hour(hour), (0, 0))
            past = conf.changed_at is None and hour < request.end - HOUR  # of a snapshot: nobody knows what it was then
            if count or not (past and hour in there):
                arrived = hour + HOUR if conf.arrived == "changed" else request.now
                lines = partial(spool.lines, format_hour(hour))
                landed = land_parts(request.name, source, request.landing, hour, lines, count, arrived)
                drops.append(FetchedDrop.of(request.name, hour, landed))
    return Delivery(drops)


def _check_sizes(where: str, conf: DatabaseConf, sizes: dict[str, tuple[int, int]]) -> None:
    for hour, (count, size) in sizes.items():
        for found, most, allowed in (
            (count, conf.max_rows, f"at most database.max_rows of sources.yaml: {conf.max_rows}"),
            (size, MAX_UNPACKED, f"at most {MAX_UNPACKED} bytes"),
        ):
            if found > most:
                what = f"{count} rows of {size} bytes in the drop of {hour}, more than {most}"
                raise RefusedError(
                    where, what, allowed, "select fewer rows by database.query, or raise database.max_rows"
                )


class RowReader:
    """Reads the rows of one source and interval into a spool, in one range or in several at the same time."""

    def __init__(self, request: FetchRequest, database: Database) -> None:
        self._where, self._start, self._end = request.where, request.start, request.end
        self._database, self._conf, self._dialect = database, database.conf, database.dialect
        self._names, self._source = list(request.source.columns), request.source
        self._keys = [f'"{name}":' for name in self._names]
        self._at = self._names.index(self._conf.changed_at) if self._conf.changed_at else None

    def read(self, spool: Spool) -> None:
        """All rows, in their hours.

        Raises:
            UsageError, RefusedError, RetryError: see `land_rows`.
        """
        rows = self._selected()
        with self._database.reading() as connection:
            kinds = self._database.columns(connection, rows)
            self._check_columns(list(kinds))
            selects = self._selects(rows, kinds)
            if len(selects) == 1:
                self._read_range(connection, selects[0], spool)
                return
            share = self._dialect.share(connection)
            with ThreadPoolExecutor(len(selects)) as pool:
                reads = [pool.submit(self._read_alone, share, select, spool) for select in selects]
                try:
                    for read in as_completed(reads):
                        read.result()
                finally:
                    self._database.stop()

    def _selected(self) -> str:
        table = self._conf.table
        if table is None:
            return f"\n{self._conf.query}"
        return f"SELECT * FROM {'.'.join(map(self._database.quoted, table.split('.')))}"  # schema.table at most

    def _check_columns(self, present: list[str]) -> None:
        if set(present) != set(self._names):
            raise RefusedError(
                self._where, f"columns: {differing_names(present, self._source)}", f"those of sources.yaml: {', '.join(self._names)}",
                "declare them in sources.yaml, or select in database.query the columns that are wanted",
            )  # fmt: skip

    def _selects(self, rows: str, kinds: dict[str, Any]) -> list[str]:
        """One statement for each range."""
        quoted, conf = self._database.quoted, self._conf
        columns = ", ".join(self._dialect.column(quoted(name)) for name in self._names)
        select, conditions = f"SELECT {columns} FROM ({rows}\n) requested", list[str]()
        if conf.changed_at:
            within = self._dialect.within(quoted(conf.changed_at), kinds[conf.changed_at], self._start, self._end)
            conditions = [f"({within})"]
        ranges = [""]
        if conf.partition and self._dialect.in_ranges:
            try:
                self._dialect.require_whole(conf.partition.column, kinds.get(conf.partition.column))
            except ValueError as error:
                todo = "correct database.partition in sources.yaml"
                raise UsageError(self._where, str(error), "a column of whole numbers", todo) from error
            ranges = [f"({part})" for part in ranges_of(conf.partition, quoted(conf.partition.column))]
        wheres = [" AND ".join([*conditions, *([part] if part else [])]) for part in ranges]
        return [f"{select} WHERE {where}" if where else select for where in wheres]

    def _read_alone(self, share: str | None, select: str, spool: Spool) -> None:
        with self._database.reading(share) as connection:
            self._read_range(connection, select, spool)

    def _read_range(self, connection: Connection, select: str, spool: Spool) -> None:
        outside, example = 0, ""
        for block in self._database.blocks(connection, select):
            lines = list[tuple[str, bytes]]()
            for row in block:
                texts = self._texts(row)
                at = None if self._at is None else texts[self._at]
                hour = self._end - HOUR if self._at is None else hour_of(at)
                if hour is None:
                    outside, example = outside + 1, min(example or "~", at or "null")
                elif self._start <= hour < self._end:
                    lines.append((format_hour(hour), self._line(texts)))
            spool.add(lines)
        if outside:
            shown = MASKED if self._source.hides_names else example[:200]
            raise RefusedError(
                self._where, f"{outside} rows without an hour in {self._conf.changed_at}, such as {shown}",
                "an instant in UTC such as 2013-11-01T12:00:00Z",
                "correct the rows in the database, or name another column in database.changed_at of sources.yaml",
            )  # fmt: skip

    def _texts(self, row: Sequence[Any]) -> list[str | None]:
        try:
            return [self._dialect.text(value) for value in row]
        except ValueError:
            for name, value in zip(self._names, row, strict=True):
                try:
                    self._dialect.text(value)
                except ValueError as error:
                    raise RefusedError(
                        self._where, f"column {name}: {error} has no text form", "text, numbers, instants or null",
                        f"convert {name} to text in database.query of sources.yaml",
                    ) from None  # fmt: skip
            raise

    def _line(self, texts: list[str | None]) -> bytes:
        """A line of JSON, every value as text."""
        values = ("null" if text is None else f'"{text.translate(_ESCAPES)}"' for text in texts)
        return ("{" + ",".join(map(str.__add__, self._keys, values)) + "}\n").encode()


def ranges_of(partition: PartitionConf, column: str) -> list[str]:
    """Conditions that each row meets exactly one of; `column` is a quoted name."""
    count = min(partition.count, partition.upper - partition.lower)
    bounds = [partition.lower + (partition.upper - partition.lower) * at // count for at in range(1, count)]
    if not bounds:
        return ["1 = 1"]
    inner = [f"{column} >= {low} AND {column} < {high}" for low, high in pairwise(bounds)]
    return [f"{column} < {bounds[0]} OR {column} IS NULL", *inner, f"{column} >= {bounds[-1]}"]


@lru_cache(maxsize=1 << 16)
def hour_of(text: str | None) -> datetime | None:
    """The UTC hour of an instant; none of a text that is not an instant, or of another zone."""
    try:
        at = datetime.fromisoformat(text) if text and _BEGINS.match(text) else None
    except ValueError:
        return None
    if at is None or at.utcoffset() not in (None, timedelta(0)):
        return None
    return at.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
