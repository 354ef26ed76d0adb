"""The rows that readers see, without a JVM: the log by delta-rs, the files by DuckDB, the choice by `versions.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from spark_jobs.errors import UsageError
from spark_jobs.lake.versions import TableKind, covering_rows, current_sql
from spark_jobs.ledger import Release, folds

_PLAIN = "lake_rows"


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that reaches no network."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def register_current(
    connection: duckdb.DuckDBPyConnection, root: Path, table: str, kind: TableKind, line: list[Release], view: str
) -> bool:
    """Make `view` show current(table) as of the last release of `line`; False when nothing is released of it yet."""
    try:
        files = DeltaTable(root / table).file_uris()
    except TableNotFoundError:
        return False
    if not files or not line:
        return False
    rows, chosen = f"{view}__rows", f"{view}__chosen"
    connection.read_parquet(files, union_by_name=True, hive_partitioning=False).create_view(rows)
    connection.register(chosen, _chosen(table, kind, line))
    columns = [row[0] for row in connection.execute(f'DESCRIBE "{rows}"').fetchall()]
    body = current_sql(kind, [f'"{name}"' for name in columns]).format(rows=f'"{rows}"', chosen=f'"{chosen}"')
    connection.execute(f'CREATE OR REPLACE VIEW "{view}" AS {body}')
    return True


def read_current(
    root: Path,
    table: str,
    kind: TableKind,
    line: list[Release],
    *,
    where: str = "",
    limit: int = 100,
    newest_first: bool = True,
) -> list[dict[str, Any]]:
    """Up to `limit` current rows of `table`, those of the latest hours first.

    Raises:
        UsageError: `where` is not a condition on the table's columns.
    """
    with connect() as connection:
        if not register_current(connection, root, table, kind, line, _PLAIN):
            return []
        condition = f"WHERE {where}" if where else ""
        order = "DESC" if newest_first else "ASC"
        try:
            found = connection.execute(f'SELECT * FROM "{_PLAIN}" {condition} ORDER BY hour {order} LIMIT {int(limit)}')
        except duckdb.Error as error:
            raise UsageError(
                "--where", str(error).splitlines()[0], "a condition on the table's columns in SQL"
            ) from error
        names = [column[0] for column in found.description or []]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]


def _chosen(table: str, kind: TableKind, line: list[Release]) -> pa.Table:
    if not kind.covered:
        return pa.table({"pub": pa.array(sorted(folds.live(line)), pa.int64())})
    pairs = covering_rows(folds.cover(line, table), None, None)
    hours = pa.array([hour for hour, _ in pairs], pa.timestamp("us", "UTC"))
    return pa.table({"hour": hours, "pub": pa.array([pub for _, pub in pairs], pa.int64())})


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value
