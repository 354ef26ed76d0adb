"""Query: the rows of sources of kind jdbc, asked of their databases and landed as drops; bronze reads them like any other."""

from __future__ import annotations

from datetime import datetime

import structlog
from pyspark.sql import SparkSession

from spark_jobs.config.environment import Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import Invocation
from spark_jobs.sources.jdbc import land_rows

log = structlog.get_logger()


def run(spark: SparkSession, pipeline: Pipeline, places: Places, call: Invocation, now: datetime) -> dict[str, int]:
    """Land the drops of the call's hours, source by source; the first fault ends it, what has landed before stays.

    Returns the number of rows by source. `now` is when the databases are asked.

    Raises:
        UsageError: no source is of kind jdbc, or a database does not understand what it is asked.
        RefusedError, RetryError: see `sources.jdbc.land_rows`.
    """
    asked = pipeline.sources.of_kind("jdbc")
    if not asked:
        raise UsageError(pipeline.name, "no source of kind jdbc", "a pipeline with one", "tidegate fetch --help")
    rows: dict[str, int] = {}
    for name, source in asked.items():
        done = land_rows(spark, name, source, places.landing / pipeline.name, places.data, call.start, call.end, now)
        log.info("landed", source=name, rows=done.rows, drops=done.drops, written=done.written)
        rows[name] = done.rows
    return rows
