"""Names that are reserved words, or hold blanks, dots, quotes and other scripts, in every SQL text that is built from names."""

from __future__ import annotations

import ast
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from spark_jobs.connectors.database.dialects import dialect_of
from spark_jobs.identifiers import in_template, quoted, quoted_list, text_literal
from spark_jobs.lake.versions import TableKind, current_sql, shown_sql

AT = datetime(2013, 11, 1, tzinfo=UTC)
RESERVED = [
    word
    for (word,) in duckdb.connect()
    .execute("SELECT DISTINCT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved' ORDER BY 1")
    .fetchall()
]
ODD = ["Trip Distance", "naïve", "価格", "a.b", 'say "so"', "it's", "back`tick", "{rows}", "per%cent", "semi;colon"]


def test_a_quote_inside_a_name_is_doubled_for_each_engine():
    assert quoted('a"b`c') == '"a""b`c"'
    assert quoted('a"b`c', "spark") == '`a"b``c`'
    assert quoted_list(["a", "b"], of="r") == 'r."a", r."b"'
    assert text_literal("it's") == "'it''s'"
    assert in_template("{x}").format() == "{x}"


@pytest.mark.parametrize("name", [*RESERVED, *ODD, "version", "known_by", "known_until"])
def test_the_rows_that_count_are_chosen_by_a_key_of_any_name(name):
    """The newest of two versions, ordered by a column with the same kind of name."""
    rows = pa.table(
        {
            name: ["k", "k"],
            f"{name} held": [AT, AT],
            "hour": [AT, AT],
            "known_at": [AT, AT],
            "pub": [1, 2],
            "amount": [1, 2],
        }
    )
    chosen = pa.table({"pub": [1, 2]})
    kind = TableKind((name, f"{name} held"), covered=False, valid_from=f"{name} held")
    text = shown_sql(kind, current_sql(kind, rows.column_names).format(rows="rows", chosen="chosen"))
    connection = duckdb.connect()
    connection.register("rows", rows)
    connection.register("chosen", chosen)
    assert connection.execute(f"SELECT {quoted(name)}, amount, valid_to FROM ({text})").fetchall() == [("k", 2, None)]


def test_a_database_gives_the_exact_text_of_columns_of_any_name():
    connection, dialect = sqlite3.connect(":memory:"), dialect_of("sqlite:///x")
    for name in [*RESERVED, *ODD]:
        connection.execute(f"CREATE TABLE {quoted(name)} ({quoted(name)})")
        connection.execute(f"INSERT INTO {quoted(name)} VALUES (0.1)")
        [(value,)] = connection.execute(f"SELECT {dialect.column(quoted(name))} FROM {quoted(name)}").fetchall()
        assert dialect.text(value) == "0.1"


def test_no_sql_text_quotes_a_name_by_itself():
    """Quotes around a piece of an f-string that holds SQL are `identifiers.py`'s work alone."""
    found = []
    for file in Path("spark_jobs").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                if (
                    any(word in text for word in ("SELECT ", "INSERT ", "CREATE ", "ORDER BY ", "WHERE "))
                    and '"\0"' in text
                ):
                    found.append(f"{file}:{node.lineno}")
    assert not found
