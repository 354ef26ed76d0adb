"""The contract of all connectors: an interval of a source in, drops with manifests in the landing folder out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RetryError
from spark_jobs.invocation import format_hour, hours_between
from spark_jobs.sources.drops import Drop, find_drops
from spark_jobs.sources.landing import FetchedDrop


@dataclass(frozen=True)
class FetchRequest:
    """The hours [start, end) of one source, read at `now`; `landing` is the pipeline's own landing folder."""

    name: str
    source: SourceConf
    landing: Path
    data: Path  # the data folder
    start: datetime
    end: datetime
    now: datetime

    @property
    def where(self) -> str:
        """How errors begin."""
        return f"{self.name} {format_hour(self.start)}"

    @property
    def hours(self) -> list[datetime]:
        """The hours, the oldest first."""
        return list(hours_between(self.start, self.end))

    def landed(self) -> dict[datetime, Drop]:
        """The drops of these hours that are in the landing folder already.

        Raises:
            RefusedError: a manifest is malformed.
        """
        return find_drops(SourcesConf(sources={self.name: self.source}), self.landing, self.name, self.hours)

    def require_past(self) -> None:
        """Nothing, when the last hour is over.

        Raises:
            RetryError: it is not.
        """
        if self.now < self.end:
            raise RetryError(
                self.where, "waiting: the last hour is not over", f"from {format_hour(self.end)}Z on", "try then"
            )


@dataclass(frozen=True)
class Delivery:
    """The drops of an interval, and for each hour that has none yet the reason why its files are not complete."""

    drops: list[FetchedDrop]
    missing: dict[datetime, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all drops."""
        return sum(drop.rows for drop in self.drops)
