"""Hourly drops of readings of a river's gauges, equal on every call: late, corrected, repeated and broken rows among them."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spark_jobs.invocation import HOUR
from spark_jobs.sources.replay import _Folder

GAUGES = [f"g{number:02}" for number in range(28)]
FIRST = datetime(2024, 5, 1, 22, tzinfo=UTC)  # the third hour begins a day
Line = tuple[str, datetime, datetime, str]


def deliver(landing: Path, hours: int) -> None:
    """The drops of the first `hours` hours; every one is delivered twice, the second time with its last five lines."""
    for hour in (FIRST + number * HOUR for number in range(hours)):
        lines = _drop(hour)
        for minutes, part in ((1, lines[:-5]), (6, lines)):
            data = gzip.compress(_csv(part), mtime=0)
            arrived_at = hour + HOUR + timedelta(minutes=minutes)
            folder = _Folder(landing / "readings" / f"{hour:%Y-%m-%d}")
            folder.deliver("readings", hour, "csv.gz", data, len(part), arrived_at, True)


def _drop(hour: datetime) -> list[Line]:
    """About 35 lines: what came in time, what is late by an hour or two, a correction, a repeated and a broken line."""
    in_time = [line for line in _readings(hour) if _hours_late(line) == 0]
    late = [line for ago in (1, 2) for line in _readings(hour - ago * HOUR) if _hours_late(line) == ago]
    before = [line for line in _readings(hour - HOUR) if _hours_late(line) == 0]
    gauge, read_at, next_at, level = before[0]
    corrected = (gauge, read_at, next_at, str(int(level) + 7))
    broken = (before[1][0], hour + timedelta(minutes=59), hour + 4 * HOUR, "-5")
    lines = [*in_time, in_time[0], broken, *late, corrected]
    return lines if hour > FIRST else [*in_time, in_time[0], broken]


def _readings(hour: datetime) -> list[Line]:
    """One reading of each gauge; the next is due three to four hours later, so that it is predicted an hour on."""
    chance = random.Random(f"13 {hour}")
    read = [hour + timedelta(minutes=chance.randrange(59)) for _ in GAUGES]
    return [
        (gauge, at, hour + 3 * HOUR + timedelta(minutes=chance.randrange(60)), str(chance.randrange(400, 900)))
        for gauge, at in zip(GAUGES, read, strict=True)
    ]


def _hours_late(line: Line) -> int:
    return random.Random(f"17 {line[0]} {line[1]}").choices((0, 1, 2), (8, 1, 1))[0]


def _csv(lines: list[Line]) -> bytes:
    rows = [f"{gauge},{read:%Y-%m-%dT%H:%M:%SZ},{due:%Y-%m-%dT%H:%M:%SZ},{level}" for gauge, read, due, level in lines]
    return "\n".join(["gauge,read_at,next_at,level", *rows, ""]).encode()
