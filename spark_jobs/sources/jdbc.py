"""Kind jdbc: Spark asks a database for the rows of some hours, and each hour's rows land as a drop; bronze reads the drop.

So what was read once stays as it was, whatever the database says later, and the same rows have the same bytes every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path

from py4j.java_gateway import is_instance_of
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType

from spark_jobs.config.jdbc_source import JdbcConf
from spark_jobs.config.secrets import secret_of
from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.identifiers import quoted, spark_column
from spark_jobs.invocation import HOUR, format_hour, hours_between, parse_hour
from spark_jobs.sources.dialects import INSTANT, dialect_of
from spark_jobs.sources.drops import find_drops
from spark_jobs.sources.landing import Landed, land


@dataclass(frozen=True)
class Queried:
    """How many rows a database gave for some hours, in how many drops, and how many of those are new or mended."""

    rows: int
    drops: int
    written: int


def land_rows(
    spark: SparkSession, name: str, source: SourceConf, landing: Path, data: Path, start: datetime, end: datetime,
    now: datetime,
) -> Queried:  # fmt: skip
    """Ask for the rows of [start, end) once and make each hour's rows its newest drop below `landing`.

    The same rows again change nothing. A snapshot belongs to the last hour; an hour before it that has no drop gets an
    empty one. `now` is when the rows were asked for.

    Raises:
        UsageError: not of kind jdbc, a variable is not set, or the database does not understand what it is asked.
        RefusedError: columns are not those declared, a row has no hour or one that was not asked for, too many rows.
        RetryError: the last hour is not over, or the database cannot be reached, is locked or too slow.
    """
    where, conf = f"{name} {format_hour(start)}", source.jdbc
    if conf is None:
        raise UsageError(where, f"a source of kind {source.kind}", "one of kind jdbc", "name another source")
    if now < end:
        raise RetryError(where, "waiting: the last hour is not over", f"from {format_hour(end)}Z on", "try then")
    there = find_drops(SourcesConf(sources={name: source}), landing, name, hours_between(start, end))
    rows, landed = 0, dict[datetime, Landed]()
    for hour, lines in _by_hour(where, spark, source, conf, data, start, end):
        landed[hour] = _land(name, source, landing, hour, lines, now)
        rows += len(lines)
    for hour in hours_between(start, end):
        past = conf.changed_at is None and hour < end - HOUR  # of a snapshot: nobody knows any more what it was
        if hour not in landed and not (past and hour in there):
            landed[hour] = _land(name, source, landing, hour, [], now)
    return Queried(rows, len(landed), sum(one.written for one in landed.values()))


def _land(name: str, source: SourceConf, landing: Path, hour: datetime, lines: list[str], now: datetime) -> Landed:
    arrived = hour + HOUR if source.jdbc and source.jdbc.arrived == "changed" else now
    return land(name, source, landing, hour, "".join(lines).encode(), len(lines), arrived)


def _by_hour(
    where: str, spark: SparkSession, source: SourceConf, conf: JdbcConf, data: Path, start: datetime, end: datetime
) -> Iterator[tuple[datetime, list[str]]]:
    """(hour, its lines of JSON) for each hour with rows, the oldest first.

    Raises:
        RefusedError, RetryError, UsageError: see `land_rows`.
    """
    rows = None
    try:
        rows = _lines(where, spark, source, conf, data, start, end).persist()  # the database is asked once
        _check_hours(where, conf, rows, start, end)
        found = rows.select("hour", "line").sort("hour", "line").toLocalIterator(prefetchPartitions=True)
        for hour, group in groupby(found, key=lambda row: str(row["hour"])):
            lines = [f"{row['line']}\n" for row in islice(group, conf.max_rows + 1)]
            if len(lines) > conf.max_rows:
                raise RefusedError(where, f"more than {conf.max_rows} rows", "at most jdbc.max_rows of sources.yaml")
            yield parse_hour(hour), lines
    except (PySparkException, Py4JJavaError) as error:
        raise _fault(where, conf, error) from error
    finally:
        if rows is not None:
            rows.unpersist()


def _check_hours(where: str, conf: JdbcConf, rows: DataFrame, start: datetime, end: datetime) -> None:
    seen = F.min(F.coalesce(F.get_json_object("line", f"$.{conf.changed_at}"), F.lit("null")))
    row = rows.where("NOT coalesce(asked, false)").agg(F.count("*"), seen).first()  # one row
    if row and row[0]:
        raise RefusedError(
            where, f"{row[0]} rows without an hour of this interval in {conf.changed_at}, such as {row[1][:200]}",
            f"an instant in UTC such as 2013-11-01T12:00:00Z, from {format_hour(start)}Z to before {format_hour(end)}Z",
            "mend the rows in the database, or name another column in jdbc.changed_at of sources.yaml",
        )  # fmt: skip


def _lines(
    where: str, spark: SparkSession, source: SourceConf, conf: JdbcConf, data: Path, start: datetime, end: datetime
) -> DataFrame:
    """Grain: row of the database -> hour (text), line (JSON, every value as text), asked: the hour is one of ours."""
    table = ".".join(map(quoted, (conf.table or "").split(".")))  # schema.table at most
    asked = f"SELECT * FROM {table}" if conf.table else str(conf.query)
    present = _reader(where, spark, conf, data).option("dbtable", f"({asked}) asked").load().schema
    _check_columns(where, source, present.names)
    kinds, part = {field.name: field.dataType for field in present}, conf.partition
    exact = _exact(where, source, conf, kinds)
    limits = ""
    if conf.changed_at:
        within, kind = dialect_of(conf.address()).within, kinds[conf.changed_at]
        limits = f" WHERE {within(conf.changed_at, kind, format_hour(start), format_hour(end))}"
    reader = _reader(where, spark, conf, data).option("dbtable", f"(SELECT {exact} FROM ({asked}) asked{limits}) exact")
    if part:
        reader = reader.option("partitionColumn", part.column).option("numPartitions", part.count)
        reader = reader.option("lowerBound", part.lower).option("upperBound", part.upper)
    types = {name: "BIGINT" if part and name == part.column else "STRING" for name in source.columns}
    rows = reader.option(
        "customSchema", ", ".join(f"{quoted(name, 'spark')} {kind}" for name, kind in types.items())
    ).load()
    text = F.struct(*[spark_column(name).cast("string").alias(name) for name in source.columns])
    line = F.to_json(text, {"ignoreNullFields": "false"})
    if conf.changed_at is None:
        return rows.select(F.lit(format_hour(end - HOUR)).alias("hour"), line.alias("line"), F.lit(True).alias("asked"))
    hour = F.date_format(spark_column(conf.changed_at).try_cast("timestamp"), "yyyy-MM-dd'T'HH:00:00")
    ours = spark_column(conf.changed_at).rlike(f"^{INSTANT}") & hour.between(
        format_hour(start), format_hour(end - HOUR)
    )
    return rows.select(hour.alias("hour"), line.alias("line"), ours.alias("asked"))


def _exact(where: str, source: SourceConf, conf: JdbcConf, kinds: dict[str, DataType]) -> str:
    ranges, exact = conf.partition.column if conf.partition else None, dialect_of(conf.address()).exact
    try:
        return ", ".join(exact(name, kinds[name], name == ranges) for name in source.columns)
    except ValueError as error:
        raise UsageError(
            where, str(error), "a column that can be counted", "mend jdbc.partition of sources.yaml"
        ) from error


def _reader(where: str, spark: SparkSession, conf: JdbcConf, data: Path) -> DataFrameReader:
    url = conf.address()
    dialect = dialect_of(url)
    reader = spark.read.format("jdbc").options(**dialect.options(url, conf, data)).option("driver", dialect.driver)
    reader = reader.option("fetchsize", conf.fetch_rows).option("queryTimeout", conf.timeout_s)
    for option, variable in (("user", conf.user_env), ("password", conf.password_env)):
        if variable and dialect.signs_in:
            reader = reader.option(option, secret_of(where, variable))
    return reader


def _check_columns(where: str, source: SourceConf, present: list[str]) -> None:
    missing = [name for name in source.columns if name not in present]
    new = [name for name in present if name not in source.columns]
    if missing or new:
        parts = [f"{word} {', '.join(which)}" for word, which in (("missing", missing), ("new", new)) if which]
        raise RefusedError(
            where, f"columns: {'; '.join(parts)}", f"those of sources.yaml: {', '.join(source.columns)}",
            "declare them in sources.yaml, or name in jdbc.query those that are wanted",
        )  # fmt: skip


def _fault(where: str, conf: JdbcConf, error: Exception) -> TidegateError:
    """What the database's own error means: a wrong question (64), or a database that is not there now (75)."""
    text, state = _said(error)
    if dialect_of(conf.address()).is_ours(text, state):
        return UsageError(where, f"the database says: {text}", "what it knows", "mend the section jdbc in sources.yaml")
    todo = "the same command goes on when the database answers"
    return RetryError(where, f"the database cannot be asked: {text}", f"an answer from {conf.address()}", todo)


def _said(error: Exception) -> tuple[str, str]:
    """The first line of what a driver said, and its SQLSTATE; of an error that came from none, its own."""
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    outer = error if java is None else java.getMessage()
    while java is not None:
        if is_instance_of(SparkContext._gateway, java, "java.sql.SQLException"):
            return _line(java.getMessage()), str(java.getSQLState() or "")
        java = java.getCause()
    return _line(outer), ""


def _line(text: object) -> str:
    return str(text).partition("\n")[0][:300]
