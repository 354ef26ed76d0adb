"""The lake as a stage sees it: the rows of its base release, and what earlier stages of its publication staged.

The only module that reads released rows on Spark: the log by delta-rs, as in `reading.py`, the files by Spark.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

from deltalake import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructField, StructType, TimestampType

from spark_jobs.config.schemas import table_schemas
from spark_jobs.config.whole import Pipeline
from spark_jobs.frames import local_frame
from spark_jobs.lake import staging
from spark_jobs.lake.hours import ALL_HOURS, Hours, overlap
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.spans import spans
from spark_jobs.lake.staging import Staged
from spark_jobs.lake.versions import EVERY, TableKind, covering_rows, current_sql, known_cover_sql, may_hold
from spark_jobs.ledger import Release, Segment, folds
from spark_jobs.spark_columns import spark_column
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.evolution import CAST_TO, NO_COLUMNS, READ_AS, planned

_HOUR_PUB = StructType([StructField("hour", TimestampType()), StructField("pub", LongType())])
_HOUR_PUB_KNOWN = StructType([*_HOUR_PUB, StructField("known_at", TimestampType())])
_PUB = StructType([StructField("pub", LongType())])


@dataclass(frozen=True)
class _File:
    """A data file: its path, and what its statistics say; none when they say nothing."""

    path: str
    first_hour: datetime | None
    last_hour: datetime | None
    known_to: datetime | None
    last_event_hour: datetime | None

    def may_hold(self, hours: Hours, pubs: Collection[int], event_from: datetime | None) -> bool:
        """Whether it can hold a row of `hours`, with event_hour at or after `event_from`, that one of `pubs` wrote."""
        is_older = event_from and self.last_event_hour and self.last_event_hour < event_from
        return not is_older and overlap(self.first_hour, self.last_hour, hours) and may_hold(self.path, pubs)


@dataclass(frozen=True)
class _Log:
    """The log of a lake table at one version."""

    schema: StructType
    files: tuple[_File, ...]

    @staticmethod
    def of(log: DeltaTable, expected: str) -> _Log:
        """What delta-rs read, with the columns and types of `expected` (JSON) that the next publication brings."""
        text, actions = log.schema().to_json(), log.get_add_actions(flatten=True)
        schema = StructType.fromJson(json.loads(planned(text, expected)))
        if not actions.num_rows:
            return _Log(schema, ())
        names, present = ("path", "min.hour", "max.hour", "max.known_at", "max.event_hour"), actions.schema.names
        facts = [actions.column(n).to_pylist() if n in present else [None] * actions.num_rows for n in names]
        return _Log(schema, tuple(_File(*one) for one in zip(*facts, strict=True)))


Logs = dict[str, _Log | None]


class UndeclaredTableError(Exception):
    """A stage touches a table that steps/plan.py does not list for it: a fault of the code, never of data or settings."""

    def __init__(self, table: str, tables: Sequence[str]) -> None:
        super().__init__(
            f"{table} is not declared in steps/plan.py for this stage, which may touch: {', '.join(tables)}"
        )


class Lake:
    """Rows of one pipeline as of a release, plus the files that publication `pub` has staged so far.

    A view: staging changes no view, and a later stage gets another one with more in `staged`.
    """

    def __init__(
        self,
        spark: SparkSession,
        root: Path,
        pipeline: Pipeline,
        line: Sequence[Release],
        pub: int = 0,
        *,
        bulk: bool = False,
        known: Mapping[datetime, datetime] | None = None,
        attempt: int | None = None,
        defined: bool = True,
        staged: Mapping[str, Staged] | None = None,
        interval: tuple[datetime, datetime] | None = None,
        tables: Collection[str] | None = None,
        logs: Logs | None = None,
    ) -> None:
        """Describe the view; nothing is read yet.

        Args:
            known: when each hour of this publication is known; read when rows are asked for as they were known.
            attempt: as in `staging.staged_files`.
            defined: columns that conf/ defines and that no publication has brought yet are there, null, and types are those
                that the next publication brings; otherwise all is as published.
            staged: what this publication has staged so far, by table, each for all hours of `interval`.
            interval: [start, end) of this publication; required where something is staged.
            tables: the only tables that may be read or staged; None: all.
            logs: logs that other views of this release opened, so that all of them see the same versions.
        """
        self.spark, self.root, self.line, self.pub, self.bulk = spark, root, line, pub, bulk
        self.attempt = attempt
        self.known: Mapping[datetime, datetime] = {} if known is None else known
        self.kinds, self._schemas = table_kinds(pipeline), table_schemas(pipeline)
        self._defined = defined
        self._live = folds.live(line)
        self._tables, self._logs = tables, {} if logs is None else logs
        self.staged: Mapping[str, Staged] = {} if staged is None else staged
        self._covers = dict.fromkeys(self.staged, interval) if interval else {}

    def declared(self, table: str) -> str:
        """`table`, when this view may touch it: a stage reads and writes the tables that steps/plan.py lists for it.

        Raises:
            UndeclaredTableError: it may not.
        """
        if self._tables is not None and table not in self._tables:
            raise UndeclaredTableError(table, sorted(self._tables))
        return table

    def stage(self, table: str, frame: DataFrame) -> Staged:
        """Write `frame` as staged files of this publication for `table`; this view does not have them.

        Rows have the names, types and metadata of the log's schema, where that is wider than the frame's.
        """
        self.declared(table)
        stamped = frame.select(
            *self._as_logged(table, frame), F.lit(self.pub).cast("bigint").alias("pub"), F.to_date("hour").alias("day")
        )
        return self._write(table, stamped)

    def _write(self, table: str, rows: DataFrame) -> Staged:
        """Write `rows` (columns day, hour, known_at, pub among others) as staged files; a bulk run gets one file per day.

        A second run of the same publication and attempt replaces the files of the first.
        """
        folder = staging.staged_folder(self.root, table, self.pub, self.attempt)
        spread = rows.repartition("day") if self.bulk else rows.coalesce(1)
        spread.write.mode("overwrite").partitionBy("day").parquet(str(folder))
        return staging.staged_files(self.root, table, self.pub, rows.schema.json(), self.attempt)

    def staged_rows(self, table: str) -> DataFrame:
        """Exactly the files that this publication staged for `table`, as this view has them."""
        return self.rows_of(self.staged[self.declared(table)])

    def rows_of(self, staged: Staged) -> DataFrame:
        """Exactly the files of `staged`, read back."""
        schema = StructType.fromJson(json.loads(staged.schema))
        if not staged.files:
            return local_frame(self.spark, [], schema)
        base = str(staging.table_folder(self.root, staged.table) / staged.files[0].path.partition("/day=")[0])
        return self.spark.read.schema(schema).option("basePath", base).parquet(base)

    def current(
        self,
        table: str,
        *,
        hours: Hours = ALL_HOURS,
        event_from: datetime | None = None,
        known_by: Column | None = None,
        released: bool = False,
    ) -> DataFrame:
        """current(table) or, with `known_by`, as_known(table): the rows that count.

        Args:
            hours: disjoint ranges of the hours whose rows are looked at. Of a covered table, a version outside of them does
                not replace one inside: the caller states why that is enough, or adds the hours of `moved_keys`.
            event_from: of tiles, only those with event_hour at or after it. It is part of the key, so that no version of a
                tile is separated from the others, whatever the hours whose runs restated it.
            known_by: only versions with known_at <= known_by (an instant as a Column, of the row itself if need be).
            released: leave out what this publication has staged.
        """
        kind = self.kinds[table]
        rows = self._all(table, hours, released=released, event_from=event_from)
        columns, own = rows.columns, None if released else self._covers.get(table)
        if known_by is None:
            chosen = self._chosen(table, kind, hours, own=own)
            return self.spark.sql(current_sql(kind, columns, engine="spark"), rows=rows, chosen=F.broadcast(chosen))
        chosen = self._known_cover(table, hours) if kind.covered else self._chosen(table, kind, hours, own=own)
        asked = current_sql(kind, columns, as_known=True, engine="spark")
        return self.spark.sql(asked, rows=rows.withColumn("_known_by", known_by), chosen=F.broadcast(chosen))

    def known_versions(self, table: str, *, hours: Hours = ALL_HOURS) -> DataFrame:
        """`versions` of a covered table with known_until: when its hour's next publication was known; null: not yet."""
        rows, cover = self._all(table, hours, released=False), self._known_cover(table, hours)
        return rows.join(F.broadcast(cover), ["hour", "pub"])

    def spans(self, table: str, *, hours: Hours = ALL_HOURS) -> DataFrame:
        """The rows of a covered table as known at every instant at once; see `spans.spans`."""
        return spans(self.known_versions(table, hours=hours), self.kinds[table].key)

    def versions(self, table: str, *, hours: Hours = ALL_HOURS, event_from: datetime | None = None) -> DataFrame:
        """Every row of live publications and of this one, all versions: for readers that pick by known_at themselves.

        `hours` and `event_from`: as in `current`.
        """
        rows = self._all(table, hours, released=False, event_from=event_from)
        chosen = self._chosen(table, EVERY, hours, own=self._covers.get(table))
        return self.spark.sql(current_sql(EVERY, rows.columns, engine="spark"), rows=rows, chosen=F.broadcast(chosen))

    def is_made(self, table: str) -> bool:
        """Whether rows of `table` were ever published."""
        return self._log(self.declared(table)) is not None

    def newest_known(self, table: str) -> datetime:
        """No row of `table` is known later than this, by the statistics in its log; the year 1 when there is no row.

        The year 9999 where a file has no statistics of known_at: a log has those of the first 32 columns only.
        """
        never, unknown = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        log = self._log(self.declared(table))
        return max((file.known_to or unknown for file in log.files), default=never) if log else never

    def _as_logged(self, table: str, frame: DataFrame) -> list[Column]:
        """The columns of `frame` but day and pub, as the log of `table` will have them."""
        expected = self._schemas.get(table)
        log = open_log(self.root / table) if expected else None  # also one whose rows no release names yet
        target = planned(log.schema().to_json(), expected) if log and expected else expected or NO_COLUMNS
        fields = {field["name"].lower(): field for field in json.loads(target)["fields"]}
        columns = []
        for name, kind in [(field.name, field.dataType.typeName()) for field in frame.schema]:
            column, field = spark_column(name), fields.get(name.lower(), {"name": name, "type": kind, "metadata": {}})
            if name not in ("day", "pub"):
                narrower = isinstance(field["type"], str) and (kind, field["type"]) in READ_AS | CAST_TO
                column = column.cast(field["type"]) if narrower else column
                columns.append(column.alias(field["name"], metadata=field["metadata"]))
        return columns

    def _all(self, table: str, hours: Hours, *, released: bool, event_from: datetime | None = None) -> DataFrame:
        self.declared(table)
        own = None if released else self._own(table, hours)
        parts = [part for part in (self._released(table, hours, event_from), own) if part is not None]
        if not parts:  # never published: no row, but the columns of conf/
            return local_frame(self.spark, [], StructType.fromJson(json.loads(self._schemas[table])))
        rows = parts[0] if len(parts) == 1 else parts[0].unionByName(parts[1], allowMissingColumns=True)
        return rows.where(F.col("event_hour") >= F.lit(event_from)) if event_from else rows

    def _released(self, table: str, hours: Hours, event_from: datetime | None) -> DataFrame | None:
        log = self._log(table)
        if log is None:
            return None
        paths = [
            str(self.root / table / file.path) for file in log.files if file.may_hold(hours, self._live, event_from)
        ]
        if not paths:
            return local_frame(self.spark, [], log.schema)
        stored = StructType([field for field in log.schema if field.name != "day"])
        rows = self.spark.read.schema(stored).option("recursiveFileLookup", True).parquet(*paths)
        return _within(rows, hours).withColumn("day", F.to_date("hour"))

    def _log(self, table: str) -> _Log | None:
        """What the table's log names, as it was when first asked for: a step sees one version of it."""
        if table not in self._logs:
            log = open_log(self.root / table) if self.line else None
            expected = self._schemas.get(table, NO_COLUMNS) if self._defined else NO_COLUMNS
            self._logs[table] = _Log.of(log, expected) if log else None
        return self._logs[table]

    def _own(self, table: str, hours: Hours) -> DataFrame | None:
        return _within(self.staged_rows(table), hours) if table in self.staged else None

    def _known_cover(self, table: str, hours: Hours) -> DataFrame:
        """(hour, pub, known_until) of live publications and, for a table that it has staged, of this one."""
        own = list(self.known.items()) if table in self._covers else []
        frame = local_frame(self.spark, [(hour, self.pub, known) for hour, known in own], _HOUR_PUB_KNOWN)
        if self.is_made("accounts"):
            accounts = self.versions("accounts", hours=hours).where(F.col("pub") != self.pub)
            frame = accounts.select("hour", "pub", "known_at").unionByName(frame)
        return self.spark.sql(known_cover_sql(), accounts=frame)

    def _chosen(self, table: str, kind: TableKind, hours: Hours, own: tuple[datetime, datetime] | None) -> DataFrame:
        if not kind.covered:
            pubs = sorted({*self._live, self.pub} if own else self._live)
            return local_frame(self.spark, [(pub,) for pub in pubs], _PUB)
        segments = folds.cover(self.line, table)
        if own:
            segments = _over(segments, Segment(own[0], own[1], self.pub))
        return local_frame(self.spark, covering_rows(segments, hours), _HOUR_PUB)


def _within(rows: DataFrame, hours: Hours) -> DataFrame:
    """The rows of `hours`."""
    return rows if hours == ALL_HOURS else rows.where(in_spans("hour", hours))


def in_spans(column: str, spans: Hours) -> Column:
    """Whether the instant in `column` lies in one of `spans`."""
    tests = [
        (F.col(column) >= F.lit(start) if start else F.lit(True)) & (F.col(column) < F.lit(end) if end else F.lit(True))
        for start, end in spans
    ]
    return reduce(Column.__or__, tests, F.lit(False))


def _over(segments: list[Segment], top: Segment) -> list[Segment]:
    """`segments` with `top` laid over them."""
    left = [Segment(s.start, min(s.end, top.start), s.pub) for s in segments if s.start < top.start]
    right = [Segment(max(s.start, top.end), s.end, s.pub) for s in segments if s.end > top.end]
    return [*left, top, *right]
