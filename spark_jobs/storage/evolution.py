"""How the schema of a Delta log follows its files: which types are read as which, and the schema under which all files are read.

Types are named as in a Delta log: integer, long, float, double, date, timestamp, string, boolean. What was tried on Spark 4.2,
Delta 4.4, delta-rs 1.6.6 and DuckDB is in tests/spark/test_evolution.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Field = dict[str, Any]
READ_AS = frozenset(
    {("integer", "long"), ("integer", "double"), ("float", "double")}
)  # by every engine, with equal values
CAST_TO = frozenset({("long", "double"), ("date", "timestamp")})  # only after the file is rewritten
NO_COLUMNS = '{"type": "struct", "fields": []}'
RENAMED_FROM = "tidegate.renamed_from"  # field metadata: former names of a column, as a JSON list


class IncompatibleError(ValueError):
    """Files with `column` of type `staged` cannot be read under a log where it is `logged`."""

    def __init__(self, column: str, logged: str, staged: str) -> None:
        self.column, self.logged, self.staged = column, logged, staged
        super().__init__(column, logged, staged)

    def __str__(self) -> str:
        return f"column {self.column} is {self.logged} in the log and {self.staged} in the staged files"


def fields_of(schema: str) -> list[Field]:
    """The fields of a schema in Delta's (and Spark's) JSON, in order, all nullable at any depth."""
    return [{**field, "type": relaxed(field["type"]), "nullable": True} for field in json.loads(schema)["fields"]]


def schema_of(fields: Iterable[Field]) -> str:
    """The schema of `fields` in Delta's JSON."""
    return json.dumps({"type": "struct", "fields": list(fields)})


def relaxed(kind: Any) -> Any:
    """The type `kind` with everything inside nullable: Spark derives nullability from expressions, so it differs by run."""
    if not isinstance(kind, dict):
        return kind
    inner = {name: relaxed(kind[name]) for name in ("elementType", "keyType", "valueType") if name in kind}
    loose = {name: True for name in ("containsNull", "valueContainsNull") if name in kind}
    fields = {"fields": [{**f, "type": relaxed(f["type"]), "nullable": True} for f in kind.get("fields", [])]}
    return {**kind, **inner, **loose, **(fields if "fields" in kind else {})}


def type_for(logged: Any, staged: Any) -> Any | None:
    """The type under which files of both types are read; none when there is none."""
    if logged == staged or (_name(staged), _name(logged)) in READ_AS:
        return logged
    if (_name(logged), _name(staged)) in READ_AS:
        return staged
    both = (_name(logged), "double") in READ_AS and (_name(staged), "double") in READ_AS
    return "double" if both else None


def evolved(logged: str, staged: str) -> str | None:
    """The log's schema `logged` after it also holds files of schema `staged`; none when it is that already.

    New columns come last, every column is nullable, a column that is not staged stays, types are widened. Names that differ
    only in case are one column, as they are in Spark; the log's spelling stays. Metadata of a field is added, never replaced.

    Raises:
        IncompatibleError: a type cannot be widened, or a staged column has been renamed in the log.
    """
    fields = {field["name"].lower(): field for field in fields_of(logged)}
    former = {old.lower(): field["name"] for field in fields.values() for old in former_names(field)}
    written = {field["name"].lower(): field for field in fields_of(staged)}
    for name, field in written.items():
        if name not in fields:
            if name in former and former[name].lower() not in written:
                raise IncompatibleError(field["name"], f"renamed to {former[name]}", f"still {field['name']}")
            fields[name] = field
            continue
        kind = type_for(fields[name]["type"], field["type"])
        if kind is None:
            raise IncompatibleError(field["name"], _name(fields[name]["type"]), _name(field["type"]))
        fields[name] = {**fields[name], "type": kind, "metadata": {**field["metadata"], **fields[name]["metadata"]}}
    after = list(fields.values())
    return None if after == json.loads(logged)["fields"] else schema_of(after)


def planned(logged: str, wanted: str) -> str:
    """The log's schema `logged` as a publication with columns `wanted` (what conf/ defines) will leave it.

    A column whose type cannot change without a rewrite keeps the log's type.
    """
    fields = {field["name"].lower(): field for field in fields_of(logged)}
    for field in fields_of(wanted):
        before = fields.setdefault(field["name"].lower(), field)
        kind = defined_type(before["type"], field["type"]) or before["type"]
        fields[field["name"].lower()] = {
            **before,
            "type": kind,
            "metadata": {**field["metadata"], **before["metadata"]},
        }
    return schema_of(fields.values())


def defined_type(logged: Any, wanted: Any) -> Any | None:
    """The log's type after a publication under a definition of type `wanted`; none when that needs a rewrite, or is refused.

    Where it is wider than `wanted`, rows are cast before they are written.
    """
    if (_name(wanted), _name(logged)) in CAST_TO:
        return logged
    as_double = (_name(logged), "double") in READ_AS and (_name(wanted), "double") in CAST_TO
    return type_for(logged, wanted) or ("double" if as_double else None)


def former_names(field: Field) -> list[str]:
    """Names that the column of `field` had before it was renamed."""
    names: list[str] = json.loads(field["metadata"].get(RENAMED_FROM, "[]"))
    return names


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else json.dumps(kind, sort_keys=True)
