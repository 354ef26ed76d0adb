"""The hours that a run is about, from its partition key; never from a clock, never from logical_date (it may be null).

Key formats: an hour is `2013-11-01T06:00:00` (UTC), a week is its first hour.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import CronPartitionTimetable, Param
from airflow.sdk.exceptions import AirflowFailException

from spark_jobs.config import load_pipeline
from spark_jobs.config.interval import check_interval
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation, format_hour, parse_hour

DAY, WEEK = timedelta(days=1), timedelta(days=7)
PARAM = "hour"
KEY_FORMAT = "%Y-%m-%dT00:00:00"  # of a day or week: the midnight it begins with, at whatever hour the cron line runs


def environment_name() -> str:
    """The environment of conf/environments that this Airflow works in: TIDEGATE_ENV, default local."""
    return os.environ.get("TIDEGATE_ENV", "local")


def catches_up() -> bool:
    """Whether runs missed since the pipeline's start are made, oldest first; TIDEGATE_CATCHUP=false says no.

    The demo says no: its pipeline starts in 2012, and it asks for the hours that it shows by their key.
    """
    return os.environ.get("TIDEGATE_CATCHUP", "true").lower() not in ("0", "false", "no")


def looks_back(pipeline: Pipeline, cron: str, width: timedelta) -> dict[str, Any]:
    """`schedule`, `start_date`, `end_date` of a DAG whose runs look back on `width` whole days, keyed by their first midnight.

    The first run's key is not before the pipeline's first hour; the last run comes on the day after the last whole day.
    """
    start, end = pipeline.start.replace(hour=0), pipeline.end
    first = start if start == pipeline.start else start + DAY
    return {
        "schedule": CronPartitionTimetable(cron, timezone="UTC", run_offset=-1, key_format=KEY_FORMAT),
        "start_date": first + width,
        "end_date": end and end.replace(hour=0) + DAY - timedelta(microseconds=1),
    }


def hour_param(meaning: str) -> dict[str, Param]:
    """The parameter that stands in for a partition key when a run was started by hand without one."""
    return {PARAM: Param(None, type=["null", "string"], title="first hour, UTC", description=meaning)}


def interval(context: Mapping[str, Any], width: timedelta = HOUR) -> tuple[datetime, datetime]:
    """The interval [start, end) of `width` that this run is about.

    Raises:
        AirflowFailException: neither a partition key nor the parameter `hour` names a whole UTC hour; not retried.
    """
    key = context["dag_run"].partition_key
    text = key or (context.get("params") or {}).get(PARAM)
    todo = f'trigger it with a partition key such as 2013-11-01T06:00:00, or with {{"{PARAM}": "2013-11-01T06:00:00"}}'
    if not text:
        raise AirflowFailException(f"this run names no hour: no partition key and no parameter '{PARAM}'\n  do: {todo}")
    try:
        start = parse_hour(str(text), "partition key" if key else f"parameter '{PARAM}'")
    except UsageError as error:
        raise AirflowFailException(f"{error}\n  do: {error.todo or todo}") from None
    if key and key != format_hour(start):  # another spelling of the same hour would never meet its asset events
        raise AirflowFailException(f"partition key: '{key}'\n  allowed: {format_hour(start)}\n  do: {todo}")
    return start, start + width


def invocation(context: Mapping[str, Any], pipeline: str, step: str, width: timedelta = HOUR) -> Invocation:
    """The call of `step` that this run makes; its run id ties ledger rows to the run.

    Raises:
        AirflowFailException: see `interval`; or the pipeline does not have these hours. Not retried.
    """
    start, end = interval(context, width)
    call = Invocation(pipeline, step, start, end, context["dag_run"].run_id, environment_name())
    try:
        check_interval(load_pipeline(pipeline), call)
    except UsageError as error:
        raise AirflowFailException(str(error)) from None
    return call
