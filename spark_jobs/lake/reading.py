"""The rows that readers see, without a JVM: the log by delta-rs, the files by DuckDB, the choice by `versions.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from spark_jobs.errors import RetryError, UsageError
from spark_jobs.identifiers import quoted, quoted_list, text_literal
from spark_jobs.lake.condition import condition_query, not_a_condition
from spark_jobs.lake.hours import ALL_HOURS, Hours, overlap
from spark_jobs.lake.rows import plain_rows
from spark_jobs.lake.versions import (
    EVERY,
    TableKind,
    covering_rows,
    current_sql,
    known_cover_sql,
    may_hold,
    shown_sql,
)  # fmt: skip
from spark_jobs.ledger import Release, folds
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.restore import RESTORE_FILE, RESTORE_LAKE

_PLAIN = "lake_rows"
Answer = TypeVar("Answer")


def connect(*readable: Path, database: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A DuckDB in UTC, in memory or the file `database`, that reads the files and folders `readable` and nothing else.

    It is locked before any name of a log reaches it: no network, no extension, no other file, no way to change that.
    """
    settings: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    name = str(database.absolute()) if database else ":memory:"  # absolute: a name such as md:x would mean a service
    connection = duckdb.connect(name, config=settings)
    connection.execute("SET TimeZone = 'UTC'")
    places = sorted({place for path in readable for place in (path.absolute(), path.resolve())})
    connection.execute("SET allowed_directories = ?", [[f"{place}/" for place in places if place.is_dir()]])
    connection.execute("SET allowed_paths = ?", [[str(place) for place in places if not place.is_dir()]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def register_current(
    connection: duckdb.DuckDBPyConnection, root: Path, table: str, kind: TableKind, line: Sequence[Release], view: str, *,
    known_by: datetime | None = None, hours: Collection[datetime] | None = None,
) -> bool:  # fmt: skip
    """Make `view` show current(table) as of the last release of `line`; False when nothing is released of it yet.

    With `known_by` it shows as_known(table) at that instant, else with `hours` only those of a table that is published by
    the hour. The view stands for itself: what it needs beside the lake's files lies in small tables of the schema
    `_tidegate`, so that it can be kept in a database file.
    """
    if not line:
        return False
    chosen = cover = kept(connection, f"{view} chosen", chosen_rows(table, kind, line, hours))
    pubs = {pub for (pub,) in connection.execute(f"SELECT DISTINCT pub FROM {chosen}").fetchall()}
    if known_by and kind.covered:
        pubs = set(folds.live(line))
        accounts = rows_of(connection, root, "accounts", pubs, f"{view} accounts")
        if accounts is None:
            return False
        live = kept(connection, f"{view} live", chosen_rows("accounts", EVERY, line))
        versions = current_sql(EVERY, ["hour", "pub", "known_at"]).format(rows=accounts, chosen=live)
        cover = known_cover_sql().format(accounts=f"({versions})")
        connection.execute(f"CREATE OR REPLACE TABLE {chosen} AS {cover}")
    rows = rows_of(connection, root, table, pubs, f"{view} columns")
    if rows is None:
        return False
    columns = columns_of(connection, rows)
    asked = f"(SELECT *, TIMESTAMPTZ '{known_by.isoformat()}' AS _known_by FROM {rows})" if known_by else rows
    body = current_sql(kind, columns, as_known=known_by is not None).format(rows=asked, chosen=chosen)
    connection.execute(f"CREATE OR REPLACE VIEW {quoted(view)} AS {shown_sql(kind, body)}")
    return True


def rows_of(
    connection: duckdb.DuckDBPyConnection, root: Path, table: str, pubs: Collection[int], name: str,
    hours: Hours = ALL_HOURS,
) -> str | None:  # fmt: skip
    """SQL of a relation with every row of `pubs` in `hours` of `table`, and with others; none when there is no such table.

    Reads only files that can hold such a row. Columns are those of the table's log in its order, without `day`; a
    column that a file lacks is null there, one of a narrower type has the log's. `name` is free for a helper table.
    """
    log = open_log(root / table)
    if log is None:
        return None
    schema = pa.schema(log.schema().to_arrow())
    nothing = kept(connection, name, pa.schema([field for field in schema if field.name != "day"]).empty_table())
    paths = [path for path in paths_of(log, hours) if may_hold(path, pubs)]
    if not paths:
        return nothing
    folder = (root / table).absolute()  # as `connect` allows it
    files = ", ".join(text_literal(str(folder / path)) for path in paths)
    read = f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
    columns = quoted_list(field.name for field in schema if field.name != "day")
    return f"(SELECT {columns} FROM (SELECT * FROM {nothing} UNION ALL BY NAME SELECT * FROM {read}))"


def paths_of(log: DeltaTable, hours: Hours) -> list[str]:
    """Paths of the data files that can hold a row of `hours`, by the log's statistics."""
    actions = log.get_add_actions(flatten=True)
    if not actions.num_rows:
        return []
    names, present = ("path", "min.hour", "max.hour"), actions.schema.names
    facts = [actions.column(n).to_pylist() if n in present else [None] * actions.num_rows for n in names]
    return [path for path, first, last in zip(*facts, strict=True) if overlap(first, last, hours)]


def columns_of(connection: duckdb.DuckDBPyConnection, rows: str) -> list[str]:
    """Names of the columns of relation `rows`; `day` repeats `hour` and is left out."""
    found = connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()
    return [row[0] for row in found if row[0] != "day"]


def kept(connection: duckdb.DuckDBPyConnection, name: str, frame: pa.Table) -> str:
    """`frame` as a table that belongs to the database; returns its name for SQL."""
    target = (
        f"_tidegate.{quoted(name)}"  # not a word that a file is called by: its stem would be ambiguous with the schema
    )
    connection.execute("CREATE SCHEMA IF NOT EXISTS _tidegate")
    connection.register("handed over", frame)
    connection.execute(f'CREATE OR REPLACE TABLE {target} AS FROM "handed over"')
    connection.unregister("handed over")
    return target


def chosen_rows(
    table: str, kind: TableKind, line: Sequence[Release], only: Collection[datetime] | None = None
) -> pa.Table:
    """Relation {chosen} of `current_sql`: (hour, pub) for a covered table, of the hours `only`; (pub) for a keyed one."""
    if not kind.covered:
        return pa.table({"pub": pa.array(sorted(folds.live(line)), pa.int64())})
    pairs = covering_rows(folds.cover(line, table))
    if only is not None:
        pairs = [pair for pair in pairs if pair[0] in only]
    hours = pa.array([hour for hour, _ in pairs], pa.timestamp("us", "UTC"))
    return pa.table({"hour": hours, "pub": pa.array([pub for _, pub in pairs], pa.int64())})


def with_fresh_log(where: str, ask: Callable[[], Answer]) -> Answer:
    """What `ask` answers; it is asked once more when a file vanished under it, and must open the log anew each time.

    Maintenance replaces files while readers hold the former log; a second look finds the files that took their place.

    Raises:
        RetryError: a file that the log names is gone at the second look, too.
        UsageError: a file that the log names lies elsewhere, behind a link.
    """
    try:
        return ask()
    except duckdb.IOException:
        pass
    except duckdb.PermissionException as error:
        path = str(error).partition('"')[2].partition('"')[0]
        raise UsageError(
            where, f"{path[:300]} leads to a file outside the lake's folder", "files inside the lake's folder, also behind links",
            f"replace the link by the folder that it leads to, or {RESTORE_LAKE}",
        ) from error  # fmt: skip
    try:
        return ask()
    except duckdb.IOException as error:
        raise RetryError(
            where, " ".join(str(error).partition("\n")[0].split())[:300], "every file that the table's log names",
            f"run the command again; if it fails again, {RESTORE_FILE}",
        ) from error  # fmt: skip


def read_current(
    root: Path, table: str, kind: TableKind, line: Sequence[Release], *, where: str = "", limit: int = 100,
    newest_first: bool = True, known_by: datetime | None = None, hours: Collection[datetime] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Up to `limit` rows of `table`, those of the latest hours first: current, or as known at `known_by`.

    `hours`: only those, of a table that is published by the hour; no file without them is opened. Values are plain: see
    `values.plain`.

    Raises:
        UsageError: `where` is not a condition on the table's columns.
        RetryError: a file of the table is gone.
    """
    query = condition_query(_PLAIN, where, f"hour {'DESC' if newest_first else 'ASC'}", int(limit))

    def ask() -> list[dict[str, Any]]:
        with connect(root / table, root / "accounts") as connection:
            if not register_current(connection, root, table, kind, line, _PLAIN, known_by=known_by, hours=hours):
                return []
            return plain_rows(connection.sql(query).to_arrow_table())

    try:
        return with_fresh_log(f"{root.name}/{table}", ask)
    except duckdb.Error as error:
        if not where:
            raise
        raise not_a_condition(" ".join(str(error).split())[:300]) from error
