"""The columns and types of every lake table, from conf/ alone. No Spark.

Schemas are JSON as Delta logs and Spark write it; types have their names there: integer, long, double, timestamp. Metadata of a
column keeps what a later change is judged by: its unit, its place in the key, the columns that name an entity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spark_jobs.config import columns, registered
from spark_jobs.config.clash import result_type
from spark_jobs.config.features import Aggregation, WindowGroup
from spark_jobs.config.tables import SilverTable
from spark_jobs.config.whole import Pipeline

UNIT, KEY, VALID_FROM, ENTITIES = "tidegate.unit", "tidegate.key", "tidegate.valid_from", "tidegate.entities"
TYPES = {"int": "integer", "bigint": "long"}  # types of tables.yaml that a log names differently
Types = dict[str, Any]
_INSTANTS: Types = {"hour": "timestamp", "known_at": "timestamp"}
_OWN: Types = {**_INSTANTS, "pub": "long", "day": "date"}
_TEXTS: Types = {"type": "array", "elementType": "string", "containsNull": True}
_TEXT_BY_NAME: Types = {"type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": True}
_BRONZE: Types = {"file": "string", "line": "long", "drop_sha256": "string", "arrived_at": "timestamp", "raw": "string",
                  "fault": "string"}  # fmt: skip
_QUARANTINE: Types = {
    "table": "string", "file": "string", "line": "long", "business_key": "string", "rules": _TEXTS, "reason": "string",
    "cols": _TEXT_BY_NAME,
}  # fmt: skip
ACCOUNTS: Types = {
    "source": "string", "table": "string", "drop_sha256": "string", "file": "string", "arrived_at": "timestamp",
    "manifest": "long", "silver": "long", "quarantined": "long", "duplicates": "long", "discarded": "long",
}  # fmt: skip
SPINE_ACCOUNTS: Types = {
    "as_of": "timestamp", "expected": "long", "predicted": "long", "incomplete": "long", "not_known": "long",
    "entity_null": "long", "no_cells": "long", "too_early": "long",
}  # fmt: skip
_PREDICTION: Types = {
    "model_version": "string", "role": "string", "prediction_at": "timestamp", "as_of": "timestamp", "score": "double",
    "data_release": "long", "scored_late": "boolean",
}  # fmt: skip


def table_schemas(pipeline: Pipeline) -> dict[str, str]:
    """The schema of every lake table that steps append to, as JSON with the metadata of its columns."""
    types = table_types(pipeline)
    notes = {f"silver/{name}": _silver_notes(table) for name, table in pipeline.silver.items()}
    entities = pipeline.features.spine.entities
    for name, group in pipeline.features.groups.items():
        named = {entity: entities[entity] for entity in sorted(group.entities)}
        notes[f"features/{name}"] = {"key": {ENTITIES: json.dumps(named)}}
    return {table: _schema(own, notes.get(table, {})) for table, own in types.items()}


def table_types(pipeline: Pipeline) -> dict[str, Types]:
    """The type of every column by table and name, in the order in which steps write them."""
    silver = {name: silver_types(pipeline, name) for name in pipeline.silver}
    types: dict[str, Types] = {
        f"bronze/{name}": {**dict.fromkeys(source.columns, "string"), **_BRONZE, **_OWN}
        for name, source in pipeline.sources.sources.items()
    }
    types |= {
        f"silver/{name}": {"file": "string", "line": "long", **columns, **_OWN} for name, columns in silver.items()
    }
    types |= {"quarantine": {**_QUARANTINE, **_OWN}, "accounts": {**ACCOUNTS, **_OWN}}
    types["spine_accounts"] = {**SPINE_ACCOUNTS, **_OWN}
    for group in pipeline.features.windows.values():
        types[f"tiles/{group.table}"] = {**types.get(f"tiles/{group.table}", {}), **_tile_types(pipeline, group)}
    types |= {f"features/{name}": _feature_types(pipeline, name) for name in pipeline.features.groups}
    spine = pipeline.features.spine.table
    key = {name: silver[spine][name] for name in pipeline.silver[spine].key}
    models = pipeline.model_settings
    return types | {f"predictions/{name}": {**key, **_PREDICTION, **_OWN} for name in models}


def silver_types(pipeline: Pipeline, table: str) -> dict[str, str]:
    """The type of every column of a silver table that conf/ defines: typed, looked up, and event_at."""
    return {name: TYPES.get(kind, kind) for name, kind in columns.silver_types(pipeline, table).items()}


def measure_types(pipeline: Pipeline, group: WindowGroup) -> dict[str, str]:
    """The type of every measure of a window group by name; double where its transform does not declare what it gives."""
    known, types = registered.transforms(pipeline.settings.modules), columns.silver_types(pipeline, group.table)
    kinds = {name: result_type(call, types, known) or "double" for name, call in group.measures.items()}
    return {name: TYPES.get(kind, kind) for name, kind in kinds.items()}


def _is_whole(kind: str) -> bool:
    return kind in ("integer", "long", "boolean")


def _tile_types(pipeline: Pipeline, group: WindowGroup) -> Types:
    """Columns of the tiles of the measures that the group aggregates."""
    types: Types = {
        "entity": "string",
        "key": "string",
        "event_hour": "timestamp",
        "known_at": "timestamp",
        "n": "long",
    }
    used = {aggregation.of for aggregation in group.aggregations}
    for name, kind in measure_types(pipeline, group).items():
        if name in used:
            types |= {f"n_{name}": "long", f"sum_{name}": "long" if _is_whole(kind) else "double"}
    return {**types, **_OWN}


def _feature_types(pipeline: Pipeline, name: str) -> Types:
    cell: Types = {"entity": "string", "key": "string", "as_of": "timestamp"}
    group = pipeline.features.groups[name]
    if not isinstance(group, WindowGroup):
        taken = silver_types(pipeline, group.table)
        return {**cell, **{column: taken[column] for column in group.columns}, **_OWN}
    measures = measure_types(pipeline, group)
    types = [value_type(one, measures) for one in group.aggregations for _ in group.windows]
    values = dict(zip(columns.feature_columns(pipeline, name), types, strict=True))
    return {**cell, **values, columns.COVERED: "integer", **_OWN}


def value_type(aggregation: Aggregation, measures: Mapping[str, str]) -> str:
    """The type of an aggregation's features: as declared, else integer for counts, long for sums of whole numbers, double."""
    if aggregation.op == "count":
        return "integer"
    if aggregation.type:
        return aggregation.type
    whole = aggregation.op == "sum" and aggregation.of is not None and _is_whole(measures[aggregation.of])
    return "long" if whole else "double"


def _silver_notes(table: SilverTable) -> dict[str, dict[str, Any]]:
    notes: dict[str, dict[str, Any]] = {name: {UNIT: one.unit} for name, one in table.columns.items() if one.unit}
    for place, name in enumerate(table.version_key):
        notes.setdefault(name, {})[KEY] = place
    if table.valid_from:
        notes[table.valid_from][VALID_FROM] = True
    return notes


def _schema(types: Types, notes: Mapping[str, Mapping[str, Any]]) -> str:
    fields = [
        {"name": name, "type": kind, "nullable": True, "metadata": dict(notes.get(name, {}))}
        for name, kind in types.items()
    ]
    return json.dumps({"type": "struct", "fields": fields})
