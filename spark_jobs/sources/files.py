"""Drops of files -> one Spark frame of their lines as text, with origin and faults; a broken row is data, too.

The manifests' list of files is spread over the workers, each parses whole files (parse.py); Spark's own readers are not
used, because they lose, null or move broken rows without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import LongType, StringType, StructField, StructType, TimestampType

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.drops import Drop, known_at
from spark_jobs.sources.parse import joined, read_file
from spark_jobs.sources.shape import Part

SMALL_DROPS, SMALL_BYTES = 64, 16 << 20  # up to here one task is faster than starting several workers
_BATCH_ROWS = 20_000  # rows that a worker hands to the JVM at once; one batch a file costs more than parsing
_INSTANT = pa.timestamp("us", tz="UTC")
_LIST = pa.schema(
    [
        *((name, pa.string()) for name in ("path", "file", "sha256")),
        *((name, pa.int64()) for name in ("rows", "bytes")),
        *((name, _INSTANT) for name in ("arrived_at", "known_at", "hour")),
    ]
)


def bronze_schema(conf: SourceConf) -> StructType:
    """Schema of `read_drops`: the source's columns, file, line, drop_sha256, arrived_at, known_at, hour, raw, fault."""
    text = [(name, StringType()) for name in conf.columns]
    origin = [("file", StringType()), ("line", LongType()), ("drop_sha256", StringType())]
    instants = [(name, TimestampType()) for name in ("arrived_at", "known_at", "hour")]
    fields = [*text, *origin, *instants, ("raw", StringType()), ("fault", StringType())]
    return StructType([StructField(name, kind) for name, kind in fields])


def read_drops(spark: SparkSession, drops: Sequence[Drop], conf: SourceConf) -> DataFrame:
    """Grain: file, line. As many rows as the drops' manifests state, or one row (line 0) for a drop that is refused.

    Columns as `bronze_schema`: the source's as text (null: a text of `nulls`, or the line is broken); file: path below
    the landing folder; line: number in the file, from 1, a header counted; drop_sha256: of the manifest, verified on
    the bytes that are parsed; raw, fault: text and reason of a line that is not a record, else null. A row with line 0
    says why nothing of its file may be used. Order is not defined. A second call gives equal rows.
    """
    listed = spark.createDataFrame(_file_list(drops, conf))
    small = len(drops) <= SMALL_DROPS and sum(drop.bytes for drop in drops) <= SMALL_BYTES
    spread = listed.coalesce(1) if small else listed.repartition(2 * spark.sparkContext.defaultParallelism)
    return spread.mapInArrow(partial(_parse_files, conf=conf), bronze_schema(conf))


def _file_list(drops: Sequence[Drop], conf: SourceConf) -> pa.Table:
    facts = [(d.path, d.file, d.sha256, d.rows, d.bytes, d.arrived_at, known_at(d, conf), d.hour) for d in drops]
    return pa.Table.from_arrays(
        [pa.array([fact[at] for fact in facts], field.type) for at, field in enumerate(_LIST)], schema=_LIST
    )


def _parse_files(batches: Iterator[pa.RecordBatch], conf: SourceConf) -> Iterator[pa.RecordBatch]:
    """The rows of every listed file, in batches of about `_BATCH_ROWS`."""
    facts: list[dict[str, Any]] = []
    parts: list[Part] = []
    count = 0
    for batch in batches:
        for fact in batch.to_pylist():
            facts.append(fact)
            parts.append(read_file(fact["path"], fact["file"], fact["rows"], fact["bytes"], fact["sha256"], conf))
            count += int(fact["rows"]) + 1
            if count >= _BATCH_ROWS:
                yield from _with_origin(facts, parts, conf)
                facts, parts, count = [], [], 0
    if parts:
        yield from _with_origin(facts, parts, conf)


def _with_origin(facts: list[dict[str, Any]], parts: list[Part], conf: SourceConf) -> list[pa.RecordBatch]:
    """The rows of the parts with the facts about their files, in the order of `bronze_schema`."""
    rows, owners = joined(parts, conf)
    own = {name: rows[name] for name in rows.column_names}
    taken = pa.array(owners)
    origin = {name: pa.array([fact[key] for fact in facts], kind).take(taken) for name, key, kind in _ORIGIN}
    names = [*conf.columns, "file", "line", "drop_sha256", "arrived_at", "known_at", "hour", "raw", "fault"]
    table = pa.table({name: own[name] if name in own else origin[name] for name in names})
    return list(table.combine_chunks().to_batches())


_ORIGIN = (
    ("file", "file", pa.string()),
    ("drop_sha256", "sha256", pa.string()),
    ("arrived_at", "arrived_at", _INSTANT),
    ("known_at", "known_at", _INSTANT),
    ("hour", "hour", _INSTANT),
)
