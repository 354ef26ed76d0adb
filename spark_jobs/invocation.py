"""One call of a step as a value, and the same call as command-line words; Airflow, the command line and tests share it.

Hours are UTC; an interval is [start, end) in whole hours and is always handed in, never read from a clock.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spark_jobs.errors import UsageError

HOUR = timedelta(hours=1)
HOUR_FORMAT = "%Y-%m-%dT%H:%M:%S"  # also the partition key of an hour in Airflow
FIRST_YEAR, LAST_YEAR = 1900, 2199  # of hours that a lake may have: windows and ends beyond them stay dates
MAX_HOURS = 50 * 366 * 24  # of one interval: a slip in a year must not list millions of hours


def format_hour(at: datetime) -> str:
    """The hour as its partition key, for example 2013-11-01T06:00:00."""
    return (
        at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    )  # strftime writes year 999 with three digits


def parse_hour(text: str, where: str = "hour") -> datetime:
    """The UTC instant that `text` names.

    Raises:
        UsageError: `text` is not a whole UTC hour.
    """
    allowed = "a whole UTC hour such as 2013-11-01T06:00:00 (or 2013-11-01 for midnight)"
    try:
        at = datetime.fromisoformat(text.strip().removesuffix("Z"))
    except ValueError as error:
        raise UsageError(where, f"'{text}' is not a time", allowed) from error
    if at.tzinfo is not None and at.utcoffset() != timedelta(0):
        raise UsageError(where, f"'{text}' is not in UTC", allowed)
    if (at.minute, at.second, at.microsecond) != (0, 0, 0):
        raise UsageError(where, f"'{text}' is not a whole hour", allowed, f"use {at:%Y-%m-%dT%H}:00:00")
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise UsageError(where, f"'{text}' is too far away", f"an hour of the years {FIRST_YEAR} to {LAST_YEAR}")
    return at.replace(tzinfo=UTC)


def hours_between(start: datetime, end: datetime) -> Iterator[datetime]:
    """Every hour of [start, end), oldest first."""
    while start < end:
        yield start
        start += HOUR


@dataclass(frozen=True)
class Invocation:
    """Run `step` of `pipeline` for the hours [start, end) under the run id `dag_run` in environment `env`."""

    pipeline: str
    step: str
    start: datetime
    end: datetime
    dag_run: str
    env: str = "local"
    model: str = ""  # of step score: only this one; all when empty

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise UsageError(
                f"{self.pipeline}/{self.step}",
                f"an interval from {format_hour(self.start)} to {format_hour(self.end)} holds no hour",
                "--from before --to; the interval is [from, to)",
            )
        if self.hours > MAX_HOURS:
            raise UsageError(
                f"{self.pipeline}/{self.step}",
                f"an interval of {self.hours} hours",
                f"at most {MAX_HOURS} hours (50 years)",
            )

    @property
    def hours(self) -> int:
        """Number of hours in the interval."""
        return int((self.end - self.start) / HOUR)

    def with_step(self, step: str) -> Invocation:
        """The same call for another step."""
        return replace(self, step=step)

    def argv(self) -> list[str]:
        """The words that `run_step.py` is called with."""
        return [
            *("--pipeline", self.pipeline, "--step", self.step),
            *("--from", format_hour(self.start), "--to", format_hour(self.end)),
            *("--dag-run", self.dag_run, "--env", self.env),
            *(("--model", self.model) if self.model else ()),
        ]

    def command(self) -> str:
        """The command that a person types to repeat this call."""
        return f"tidegate run {self.pipeline} {self.step} {self._options()}"

    def backfill(self) -> str:
        """The command that a person types to run all steps of these hours."""
        return f"tidegate backfill {self.pipeline} {self._options()}"

    def score(self) -> str:
        """The command that a person types to add predictions to these hours."""
        model = f" --model {self.model}" if self.model else ""
        return f"tidegate score {self.pipeline} {self._options()}{model}"

    def look(self, hour: datetime | None = None) -> str:
        """The command that shows runs, verdicts and account of `hour`, by default the first: all rules that broke."""
        return f"tidegate status {self.pipeline} --hour {format_hour(hour or self.start)} --env {self.env}"

    def look_at_rows(self, *, refused: bool) -> str:
        """The command that counts the rows that these hours hold back, published or refused."""
        if not refused:
            return f"tidegate quarantine list {self.pipeline} --env {self.env}"
        which = f"--hour {format_hour(self.start)}" if self.hours == 1 else f"--run {shlex.quote(self.dag_run)}"
        return f"tidegate quarantine list {self.pipeline} --refused {which} --env {self.env}"

    def _options(self) -> str:
        return f"--from {format_hour(self.start)} --to {format_hour(self.end)} --env {self.env}"

    @staticmethod
    def parse(words: list[str]) -> Invocation:
        """The call that `words` (as made by `argv`) stand for.

        Raises:
            UsageError: a word is unknown, doubled, without its value, or missing.
        """
        flags = ("--pipeline", "--step", "--from", "--to", "--dag-run", "--env")
        pairs = dict(zip(words[::2], words[1::2], strict=False))
        unknown = [flag for flag in words[::2] if flag not in (*flags, "--model")]
        missing = [flag for flag in flags if flag not in pairs]
        if unknown or missing or len(words) != 2 * len(pairs):
            raise UsageError("run_step.py", f"unknown {unknown}, missing {missing}", " ".join(f"{f} …" for f in flags))
        return Invocation(
            pairs["--pipeline"],
            pairs["--step"],
            parse_hour(pairs["--from"], "--from"),
            parse_hour(pairs["--to"], "--to"),
            pairs["--dag-run"],
            pairs["--env"],
            pairs.get("--model", ""),
        )
