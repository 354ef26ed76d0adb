"""What every section of conf/ has in common: frozen, strict, each field documented; and the small value types.

Models state what a field means; where a file or another section must agree is `load.py`'s work.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

_DURATION = re.compile(r"(\d+)(m|h|d)")
LONGEST = timedelta(days=36500)
FIRST_YEAR, LAST_YEAR = 1900, 2200  # of hours that a pipeline can have: instants in nanoseconds end in 2262
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,62}")


def _cron_field(one: str) -> str:
    """A field of a cron line: values, ranges and steps, several by commas."""
    item = rf"(\*(/[1-9]\d?)?|{one}(-{one}(/[1-9]\d?)?)?)"
    return f"{item}(,{item})*"


# minute, hour, day of month, month, weekday, as crontab(5) has them; without its nicknames such as @daily
_CRON = re.compile(
    " ".join(
        _cron_field(one)
        for one in (
            "[0-5]?[0-9]",
            "([01]?[0-9]|2[0-3])",
            "(0?[1-9]|[12][0-9]|3[01])",
            "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
            "([0-7]|sun|mon|tue|wed|thu|fri|sat)",
        )
    ),
    re.IGNORECASE | re.ASCII,
)


class Section(BaseModel):
    """A part of conf/: unknown fields are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, defer_build=True)


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value))
    if not match:
        raise ValueError(f"'{value}' is not a duration; write a whole number and m, h or d, such as 10m, 24h, 7d")
    if len(match[1]) > 8 or int(match[1]) * _UNIT[match[2]] > LONGEST:
        raise ValueError(f"'{value}' is longer than {LONGEST.days}d; write a shorter duration")
    return int(match[1]) * _UNIT[match[2]]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("no time at all; write 1m or more")
    return value


def duration_text(value: timedelta) -> str:
    """The duration as conf/ writes it, in the largest unit that fits."""
    minutes = int(value / timedelta(minutes=1))
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes and minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a name; use lower-case letters, digits and _, a letter first, at most 63")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError("is not the name of a variable; use capitals, digits and _, such as ORDERS_TOKEN, no token")
    return value


def _cron(value: str) -> str:
    if not _CRON.fullmatch(value):
        raise ValueError(
            f"'{value[:40]}' is no cron line; write minute, hour, day of month, month and weekday, such as 0 6 * * 1"
        )
    return value


def _utc_hour(value: object) -> datetime:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"'{value}' is not an instant ({error}); write one such as 2013-01-01T00:00:00Z") from error
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"'{value}' is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if (at.minute, at.second, at.microsecond) != (0, 0, 0):
        raise ValueError(f"'{value}' is not a whole UTC hour; write one such as 2013-01-01T00:00:00Z")
    return at


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"'{value}' is not an IANA time zone; write one such as America/New_York") from error
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(duration_text),
    Field(json_schema_extra={"kind": "duration"}),
]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(_cron)]
Variable = Annotated[str, AfterValidator(_variable)]  # of the environment, with a secret
UtcHour = Annotated[datetime, BeforeValidator(_utc_hour)]
Scalar = str | int | float | bool
Severity = Literal["critical", "warning", "info"]


class TransformCall(Section):
    """A registered function applied to columns: `{use: minutes_after, columns: [scheduled_at, delay_min]}`."""

    use: Name = Field(description="name of a function in spark_jobs/transforms or in the pipeline's own modules")
    columns: list[Name] = Field(default=[], description="columns handed to it, in order")
    options: dict[Name, Scalar] = Field(default={}, description="its other arguments, by name")
