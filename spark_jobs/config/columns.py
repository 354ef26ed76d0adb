"""Which columns the tables of a pipeline have, from conf/ alone: silver, features, spine, training set."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from spark_jobs.config.features import WindowGroup
from spark_jobs.config.tables import SilverTable
from spark_jobs.config.whole import Pipeline

COVERED = "covered_h"  # hours of the longest window that were published and known at as_of


class CyclicTablesError(ValueError):
    """Silver tables look each other up in a circle; `cycle` names it."""

    def __init__(self, cycle: list[str]) -> None:
        self.cycle = cycle
        super().__init__(cycle)


def silver_order(tables: dict[str, SilverTable]) -> list[str]:
    """Silver tables, each after those it looks up.

    Raises:
        CyclicTablesError: they look each other up in a circle.
    """
    return [name for wave in silver_waves(tables) for name in wave]


def silver_waves(tables: dict[str, SilverTable]) -> list[list[str]]:
    """Silver tables in waves: each table looks up those of former waves only.

    Raises:
        CyclicTablesError: they look each other up in a circle.
    """
    needs = {name: sorted({look.table for look in table.lookups.values()}) for name, table in tables.items()}
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise CyclicTablesError(list(error.args[1])) from error
    waves: list[list[str]] = []
    while sorter.is_active():
        waves.append(list(sorter.get_ready()))
        sorter.done(*waves[-1])
    return waves


def columns_of(table: SilverTable) -> list[str]:
    """Typed and looked-up columns of a silver table, with event_at."""
    return [*table.columns, *table.lookups, "event_at"]


def silver_columns(pipeline: Pipeline, table: str) -> list[str]:
    """Columns of the silver table `table`; none when there is no such table."""
    return columns_of(pipeline.silver[table]) if table in pipeline.silver else []


def silver_types(pipeline: Pipeline, table: str) -> dict[str, str]:
    """Type of each column of the silver table `table`, those that are looked up and event_at included; none without it.

    A column that is looked up where there is none, which another check reports, has no type.
    """
    if table not in pipeline.silver:
        return {}
    conf = pipeline.silver[table]
    types: dict[str, str] = {name: column.type for name, column in conf.columns.items()}
    for name, look in conf.lookups.items():
        other = pipeline.silver.get(look.table)
        if other and look.column in other.columns:
            types[name] = other.columns[look.column].type
    return {**types, "event_at": "timestamp"}


def judged_types(pipeline: Pipeline, table: str) -> dict[str, str]:
    """Type of each column that a rule of the published table `table` may name."""
    if table in pipeline.silver:
        return {**silver_types(pipeline, table), "hour": "timestamp"}
    if table in pipeline.training_sets:
        return _training_types(pipeline)
    name = table.removeprefix("features/")
    group = pipeline.features.groups[name]
    types = {"entity": "string", "key": "string", "as_of": "timestamp"}
    if isinstance(group, WindowGroup):
        return {
            **types,
            **dict.fromkeys([*feature_columns(pipeline, name), COVERED], "double"),
        }  # some are whole numbers
    taken = silver_types(pipeline, group.table)
    return {**types, **{column: taken[column] for column in group.columns if column in taken}}


def _training_types(pipeline: Pipeline) -> dict[str, str]:
    """Type of each column of a training set; grain: a spine row."""
    spine = pipeline.features.spine.table
    types = {"prediction_at": "timestamp", "as_of": "timestamp"}
    if spine in pipeline.silver:
        types |= {name: column.type for name, column in pipeline.silver[spine].columns.items()}
    for group in pipeline.features.groups:
        of_group = judged_types(pipeline, f"features/{group}")
        prefixed = group in pipeline.features.windows
        for name in input_columns(pipeline, group):
            if prefixed or name in of_group:
                types[name] = "double" if prefixed else of_group[name]
    instants = dict.fromkeys(["cells_known_at", "label_known_at", "hour"], "timestamp")
    return {**types, **instants, "label": "int", "fold": "string"}


def feature_columns(pipeline: Pipeline, group: str) -> list[str]:
    """Value columns of features/<group>, in order."""
    windows = pipeline.features.windows.get(group)
    if windows is None:
        return list(pipeline.features.joined[group].columns)
    return [
        f"{a.name}_{window_label(int(w.total_seconds() // 3600))}"
        for a in windows.aggregations
        for w in windows.windows
    ]


def input_columns(pipeline: Pipeline, group: str) -> list[str]:
    """Columns of a training set that come from features/<group>: `<entity>_<feature>` of windows, else the plain names."""
    values, windows = feature_columns(pipeline, group), pipeline.features.windows.get(group)
    return [f"{entity}_{value}" for entity in windows.entities for value in values] if windows else values


def coverage_columns(pipeline: Pipeline, group: str) -> list[str]:
    """Columns of features/<group> that say how complete the values are; no model takes them as input."""
    return [COVERED] if group in pipeline.features.windows else []


def training_columns(pipeline: Pipeline) -> list[str]:
    """Columns of a training set that a model or a baseline may name: the spine's, and `<entity>_<feature>` or as-of."""
    spine = pipeline.silver.get(pipeline.features.spine.table)
    made = [column for group in pipeline.features.groups for column in input_columns(pipeline, group)]
    return [*(spine.columns if spine else []), *made]


def window_label(hours: int) -> str:
    """A window's length as in feature names: whole days from two on as days, hours otherwise."""
    return f"{hours // 24}d" if hours % 24 == 0 and hours >= 48 else f"{hours}h"
