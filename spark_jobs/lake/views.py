"""Views for notebooks, on a Spark session or in a DuckDB file: the rows that jobs and `tidegate read` see at a release.

Which rows those are is `versions.py`'s work. A DuckDB file needs no Spark and no JVM.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.errors import UsageError
from spark_jobs.identifiers import text_literal
from spark_jobs.lake.reading import connect, kept, register_current, with_fresh_log
from spark_jobs.lake.versions import TableKind, shown_sql
from spark_jobs.ledger import Ledger, Release
from spark_jobs.storage.damage import open_log

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA_VERSION = 1
_AT = pa.timestamp("us", "UTC")
_RELEASE = {
    "pipeline": pa.string(), "release": pa.int64(), "released_at": _AT, "as_known": _AT, "schema_version": pa.int32(),
    "made_by": pa.string(),
}  # fmt: skip
_MADE_BY = "tidegate views"


def view_name(table: str) -> str:
    """Name of the view of a lake table: silver/orders is `silver_orders`."""
    return table.replace("/", "_")


def register_views(
    spark: SparkSession, pipeline_name: str, release: int | None = None, known_by: datetime | None = None, *,
    data: Path | None = None, env: str = "local",
) -> list[str]:  # fmt: skip
    """A temporary view for each lake table of a pipeline, rows as of a release; returns their names.

    The views stay with that release; call it again for a newer one, and after maintenance removed old files.

    Args:
        spark: a session as `lake.session` makes it.
        pipeline_name: a folder in conf/pipelines.
        release: the newest when left out.
        known_by: only what was known at that instant (with a time zone); all that is known when left out.
        data: the data folder, when it is not that of the environment.
        env: a file in conf/environments.

    Raises:
        UsageError: no such pipeline, environment or release; nothing is released yet; an instant without a time zone.
    """  # fmt: skip
    from pyspark.sql import functions as F

    from spark_jobs.lake.tables import Lake

    environment, places = load_environment(env)
    pipeline = load_pipeline(pipeline_name)
    root = (data.resolve() / environment.lake if data else places.lake) / pipeline_name
    lake = Lake(spark, root, pipeline, released_line(root, release), defined=False)
    instant = F.lit(_utc(known_by)) if known_by else None
    names = []
    for table in lake.kinds:
        if open_log(root / table) is not None:
            rows = lake.current(table, known_by=instant).drop("day")
            shown = spark.sql(shown_sql(lake.kinds[table], "SELECT * FROM {rows}", "spark"), rows=rows)
            shown.createOrReplaceTempView(view_name(table))
            names.append(view_name(table))
    return names


def released_line(root: Path, release: int | None) -> list[Release]:
    """The release and its ancestors, oldest first.

    Raises:
        UsageError: there is no such release, or none at all.
    """
    line = Ledger.open(root).line(release)
    if not line:
        todo = "publish an hour or a backfill first: tidegate backfill --help"
        raise UsageError(root.name, "nothing is released yet", "a pipeline with a release", todo)
    return line


def _utc(known_by: datetime) -> datetime:
    if known_by.tzinfo is None:
        raise UsageError("known_by", f"{known_by} has no time zone", "an instant with its time zone", "add tzinfo=UTC")
    return known_by.astimezone(UTC)


def write_views(
    file: Path, root: Path, kinds: dict[str, TableKind], line: list[Release], known_by: datetime | None = None
) -> list[str]:
    """Write a DuckDB database with one view a lake table, as of the last release of `line`; returns their names.

    Views read the lake's Parquet files where they lie. A table `release` says which release it is a snapshot of. The
    file takes its place whole: readers of a former one keep theirs, a failure leaves it as it was.

    Raises:
        UsageError: `file` is something that this function did not write, or its folder does not exist.
        RetryError: a file of the lake is gone.
    """
    check_target(file)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.part")

    def write() -> list[str]:
        fresh.unlink(missing_ok=True)
        with connect(root, database=fresh) as connection:
            named = {view_name(table): (table, kind) for table, kind in kinds.items()}
            names = [
                name for name, (table, kind) in named.items()
                if register_current(connection, root.resolve(), table, kind, line, name, known_by=known_by)
            ]  # fmt: skip
            written = [[root.name], [line[-1].release], [line[-1].at], [known_by], [SCHEMA_VERSION], [_MADE_BY]]
            arrays = [pa.array(value, of) for value, of in zip(written, _RELEASE.values(), strict=True)]
            about = kept(connection, "release", pa.table(arrays, names=list(_RELEASE)))
            connection.execute(f"CREATE TABLE release AS FROM {about}")
            return names

    try:
        names = with_fresh_log(root.name, write)
        file.with_name(f"{file.name}.wal").unlink(missing_ok=True)  # of the former file; it would not fit the new one
        fresh.replace(file)
    finally:
        for left in (fresh, fresh.with_name(f"{fresh.name}.wal")):
            left.unlink(missing_ok=True)
    return names


def _is_written_by_us(former: duckdb.DuckDBPyConnection) -> bool:
    """Whether the attached database `former` has the table that `write_views` writes; a view would run its author's SQL."""
    tables = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'former' AND schema_name = 'main'"
    if ("release",) not in former.execute(tables).fetchall():
        return False
    return former.execute("SELECT made_by FROM former.main.release").fetchall() == [(_MADE_BY,)]


def check_target(file: Path) -> None:
    """That `file` is free, or a database that `write_views` wrote.

    Raises:
        UsageError: it is not.
    """
    allowed = "a new file in a folder that exists, or a file that `tidegate views` wrote"
    if not file.parent.is_dir():
        raise UsageError("--to", f"{file.parent} is no folder", allowed, f"mkdir -p {file.parent}")
    if not file.exists():
        return
    found = "a database of something else"
    try:
        with connect(file, file.with_name(f"{file.name}.wal")) as connection:
            path = text_literal(str(file.absolute()))
            connection.execute(f"ATTACH {path} AS former (TYPE duckdb, READ_ONLY)")
            ours = _is_written_by_us(connection)
    except duckdb.Error as error:
        ours, found = False, str(error).partition("\n")[0]
    if not ours:
        raise UsageError("--to", f"{file} was not written by this command: {found}", allowed, "name another file")
