"""Names that would collide with columns that the lake, a training set or a step adds to a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from spark_jobs.config.clash import Clash
from spark_jobs.config.sources import RESERVED
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where

SILVER = RESERVED | {"known_until", "broken", "valid_to"}
SPINE = frozenset(
    {"prediction_at", "as_of", "label", "label_known_at", "fold", "cells_known_at"}
    | {"model_version", "role", "score", "data_release", "scored_late"}
)
FEATURES = frozenset(
    {"entity", "key", "as_of", "age_h", "event_at", "known_at", "hour", "day", "pub", "definition_hash"}
)
TILES = frozenset(
    {
        "entity",
        "key",
        "event_hour",
        "known_at",
        "known_until",
        "event_at",
        "n",
        "last",
        "at",
        "balance",
        "before",
        "losing",
    }
    | {"times", "time", "hour", "day", "pub", "is_last", "replaced_at"}
)


def name_clashes(pipeline: Pipeline) -> Iterator[Clash]:
    """All names that are taken where they are used, or used twice where each must be used once."""
    yield from _silver(pipeline)
    yield from _features(pipeline)
    yield from _windows(pipeline)


def _taken(file: str, where: Where, name: str, names: Iterable[str], by: str) -> Iterator[Clash]:
    if name in names:
        yield Clash(file, where, f"'{name}' is taken by {by}", f"another name, none of {', '.join(sorted(names))}")


def _silver(pipeline: Pipeline) -> Iterator[Clash]:
    spine = pipeline.features.spine.table
    for name, table in pipeline.silver.items():
        for kind, names in (("columns", table.columns), ("lookups", table.lookups)):
            for column in names:
                at = ("tables", name, kind, column)
                yield from _taken("tables.yaml", at, column, SILVER, "the lake")
                if name == spine:
                    yield from _taken(
                        "tables.yaml",
                        at,
                        column,
                        SPINE,
                        "training sets and predictions, which have the spine's columns",
                    )
        for column in table.columns:
            if column in table.lookups:
                yield Clash(
                    "tables.yaml",
                    ("tables", name, "lookups", column),
                    f"'{column}' is a column of {name}",
                    "another name",
                )
        yield from _twice("tables.yaml", ("tables", name, "key"), table.key)


def _features(pipeline: Pipeline) -> Iterator[Clash]:
    file = "features.yaml"
    for entity, columns in pipeline.features.spine.entities.items():
        at = ("spine", "entities", entity)
        if not columns:
            yield Clash(file, at, f"entity '{entity}' has no column", "one column of the spine or more")
        yield from _twice(file, at, columns)
    for section, groups in (("as_of", pipeline.features.as_of), ("look_ups", pipeline.features.look_ups)):
        for name, group in groups.items():
            yield from _twice(file, (section, name, "columns"), group.columns)
            for index, column in enumerate(group.columns):
                place = (section, name, "columns", index)
                yield from _taken(file, place, column, FEATURES, "feature tables")
                yield from _taken(file, place, column, SPINE - FEATURES, "training sets and predictions")


def _windows(pipeline: Pipeline) -> Iterator[Clash]:
    file, entities = "features.yaml", pipeline.features.spine.entities
    for name, group in pipeline.features.windows.items():
        yield from _twice(file, ("windows", name, "entities"), group.entities)
        keys = {column for entity in group.entities for column in entities.get(entity, [])}
        for measure in group.measures:
            at = ("windows", name, "measures", measure)
            yield from _taken(file, at, measure, TILES, "tiles")
            yield from _taken(file, at, measure, keys, "columns that name an entity")


def _twice(file: str, at: Where, names: list[str]) -> Iterator[Clash]:
    doubled = sorted(name for name, times in Counter(names).items() if times > 1)
    if doubled:
        yield Clash(file, at, f"named twice: {', '.join(doubled)}", "each name once")
