"""conf/pipelines/<name>/pipeline.yaml: whose pipeline it is, when it runs, who is told."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from spark_jobs.config.section import Duration, Name, Section, UtcHour, not_yet


class HourlySchedule(Section):
    """The hourly DAG."""

    timeout: Duration = Field(default=timedelta(minutes=30), description="longest time of one task, for example 30m")
    retries: int = Field(
        default=2, ge=0, description="tries after a transient fault (exit 75); data faults are not retried"
    )
    wait: Duration = Field(
        default=timedelta(hours=1),
        description="how long drops are waited for after the end of the hour before it is late",
    )


class WeeklySchedule(Section):
    """The weekly DAG."""

    cron: str = Field(default="0 6 * * 1", description="when the weekly run looks whether the week is ready, UTC cron")
    min_hours: int = Field(default=160, ge=1, le=168, description="hours of the week that must be published, of 168")
    deadline: Duration = Field(
        default=timedelta(hours=24), description="how long the week is waited for, for example 24h"
    )
    timeout: Duration = Field(default=timedelta(hours=2), description="longest time of one task, for example 2h")


class Schedules(Section):
    """When the DAGs run."""

    hourly: HourlySchedule = HourlySchedule()
    weekly: WeeklySchedule = WeeklySchedule()
    daily: str | None = not_yet("issue on orchestration", "monitoring and maintenance")


class Retention(Section):
    """How long things are kept."""

    landing: str | None = not_yet("issue on releases", "age at which drops are removed")
    bronze: str | None = not_yet("issue on releases", "age at which bronze rows are removed")
    quarantine: str | None = not_yet("issue on releases", "age at which quarantined rows are removed")


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
