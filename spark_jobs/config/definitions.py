"""What every table, column, rule, measure and feature of a pipeline is made of, each with a hash; from conf/ alone.

A definition has exact facts, from which the configuration hash of an hour is computed, and a hash of its meaning: the
expression and the hashes of its inputs. Names, prose and widened types are not part of the meaning, so a rename or a
change from int to bigint leaves every hash as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from spark_jobs.config.columns import silver_order, window_label
from spark_jobs.config.features import AsOfGroup, Group, LookUpGroup, WindowGroup
from spark_jobs.config.registered import function_sources
from spark_jobs.config.section import Section, TransformCall
from spark_jobs.config.tables import SilverTable
from spark_jobs.config.whole import Pipeline, lake_table

Kind = Literal["source", "table", "column", "rule", "entity", "tiles", "measure", "cells", "feature"]

_FEATURES: Final = "features.yaml"  # beside the ids of definitions, each of which has a slash
_PROSE: Final = frozenset({"meaning", "grain", "why", "sensitive"})
_READERS: Final = frozenset({"renamed_from"})  # how older files are read; no run computes another row by it
# How drops are landed: the same drop has the same rows wherever it came from.
_LANDING: Final = frozenset({"kind", "http", "database", "remote", "manifests", "complete", "clock_skew"})
# Types whose values read the same; the order is that of widening.
WIDENING: Final[tuple[tuple[str, ...], ...]] = (("int", "bigint", "double"), ("date", "timestamp"))


@dataclass(frozen=True)
class Definition:
    """One definition: exact facts, ids of the definitions that it is made of, and the hash of its meaning."""

    kind: Kind
    hash: str
    facts: Mapping[str, Any]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Definitions:
    """All definitions that the tables of an hour use, by id such as `silver/orders.amount` or `features/sales.orders_3h`."""

    by_id: Mapping[str, Definition]
    # All of features.yaml, kept beside the definitions that follow from it; older ledgers have none.
    features: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """16 hex digits of the exact facts: the configuration hash of an hour."""
        return _hash({name: [one.kind, one.facts, one.inputs] for name, one in self.by_id.items()})

    def of(self, table: str) -> dict[str, Definition]:
        """The definitions of one lake table: its own, those of its columns, rules and entities."""
        return {name: one for name, one in self.by_id.items() if table_of(name) == table}

    def to_json(self) -> str:
        """As the ledger keeps them."""
        recorded: dict[str, Any] = {name: asdict(one) for name, one in self.by_id.items()}
        return json.dumps({**recorded, _FEATURES: self.features} if self.features else recorded, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Definitions:
        """The definitions that `to_json` wrote."""
        found = json.loads(text)
        features = found.pop(_FEATURES, None)
        by_id = {name: Definition(**{**one, "inputs": tuple(one["inputs"])}) for name, one in found.items()}
        return Definitions(by_id, features)


def table_of(name: str) -> str:
    """The lake table that the definition `name` belongs to."""
    folder, _, rest = name.partition("/")
    for mark in ".:[":
        rest = rest.partition(mark)[0]
    return f"{folder}/{rest}"


def is_row_rule(definition: Definition) -> bool:
    """Whether a rule decides which rows are published; the others only judge them."""
    return definition.kind == "rule" and definition.facts.get("scope") == "row"


def is_narrowed(before: Definition, now: Definition) -> bool:
    """Whether the type of a column holds fewer values than it did."""
    old, new = before.facts.get("type"), now.facts.get("type")
    for family in WIDENING:
        if old in family and new in family:
            return family.index(new) < family.index(old)
    return False  # another family is another hash


def define(pipeline: Pipeline) -> Definitions:
    """The definitions of `pipeline`; nothing is imported and no file but the source of its own modules is read."""
    builder = _Builder(pipeline)
    for name, source in pipeline.sources.sources.items():
        facts = _stated(source, _LANDING)
        builder.add(f"bronze/{name}", "source", {**facts, "columns": sorted(source.columns)})
    for name in silver_order(pipeline.silver):
        _define_silver(builder, name, pipeline.silver[name])
    for name, group in pipeline.features.windows.items():
        _define_tiles(builder, group)
        _define_windows(builder, name, group)
    for name, joined in pipeline.features.joined.items():
        _define_joined(builder, name, joined)
    missed = {**_stated(pipeline.features.spine.missed), "scope": "hour"}
    builder.add(f"silver/{pipeline.features.spine.table}:spine_missed", "rule", missed)
    for entity, columns in pipeline.features.spine.entities.items():
        spine = f"silver/{pipeline.features.spine.table}"
        builder.add(
            f"entities/{entity}", "entity", {"columns": columns}, builder.columns(spine, columns), loose=("columns",)
        )
    for table, suite in pipeline.suites.items():
        if table in pipeline.training_sets:
            continue  # its rules define no hour
        table = lake_table(table)
        if allowances := _stated(suite.built_in):
            builder.add(f"{table}:built_in", "rule", {**allowances, "scope": "hour"})
        for rule in suite.rules:
            named = [*([rule.column] if rule.column else []), *rule.columns]
            facts = {**_stated(rule, frozenset({"id"})), "scope": rule.scope}
            loose = ("severity", "budget", "min_rows", "column", "columns", "scope")
            builder.add(f"{table}:{rule.id}", "rule", facts, builder.columns(table, named), loose)
    return Definitions(builder.found, pipeline.features.model_dump(mode="json", by_alias=True, exclude_none=True))


def input_hashes(pipeline: Pipeline, definitions: Definitions) -> dict[str, str]:
    """For every column of a training set the hash of what it means: `<entity>_<feature>`, an as-of or a spine column."""
    found = definitions.by_id
    spine = f"silver/{pipeline.features.spine.table}"
    hashes = {name.partition(".")[2]: one.hash for name, one in definitions.of(spine).items() if one.kind == "column"}
    for group, settings in pipeline.features.groups.items():
        table = f"features/{group}"
        for name, one in definitions.of(table).items():
            if one.kind != "feature":
                continue
            feature = name.partition(".")[2]
            for entity in settings.entities:
                if f"{table}[{entity}]" not in found:
                    continue  # definitions of a time at which nothing was computed for this entity
                prefix = f"{entity}_" if isinstance(settings, WindowGroup) else ""
                hashes[f"{prefix}{feature}"] = _hash([one.hash, found[f"{table}[{entity}]"].hash])
    return hashes


def model_digest(pipeline: Pipeline, name: str) -> str:
    """16 hex digits of all that model.yaml states about a model: what a training needs beside its training set."""
    model = pipeline.model_settings[name]
    source = function_sources(pipeline.settings.modules).get(model.label.use, "")
    return _hash([_stated(model), source])


class _Builder:
    """Collects definitions, inputs before what is made of them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.found = pipeline, dict[str, Definition]()
        self.sources = function_sources(pipeline.settings.modules)

    def add(
        self, name: str, kind: Kind, facts: Mapping[str, Any], inputs: Sequence[str] = (), loose: Iterable[str] = ()
    ) -> None:
        """Add a definition; facts named in `loose` are not part of its meaning. Inputs that are not defined are left out."""
        known = tuple(one for one in inputs if one in self.found)
        meant = {key: value for key, value in facts.items() if key not in {*loose}}
        if "type" in meant:
            meant["type"] = next((family[0] for family in WIDENING if meant["type"] in family), meant["type"])
        self.found[name] = Definition(kind, _hash([kind, meant, [self.found[one].hash for one in known]]), facts, known)

    def call(self, call: TransformCall) -> dict[str, Any]:
        """Facts of a call of a transform; the source of the pipeline's own functions is one of them."""
        facts: dict[str, Any] = {"use": call.use}
        if call.options:
            facts["options"] = dict(call.options)
        if call.use in self.sources:
            facts["source"] = self.sources[call.use]
        return facts

    def columns(self, table: str, names: Iterable[str]) -> list[str]:
        """Ids of columns of a table."""
        return [f"{table}.{name}" for name in names]


def _define_silver(builder: _Builder, name: str, table: SilverTable) -> None:
    """Columns, look-ups, event_at, the table itself and the rules that every table has."""
    silver, source = f"silver/{name}", builder.pipeline.sources.sources[table.source]
    for column, conf in table.columns.items():
        facts = _stated(conf, _PROSE | _READERS | {"required", "from"})
        facts |= {"drops": table.source, "from": conf.source or column, "nulls": sorted(source.nulls)}
        builder.add(f"{silver}.{column}", "column", facts, loose=("unit", "default"))
        if conf.required:
            builder.add(f"{silver}:required({column})", "rule", {"scope": "row"}, [f"{silver}.{column}"])
    for column, look_up in table.lookups.items():
        facts = _stated(look_up, _PROSE | _READERS | {"table", "column"})
        facts |= {"look_up": True, "key": table.key, "within": _text(look_up.within)}
        key = builder.columns(silver, table.key)
        inputs = [f"silver/{look_up.table}.{look_up.column}", *key]
        builder.add(f"{silver}.{column}", "column", facts, inputs, loose=("key",))
    event_at = builder.call(table.event_at)
    builder.add(f"{silver}.event_at", "column", event_at, builder.columns(silver, table.event_at.columns))
    facts = _stated(table, _PROSE | {"columns", "lookups", "event_at", "event_within", "volume"})
    key = sorted(
        table.version_key, key=lambda name: builder.found[f"{silver}.{name}"].hash
    )  # in any order the same key
    builder.add(silver, "table", facts, builder.columns(silver, key), loose=("key", "valid_from"))
    within = {"lateness": _text(table.event_within.lateness), "ahead": _text(table.event_within.ahead), "scope": "row"}
    builder.add(f"{silver}:event_within", "rule", within, [f"{silver}.event_at"])
    builder.add(f"{silver}:volume", "rule", {**_stated(table.volume), "scope": "hour"})
    if source.drift != "quarantine":
        builder.add(f"{silver}:type_drift", "rule", {"scope": "hour"})


def _define_tiles(builder: _Builder, group: WindowGroup) -> None:
    """Per entity and per measure: what the tiles of a silver table sum up."""
    silver, tiles = f"silver/{group.table}", f"tiles/{group.table}"
    named = builder.pipeline.features.spine.entities
    for entity in group.entities:
        inputs = [f"{silver}.event_at", *builder.columns(silver, named[entity])]
        builder.add(f"{tiles}[{entity}]", "tiles", {}, inputs)
    used = {one.of for one in group.aggregations}  # of others no tile has a sum
    for measure, call in group.measures.items():
        if measure not in used:
            continue
        inputs = [f"{silver}.event_at", *builder.columns(silver, call.columns)]
        builder.add(f"{tiles}.{measure}", "measure", builder.call(call), inputs)


def _define_windows(builder: _Builder, name: str, group: WindowGroup) -> None:
    features, tiles = f"features/{name}", f"tiles/{group.table}"
    _define_cells(builder, name, group, [f"{tiles}[{entity}]" for entity in group.entities])
    more = _stated(group, frozenset({"table", "entities", "measures", "windows", "aggregations"}))
    for one in group.aggregations:
        made_of = f"{tiles}.{one.of}" if one.of else f"silver/{group.table}.event_at"
        facts = {**more, **_stated(one, frozenset({"name", "of"}))}
        for window in group.windows:
            label = window_label(int(window / timedelta(hours=1)))
            builder.add(f"{features}.{one.name}_{label}", "feature", {**facts, "window": _text(window)}, [made_of])


def _define_joined(builder: _Builder, name: str, group: AsOfGroup | LookUpGroup) -> None:
    silver, table = f"silver/{group.table}", builder.pipeline.silver[group.table]
    key = builder.columns(silver, builder.pipeline.features.spine.entities[group.entity])
    _define_cells(builder, name, group, key)
    at = f"{silver}.{table.valid_from}" if isinstance(group, LookUpGroup) else f"{silver}.event_at"
    facts = _stated(group, frozenset({"table", "entity", "columns", "staleness"}))
    facts["join"] = "valid_from" if isinstance(group, LookUpGroup) else "as_of"
    if isinstance(group, AsOfGroup):
        facts["staleness"] = _text(group.staleness)
    for column in group.columns:
        builder.add(f"features/{name}.{column}", "feature", facts, [f"{silver}.{column}", at])


def _define_cells(builder: _Builder, name: str, group: Group, more: Sequence[str]) -> None:
    """Per entity: which cells there are, and for which key."""
    spine = builder.pipeline.features.spine
    silver = f"silver/{spine.table}"
    facts = _stated(spine, frozenset({"table", "event_at", "entities", "predict_before", "announced_within", "missed"}))
    facts |= {
        "spine": spine.table,
        "predict_before": _text(spine.predict_before),
        "announced_within": _text(spine.announced_within),
    }
    of_entity = dict(zip(group.entities, more, strict=True)) if isinstance(group, WindowGroup) else {}
    for entity in group.entities:
        inputs = [f"{silver}.{spine.event_at}", *builder.columns(silver, spine.entities[entity])]
        inputs += [of_entity[entity]] if entity in of_entity else more
        builder.add(f"features/{name}[{entity}]", "cells", facts, inputs)


def _stated(section: Section, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What a section states beyond its defaults, so that a later version's new field changes nothing until it is used."""
    stated = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {key: value for key, value in stated.items() if key not in without | _PROSE}


def _text(length: timedelta) -> str:
    return f"{int(length / timedelta(minutes=1))}m"


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
