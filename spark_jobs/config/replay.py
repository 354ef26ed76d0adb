"""replay.yaml: how a history that a Python package carries becomes hourly drops, as an upstream would deliver them.

Only demos and tests need this section; the replay knows no column but those that are named here.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from spark_jobs.config.drop_files import RelativePath
from spark_jobs.config.section import Name, Section, UtcHour, Zone, _duration, duration_text
from spark_jobs.config.sources import _columns


def _signed(value: object) -> timedelta:
    text = str(value)
    return -_duration(text[1:]) if isinstance(value, str) and text.startswith("-") else _duration(value)


def _signed_text(value: timedelta) -> str:
    return f"-{duration_text(-value)}" if value < timedelta(0) else duration_text(value)


def _packed_csv(value: str) -> str:
    if not PurePosixPath(value).name.endswith((".csv", ".csv.zip")):
        raise ValueError(f"'{value}' must end in .csv or .csv.zip")
    return value


def _one_column(value: object) -> object:
    return {"instant": value} if isinstance(value, str) else value


SignedDuration = Annotated[
    timedelta, BeforeValidator(_signed), PlainSerializer(_signed_text), Field(json_schema_extra={"kind": "duration"})
]


class InstantOf(Section):
    """An instant made of columns of the history; delivered as ISO text with Z. A plain name means `{instant: name}`."""

    instant: str = Field(description="column of the history with ISO text in UTC; example: opened_at")
    plus_minutes: str | None = Field(
        default=None, description="column of whole minutes that are added; null adds 0; example: minute"
    )


Instant = Annotated[InstantOf, BeforeValidator(_one_column)]


class HourOf(Section):
    """Which hour's drop holds a row: the hour of `of` + `plus_minutes` + `shift`."""

    of: Instant = Field(description="the instant that is floored to its UTC hour; example: {instant: opened_at}")
    shift: SignedDuration = Field(
        default=timedelta(0), description="added to it, may be negative; unit: m, h or d; default 0m; example: -24h"
    )
    plus_minutes: str | None = Field(
        default=None, description="column of whole minutes that are added too; null adds 0; example: delay"
    )


class ReplaySource(Section):
    """One source of the pipeline, made from one file of the history; a row of the file is a row of one drop.

    Of kind database the rows go into the table that the source reads.
    """

    file: Annotated[RelativePath, AfterValidator(_packed_csv)] = Field(
        description="csv or csv.zip in the package's data folder; example: orders.csv.zip"
    )
    format: Literal["csv", "jsonl"] = Field(description="format of the drops, both gzip; example: csv")
    columns: dict[str, str | InstantOf] = Field(
        min_length=1,
        description="delivered name: column of the history, or {instant: column, plus_minutes: column}; nothing else is"
        " delivered; example: {order_id: id, placed_at: {instant: opened_at}}",
    )
    hour: HourOf | None = Field(
        default=None,
        description="which hour's drop holds a row; left out: all are in the first hour's; example: {of: opened_at, shift: -24h}",
    )
    stamp: str | None = Field(
        default=None,
        description="delivered column with the start of the hour whose drop holds the row; example: changed_at",
    )
    nulls: list[str] = Field(
        default=["", "NA"], description='texts of the history that mean "no value"; example: ["", "NA"]'
    )

    @model_validator(mode="after")
    def _names(self) -> ReplaySource:
        _columns([*self.columns, *([self.stamp] if self.stamp else [])])
        return self


class Trial(Section):
    """Where `tidegate gate test` draws the hours that it changes and the clean ones; rules are written looking elsewhere."""

    start: UtcHour = Field(alias="from", description="first hour drawn, UTC; example: 2013-07-01T00:00:00Z")
    end: UtcHour = Field(
        alias="to", description="first hour that is not drawn any more, UTC; example: 2014-01-01T00:00:00Z"
    )
    zone: Zone = Field(
        description="zone whose wall-clock time an upstream might send as if it were UTC; example: America/New_York"
    )
    hard_days: list[date] = Field(
        default=[],
        description="days in UTC that are unlike others, though their data are good: a quarter of the clean hours is drawn"
        " from them; example: [2013-07-01, 2013-12-10]",
    )

    @model_validator(mode="after")
    def _days_inside(self) -> Trial:
        if self.start >= self.end:
            raise ValueError(f"from {self.start:%Y-%m-%dT%H} is not before to {self.end:%Y-%m-%dT%H}")
        for day in self.hard_days:
            if not self.start.date() <= day < self.end.date():
                raise ValueError(f"hard_days: {day} is not inside {self.start:%Y-%m-%d} to {self.end:%Y-%m-%d}")
        return self


class ReplayConf(Section):
    """replay.yaml: every hour of [from, to) gets one drop of every source, also an empty one."""

    package: Name = Field(
        description="installed Python package that carries the history; it is not imported; example: orders_history"
    )
    folder: RelativePath = Field(default="data", description="folder of the files inside the package; example: data")
    start: UtcHour = Field(alias="from", description="first hour, UTC; example: 2012-12-31T00:00:00Z")
    end: UtcHour = Field(
        alias="to", description="first hour that is not delivered any more, UTC; example: 2014-01-02T00:00:00Z"
    )
    sources: dict[Name, ReplaySource] = Field(
        min_length=1, description="how each source of sources.yaml is made, by its name"
    )
    trial: Trial | None = None

    @model_validator(mode="after")
    def _some_hour(self) -> ReplayConf:
        if self.start >= self.end:
            raise ValueError(f"from {self.start:%Y-%m-%dT%H} is not before to {self.end:%Y-%m-%dT%H}")
        if self.trial and not self.start <= self.trial.start < self.trial.end <= self.end:
            raise ValueError(f"trial: its hours do not lie inside {self.start:%Y-%m-%dT%H} to {self.end:%Y-%m-%dT%H}")
        return self
