"""What the stages of one step share: the call, the lake as they see it, and what they found so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType, TimestampType

from spark_jobs.config.definitions import define
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.frames import local_frame
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.tables import Lake
from spark_jobs.ledger import Ledger, Release
from spark_jobs.ledger.staleness import Published, within
from spark_jobs.sources.drops import Drop
from spark_jobs.storage import Answer, Item
from spark_jobs.verdict import Verdict

_AT_ONCE = 4  # jobs wait for one another, for Python and for the disk


@dataclass
class Work:
    """One step call under way."""

    pipeline: Pipeline
    environment: Environment
    places: Places
    ledger: Ledger
    call: Invocation
    pub: int
    line: list[Release]
    open_session: Callable[[], SparkSession]
    drops: dict[str, dict[datetime, Drop]] = field(default_factory=dict)
    known: dict[datetime, datetime] = field(default_factory=dict)  # hour -> when its drops were known, all sources
    verdicts: list[Verdict] = field(default_factory=list)
    held: list[DataFrame] = field(default_factory=list)  # quarantined rows of each table
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)  # source -> totals of the interval
    models: dict[str, Any] = field(default_factory=dict)  # what became of each model: see `Result.models`
    attempt: int | None = None  # where several applications make one publication: see lake/staging.py

    @cached_property
    def spark(self) -> SparkSession:
        """The session, started when first asked for."""
        return self.open_session()

    @cached_property
    def lake(self) -> Lake:
        """The lake as of the base release, with this publication's staged files."""
        # from two hours on, tiles have to be kept as known at each hour between: the path of one hour knows one time
        bulk = self.call.hours > 1
        return Lake(
            self.spark, self.root, self.pipeline, self.line, self.pub, bulk=bulk, known=self.known, attempt=self.attempt
        )  # fmt: skip

    @cached_property
    def published(self) -> Published:
        """What readers of the base release see, by the definitions that it was made under."""
        return Published.of(self.ledger, define(self.pipeline), self.line)

    def is_stale(self, *tables: str) -> bool:
        """Whether readers see hours of this call whose rows of one of `tables` were made under definitions of another meaning."""
        if not self.line or not self.published.former:
            return False
        return any(within(self.published.stale(table), self.call.start, self.call.end) for table in tables)

    @property
    def root(self) -> Path:
        """The pipeline's folder in the lake."""
        return self.places.lake / self.pipeline.name

    @property
    def landing(self) -> Path:
        """The pipeline's landing folder."""
        return self.places.landing / self.pipeline.name

    def together(
        self, function: Callable[[Item], Answer], items: Iterable[Item], *, holding: bool = True
    ) -> list[Answer]:
        """`function` of each of `items`, in their order, several at a time: planning a small job keeps one core for long.

        `holding`: each keeps its rows in memory for a while, so that those of a bulk run go one after another. An error gets
        a note that names its item.
        """

        def noted(item: Item) -> Answer:
            try:
                return function(item)
            except Exception as error:
                error.add_note(f"while computing {item}")
                raise

        with ThreadPoolExecutor(1 if self.lake.bulk and holding else _AT_ONCE) as pool:
            return list(pool.map(noted, items))

    def known_after(self, frame: DataFrame, hour: str, at_least: str) -> DataFrame:
        """`frame` with known_at: when the drops of its column `hour` were known, and not before column `at_least`.

        Rows stay; hours whose drops came in time need no entry.
        """
        late = [(hour, known) for hour, known in self.known.items() if known > hour + HOUR]
        if not late:
            return frame.withColumn("known_at", F.col(at_least))
        schema = StructType([StructField("late_hour", TimestampType()), StructField("late_known", TimestampType())])
        table = F.broadcast(local_frame(self.spark, late, schema))
        joined = frame.join(table, frame[hour] == F.col("late_hour"), "left")
        return joined.withColumn("known_at", F.greatest(at_least, "late_known")).drop("late_hour", "late_known")


def hours(length: timedelta) -> int:
    """Whole hours of a duration."""
    return int(length / HOUR)
