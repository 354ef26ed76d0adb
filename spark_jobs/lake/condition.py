"""The condition of `tidegate read --where`: parsed by DuckDB into a tree, of which only listed kinds of nodes and functions may run.

The query that runs is written from the checked tree, never from the user's text, so that nothing outside the condition (QUALIFY,
GROUP BY, LIMIT, a second statement) can reach it, and no other table, file or publication can be named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from spark_jobs.errors import UsageError

MOST_CHARACTERS = 20_000
_NODES = frozenset(
    {"CONJUNCTION", "COMPARISON", "BETWEEN", "OPERATOR", "CASE", "CAST", "TYPE", "COLLATE", "COLUMN_REF", "CONSTANT", "FUNCTION",
     "LAMBDA"}
)  # fmt: skip
_OPERATORS = frozenset(
    {"OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "OPERATOR_NULLIF", "OPERATOR_TRY",
     "COMPARE_IN", "COMPARE_NOT_IN", "ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT"}
)  # fmt: skip
_WORDS = {
    "QUALIFY": "qualify", "HAVING": "having", "GROUP BY": "group_expressions", "ORDER BY or LIMIT": "modifiers", "SAMPLE": "sample",
}  # fmt: skip
# Functions of the values of one row: no state, no file, no other row, no result larger than its arguments by more than a few times.
FUNCTIONS = frozenset(
    """
    + - * / // % ** ^ & | << >> ~ || ^@ ~~ !~~ ~~* !~~* ~~~ @
    abs ceil ceiling floor round trunc sign mod divide multiply add subtract greatest least isnan isinf isfinite pow power sqrt cbrt
    exp ln log log2 log10 sin cos tan asin acos atan atan2 radians degrees pi xor bit_count
    lower lcase upper ucase trim ltrim rtrim length len strlen substr substring left right position strpos instr contains prefix
    suffix starts_with ends_with like_escape not_like_escape ilike_escape not_ilike_escape regexp_matches regexp_full_match
    regexp_extract regexp_replace replace split string_split str_split split_part concat concat_ws reverse ascii chr unicode ord
    levenshtein jaccard hamming strip_accents md5 sha256 hash hex
    nullif if typeof
    date_trunc datetrunc date_part datepart date_diff datediff date_sub datesub date_add age epoch epoch_ms epoch_us epoch_ns
    make_date make_time make_timestamp make_timestamptz to_timestamp strftime strptime try_strptime timezone last_day dayname
    monthname year month day hour minute second millisecond microsecond quarter week weekday dayofweek isodow dayofmonth dayofyear
    weekofyear yearweek isoyear decade century era time_bucket now today current_date get_current_timestamp current_localtimestamp
    to_years to_quarters to_months to_weeks to_days to_hours to_minutes to_seconds to_milliseconds to_microseconds
    list_value list_contains list_has array_contains array_has list_has_any list_has_all list_position list_extract array_extract
    list_element list_slice array_length list_filter list_transform list_apply list_sum list_min list_max list_avg list_count
    list_distinct list_unique list_sort cardinality map map_extract map_extract_value element_at map_keys map_values map_contains
    struct_pack struct_extract row
    """.split()  # noqa: SIM905 (a list with a quoted name on each line is harder to read)
)


def condition_query(relation: str, where: str, order_by: str, limit: int) -> str:
    """The query for up to `limit` rows of `relation` that meet the condition `where`, ordered by `order_by`.

    Raises:
        UsageError: `where` is not one condition, or uses what a condition may not; no row has been read.
    """
    query = f"SELECT * FROM {relation} WHERE true ORDER BY {order_by} LIMIT {limit}"
    if not where:
        return query
    if len(where) > MOST_CHARACTERS:
        raise not_a_condition(f"{len(where)} characters, at most {MOST_CHARACTERS}")
    if "\0" in where:
        raise not_a_condition("a character NUL, at which DuckDB stops reading")
    with duckdb.connect(config={"enable_external_access": False}) as parser:  # parses, runs nothing
        return _checked_query(parser, query, where)


def _checked_query(parser: duckdb.DuckDBPyConnection, query: str, where: str) -> str:
    try:
        condition = _select(parser, f"SELECT 1 FROM rows WHERE (\n{where}\n)")
        bare = _select(parser, "SELECT 1 FROM rows WHERE true")
        clause = condition["node"].pop("where_clause")
        bare["node"].pop("where_clause")
        if _without_places(condition) != _without_places(bare):
            named = [word for word, part in _WORDS.items() if condition["node"].get(part) != bare["node"].get(part)]
            raise not_a_condition(f"{named[0]} after the condition" if named else "more than a condition")
        for node in _nodes(clause):
            _check_node(node)
        whole = _select(parser, query)
        whole["node"]["where_clause"] = clause
        tree = json.dumps({"error": False, "statements": [whole]})
        [(text,)] = parser.execute("SELECT json_deserialize_sql(?)", [tree]).fetchall()
    except RecursionError as error:
        raise not_a_condition("a condition that is nested too deeply") from error
    except (duckdb.Error, UnicodeError) as error:
        raise not_a_condition(" ".join(str(error).split())[:300]) from error
    return str(text)


def _select(parser: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """The tree of the one SELECT in `query`."""
    [(text,)] = parser.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise not_a_condition(str(tree["error_message"])[:300])
    if len(tree["statements"]) != 1:
        raise not_a_condition("more than one statement")
    select: dict[str, Any] = tree["statements"][0]
    if select["node"]["type"] != "SELECT_NODE":
        raise not_a_condition("a query inside the condition")
    return select


def _without_places(tree: Any) -> Any:
    """`tree` without the places of its parts in the text."""
    if isinstance(tree, dict):
        return {key: _without_places(part) for key, part in tree.items() if not key.startswith("query_location")}
    return [_without_places(part) for part in tree] if isinstance(tree, list) else tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every expression and query in `tree`, the outermost first; without recursion."""
    left = [tree]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if "class" in part or "from_table" in part:
                yield part
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)


def _check_node(node: dict[str, Any]) -> None:
    kind, name = node.get("class"), str(node.get("function_name", "")).lower()
    if kind == "SUBQUERY" or "from_table" in node:
        raise not_a_condition("a query inside the condition")
    if kind == "WINDOW":
        raise not_a_condition(f"the window function {name}, which looks at other rows")
    if kind not in _NODES or (kind == "OPERATOR" and node["type"] not in _OPERATORS):
        raise not_a_condition(f"{str(node.get('type')).replace('_', ' ').lower()}")
    if kind == "FUNCTION":
        whole = node.get("filter") or node.get("distinct") or node["order_bys"].get("orders")
        if name not in FUNCTIONS or whole or len(node.get("qualified_name", {}).get("path", [name])) > 1:
            raise not_a_condition(f"the function {name}, which a condition may not call")


def not_a_condition(found: str) -> UsageError:
    """The error that reports what was found where one condition is allowed."""
    allowed = (
        "one condition in SQL on the values of a row: comparisons, AND, OR, NOT, IN, CASE, casts, functions of values"
    )
    return UsageError("--where", found, allowed, "look at the columns first: the same command without --where")
