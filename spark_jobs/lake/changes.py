"""What conf/ defines against what the logs of published tables hold: changes that are refused, and those that need a rewrite.

Everything else a publication does by itself (storage/evolution.py): columns added and dropped, types widened. No Spark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from spark_jobs.config.schemas import ENTITIES, KEY, TYPES, UNIT, VALID_FROM, table_schemas
from spark_jobs.config.typed_values import exact_value
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.evolution import CAST_TO, Field, defined_type, fields_of, former_names
from spark_jobs.values import Lines

_NEW_NAME = "use a new column name"
_WRITTEN = {logged: name for name, logged in TYPES.items()}  # as tables.yaml writes types


@dataclass(frozen=True)
class Refusal:
    """A change that published rows do not allow: where in conf/, what is wrong, what to do."""

    where: str
    found: str
    hint: str
    derived: bool = False  # follows from another definition, which is refused itself where that is the cause

    def __str__(self) -> str:
        return Lines.of([f"  {self.where}: {self.found}", f"    {self.hint}"])


@dataclass(frozen=True)
class Rewrite:
    """What has to be done to the files of `table`.

    `renames`: old -> new name; `casts`: new name -> type of the log; `fills`: name of a column that the log does not have
    yet -> the value that its rows get; `added`: the fields of those columns.
    """

    table: str
    renames: Mapping[str, str]
    casts: Mapping[str, str]
    fills: Mapping[str, Any]
    added: Sequence[Field]
    files: int
    rows: int
    bytes: int

    def __str__(self) -> str:
        renames = [f"{old} -> {new}" for old, new in self.renames.items()]
        casts = [f"{name} as {_WRITTEN.get(kind, kind)}" for name, kind in self.casts.items()]
        fills = [f"{name} = {value} in published rows" for name, value in self.fills.items()]
        size = f"{self.files} files, {self.rows} rows, {self.bytes} bytes"
        return f"{self.table}: {', '.join([*renames, *casts, *fills])} ({size})"


@dataclass
class Changes:
    """All changes of a pipeline's definitions that a publication cannot make by itself."""

    refusals: list[Refusal] = field(default_factory=list)
    rewrites: list[Rewrite] = field(default_factory=list)


def require_publishable(pipeline: Pipeline, root: Path, env: str) -> None:
    """That published rows and conf/ agree, so that a step can start.

    Raises:
        UsageError: a change of a definition is refused, or needs `tidegate migrate` first; all of them at once.
    """
    changes = pending_changes(pipeline, root)
    require_allowed(pipeline, changes)
    if changes.rewrites:
        count = f"{len(changes.rewrites)} published table(s) must be rewritten first"
        raise UsageError(
            f"conf/pipelines/{pipeline.name}", Lines.of([count, *(f"  {one}" for one in changes.rewrites)]),
            todo=f"tidegate migrate {pipeline.name} --env {env}",
        )  # fmt: skip


def require_allowed(pipeline: Pipeline, changes: Changes) -> None:
    """That none of `changes` is refused.

    Raises:
        UsageError: one is.
    """
    if changes.refusals:
        count = f"{len(changes.refusals)} change(s) contradict published rows"
        raise UsageError(
            f"conf/pipelines/{pipeline.name}", Lines.of([count, *map(str, changes.refusals)]),
            todo="edit the lines named, then: tidegate validate; docs/how-to/change-definitions.md explains every change",
        )  # fmt: skip


def pending_changes(pipeline: Pipeline, root: Path) -> Changes:
    """What is refused and what must be rewritten before a step of `pipeline` can run on the lake at `root`."""
    changes, schemas = Changes(), table_schemas(pipeline)
    logs = {table: log for table in schemas if (log := open_log(root / table)) is not None}
    fields = {table: {one["name"]: one for one in fields_of(log.schema().to_json())} for table, log in logs.items()}
    renames = _renames(pipeline, fields)
    for table, log in logs.items():
        logged, text = fields[table], schemas[table]
        renamed = {old: new for old, new in renames[table].items() if old in logged and new not in logged}
        wanted = {one["name"]: one for one in fields_of(text)}
        before = {renamed.get(name, name): one for name, one in logged.items()}
        faults = list(_refusals(pipeline, table, before, wanted, renames, set(logged)))
        changes.refusals += faults
        casts = {
            name: one["type"] for name, one in wanted.items()
            if name in before and (_text(before[name]), _text(one)) in CAST_TO
        }  # fmt: skip
        fills = {name: value for name, value in _defaults(pipeline, table).items() if name not in before}
        size = _size(log)
        if (renamed or casts or (fills and size[0])) and not faults:
            changes.rewrites.append(Rewrite(table, renamed, casts, fills, [wanted[name] for name in fills], *size))
    causes = [one for one in changes.refusals if not one.derived]
    return Changes(causes or changes.refusals, changes.rewrites)


def _renames(pipeline: Pipeline, logged: Mapping[str, Mapping[str, Field]]) -> dict[str, dict[str, str]]:
    """Former and new names of columns by table: declared or done for silver, followed in features and predictions."""
    silver = {
        name: {
            **{old: new for new, one in logged.get(f"silver/{name}", {}).items() for old in former_names(one)},
            **{one.renamed_from: column for column, one in table.columns.items() if one.renamed_from},
        }
        for name, table in pipeline.silver.items()
    }
    renames: dict[str, dict[str, str]] = {table: {} for table in table_schemas(pipeline)}
    renames |= {f"silver/{name}": columns for name, columns in silver.items()}
    for name, group in pipeline.features.joined.items():
        renames[f"features/{name}"] = {old: new for old, new in silver[group.table].items() if new in group.columns}
    spine = pipeline.features.spine.table
    key = {old: new for old, new in silver[spine].items() if new in pipeline.silver[spine].key}
    return renames | {table: key for table in renames if table.startswith("predictions/")}


def _defaults(pipeline: Pipeline, table: str) -> dict[str, Any]:
    """The declared defaults of a silver table's columns, typed."""
    kind, _, name = table.partition("/")
    columns = pipeline.silver[name].columns if kind == "silver" else {}
    return {
        column: exact_value(conf.default, conf.type) for column, conf in columns.items() if conf.default is not None
    }


def _refusals(
    pipeline: Pipeline, table: str, before: Mapping[str, Field], wanted: Mapping[str, Field],
    renames: Mapping[str, Mapping[str, str]], logged: set[str],
) -> Iterator[Refusal]:  # fmt: skip
    """Refusals of one table; `before`: fields of its log, by the names that they will have."""
    kind, _, name = table.partition("/")
    declared = kind == "silver"
    at = f"tables.yaml: tables.{name}" if declared else f"features.yaml: {name}" if kind == "features" else table
    for old, new in renames[table].items():
        if old in logged and new in logged and old not in former_names(before[new]) and declared:
            hint = "remove renamed_from, or choose a name that the table does not have"
            yield Refusal(
                f"{at}.columns.{new}.renamed_from", f"'{old}' and '{new}' are both columns of published rows", hint
            )
    former = {old: new for new, one in before.items() for old in former_names(one)}
    keys = _entity_columns(pipeline, name) if declared else set()
    for column, one in wanted.items():
        place = f"{at}.columns.{column}" if declared else f"{at}, column {column}"
        if column in before:
            own = declared and column in pipeline.silver[name].columns
            yield from _type_refusal(place, before[column], one, declared=own, names_entity=own and column in keys)
            yield from _unit_refusal(place, before[column], one)
        elif column in former and former[column] not in wanted:
            hint = f"write {former[column]}, with renamed_from: {column}; or use another name"
            yield Refusal(place, f"'{column}' was renamed to '{former[column]}' in the lake", hint)
    if declared:
        yield from _key_refusal(at, before, wanted)
    if kind == "features":
        yield from _entity_refusals(pipeline, name, before, renames)


def _entity_columns(pipeline: Pipeline, table: str) -> set[str]:
    """Columns of a silver table of which feature keys are made."""
    entities, groups = pipeline.features.spine.entities, pipeline.features.groups.values()
    used = [group for group in groups if table in (group.table, pipeline.features.spine.table)]
    return {column for group in used for entity in group.entities for column in entities[entity]}


def _type_refusal(
    place: str, before: Field, now: Field, *, declared: bool, names_entity: bool = False
) -> Iterator[Refusal]:
    old, new = before["type"], now["type"]
    if names_entity and old != new and (old, new) != ("integer", "long"):
        written = [_WRITTEN.get(str(one), str(one)) for one in (new, old)]
        found = (
            f"type {written[0]} of a column that names an entity; keys of published features are made of {written[1]}"
        )
        yield Refusal(place, found, f"{_NEW_NAME} and a new entity, or restore type: {written[1]}")
        return
    kind = defined_type(old, new)
    if (_text(before), _text(now)) in CAST_TO or kind == new or (kind is not None and not declared):
        return  # rewritten, widened, or cast when it is computed
    written = [_WRITTEN.get(one, one) if isinstance(one, str) else "nested" for one in (old, new)]
    found = f"type {written[1]}, published rows have {written[0]}"
    yield Refusal(place, found, f"{_NEW_NAME}, or restore type: {written[0]}", derived=not declared)


def _unit_refusal(place: str, before: Field, now: Field) -> Iterator[Refusal]:
    old, new = before["metadata"].get(UNIT), now["metadata"].get(UNIT)
    if old and new and old != new:
        hint = f"{_NEW_NAME} for values in {new}, or restore unit: {old}"
        yield Refusal(f"{place}.unit", f"unit {new}, published values are in {old}", hint)


def _key_refusal(at: str, before: Mapping[str, Field], wanted: Mapping[str, Field]) -> Iterator[Refusal]:
    old, new = _key(before), _key(wanted)
    if not old[0]:
        return  # published by a version that recorded no key
    if old[1] != new[1]:
        hint = f"define a new table, or restore {f'valid_from: {old[1]}' if old[1] else 'the table without valid_from'}"
        yield Refusal(f"{at}.valid_from", f"{new[1] or 'none'}, published rows have {old[1] or 'none'}", hint)
    elif sorted(old[0]) != sorted(new[0]):
        hint = f"define a new table, or restore key: [{', '.join(old[0])}]"
        yield Refusal(f"{at}.key", f"[{', '.join(new[0])}], published rows have the key [{', '.join(old[0])}]", hint)


def _key(fields: Mapping[str, Field]) -> tuple[list[str], str]:
    """The key in its order without the column of valid_from, and that column."""
    placed = {name: one["metadata"][KEY] for name, one in fields.items() if KEY in one["metadata"]}
    valid_from = next((name for name, one in fields.items() if one["metadata"].get(VALID_FROM)), "")
    return [name for name in sorted(placed, key=placed.__getitem__) if name != valid_from], valid_from


def _entity_refusals(
    pipeline: Pipeline, group: str, before: Mapping[str, Field], renames: Mapping[str, Mapping[str, str]]
) -> Iterator[Refusal]:
    """Entities of a group whose key was made of other columns; a renamed column is the same."""
    recorded: dict[str, list[str]] = json.loads(before["key"]["metadata"].get(ENTITIES, "{}"))
    settings = pipeline.features.groups[group]
    new_names = {
        **renames.get(f"silver/{pipeline.features.spine.table}", {}),
        **renames.get(f"silver/{settings.table}", {}),
    }
    for entity in settings.entities:
        now, then = pipeline.features.spine.entities[entity], recorded.get(entity)
        if then is not None and [new_names.get(column, column) for column in then] != now:
            hint = f"define a new entity, or restore {entity}: [{', '.join(then)}]"
            found = f"[{', '.join(now)}], published features of {group} have keys of [{', '.join(then)}]"
            yield Refusal(f"features.yaml: spine.entities.{entity}", found, hint)


def _text(one: Field) -> str:
    return one["type"] if isinstance(one["type"], str) else ""


def _size(log: DeltaTable) -> tuple[int, int, int]:
    """Files, rows and bytes that the log names."""
    actions = log.get_add_actions(flatten=True)
    if not actions.num_rows:
        return 0, 0, 0
    counts, sizes = (actions.column(name).to_pylist() for name in ("num_records", "size_bytes"))
    return actions.num_rows, sum(filter(None, counts)), sum(sizes)
