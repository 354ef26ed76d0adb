"""SQL of rules against the declared columns, without Spark: parsed and bound by DuckDB on an empty table.

Spark's dialect is another one. What only Spark may understand passes here, and an error at run time is a verdict ERROR; a
column that is not there, a table that is not there, or text that is no query in either dialect is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from spark_jobs.config.sql_tables import BATCH, table_fault
from spark_jobs.errors import nearest
from spark_jobs.identifiers import quoted

_TYPES = {"string": "VARCHAR", "float": "FLOAT", "double": "DOUBLE", "timestamp": "TIMESTAMPTZ"}
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<text>[rR]?'(?:[^'\\]|\\.|'')*'|[rR]?"(?:[^"\\]|\\.|"")*")|(?P<name>`(?:[^`]|``)*`)"""
    r"""|(?P<word>\w+)|(?P<sign><=>|==|&&|\|\||.)""", re.DOTALL,
)  # fmt: skip
_SAID = {
    "RLIKE": "SIMILAR TO",
    "REGEXP": "SIMILAR TO",
    "DIV": "//",
    "<=>": "IS NOT DISTINCT FROM",
    "&&": "AND",
    "!": "NOT",
}
# Words of Spark's grammar for which DuckDB has none: where one occurs, a syntax error says nothing.
_SPARK_ONLY = frozenset(
    {"LATERAL", "ANTI", "SEMI", "CLUSTER", "DISTRIBUTE", "SORT", "TRANSFORM", "STRUCT", "MAP", "ARRAY", "HOUR", "INTERVAL",
     "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TINYINT", "BINARY", "VALUES", "STACK", "PIVOT", "UNPIVOT", "MINUS", "ILIKE", "EXTRACT",
     "->", ":", "|>", "TABLESAMPLE", "EXCEPT", "SIMILAR"}
)  # fmt: skip
_MISSING = re.compile(
    r'Referenced column "(.*?)" (?:was )?not found|does not have a column named "(.*?)"|column named "(.*?)" (?:was )?not found',
    re.IGNORECASE,
)
_NO_TABLE = re.compile(r"Table with name (.*?) does not exist")
_NO_FUNCTION = re.compile(r'Function with name "?(.*?)"? does not exist', re.IGNORECASE)
_MOST_FUNCTIONS = 30  # that DuckDB does not know, of one query


def sql_fault(query: object, types: Mapping[str, str]) -> str:
    """Why `query` cannot run on a table with columns of these `types`; empty when it can, or when only Spark can tell."""
    if not isinstance(query, str):
        return "is not a text"
    try:
        text = query.format(batch='"the batch"')
    except (KeyError, IndexError, ValueError):
        return "braces other than {batch}; write {{ and }} for braces in the query"
    if "{batch}" not in query:
        return "does not read {batch}, the rows that are judged; write SELECT … FROM {batch} WHERE …"
    tokens = list(_TOKEN.finditer(text.replace('"the batch"', BATCH)))
    if fault := _shape_fault(tokens) or table_fault(tokens):
        return fault
    words = {token["word"].upper() for token in tokens if token["word"]} | {t["sign"] for t in tokens if t["sign"]}
    columns = {name.upper() for name in types}  # without quotes Spark takes `at` for a column, DuckDB for a keyword
    return _bound(_for_duckdb(tokens), types, doubtful=words & (_SPARK_ONLY | columns))


def _shape_fault(tokens: list[re.Match[str]]) -> str:
    """What is wrong in any dialect: the first word, quotes and parentheses."""
    depth = 0
    for token in tokens:
        sign = token["sign"]
        depth += {"(": 1, ")": -1}.get(sign or "", 0)
        if sign in ("'", '"', "`"):
            return f"a quote {sign} that is never closed"
        if depth < 0:
            return "a closing parenthesis without an opening one"
    if depth:
        return "a parenthesis that is never closed"
    first = next(
        (token[0].upper() for token in tokens if token["word"] or token["sign"] not in (None, " ", "\n", "\t", "(")), ""
    )
    if first not in ("SELECT", "WITH", "FROM", "VALUES", "TABLE"):
        return f"begins with {first or 'nothing'}, which is not a query; write SELECT … FROM {{batch}} WHERE …"
    return ""


def _for_duckdb(tokens: list[re.Match[str]]) -> str:
    """The query with Spark's quotes and operators as DuckDB writes them."""
    parts = []
    for token in tokens:
        if token["comment"]:
            parts.append(" ")
        elif token["name"]:
            parts.append(quoted(token["name"][1:-1].replace("``", "`")))
        elif token["text"]:
            inner = token["text"].lstrip("rR")[1:-1]
            parts.append("'" + inner.replace("\\'", "'").replace("''", "'").replace("'", "''") + "'")
        else:
            parts.append(_SAID.get(token[0].upper(), token[0]))
    return "".join(parts).rstrip("; \n")


def _bound(text: str, types: Mapping[str, str], doubtful: set[str]) -> str:
    """What DuckDB says of names, and of syntax unless a word is `doubtful`. Functions that it does not know are Spark's."""
    import duckdb  # 0.1 s, which only pipelines with such a rule pay

    columns = ", ".join(f"{quoted(name)} {_TYPES.get(kind, kind)}" for name, kind in types.items())
    with duckdb.connect(config={"enable_external_access": False, "autoload_known_extensions": False}) as connection:
        connection.execute(f"CREATE TABLE {quoted('the batch')} ({columns})")
        keywords = "SELECT upper(keyword_name) FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'"
        reserved = {word for (word,) in connection.execute(keywords).fetchall()} | _SPARK_ONLY
        for _ in range(_MOST_FUNCTIONS):
            try:
                connection.execute(f"EXPLAIN {text}")
                return ""
            except duckdb.Error as error:
                said = " ".join(str(error).split())
            missing, table, function = _MISSING.search(said), _NO_TABLE.search(said), _NO_FUNCTION.search(said)
            if missing:
                name = next(filter(None, missing.groups()))
                return f"no column '{name}'; {nearest(name, list(types))}"
            if table:
                return f"no table '{table[1]}'; a rule reads {{batch}} alone"
            if not function or not _define(connection, function[1]):
                sure = said.startswith("Parser Error") and not doubtful & reserved
                return (
                    f"syntax error: {said.partition(' LINE ')[0].removeprefix('Parser Error: ')[:160]}" if sure else ""
                )
    return ""


def _define(connection: object, name: str) -> bool:
    """Give DuckDB a function of this name that takes up to six arguments, so that their columns are bound."""
    forms = []
    for count in range(7):
        names = [f"a{number}" for number in range(count)]
        body = "coalesce(" + ", ".join([*(f"{one}::VARCHAR" for one in names), "NULL"]) + ")"
        forms.append(f"({', '.join(names)}) AS {body}")
    try:
        connection.execute(f"CREATE MACRO {quoted(name)}{', '.join(forms)}")  # type: ignore[attr-defined]
    except Exception:
        return False
    return True
