"""A small pipeline of readings with a column of every type, its drops, and a scheduler that runs its hours."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.config import load_pipeline
from spark_jobs.invocation import HOUR, Invocation, parse_hour
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.ledger import Ledger
from spark_jobs.result import Result
from spark_jobs.steps import plan
from spark_jobs.steps.run import StepRun

NAME, FIRST = "readings", parse_hour("2024-05-01T20:00:00")
TYPES = {
    "id": "string", "at": "timestamp", "due": "timestamp", "sensor": "string", "s": "string", "i": "int", "b": "bigint",
    "d": "double", "t": "timestamp", "on_day": "date", "flag": "boolean",
}  # fmt: skip
ROW = {
    "at": "2024-05-01T20:10:00Z", "due": "2024-05-01T22:30:00Z", "sensor": "a", "s": "text", "i": "1", "b": "1", "d": "0.5",
    "t": "2024-05-01T20:10:00Z", "on_day": "2024-05-01", "flag": "true",
}  # fmt: skip
_PIPELINE = f"""name: {NAME}
owner: tests
start: 2024-05-01T20:00:00Z
"""
_LOCAL = """data: var
spark:
  master: local[2]
  hourly:
    memory_mb: 1024
    cores: 2
    shuffle_partitions: 1
    jvm_options: [-XX:TieredStopAtLevel=1, -XX:+UseSerialGC, -XX:ReservedCodeCacheSize=240m]
    conf: {spark.sql.adaptive.enabled: false, spark.sql.codegen.wholeStage: false, spark.sql.codegen.factoryMode: NO_CODEGEN}
  bulk: {memory_mb: 1024, cores: 2, shuffle_partitions: 2, jvm_options: [-XX:+UseParallelGC, -XX:ReservedCodeCacheSize=240m]}
"""
_FEATURES = """spine:
  table: readings
  event_at: due
  predict_before: 1h
  entities: {sensor: [sensor]}
windows:
  recent:
    table: readings
    entities: [sensor]
    measures:
      i: {use: itself, columns: [i]}
    windows: [3h]
    aggregations:
      - {name: readings, op: count}
      - {name: mean_i, op: mean, of: i}
"""
SUITE = """table: readings
rules:
  - {id: i_small, type: expect_column_values_to_be_between, column: i, args: {max_value: 2147483647}, scope: row, budget: 1,
     severity: warning, why: tests}
"""
_FEATURE_SUITE = """table: features/recent
rules:
  - {id: counted, type: expect_column_values_to_be_between, column: readings_3h, args: {min_value: 1}, scope: row, budget: 1,
     why: tests}
"""


@dataclass
class Readings:
    """A project and a data folder of their own."""

    project: Path
    data: Path
    spark: SparkSession = field(repr=False)

    def write(
        self, *, suite: str = SUITE, key: Sequence[str] = ("id",), source: str = "", column: str = ""
    ) -> Readings:
        """Write conf/ and expectations/; `source`: more fields of the source; `column`: more fields of every column."""
        columns = "".join(
            f"      {name}: {{type: {kind},{column} meaning: A column.}}\n" for name, kind in TYPES.items()
        )
        tables = f"""tables:
  readings:
    source: readings
    grain: one row per reading
    key: [{", ".join(key)}]
    event_at: {{use: itself, columns: [at]}}
    event_within: {{lateness: 24h}}
    columns:
{columns}"""
        sources = f"""sources:
  readings:
    kind: files
    manifests: readings/{{day}}/{{hour}}.manifest.json
    format: csv
    columns: [{", ".join(TYPES)}]
{source}"""
        conf = f"conf/pipelines/{NAME}"
        files = {
            "conf/environments/local.yaml": _LOCAL, f"{conf}/pipeline.yaml": _PIPELINE, f"{conf}/features.yaml": _FEATURES,
            f"{conf}/tables.yaml": tables, f"{conf}/sources.yaml": sources, f"expectations/{NAME}/readings.yaml": suite,
            f"expectations/{NAME}/features_recent.yaml": _FEATURE_SUITE,
        }  # fmt: skip
        for name, text in files.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    @property
    def root(self) -> Path:
        """The pipeline's folder in the lake."""
        return self.data / "lake" / NAME

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return Ledger.open(self.root)

    def deliver(
        self, hour: datetime, rows: Sequence[Mapping[str, str]], *, version: int = 1, arrived: timedelta = HOUR
    ) -> Path:
        """A drop of `hour`: ROW with the differences of each of `rows`, id counted from 0; the path of its manifest."""
        stream = io.StringIO(newline="")
        writer = csv.DictWriter(stream, list(TYPES))
        writer.writeheader()
        writer.writerows({"id": str(number), **ROW, **row} for number, row in enumerate(rows))
        data, stem = stream.getvalue().encode(), f"{hour:%H}" if version == 1 else f"{hour:%H}.{version}"
        folder = self.data / "landing" / NAME / "readings" / f"{hour:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.csv").write_bytes(data)
        facts = {"schema_version": 1, "source": "readings", "hour": f"{hour:%FT%T}", "file": f"{stem}.csv",
                 "rows": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                 "arrived_at": f"{hour + arrived:%FT%T}Z"}  # fmt: skip
        manifest = folder / f"{stem}.manifest.json"
        manifest.write_text(json.dumps(facts))
        return manifest

    def run(self, step: str, start: datetime, hours: int = 1) -> Result:
        """One step, as Airflow would call it."""
        call = Invocation(NAME, step, start, start + hours * HOUR, f"run {start}", "local")
        self.spark.catalog.clearCache()  # what a step leaves there goes with its application otherwise
        with self.here():
            return StepRun(call, lambda: self.spark).run()

    def stage(self, start: datetime, hours: int = 1) -> Result:
        """All steps before publish, as far as they end with 0; the result of the last one."""
        for step in plan.steps_before("publish"):
            result = self.run(step.name, start, hours)
            if result.exit_code:
                break
        return result

    def publish(self, start: datetime, hours: int = 1) -> Result:
        """The steps of an hour, each of which must end with 0."""
        for step in plan.HOUR_STEPS:
            result = self.run(step.name, start, hours)
            assert result.exit_code == 0, result.why
        return result

    @contextmanager
    def here(self) -> Any:
        """Inside, project and data folder are these."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIDEGATE_PROJECT", str(self.project))
            patch.setenv("TIDEGATE_DATA", str(self.data))
            yield

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """What a reader of the newest release answers; views are silver_readings, quarantine, accounts and so on."""
        pipeline = load_pipeline(NAME, self.project)
        with connect(self.root) as connection:
            for table, kind in table_kinds(pipeline).items():
                register_current(connection, self.root, table, kind, self.ledger.line(), table.replace("/", "_"))
            return connection.execute(sql).fetchall()

    def rules(self, pub: int, table: str = "silver/readings") -> dict[str, Any]:
        """The newest verdict of `pub` on `table`: its results by rule."""
        verdict = [one for one in self.ledger.verdicts(pub) if one.table == table][-1]
        return {result.rule: result for result in verdict.rules}
