"""conf/pipelines/<name>/pipeline.yaml: whose pipeline it is, when it runs, who is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from spark_jobs.config.section import Cron, Duration, Name, PositiveDuration, Section, UtcHour


def _at_least_a_day(value: timedelta) -> timedelta:
    if value < timedelta(days=1):
        raise ValueError("less than a day; what is under way must never be removed, write 1d or more")
    return value


Retained = Annotated[Duration, AfterValidator(_at_least_a_day)]


class HourlySchedule(Section):
    """The hourly DAG."""

    timeout: PositiveDuration = Field(
        default=timedelta(minutes=30), description="longest time of one task, for example 30m"
    )
    retries: int = Field(
        default=2, ge=0, description="tries after a transient fault (exit 75); data faults are not retried"
    )
    wait: Duration = Field(
        default=timedelta(hours=1),
        description="how long drops are waited for after the end of the hour before it is late",
    )


class WeeklySchedule(Section):
    """The weekly DAG."""

    cron: Cron = Field(
        default="0 6 * * 1",
        description="when the weekly run looks whether the week is ready, UTC: minute, hour, day, month, weekday",
    )
    min_hours: int = Field(default=160, ge=1, le=168, description="hours of the week that must be published, of 168")
    deadline: PositiveDuration = Field(
        default=timedelta(hours=24), description="how long the week is waited for, for example 24h"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(hours=2), description="longest time of one task, for example 2h"
    )


class DailySchedule(Section):
    """The daily DAG: heal, then maintenance."""

    cron: Cron = Field(
        default="30 4 * * *", description="when the daily run starts, UTC: minute, hour, day, month, weekday"
    )
    timeout: PositiveDuration = Field(
        default=timedelta(hours=2), description="longest time of one task, for example 2h"
    )


class Schedules(Section):
    """When the DAGs run."""

    hourly: HourlySchedule = HourlySchedule()
    weekly: WeeklySchedule = WeeklySchedule()
    daily: DailySchedule = DailySchedule()


class Retention(Section):
    """How long `tidegate maintain` keeps what the pipeline no longer needs. What has no age here is kept for ever."""

    history: Retained = Field(
        default=timedelta(days=30),
        description="releases younger than this read the same before and after; unit: h or d; example: 30d",
    )
    landing: Retained | None = Field(
        default=None,
        description="drops of hours older than this are removed once their rows are published, counted back from the end"
        " of the newest published hour; a backfill of such an hour needs them delivered again; example: 60d",
    )
    bronze: Retained | None = Field(
        default=None,
        description="whole days of bronze rows older than this are removed, counted back from the newest hour of the"
        " oldest release inside `history`; example: 400d",
    )
    quarantine: Retained | None = Field(
        default=None, description="the same for quarantined rows, which can be replayed as long; example: 400d"
    )
    training_sets: Retained | None = Field(
        default=None,
        description="training sets older than this are removed, but never the newest and none that a promoted model"
        " rests on; example: 180d",
    )
    logs: Retained | None = Field(
        default=None, description="files in the log folder older than this are removed; example: 30d"
    )


class PipelineFile(Section):
    """The whole of pipeline.yaml."""

    name: Name = Field(description="name of the pipeline, equal to its folder's")
    owner: str = Field(min_length=1, description="team that answers for it; shown in Airflow and in alerts")
    start: UtcHour = Field(description="first hour, UTC, for example 2013-01-01T00:00:00Z")
    end: UtcHour | None = Field(default=None, description="hour before which the pipeline ends, UTC; none: it goes on")
    schedules: Schedules = Schedules()
    alerts: list[Name] = Field(default=[], description="channels of the environment that hear of a blocked gate")
    modules: list[str] = Field(default=[], description="your own Python modules with registered transforms")
    retention: Retention = Retention()
