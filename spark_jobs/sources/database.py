"""A table of a SQLite file that a replayed source's rows are written into, as an upstream with a database would.

Rows of an hour are known by the instant in one column. A second delivery changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import UsageError
from spark_jobs.identifiers import quoted, quoted_list
from spark_jobs.invocation import format_hour

Value = str | int | float | bool | None
Row = tuple[Value, ...]
_TYPES = {int: "INTEGER", float: "REAL"}


def rows_of(lines: bytes, columns: Sequence[str]) -> list[Row]:
    """The values of `columns` of each JSON line."""
    return [tuple(found[name] for name in columns) for found in map(json.loads, lines.splitlines())]


def column_types(rows: Sequence[Row], columns: Sequence[str], types: Mapping[type, str]) -> dict[str, str]:
    """The type of each column in SQL, by its first value; TEXT where `types` has none for it."""
    firsts = (next((row[at] for row in rows if row[at] is not None), None) for at in range(len(columns)))
    return {name: types.get(type(value), "TEXT") for name, value in zip(columns, firsts, strict=True)}


class Database:
    """The table that a source of kind database reads by changed_at; the file and the table are created when they are missing."""

    def __init__(self, file: Path, table: str, changed_at: str, columns: list[str]) -> None:
        self.file, self.table, self.changed_at, self.columns = file, table, changed_at, columns

    def deliver(self, drops: Mapping[datetime, bytes]) -> tuple[int, int]:
        """Make the rows of each hour those of its JSON lines; in how many hours that changed the table, and all rows."""
        rows = {f"{format_hour(hour)}Z": rows_of(lines, self.columns) for hour, lines in drops.items()}
        listed, table = quoted_list(self.columns, "sqlite"), quoted(self.table, "sqlite")
        connection = self._open([row for some in rows.values() for row in some])
        there: dict[str, list[Row]] = {}
        at = self.columns.index(self.changed_at)
        for row in connection.execute(f"SELECT {listed} FROM {table}"):
            there.setdefault(row[at], []).append(row)
        other = [
            instant for instant in rows if sorted(rows[instant], key=repr) != sorted(there.get(instant, []), key=repr)
        ]
        with connection:  # one transaction
            for instant in other:
                connection.execute(f"DELETE FROM {table} WHERE {quoted(self.changed_at, 'sqlite')} = ?", [instant])
                places = ", ".join("?" * len(self.columns))
                connection.executemany(f"INSERT INTO {table} ({listed}) VALUES ({places})", rows[instant])
        connection.close()
        return len(other), sum(map(len, rows.values()))

    def _open(self, rows: list[Row]) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file)
        types = column_types(rows, self.columns, _TYPES)
        columns = ", ".join(f"{quoted(name, 'sqlite')} {kind}" for name, kind in types.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(self.table, 'sqlite')} ({columns})")
        return connection


def databases(sources: Mapping[str, SourceConf], data: Path) -> dict[str, Database]:
    """The tables behind the sources of kind database whose url is a file, by source; `data` is the data folder.

    A server's tables are not the replay's: somebody else fills them.

    Raises:
        UsageError: one asks by a query, or by no instant; or a variable holds no legal url.
    """
    found = {}
    for name, source in sources.items():
        if source.database is None:
            continue
        if source.database.table is None or source.database.changed_at is None:
            raise UsageError(
                f"sources.yaml: {name}", "a query or a snapshot", "a table with database.changed_at to replay into"
            )
        file = source.database.file(data)
        if file:
            found[name] = Database(file, source.database.table, source.database.changed_at, list(source.columns))
    return found
