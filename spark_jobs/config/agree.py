"""Whether the sections of one pipeline agree: every name that one file uses, another file defines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from spark_jobs.config.tables import SilverTable
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import nearest


@dataclass(frozen=True)
class Fault:
    """One fault of conf/: the place (file:line:column), the key path, what was found, what is allowed."""

    place: str
    path: str
    found: str
    allowed: str = ""
    caret: str = ""

    def __str__(self) -> str:
        head = f"  {self.place}: {self.path}: {self.found}" if self.path else f"  {self.place}: {self.found}"
        return "\n".join(
            [head, *([self.caret] if self.caret else []), *([f"    {self.allowed}"] if self.allowed else [])]
        )


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
    try:
        return list(
            TopologicalSorter({name: sorted({look.table for look in table.lookups.values()}) for name, table in tables.items()})
            .static_order()
        )  # fmt: skip
    except CycleError as error:
        raise CyclicTablesError(list(error.args[1])) from error


def disagreements(pipeline: Pipeline, folder: Path, name: str) -> list[Fault]:
    """All places in which the sections of `pipeline` contradict each other."""
    found = [
        *_settings(pipeline, folder, name),
        *_tables(pipeline, folder),
        *_features(pipeline, folder),
        *_suites(pipeline, name),
    ]
    return found


def columns_of(table: SilverTable) -> list[str]:
    """Typed and looked-up columns of a silver table, with event_at."""
    return [*table.columns, *table.lookups, "event_at"]


def _unknown(place: Path | str, path: str, used: Iterable[str], legal: Iterable[str], kind: str) -> Iterator[Fault]:
    known = list(legal)
    for name in used:
        if name not in known:
            yield Fault(str(place), path, f"no {kind} '{name}'", nearest(name, known))


def _settings(pipeline: Pipeline, folder: Path, name: str) -> Iterator[Fault]:
    file = folder / "pipeline.yaml"
    if pipeline.name != name:
        yield Fault(str(file), "name", f"'{pipeline.name}' is not the folder's name", f"write {name}")
    if pipeline.end and pipeline.end <= pipeline.start:
        yield Fault(str(file), "end", "is not after start")


def _tables(pipeline: Pipeline, folder: Path) -> Iterator[Fault]:
    file = folder / "tables.yaml"
    try:
        silver_order(pipeline.silver)
    except CyclicTablesError as error:
        yield Fault(str(file), "tables", f"look-ups go in a circle: {' -> '.join(error.cycle)}")
    for name, table in pipeline.silver.items():
        at = f"tables.{name}"
        yield from _unknown(file, f"{at}.source", [table.source], pipeline.sources.sources, "source")
        yield from _unknown(file, f"{at}.key", table.key, table.columns, "column")
        yield from _unknown(file, f"{at}.event_at.columns", table.event_at.columns, table.columns, "column")
        source = pipeline.sources.sources.get(table.source)
        if source:
            wanted = [column.source or column_name for column_name, column in table.columns.items()]
            yield from _unknown(file, f"{at}.columns", wanted, source.columns, f"column of source {table.source}")
        for column, look in table.lookups.items():
            yield from _unknown(file, f"{at}.lookups.{column}.table", [look.table], pipeline.silver, "table")
            other = pipeline.silver.get(look.table)
            if other:
                yield from _unknown(file, f"{at}.lookups.{column}.column", [look.column], other.columns, "column")
                if other.key != table.key:
                    yield Fault(
                        str(file), f"{at}.lookups.{column}", f"{look.table} has the key {other.key}", f"{table.key}"
                    )


def _features(pipeline: Pipeline, folder: Path) -> Iterator[Fault]:
    file, features = folder / "features.yaml", pipeline.features
    spine = pipeline.silver.get(features.spine.table)
    yield from _unknown(file, "spine.table", [features.spine.table], pipeline.silver, "table")
    if spine:
        yield from _unknown(file, "spine.event_at", [features.spine.event_at], spine.columns, "column")
        for entity, columns in features.spine.entities.items():
            yield from _unknown(file, f"spine.entities.{entity}", columns, spine.columns, "column")
    for name, group in features.windows.items():
        at, legal = f"windows.{name}", _legal(pipeline, group.table)
        yield from _unknown(file, f"{at}.table", [group.table], pipeline.silver, "table")
        yield from _unknown(file, f"{at}.entities", group.entities, features.spine.entities, "entity")
        for measure, call in group.measures.items():
            yield from _unknown(file, f"{at}.measures.{measure}.columns", call.columns, legal, "column")
        for entity in group.entities:
            yield from _unknown(file, f"{at}.entities", features.spine.entities.get(entity, []), legal, "column")
        for aggregation in group.aggregations:
            if (aggregation.op == "count") != (aggregation.of is None):
                yield Fault(
                    str(file), f"{at}.aggregations", f"'{aggregation.name}': count takes no measure, others take one"
                )
            if aggregation.of:
                yield from _unknown(file, f"{at}.aggregations", [aggregation.of], group.measures, "measure")
    for name, joined in features.as_of.items():
        at, legal = f"as_of.{name}", _legal(pipeline, joined.table)
        yield from _unknown(file, f"{at}.table", [joined.table], pipeline.silver, "table")
        yield from _unknown(file, f"{at}.entity", [joined.entity], features.spine.entities, "entity")
        yield from _unknown(file, f"{at}.columns", joined.columns, legal, "column")


def _legal(pipeline: Pipeline, table: str) -> list[str]:
    return columns_of(pipeline.silver[table]) if table in pipeline.silver else []


def feature_columns(pipeline: Pipeline, group: str) -> list[str]:
    """Value columns of features/<group>, in order."""
    windows = pipeline.features.windows.get(group)
    if windows is None:
        return list(pipeline.features.as_of[group].columns)
    return [
        f"{a.name}_{window_label(int(w.total_seconds() // 3600))}"
        for a in windows.aggregations
        for w in windows.windows
    ]


def window_label(hours: int) -> str:
    """A window's length as in feature names: whole days from two on as days, hours otherwise."""
    return f"{hours // 24}d" if hours % 24 == 0 and hours >= 48 else f"{hours}h"


def _suites(pipeline: Pipeline, name: str) -> Iterator[Fault]:
    place = f"expectations/{name}"
    published = [*pipeline.silver, *pipeline.feature_tables]

    for table, suite in pipeline.suites.items():
        yield from _unknown(place, "table", [table], published, "table")
        if table in published:
            group = table.removeprefix("features/")
            legal = columns_of(pipeline.silver[table]) if table in pipeline.silver else [
                "entity", "key", "as_of", *feature_columns(pipeline, group)]  # fmt: skip
            for rule in suite.rules:
                used = [*([rule.column] if rule.column else []), *(rule.columns or [])]
                yield from _unknown(f"{place}: {table}", f"rules.{rule.id}", used, legal, "column")
    for table in published:
        if table not in pipeline.suites or not pipeline.suites[table].rules:
            yield Fault(
                place,
                "",
                f"table '{table}' would be published without a rule",
                f"write {place}/<file>.yaml with table: {table}",
            )
