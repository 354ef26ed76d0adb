"""The rows that readers see, without a JVM: the log by delta-rs, the files by DuckDB, the choice by `versions.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


def _shut(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """From now on the connection reads `folder` and no other file, loads no extension, and cannot be told otherwise."""
    connection.execute("SET allowed_directories = ?", [[f"{folder}/"]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


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
    if where:
        check_condition(where)
    with connect() as connection:
        if not register_current(connection, root, table, kind, line, _PLAIN):
            return []
        _shut(connection, root / table)
        condition = f"WHERE (\n{where}\n)" if where else ""
        order = "DESC" if newest_first else "ASC"
        try:
            found = connection.execute(f'SELECT * FROM "{_PLAIN}" {condition} ORDER BY hour {order} LIMIT {int(limit)}')
            names = [column[0] for column in found.description or []]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            raise _not_a_condition(" ".join(str(error).split())[:300]) from error


def check_condition(where: str) -> None:
    """That `where` is one condition and nothing else: no second statement, no other table, no function that makes one.

    Raises:
        UsageError: it is not.
    """
    with connect() as connection:
        query = f"SELECT 1 FROM rows WHERE (\n{where}\n)"
        [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    told = json.loads(text)
    if told["error"]:
        raise _not_a_condition(str(told["error_message"]))
    [statement] = told["statements"]
    node = statement["node"]
    if node["type"] != "SELECT_NODE" or node["from_table"].get("table_name") != "rows" or node["modifiers"]:
        raise _not_a_condition("more than a condition")
    if any(part.get("class") == "SUBQUERY" for part in _parts(node["where_clause"])):
        raise _not_a_condition("a query inside the condition")


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _parts(part)


def _not_a_condition(found: str) -> UsageError:
    allowed = "one condition in SQL on the table's columns, without another query"
    return UsageError("--where", found, allowed, "look at the columns first: the same command without --where")


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
