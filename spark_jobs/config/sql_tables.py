"""What a rule in SQL reads besides the rows that it judges: other tables, files, variables, Java methods, commands. No Spark.

Works on tokens of Spark's dialect, because Spark's parser needs a JVM: every place where the grammar takes a relation must hold
{batch}, a subquery, a name that WITH defines, or a function that makes rows of its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BATCH = "`the batch`"
_QUERY = frozenset({"SELECT", "WITH", "FROM", "VALUES", "TABLE"})
_ENDS_FROM = frozenset({"WHERE", "GROUP", "HAVING", "ORDER", "SORT", "CLUSTER", "DISTRIBUTE", "LIMIT", "OFFSET", "WINDOW", "UNION",
                        "EXCEPT", "INTERSECT", "MINUS", "SELECT", "VIEW", "QUALIFY"})  # fmt: skip
_ROWS_OF_VALUES = frozenset({"EXPLODE", "EXPLODE_OUTER", "POSEXPLODE", "POSEXPLODE_OUTER", "INLINE", "INLINE_OUTER", "STACK", "RANGE",
                             "JSON_TUPLE"})  # fmt: skip
_RUNS_CODE = frozenset({"REFLECT", "TRY_REFLECT", "JAVA_METHOD", "IDENTIFIER"})


@dataclass
class _Level:
    """An open parenthesis (or the whole text): whether it holds a query, and whether a comma starts another relation now."""

    is_query: bool
    in_from: bool = False


def table_fault(tokens: Sequence[re.Match[str]]) -> str:
    """What the query reads or runs besides {batch}; empty when nothing. `tokens`: those of `sql_rules`."""
    parts = [token[0] for token in tokens if not token["comment"] and token[0].strip()]
    words = [part.upper() for part in parts]
    if "${" in "".join(token[0] for token in tokens):
        return "'${', by which Spark fills in a setting or a variable of the environment"
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in _RUNS_CODE and following == "(":
            return f"the function {word.lower()}, which a rule may not call"
        if (word == "USING" and following[:1] in ("'", '"')) or (word, following) in (
            ("INSERT", "INTO"),
            ("INSERT", "OVERWRITE"),
        ):
            return f"{word} {following[:20]}: a rule runs no command and writes nothing"
    return _foreign_relation(parts, words)


def _foreign_relation(parts: list[str], words: list[str]) -> str:
    known = {BATCH.upper(), *_defined(words)}
    levels, expected, place = [_Level(True)], False, 0
    while place < len(parts):
        word, following = words[place], words[place + 1] if place + 1 < len(words) else ""
        if word == "(":
            query = following in _QUERY
            expected = expected and not query
            levels.append(_Level(query or expected, in_from=expected))
        elif word == ")":
            levels = levels[:-1] or [_Level(True)]
            expected = False
        elif expected and word != "LATERAL":
            name, place = _dotted(parts, place)
            called = place + 1 < len(parts) and parts[place + 1] == "("
            if not (name.upper() in (_ROWS_OF_VALUES if called else known) or word in ("VALUES", "TABLE")):
                return f"no table '{name}'; a rule reads {{batch}} alone"
            expected, levels[-1].in_from = word == "TABLE", True
        elif _starts_relation(words, place, levels[-1]):
            expected = True
        elif word in _ENDS_FROM:
            levels[-1].in_from = False
        place += 1
    return ""


def _starts_relation(words: list[str], place: int, level: _Level) -> bool:
    word, before = words[place], words[place - 1] if place else ""
    if word == "FROM":  # not extract(day FROM x), not IS DISTINCT FROM
        return level.is_query and not (before == "DISTINCT" and place > 1 and words[place - 2] in ("IS", "NOT"))
    if word == "TABLE":
        return before in ("", "(", "ALL", "UNION", "EXCEPT", "INTERSECT", "MINUS", "DISTINCT")
    return word == "JOIN" or (word == "," and level.in_from)


def _dotted(parts: list[str], place: int) -> tuple[str, int]:
    """The name at `place`, all its parts, and the place of the last one."""
    name = parts[place]
    while place + 2 < len(parts) and parts[place + 1] == ".":
        place += 2
        name += f".{parts[place]}"
    return name, place


def _defined(words: list[str]) -> set[str]:
    """Names of WITH: what stands before AS and a query in parentheses, without a list of columns between."""
    found = set()
    for place in range(1, len(words) - 2):
        if words[place] == "AS" and words[place + 1] == "(" and words[place + 2] in _QUERY:
            at = place - 1
            if words[at] == ")":
                while at > 0 and words[at] != "(":
                    at -= 1
                at -= 1
            found.add(words[at])
    return found
