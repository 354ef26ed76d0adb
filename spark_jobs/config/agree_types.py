"""Whether types agree wherever values of two places meet: keys of joins, entities, labels, measures, the inputs of models.

Equal keys must have equal text and compare as equal, or rows silently never match: int and bigint do, others do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from spark_jobs.config.clash import Clash, result_type
from spark_jobs.config.columns import feature_columns, silver_types
from spark_jobs.config.features import WindowGroup
from spark_jobs.config.model import Inputs
from spark_jobs.config.registered import Signature
from spark_jobs.config.tables import SilverTable
from spark_jobs.config.typed_values import class_of, exact_value, same_text
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where

FEATURES, MODEL, TABLES = "features.yaml", "model.yaml", "tables.yaml"


def type_clashes(pipeline: Pipeline, known: dict[str, Signature]) -> Iterator[Clash]:
    """All places where values of different types would be compared, joined or computed with."""
    yield from _tables(pipeline, known)
    yield from _spine(pipeline)
    yield from _entities(pipeline)
    yield from _measures(pipeline, known)
    yield from _models(pipeline, known)


def _tables(pipeline: Pipeline, known: dict[str, Signature]) -> Iterator[Clash]:
    for name, table in pipeline.silver.items():
        at = ("tables", name)
        given = result_type(table.event_at, silver_types(pipeline, name), known)
        if given not in ("", "timestamp"):
            yield Clash(TABLES, (*at, "event_at"), f"event_at is {given}", "a timestamp; declare its column as one")
        yield from _defaults(name, table)
        for to, look in table.lookups.items():
            if look.table in pipeline.silver and pipeline.silver[look.table].key == table.key:
                yield from _same_types(pipeline, TABLES, (*at, "lookups", to), table.key, name, look.table)


def _defaults(name: str, table: SilverTable) -> Iterator[Clash]:
    """Defaults that are no values of their column, or that would give older rows a key."""
    for column, conf in table.columns.items():
        if conf.default is None:
            continue
        at = ("tables", name, "columns", column, "default")
        if column in table.version_key:
            yield Clash(TABLES, at, f"default for '{column}', a column of the key", "a default for other columns only")
        try:
            exact_value(conf.default, conf.type)
        except ValueError as error:
            yield Clash(TABLES, at, str(error), f"a value of type {conf.type}")


def _spine(pipeline: Pipeline) -> Iterator[Clash]:
    spine = pipeline.features.spine
    kind = silver_types(pipeline, spine.table).get(spine.event_at, "timestamp")
    if kind != "timestamp":
        yield Clash(FEATURES, ("spine", "event_at"), f"'{spine.event_at}' is {kind}", "a column of type timestamp",
                    (TABLES, ("tables", spine.table, "columns", spine.event_at)))  # fmt: skip


def _entities(pipeline: Pipeline) -> Iterator[Clash]:
    spine = pipeline.features.spine
    for section in ("windows", "as_of", "look_ups"):
        groups: Mapping[str, object] = getattr(pipeline.features, section)
        for name in groups:
            group = pipeline.features.groups[name]
            for index, entity in enumerate(group.entities):
                many = isinstance(group, WindowGroup)
                at = (section, name, "entities", index) if many else (section, name, "entity")
                yield from _same_types(pipeline, FEATURES, at, spine.entities.get(entity, []), spine.table, group.table)


def _same_types(
    pipeline: Pipeline, file: str, at: Where, columns: Iterable[str], left: str, right: str
) -> Iterator[Clash]:
    """A clash for each of `columns` whose types in two silver tables have different texts for equal values."""
    here, there = silver_types(pipeline, left), silver_types(pipeline, right)
    for name in columns:
        if name in here and name in there and not same_text(here[name], there[name]):
            found = f"'{name}' is {here[name]} in {left} and {there[name]} in {right}: the keys would never match"
            yield Clash(file, at, found, "one type in both tables (int and bigint match)",
                        (TABLES, ("tables", right, "columns", name)))  # fmt: skip


def _measures(pipeline: Pipeline, known: dict[str, Signature]) -> Iterator[Clash]:
    for name, group in pipeline.features.windows.items():
        types = silver_types(pipeline, group.table)
        for measure, call in group.measures.items():
            kind = result_type(call, types, known)
            if kind and class_of(kind) not in ("number", "truth"):
                yield Clash(
                    FEATURES, ("windows", name, "measures", measure), f"the measure is {kind}", "a number or boolean"
                )


def _models(pipeline: Pipeline, known: dict[str, Signature]) -> Iterator[Clash]:
    spine_name = pipeline.features.spine.table
    spine = pipeline.silver.get(spine_name)
    for name, model in pipeline.model_settings.items():
        at = ("models", name)
        label = pipeline.silver.get(model.label.table)
        kind = result_type(model.label, silver_types(pipeline, model.label.table), known)
        if kind and class_of(kind) not in ("number", "truth"):
            yield Clash(
                MODEL, (*at, "label"), f"the label is {kind}", "0, 1 or null: use at_least, or a column of 0 and 1"
            )
        if spine and label and spine.key == label.key:
            yield from _same_types(pipeline, MODEL, (*at, "label", "table"), spine.key, spine_name, model.label.table)
        yield from _inputs(pipeline, model.inputs, (*at, "inputs"))
        for baseline, conf in model.baselines.items():
            if conf.inputs:
                yield from _inputs(pipeline, conf.inputs, (*at, "baselines", baseline, "inputs"))


def _inputs(pipeline: Pipeline, inputs: Inputs, at: Where) -> Iterator[Clash]:
    """Groups are taken whole: each of their columns must be a number or boolean, and each input has a name of its own."""
    types = silver_types(pipeline, pipeline.features.spine.table)
    for index, name in enumerate(inputs.ids):
        if types.get(name) in ("timestamp", "double"):
            todo = "a column of type string, int, bigint, date or boolean; of a timestamp take parts by calendar"
            yield Clash(MODEL, (*at, "ids", index), f"'{name}' is {types[name]}, which names nothing", todo)
    names = [*inputs.numeric]
    for index, name in enumerate(inputs.features):
        group = pipeline.features.groups.get(name)
        if group is None:
            continue
        if isinstance(group, WindowGroup):
            names += [f"{entity}_{value}" for entity in group.entities for value in feature_columns(pipeline, name)]
            continue
        names += group.columns
        taken = silver_types(pipeline, group.table)
        section = "as_of" if name in pipeline.features.as_of else "look_ups"
        for column in group.columns:
            if column in taken and class_of(taken[column]) not in ("number", "truth"):
                yield Clash(
                    MODEL, (*at, "features", index),
                    f"column '{column}' of group '{name}' is {taken[column]}, and a group is taken whole",
                    f"numbers and booleans: move '{column}' from features.yaml {section}.{name} into a group that no model takes",
                    (FEATURES, (section, name, "columns", group.columns.index(column))),
                )  # fmt: skip
    doubled = sorted(
        {one for one in names if names.count(one) > 1} | {one for one in inputs.ids if inputs.ids.count(one) > 1}
    )
    if doubled:
        yield Clash(MODEL, at, f"inputs named twice: {', '.join(doubled)}", "each input once")
