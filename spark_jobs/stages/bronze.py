"""Bronze: every line of the hour's drops as text, with its origin; nothing is judged and nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spark_jobs.invocation import hours_between
from spark_jobs.lake.staging import Staged
from spark_jobs.sources import drops
from spark_jobs.sources.drops import Drop
from spark_jobs.sources.files import read_drops
from spark_jobs.steps.context import Context


@dataclass(frozen=True)
class BronzeInput:
    """The drops to read, by source and hour."""

    drops: Mapping[str, Mapping[datetime, Drop]]


@dataclass(frozen=True)
class BronzeOutput:
    """What was staged; and since when each hour is known, which is when its last drop was."""

    staged: Mapping[str, Staged]
    known: Mapping[datetime, datetime]


def required_drops(context: Context) -> dict[str, Mapping[datetime, Drop]]:
    """The drops of all sources for the hours of the call, by source and hour.

    Raises:
        RetryError: an hour has no drop yet.
        RefusedError: a manifest cannot be read.
    """
    wanted = list(hours_between(context.call.start, context.call.end))
    conf = context.pipeline.sources
    found: dict[str, Mapping[datetime, Drop]] = {}
    for source, settings in conf.sources.items():
        found[source] = drops.find_drops(conf, context.landing, source, wanted)
        drops.require_drops(found[source], settings, source, wanted, now=max(wanted))
    return found


def run(context: Context, inputs: BronzeInput) -> BronzeOutput:
    """Stage bronze/<source> for every source: grain one line of a drop; `fault` says what kept a line from being split."""
    known: dict[datetime, datetime] = {}
    for source, settings in context.pipeline.sources.sources.items():
        for hour, drop in inputs.drops[source].items():
            known_at = drops.known_at(drop, settings)
            known[hour] = max(known_at, known.get(hour, known_at))
    dated = context.after({}, known)
    staged = dated.together(lambda source: _stage(dated, source, inputs.drops[source]), inputs.drops, holding=False)
    return BronzeOutput({files.table: files for files in staged}, known)


def _stage(context: Context, source: str, read: Mapping[datetime, Drop]) -> Staged:
    ordered = [drop for _, drop in sorted(read.items())]
    lines = read_drops(context.spark, ordered, context.pipeline.sources.sources[source])
    # an hour is published whole: a source that came in time is not readable before the one that came late
    dated = context.known_after(lines.withColumnRenamed("known_at", "_known_at"), "hour", "_known_at")
    return context.lake.stage(f"bronze/{source}", dated.drop("_known_at"))
