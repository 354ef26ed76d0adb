"""Bronze: every line of the hour's drops as text, with its origin; nothing is judged and nothing is lost."""

from __future__ import annotations

from spark_jobs.invocation import hours_between
from spark_jobs.sources import drops
from spark_jobs.sources.files import read_drops
from spark_jobs.steps.context import Work


def run(work: Work) -> None:
    """Stage bronze/<source> for every source: grain one line of a drop; `fault` says what kept a line from being split.

    Raises:
        RetryError: an hour has no drop yet.
        RefusedError: a manifest cannot be read.
    """
    wanted = list(hours_between(work.call.start, work.call.end))
    conf = work.pipeline.sources
    for source, settings in conf.sources.items():
        found = drops.find_drops(conf, work.landing, source, wanted)
        drops.require_drops(found, settings, source, wanted, now=max(wanted))
        work.drops[source] = found
        for hour, drop in found.items():
            known = drops.known_at(drop, settings)
            work.known[hour] = max(known, work.known.get(hour, known))
    work.together(lambda source: _stage(work, source), conf.sources, holding=False)


def _stage(work: Work, source: str) -> None:
    ordered = [drop for _, drop in sorted(work.drops[source].items())]
    lines = read_drops(work.spark, ordered, work.pipeline.sources.sources[source])
    # an hour is published whole: a source that came in time is not readable before the one that came late
    known = work.known_after(lines.withColumnRenamed("known_at", "_known_at"), "hour", "_known_at")
    work.lake.stage(f"bronze/{source}", known.drop("_known_at"), work.call.start, work.call.end)
