"""Query: what other systems hold lands as drops, of databases their rows, of other file systems their files.

After it bronze reads them like drops that an upstream put into the landing folder itself.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import structlog
from pyspark.sql import SparkSession

from spark_jobs.config.environment import Places
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import RetryError, UsageError
from spark_jobs.invocation import ASKED_AGAIN, HOUR, Invocation, format_hour, hours_between
from spark_jobs.sources.drops import find_drops
from spark_jobs.sources.jdbc import land_rows
from spark_jobs.sources.mirror import mirror_files

log = structlog.get_logger()


def run(spark: SparkSession, pipeline: Pipeline, places: Places, call: Invocation, now: datetime) -> dict[str, int]:
    """Land the drops of the call's hours, source by source; the first fault ends it, what has landed before stays.

    Returns the number of rows by source, none yet of files without a manifest. `now` is when the others are asked. Files
    that are not there once their grace has ended are no fault of this step: they are late, as they are without it. A
    database that has answered is not asked again because files are looked for again, but by `tidegate fetch`.

    Raises:
        UsageError: no source is landed by this step, or it cannot be asked as conf/ says.
        RefusedError: see `sources.jdbc.land_rows` and `sources.mirror.mirror_files`.
        RetryError: the same, or files are not there yet, which is told when all else has landed.
    """
    asked, landing = pipeline.sources.queried(), places.landing / pipeline.name
    if not asked:
        allowed = "a pipeline with a source of kind jdbc, or one of kind files with a section hadoop"
        raise UsageError(pipeline.name, "no source whose drops this step lands", allowed, "tidegate fetch --help")
    rows: dict[str, int] = {}
    waiting: list[str] = []
    again = call.dag_run.startswith(ASKED_AGAIN) or not pipeline.sources.mirrored()
    for name, source in asked.items():
        missing = _mirror(spark, name, source, landing, call, now) if source.hadoop else {}
        there = find_drops(pipeline.sources, landing, name, hours_between(call.start, call.end))
        waiting += [f"  {name} {format_hour(hour)}: {why}" for hour, why in missing.items() if hour not in there]
        rows[name] = sum(drop.rows for drop in there.values())
        if source.kind == "jdbc" and (again or len(there) < call.hours):
            done = land_rows(spark, name, source, landing, places.data, call.start, call.end, now)
            log.info("landed", source=name, rows=done.rows, drops=done.drops, written=done.written)
            rows[name] = done.rows
    if waiting:
        shown = "\n".join(waiting[:5]) + (f"\nand {len(waiting) - 5} more" if len(waiting) > 5 else "")
        raise RetryError(
            f"{pipeline.name} {format_hour(call.start)}", f"waiting: {len(waiting)} hour(s) without whole files\n{shown}",
            "whole files before the grace of their hour ends", "the same command goes on when they are there",
        )  # fmt: skip
    return rows


def _mirror(
    spark: SparkSession, name: str, source: SourceConf, landing: Path, call: Invocation, now: datetime
) -> dict[datetime, str]:
    """Copy one source's files; which hours still have time to come, and why they are not whole there."""
    done = mirror_files(spark, name, source, landing, hours_between(call.start, call.end), now)
    log.info("mirrored", source=name, copied=done.copied, not_there=len(done.waiting))
    return {hour: why for hour, why in done.waiting.items() if now < hour + HOUR + source.grace}
