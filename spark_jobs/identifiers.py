"""Names in SQL and in Spark's column expressions: the only place that quotes an identifier. Imports no Spark.

A name in conf/ may be a reserved word, and a column of an upstream may hold blanks, dots, quotes and letters of any script.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Engine = Literal["duckdb", "sqlite", "postgresql", "spark"]


def quoted(name: str, engine: Engine = "duckdb") -> str:
    """`name` as an identifier in the SQL of `engine`: double quotes as in the standard, backticks in Spark."""
    mark = "`" if engine == "spark" else '"'
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def quoted_list(names: Iterable[str], engine: Engine = "duckdb", of: str = "") -> str:
    """`names` as identifiers, separated by commas; `of` is an alias in front of each, such as `r` for `r."name"`."""
    prefix = f"{of}." if of else ""
    return ", ".join(prefix + quoted(name, engine) for name in names)


def in_template(sql: str) -> str:
    """`sql` for a text that `str.format` or `spark.sql` fills in: braces in names stay what they are."""
    return sql.replace("{", "{{").replace("}", "}}")


def text_literal(text: str) -> str:
    """`text` as a string literal in standard SQL, such as a path for DuckDB."""
    return "'" + text.replace("'", "''") + "'"
