"""Which published hours a step would mix with values of another definition: known from ledger and conf/, without a JVM.

`lake/changes.py` refuses what no rebuild makes right: other types, units and keys under the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from spark_jobs.config.definitions import Definitions, define
from spark_jobs.config.features import AsOfGroup, LookUpGroup, WindowGroup
from spark_jobs.config.model import Inputs, Model
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.staleness import Published, Span, count_hours, merged, subtract, within
from spark_jobs.steps import plan
from spark_jobs.values import Lines

SHOWN = 10  # changes that a message names


@dataclass(frozen=True)
class Reads:
    """Definitions of a table that a step reads from published hours [start, end); `added`: also where there were none yet."""

    table: str
    ids: frozenset[str]
    start: datetime | None
    end: datetime
    added: bool = False


def require_unmixed(pipeline: Pipeline, ledger: Ledger, call: Invocation) -> None:
    """That nothing which `call` reads was made under definitions of another meaning than it takes it to have.

    Raises:
        UsageError: published hours have to be rebuilt first.
    """
    step = plan.step(call.step)
    if step.continues or call.step in ("train", "score"):
        # continues what was staged under this very configuration, reads no table of the lake, or checks its inputs itself
        return
    published = Published.of(ledger, define(pipeline))
    if not published.former:
        return
    mixed = mixed_hours(pipeline, published, call)
    if mixed:
        lines = [f"{name}: {_hours_text(spans)} made under another definition" for name, spans in mixed.items()]
        hint = f"tidegate backfill {call.pipeline} --changed --env {call.env}, or restore the former definition"
        if call.step == "training_set":
            hint += "; or train on later rows only: rows: {from: …} in model.yaml"
        raise UsageError(
            f"{call.pipeline}/{call.step}",
            Lines.of(["it would mix values of two definitions", *_listed(lines)]),
            "one definition in all hours that it reads",
            hint,
        )


def mixed_hours(pipeline: Pipeline, published: Published, call: Invocation) -> dict[str, list[Span]]:
    """Published hours outside of those that `call` makes itself which it would read as if made under today's definitions."""
    stages = plan.stages_from(call.step)
    own = (call.start, call.end) if {"tiles", "rebuild"} & {*stages} else None
    reads = step_reads(pipeline, published.now, call)
    return _mixed(published, ((r, own if "silver" in stages or r.table.startswith("tiles/") else None) for r in reads))


def mixed_silver(
    pipeline: Pipeline, published: Published, call: Invocation, *, staged: bool = False
) -> dict[str, list[Span]]:
    """Published hours that features computed from silver would read as if made under the definitions of `pipeline`.

    `staged`: `call` makes its own hours, under the definitions in conf/.
    """
    reads = [*_spine_reads(pipeline, call), *_group_reads(pipeline, published.now, call, from_silver=True)]
    own = (call.start, call.end) if staged else None
    return _mixed(published, ((read, own) for read in reads))


def _mixed(published: Published, reads: Iterable[tuple[Reads, Span | None]]) -> dict[str, list[Span]]:
    """Definition -> hours that were made under another one; each read with the hours that its step makes itself."""
    found: dict[str, list[Span]] = {}
    for read, own in reads:
        made = published.made_otherwise(read.table, read.ids, added=read.added)
        for name, spans in made.items():
            left = within(spans, read.start, read.end)
            left = subtract(left, own) if own else left
            if left:
                found[name] = merged([*found.get(name, []), *left])
    return found


def step_reads(pipeline: Pipeline, now: Definitions, call: Invocation) -> list[Reads]:
    """What a step reads of published hours by their meaning."""
    if call.step == "training_set":
        return [
            read for model in pipeline.model_settings.values() for read in _training_reads(pipeline, now, model, call)
        ]
    return [*_spine_reads(pipeline, call), *_look_up_reads(pipeline, call), *_group_reads(pipeline, now, call)]


def _spine_reads(pipeline: Pipeline, call: Invocation) -> Iterator[Reads]:
    spine = pipeline.features.spine
    columns = [spine.event_at, *(name for key in spine.entities.values() for name in key)]
    yield _columns(spine.table, columns, call.start + HOUR - spine.announced_within, call.end)


def _look_up_reads(pipeline: Pipeline, call: Invocation) -> Iterator[Reads]:
    if "silver" in plan.step(call.step).stages:
        for table in pipeline.silver.values():
            for look_up in table.lookups.values():
                yield _columns(look_up.table, [*table.key, look_up.column], call.start - look_up.within, call.end)


def _group_reads(
    pipeline: Pipeline, now: Definitions, call: Invocation, *, from_silver: bool = False
) -> Iterator[Reads]:
    entities = pipeline.features.spine.entities
    for group in pipeline.features.groups.values():
        within_hour = pipeline.silver[group.table].event_within
        if isinstance(group, WindowGroup):
            first = call.start + HOUR - max(group.windows) - within_hour.ahead - HOUR
            tiles = f"tiles/{group.table}"
            if from_silver:
                keys = [column for entity in group.entities for column in entities[entity]]
                measured = [column for measure in group.measures.values() for column in measure.columns]
                yield _columns(group.table, ["event_at", *keys, *measured], first, call.end)
            else:
                yield Reads(tiles, frozenset(now.of(tiles)), first, call.end, added=True)
        elif isinstance(group, AsOfGroup):
            first = call.start + HOUR - group.staleness - within_hour.ahead - HOUR
            yield _columns(group.table, ["event_at", *entities[group.entity], *group.columns], first, call.end)
        elif isinstance(group, LookUpGroup):
            valid_from = [str(pipeline.silver[group.table].valid_from)]
            yield _columns(group.table, [*valid_from, *entities[group.entity], *group.columns], None, call.end)


def _training_reads(pipeline: Pipeline, now: Definitions, model: Model, call: Invocation) -> Iterator[Reads]:
    """The cells, spine columns and label columns that a training set takes."""
    start = model.rows.start or pipeline.start
    inputs = [model.inputs, *(one.inputs for one in model.baselines.values() if one.inputs)]
    for group in dict.fromkeys(name for one in inputs for name in one.features):
        table = f"features/{group}"
        ids = frozenset(name for name, one in now.of(table).items() if one.kind in ("cells", "feature"))
        yield Reads(table, ids, start, call.end, added=True)
    yield _columns(pipeline.features.spine.table, _spine_columns(inputs), start, call.end)
    yield _columns(model.label.table, model.label.columns, start, call.end)


def _spine_columns(inputs: Iterable[Inputs]) -> list[str]:
    named = [name for one in inputs for name in (*one.numeric, *one.ids, *([one.calendar.of] if one.calendar else []))]
    return list(dict.fromkeys(named))


def _columns(table: str, names: Iterable[str], start: datetime | None, end: datetime) -> Reads:
    return Reads(f"silver/{table}", frozenset(f"silver/{table}.{name}" for name in names), start, end)


def _hours_text(spans: list[Span]) -> str:
    return f"{count_hours(spans)} hours from {format_hour(spans[0][0])} to {format_hour(spans[-1][1])}"


def _listed(lines: list[str]) -> list[str]:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"  {line}" for line in [*lines[:SHOWN], *more]]
