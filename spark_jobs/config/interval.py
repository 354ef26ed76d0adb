"""Which hours a pipeline has: [start, end) of pipeline.yaml. The only check of a command's or a run's interval against it."""

from __future__ import annotations

from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import Invocation, format_hour


def check_interval(pipeline: Pipeline, call: Invocation) -> None:
    """Pass when all hours of `call` are hours of `pipeline`.

    Raises:
        UsageError: some hours are before its start or after its end.
    """
    start, end = pipeline.start, pipeline.end
    if call.start >= start and (end is None or call.end <= end):
        return
    outside = "before the pipeline's start" if call.start < start else "after the pipeline's end"
    legal = f"[{format_hour(start)}, {format_hour(end)})" if end else f"{format_hour(start)} or later"
    low = max(call.start, start)
    high = min(call.end, end) if end else call.end
    inside = f"--from {format_hour(low)} --to {format_hour(high)}"
    hint = f"use {inside}" if low < high else "choose hours of the pipeline"
    raise UsageError(
        f"{pipeline.name}/{call.step}",
        f"the interval [{format_hour(call.start)}, {format_hour(call.end)}) has hours {outside}",
        f"hours in {legal}: start and end of conf/pipelines/{pipeline.name}/pipeline.yaml",
        f"{hint}, or change start or end there",
    )
