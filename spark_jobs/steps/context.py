"""What a stage knows of its publication: the call, its settings, the ledger, and the lake as the stage sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType, TimestampType

from spark_jobs.config.definitions import define
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.frames import local_frame
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.staging import Staged
from spark_jobs.lake.tables import Lake, Logs
from spark_jobs.ledger import Ledger, Release
from spark_jobs.ledger.staleness import Published, within
from spark_jobs.steps.plan import tables_of
from spark_jobs.storage import Answer, Item

_AT_ONCE = 4  # jobs wait for one another, for Python and for the disk


@dataclass(frozen=True)
class Context:
    """One publication under way, as one stage sees it; the next stage gets another one, see `after` and `for_stage`."""

    pipeline: Pipeline
    environment: Environment
    places: Places
    ledger: Ledger
    call: Invocation
    pub: int
    line: Sequence[Release]  # the base release and its ancestors; none before the first release
    open_session: Callable[[], SparkSession]  # the same session at every call
    attempt: int | None = None  # where several applications make one publication: see lake/staging.py
    staged: Mapping[str, Staged] = field(default_factory=dict)  # by table, by the stages before
    known: Mapping[datetime, datetime] = field(
        default_factory=dict
    )  # staged hour -> when its drops were known, all sources
    tables: frozenset[str] | None = None  # the only ones that may be read or staged; None: all
    logs: Logs = field(default_factory=dict)  # a cache, shared so that all stages see the same version of a log

    def after(self, staged: Mapping[str, Staged], known: Mapping[datetime, datetime] | None = None) -> Context:
        """The context once these tables are staged too; `known`: of the hours staged, where that is not known before."""
        return replace(self, staged={**self.staged, **staged}, known=self.known if known is None else known)

    def for_stage(self, stage: str) -> Context:
        """The context with the tables that plan.py declares for `stage`; reading or staging another one raises."""
        return replace(self, tables=tables_of(self.pipeline, stage))

    @property
    def spark(self) -> SparkSession:
        """The session, started when first read."""
        return self.open_session()

    @cached_property
    def lake(self) -> Lake:
        """The lake as of the base release, with what the stages before have staged."""
        # from two hours on, tiles have to be kept as known at each hour between: the path of one hour knows one time
        bulk, interval = self.call.hours > 1, (self.call.start, self.call.end)
        return Lake(
            self.spark,
            self.root,
            self.pipeline,
            self.line,
            self.pub,
            bulk=bulk,
            known=self.known,
            attempt=self.attempt,
            staged=self.staged,
            interval=interval,
            tables=self.tables,
            logs=self.logs,
        )

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
    def base(self) -> int | None:
        """Number of the release that this publication is made on; None before the first release."""
        return self.line[-1].release if self.line else None

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
