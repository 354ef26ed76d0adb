"""Coverage of window cells: how many hours of their longest window the lake holds, from the accounts of hours."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import DataFrame

from spark_jobs.config.columns import COVERED
from spark_jobs.identifiers import text_literal
from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.lake.reading import read_current
from spark_jobs.lake.versions import EVERY
from spark_jobs.quality.quarantine import ALL, hours_condition
from spark_jobs.steps.context import Context
from spark_jobs.windows.coverage import covered_hours


def covered_frame(context: Context, table: str, longest: timedelta, *, latest: bool = False) -> DataFrame:
    """Columns as_of and COVERED (int, hours) for every as_of of the call; grain: as_of.

    An hour counts from the time at which silver/<table> was first published for it, in a publication that still counts;
    an hour without rows counts too, one that was refused or withdrawn does not.

    Args:
        context: of the hours.
        table: silver table of the events.
        longest: longest window.
        latest: by what is known now, as if each hour had been known when it ended.
    """
    known = _published_hours(context, table, context.call.start + HOUR - longest)
    if latest:
        known = {hour: hour + HOUR for hour in known}
    as_ofs = [hour + HOUR for hour in hours_between(context.call.start, context.call.end)]
    return context.spark.createDataFrame(
        list(covered_hours(known, as_ofs, longest).items()), f"as_of timestamp, {COVERED} int"
    )


def _published_hours(context: Context, table: str, start: datetime) -> dict[datetime, datetime]:
    """Hours from `start` to the end of the call -> when each was first known, this publication's own among them."""
    where = f'{hours_condition(start, context.call.end)} AND "table" = {text_literal(table)}'
    known = dict(context.known)
    for row in read_current(
        context.root, context.lake.declared("accounts"), EVERY, context.line, where=where, limit=ALL
    ):
        hour, known_at = datetime.fromisoformat(row["hour"]), datetime.fromisoformat(row["known_at"])
        known[hour] = min(known_at, known.get(hour, known_at))
    return known
