"""What a reader may ask of rows: one condition in SQL, judged by DuckDB's own parser before anything is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from spark_jobs.errors import UsageError


def check_condition(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """That `where` is one condition and nothing else: no second statement, no other table, no function that makes one.

    Raises:
        UsageError: it is not.
    """
    query = f"SELECT 1 FROM rows WHERE (\n{where}\n)"
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    told = json.loads(text)
    if told["error"]:
        raise not_a_condition(str(told["error_message"]))
    [statement] = told["statements"]
    node = statement["node"]
    if node["type"] != "SELECT_NODE" or node["from_table"].get("table_name") != "rows" or node["modifiers"]:
        raise not_a_condition("more than a condition")
    if any(part.get("class") == "SUBQUERY" for part in _parts(node["where_clause"])):
        raise not_a_condition("a query inside the condition")


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _parts(part)


def not_a_condition(found: str) -> UsageError:
    """The error that says what was found where one condition is allowed."""
    allowed = "one condition in SQL on the table's columns, without another query"
    return UsageError("--where", found, allowed, "look at the columns first: the same command without --where")
