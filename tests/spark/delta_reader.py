"""What Delta's own reader on Spark sees in tables of the lake, in an application of its own: no step needs that reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from spark_jobs.config import load_environment
from spark_jobs.runtime import process_environment, spark_conf
from spark_jobs.runtime.spark import submit_script

_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def seen_by_delta(*tables: Path) -> list[dict[str, Any]]:
    """Of each table its `schema` (Spark's JSON) and its `rows` (each as JSON, sorted), as Delta's reader shows them."""
    conf = spark_conf(load_environment("local")[0].spark.hourly) | _DELTA
    words = [str(table) for table in tables]
    command = submit_script(Path(__file__), words, master="local[2]", memory_mb=1024, conf=conf, name="Delta's reader")
    environ = {**os.environ, **process_environment()}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"schema"')]
    assert len(told) == len(tables), done.stdout[-3000:] + done.stderr[-3000:]
    return told


def main(tables: list[str]) -> None:
    """Print a line a table; run by spark-submit."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    for table in tables:
        frame = spark.read.format("delta").load(table)
        print(json.dumps({"schema": frame.schema.json(), "rows": sorted(frame.toJSON().collect())}), flush=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
