"""A year of small drops: CPU seconds of our stages and of DuckDB on the same files, in one run on one machine.

`make bench` prints a table; ratios count, not seconds. The JVM's start, imports and a first query are not counted.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from measure import Rows, add, measured, table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.config import load_pipeline
from spark_jobs.config.load import load_environment
from spark_jobs.invocation import Invocation, hours_between, parse_hour
from spark_jobs.lake.session import local_session
from spark_jobs.quality.suites import warm_up
from spark_jobs.sources.drops import Drop, find_drops
from spark_jobs.sources.files import read_drops
from spark_jobs.sources.replay import replay
from spark_jobs.stages import bronze, silver
from spark_jobs.steps.run import StepRun
from spark_jobs.transforms.columns import typed

NAME = "nycflights13"
SOURCES = ("departures", "schedules", "weather")


def day_drops(drops: dict[datetime, Drop], folder: Path) -> list[Drop]:
    """The same rows as one file a day, each as the drop of its day's last hour."""
    days: dict[str, list[Drop]] = {}
    for hour, drop in sorted(drops.items()):
        days.setdefault(f"{hour:%F}", []).append(drop)
    made = []
    for day, some in days.items():
        texts = [gzip.decompress(Path(drop.path).read_bytes()) for drop in some]
        head = texts[0].partition(b"\n")[0] + b"\n" if ".csv" in some[0].file else b""
        data = gzip.compress(head + b"".join(text.removeprefix(head) for text in texts), compresslevel=1, mtime=0)
        path = folder / some[0].source / f"{day}.{some[0].file.partition('.')[2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        facts = {"path": str(path), "file": path.name, "rows": sum(drop.rows for drop in some), "bytes": len(data)}
        made.append(replace(some[-1], **facts, sha256=hashlib.sha256(data).hexdigest()))
    return made


def read_typed(spark: SparkSession, pipeline: Any, drops: dict[str, list[Drop]]) -> int:
    """Read, type and de-duplicate within each drop, as DuckDB does beside it; the number of rows."""
    found = 0
    for name, some in drops.items():
        table = pipeline.silver[name]
        columns = {column: typed(F.col(made.source or column), made.type) for column, made in table.columns.items()}
        rows: DataFrame = read_drops(spark, some, pipeline.sources.sources[name]).where("line > 0")
        rows = rows.select("file", "line", *[value.alias(column) for column, value in columns.items()])
        newest = F.max(F.struct("line", *columns)).alias("newest")
        kept = rows.groupBy("file", *[F.col(k).alias(f"_{k}") for k in table.key]).agg(newest)
        found += kept.select("newest.*").agg(F.count("*"), F.count(F.hash(*columns))).first()[0]  # type: ignore[index]
    return found


DUCKDB = """
import duckdb, sys, time
folder, form = sys.argv[1], sys.argv[2]
c = duckdb.connect(); c.execute("SET enable_progress_bar = false"); c.execute("SET TimeZone='UTC'"); c.execute("SET threads=2")
csv = "read_csv('{}', all_varchar=true, header=true, filename=true)"
names = "origin time_hour temp dewp humid wind_dir wind_speed wind_gust precip pressure visib".split()
columns = "{" + ", ".join(f"{n}: 'VARCHAR'" for n in names) + "}"
doubles = ", ".join(f"try_cast(nullif({n}, 'NA') AS DOUBLE) AS {n}" for n in names[2:])
asked = {
  "departures": (csv, "scheduled_at::TIMESTAMPTZ AS planned_at, carrier, flight::INT AS flight, origin,"
                      " try_cast(nullif(dep_delay, 'NA') AS INT) AS delay", "planned_at, carrier, flight, origin"),
  "schedules": (csv, "scheduled_at::TIMESTAMPTZ AS planned_at, carrier, flight::INT AS flight, origin, dest,"
                     " nullif(tailnum, 'NA') AS tail, distance::DOUBLE AS distance", "planned_at, carrier, flight, origin"),
  "weather": ("read_json('{}', format='newline_delimited', filename=true, columns=" + columns + ")",
              "origin, time_hour::TIMESTAMPTZ AS planned_at, " + doubles, "planned_at, origin"),
}
began, rows = time.process_time(), 0
for name, (read, made, key) in asked.items():
    source = read.replace("{}", f"{folder}/{name}/{form}")
    rows += c.execute(f"CREATE TABLE {name} AS SELECT {made}, filename FROM {source}"
                      f" QUALIFY row_number() OVER (PARTITION BY filename, {key} ORDER BY 1) = 1").fetchone()[0]
print(time.process_time() - began, rows)
"""


def duckdb_on(rows: Rows, what: str, folder: Path, form: str) -> None:
    """DuckDB reading, typing and de-duplicating the files, in a process of its own."""
    began = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", DUCKDB, str(folder), form], check=True, stdout=subprocess.PIPE, text=True
    )
    cpu, count = said.stdout.split()
    add(rows, what, float(cpu), time.monotonic() - began, int(count))


def main() -> None:
    """Deliver, measure, print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, default=Path("var/bench"))
    words.add_argument("--from", dest="start", default="2013-01-01T00:00:00")
    words.add_argument("--to", dest="end", default="2014-01-01T00:00:00")
    asked = words.parse_args()
    start, end, rows = parse_hour(asked.start), parse_hour(asked.end), Rows()
    data, pipeline = asked.data.resolve(), load_pipeline(NAME)
    landing = data / "landing" / NAME
    assert pipeline.replay
    replay(pipeline.replay, landing, start, end)
    hours = list(hours_between(start, end))
    found = {name: find_drops(pipeline.sources, landing, name, hours) for name in SOURCES}
    daily = {name: day_drops(drops, data / "daily") for name, drops in found.items()}
    hourly = {name: list(drops.values()) for name, drops in found.items()}
    print(
        f"{sum(map(len, hourly.values()))} drops an hour, {sum(map(len, daily.values()))} a day, of {len(hours)} hours"
    )

    environment, _ = load_environment("local")
    profile = environment.spark.bulk
    spark = local_session(jvm="bulk", memory_mb=profile.memory_mb, partitions=profile.shuffle_partitions)
    warm_up().join()
    read_typed(spark, pipeline, {name: some[:48] for name, some in hourly.items()})  # JIT, workers, class loading
    duckdb_on(rows, "DuckDB: read, type, de-duplicate; a file an hour", landing, "*/*.gz")
    with measured(rows, "ours: read, type, de-duplicate; a file an hour") as count:
        count.append(read_typed(spark, pipeline, hourly))
    duckdb_on(rows, "DuckDB: the same; a file a day", data / "daily", "*.gz")
    with measured(rows, "ours: the same; a file a day") as count:
        count.append(read_typed(spark, pipeline, daily))
    stages(spark, rows, data, start, end)
    table(rows, {0: (0, 1, 4, 5), 2: (2, 3)}, "of DuckDB", {})


def stages(spark: SparkSession, rows: Rows, data: Path, start: datetime, end: datetime) -> None:
    """The real stages bronze and silver over all sources: files written, every row judged by its rules."""
    call = Invocation(NAME, "ingest", start, end, f"bench {time.time_ns()}")
    os.environ["TIDEGATE_DATA"] = str(data)
    run = StepRun(call, lambda: spark)
    context = run.start_publication(call, [])
    with measured(rows, "ours: stage bronze, all sources, written") as count:
        drops = bronze.required_drops(context)
        lines = bronze.run(context.for_stage("bronze"), bronze.BronzeInput(drops))
        count.append(sum(staged.rows for staged in lines.staged.values()))
    context = context.after(lines.staged, lines.known)
    with measured(rows, "ours: stage silver: typed, judged, split, written") as count:
        judged = silver.run(context.for_stage("silver"), silver.SilverInput(drops))
        count.append(sum(staged.rows for name, staged in judged.staged.items() if name.startswith("silver/")))


if __name__ == "__main__":
    main()
