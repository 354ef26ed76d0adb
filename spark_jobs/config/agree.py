"""Whether the sections of one pipeline agree: every name that one file uses, another file defines.

Says which file and key path is wrong; `load.py` adds line and caret. `agree_learning.py` does model.yaml.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from spark_jobs.config import registered
from spark_jobs.config.agree_learning import model_clashes
from spark_jobs.config.agree_names import name_clashes
from spark_jobs.config.agree_rules import suite_clashes
from spark_jobs.config.agree_types import type_clashes
from spark_jobs.config.clash import Clash, unknown_name, unknown_names, wrong_call
from spark_jobs.config.columns import (
    CyclicTablesError,
    columns_of,
    feature_columns,
    silver_columns,
    silver_order,
    silver_types,
    training_columns,
    window_label,
)  # fmt: skip
from spark_jobs.config.features import AsOfGroup, LookUpGroup
from spark_jobs.config.measure_check import measure_clashes
from spark_jobs.config.spine_check import spine_clashes
from spark_jobs.config.tables import SilverTable
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where
from spark_jobs.errors import nearest

__all__ = ["CyclicTablesError", "columns_of", "disagreements", "feature_columns", "silver_order", "window_label"]


def disagreements(pipeline: Pipeline, name: str) -> list[Clash]:
    """All places in which the sections of the pipeline in folder `name` contradict each other."""
    known = registered.transforms(pipeline.settings.modules)
    return [
        *_settings(pipeline, name),
        *_tables(pipeline, known),
        *_features(pipeline, known),
        *measure_clashes(pipeline),
        *spine_clashes(pipeline),
        *_replay(pipeline),
        *model_clashes(pipeline, known),
        *type_clashes(pipeline, known),
        *name_clashes(pipeline),
        *suite_clashes(pipeline, name),
    ]


def _settings(pipeline: Pipeline, name: str) -> Iterator[Clash]:
    file = "pipeline.yaml"
    if pipeline.name != name:
        yield Clash(file, ("name",), f"'{pipeline.name}' is not the folder's name", f"write {name}")
    if pipeline.end and pipeline.end <= pipeline.start:
        yield Clash(file, ("end",), "is not after start")
    for index, module in enumerate(pipeline.settings.modules):
        source = registered.module_file(module)
        if source is None:
            yield Clash(
                file, ("modules", index), f"no Python module '{module}'", f"one on sys.path or in {registered.ROOT}"
            )
        elif fault := registered.syntax_fault(source):
            yield Clash(file, ("modules", index), f"module '{module}' has a syntax error, {fault}", "Python source")


def _tables(pipeline: Pipeline, known: dict[str, registered.Signature]) -> Iterator[Clash]:
    file = "tables.yaml"
    try:
        silver_order(pipeline.silver)
    except CyclicTablesError as error:
        at = ("tables", error.cycle[0], "lookups")
        yield Clash(
            file, at, f"look-ups go in a circle: {' -> '.join(error.cycle)}", "each table looks up earlier ones"
        )
    for name, table in pipeline.silver.items():
        yield from _table(file, ("tables", name), table, pipeline, known)


def _table(
    file: str, at: Where, table: SilverTable, pipeline: Pipeline, known: dict[str, registered.Signature]
) -> Iterator[Clash]:
    yield from unknown_name(file, (*at, "source"), table.source, pipeline.sources.sources, "source")
    yield from unknown_names(file, (*at, "key"), table.key, table.columns, "column")
    types = {column: conf.type for column, conf in table.columns.items()}
    yield from wrong_call(file, (*at, "event_at"), table.event_at, types, known)
    if table.valid_from:
        yield from unknown_name(file, (*at, "valid_from"), table.valid_from, table.columns, "column")
        held = table.columns.get(table.valid_from)
        if held and (held.type != "timestamp" or not held.required or table.valid_from in table.key):
            yield Clash(file, (*at, "valid_from"), f"'{table.valid_from}' cannot say from when a row holds",
                        "a column of type timestamp, required: true, that is not in the key")  # fmt: skip
    source = pipeline.sources.sources.get(table.source)
    for name, column in table.columns.items():
        place = (*at, "columns", name)
        if source:
            at_name = (*place, "from") if column.source else place
            yield from unknown_name(
                file, at_name, column.source or name, source.columns, f"column of source {table.source}"
            )
    for name, look in table.lookups.items():
        place = (*at, "lookups", name)
        yield from unknown_name(file, (*place, "table"), look.table, pipeline.silver, "table")
        other = pipeline.silver.get(look.table)
        if other:
            yield from unknown_name(file, (*place, "column"), look.column, other.columns, "column")
            if other.key != table.key:
                yield Clash(file, place, f"{look.table} has the key {other.key}", f"{table.key}")


def _features(pipeline: Pipeline, known: dict[str, registered.Signature]) -> Iterator[Clash]:
    file, spine = "features.yaml", pipeline.features.spine
    yield from unknown_name(file, ("spine", "table"), spine.table, pipeline.silver, "table")
    table = pipeline.silver.get(spine.table)
    if table:
        yield from unknown_name(file, ("spine", "event_at"), spine.event_at, table.columns, "column")
        for entity, columns in spine.entities.items():
            yield from unknown_names(file, ("spine", "entities", entity), columns, table.columns, "column")
    yield from _windows(file, pipeline, known)
    for section, name, joined in _joined(pipeline):
        at, legal = (section, name), silver_columns(pipeline, joined.table)
        yield from unknown_name(file, (*at, "table"), joined.table, pipeline.silver, "table")
        yield from unknown_name(file, (*at, "entity"), joined.entity, spine.entities, "entity")
        if joined.table in pipeline.silver:
            yield from unknown_names(file, (*at, "columns"), joined.columns, legal, "column")
            yield from _entity_columns(
                file, (*at, "entity"), spine.entities.get(joined.entity, []), legal, joined.table
            )
        if isinstance(joined, AsOfGroup) and not _whole_hours(joined.staleness):
            yield Clash(file, (*at, "staleness"), "is not a number of whole hours", "1h or more")
        table = pipeline.silver.get(joined.table)
        if table and isinstance(joined, LookUpGroup) and table.valid_from is None:
            legal = [name for name, one in pipeline.silver.items() if one.valid_from]
            todo = nearest(joined.table, legal) if legal else "a table with valid_from in tables.yaml"
            yield Clash(file, (*at, "table"), f"{joined.table} is no slowly changing table", todo)
        if name in pipeline.features.windows or (section == "look_ups" and name in pipeline.features.as_of):
            yield Clash(file, at, f"'{name}' is another group too", "one group for each table features/<name>")
    doubled = sorted(column for column, times in Counter(training_columns(pipeline)).items() if times > 1)
    if doubled:
        yield Clash(
            file, (), f"columns that a training set would have twice: {', '.join(doubled)}", "rename one of each"
        )


def _joined(pipeline: Pipeline) -> Iterator[tuple[str, str, AsOfGroup | LookUpGroup]]:
    yield from (("as_of", name, group) for name, group in pipeline.features.as_of.items())
    yield from (("look_ups", name, group) for name, group in pipeline.features.look_ups.items())


def _windows(file: str, pipeline: Pipeline, known: dict[str, registered.Signature]) -> Iterator[Clash]:
    entities = pipeline.features.spine.entities
    for name, group in pipeline.features.windows.items():
        at, legal = ("windows", name), silver_columns(pipeline, group.table)
        yield from unknown_name(file, (*at, "table"), group.table, pipeline.silver, "table")
        yield from unknown_names(file, (*at, "entities"), group.entities, entities, "entity")
        if group.table in pipeline.silver:
            for measure, call in group.measures.items():
                yield from wrong_call(
                    file, (*at, "measures", measure), call, silver_types(pipeline, group.table), known
                )
            for index, entity in enumerate(group.entities):
                place = (*at, "entities", index)
                yield from _entity_columns(file, place, entities.get(entity, []), legal, group.table)
        for index, window in enumerate(group.windows):
            if not _whole_hours(window):
                yield Clash(file, (*at, "windows", index), "is not a number of whole hours", "1h or more")
        for index, aggregation in enumerate(group.aggregations):
            place = (*at, "aggregations", index)
            if (aggregation.op == "count") != (aggregation.of is None):
                yield Clash(file, place, f"'{aggregation.name}': count takes no measure, others take one")
            if aggregation.of:
                yield from unknown_name(file, (*place, "of"), aggregation.of, group.measures, "measure")


def _entity_columns(file: str, where: Where, needed: list[str], legal: list[str], table: str) -> Iterator[Clash]:
    for column in needed:
        if column not in legal:
            yield Clash(
                file, where, f"{table} has no column '{column}', which names the entity", nearest(column, legal)
            )


def _whole_hours(length: timedelta) -> bool:
    return length > timedelta(0) and length % timedelta(hours=1) == timedelta(0)


def _replay(pipeline: Pipeline) -> Iterator[Clash]:
    if pipeline.replay is None:
        return
    file, declared = "replay.yaml", pipeline.sources.sources
    for name, replayed in pipeline.replay.sources.items():
        at = ("sources", name)
        yield from unknown_name(file, at, name, declared, "source")
        if name not in declared:
            continue
        source = declared[name]
        table = source.database
        if table and (table.table is None or table.changed_at != replayed.stamp):
            allowed = "database.table in sources.yaml, and stamp: the column of its database.changed_at"
            yield Clash(file, at, f"source '{name}' does not read a table by the hour that the replay writes", allowed)
        if replayed.format != source.format:
            yield Clash(
                file, (*at, "format"), f"'{replayed.format}' is not the source's format", f"write {source.format}"
            )
        for column in replayed.columns:
            yield from unknown_name(file, (*at, "columns", column), column, source.columns, f"column of source {name}")
        if replayed.stamp:
            yield from unknown_name(file, (*at, "stamp"), replayed.stamp, source.columns, f"column of source {name}")
        for column in source.columns:
            if column not in (*replayed.columns, replayed.stamp):
                yield Clash(
                    file, (*at, "columns"), f"column '{column}' of source {name} is not made", "one entry a column"
                )
    for name in declared:
        if name not in pipeline.replay.sources:
            yield Clash(file, ("sources",), f"source '{name}' of sources.yaml is not made", "one entry a source")
