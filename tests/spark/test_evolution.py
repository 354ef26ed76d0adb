"""Definitions change while the pipeline runs on: real steps on a lake of a former version, and every reader agrees after each.

Which types are read as which without a rewrite is tried here too, on the engines' own readers.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from spark_jobs.cli.act import maintain_pipeline
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.features import spine
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.differences import differences
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.lake.views import register_views, view_name
from spark_jobs.ledger import Ledger
from spark_jobs.sources.replay import replay
from spark_jobs.steps.context import Context
from spark_jobs.storage.delta import DeltaStorage
from spark_jobs.storage.evolution import CAST_TO, READ_AS, schema_of
from spark_jobs.storage.parquet import staged_file
from tests.spark.delta_reader import seen_by_delta
from tests.spark.visits import FIRST, NAME, PROJECT, Harbour, write_history
from tests.unit.former_lake import expected, shown, unpacked

COLUMNS = "SELECT column_name, column_type FROM (DESCRIBE {}) ORDER BY column_name"
HOURS = 9  # that the lake has
TOLD = "      told: {from: delay, type: string, meaning: The delay as told.}\n"


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """The lake of the former version, with a project of its own and drops of five hours more."""
    folder = tmp_path_factory.mktemp("evolution")
    project = folder / "project"
    shutil.copytree(PROJECT, project)
    write_history(folder / "harbour_history", 7, HOURS + 5)
    (folder / "harbour_history" / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    made = Harbour(unpacked(folder), spark, project=project)
    replay(load_pipeline(NAME, project).replay, made.landing, FIRST + (HOURS + 1) * HOUR, FIRST + (HOURS + 5) * HOUR,
           arrived_minutes=0.5)  # fmt: skip
    yield made
    sys.path.remove(str(folder))


def _change(lake: Harbour, file: str, *pairs: tuple[str, str]) -> None:
    path = next(lake.project.rglob(file))
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def _different(lake: Harbour, release: int | None = None, known_by: datetime | None = None) -> dict[str, Any]:
    """Columns that Spark views and readers without a JVM show otherwise; rows of each table that only one of them shows."""
    found, spark = {}, lake.spark
    with lake.here():
        names = register_views(spark, NAME, release, known_by)
    with connect(lake.root) as connection:
        for table, kind in table_kinds(load_pipeline(NAME, lake.project)).items():
            line, name = Ledger.open(lake.root).line(release), view_name(table)
            there = register_current(connection, lake.root, table, kind, line, name, known_by=known_by)
            assert there == (name in names), table
            if not there:
                continue
            connection.register("on_spark", spark.table(name).toArrow())
            columns = connection.execute(COLUMNS.format(name)).fetchall()
            if (other := connection.execute(COLUMNS.format("on_spark")).fetchall()) != columns:
                found[table] = sorted({*other} ^ {*columns})
                continue
            listed = ", ".join(f'"{column}"' for column, _ in columns)
            for a, b in (("on_spark", name), (name, "on_spark")):
                query = f"SELECT {listed} FROM {a} EXCEPT ALL SELECT {listed} FROM {b}"
                if rows := connection.execute(query).fetchall():
                    found[table] = rows[:2]
    for name in names:
        spark.catalog.dropTempView(name)
    return found


def _same_everywhere(lake: Harbour) -> None:
    """Spark views and readers without a JVM agree on releases old and new, and as known."""
    newest = Ledger.open(lake.root).line()[-1].release
    asked = [(None, None), (newest - 1, FIRST + 7 * HOUR)]
    assert {one: bad for one in asked if (bad := _different(lake, *one))} == {}
    for one in expected(lake.data):
        if not one["as_known"] or one["release"]:
            assert shown(lake.data, one["release"] or 6, one["as_known"]) == one["tables"]


def _cells(lake: Harbour, hour: datetime) -> list[dict[str, Any]]:
    """Spine rows with their features, as a model reads them."""
    with lake.here():
        pipeline, (environment, places) = load_pipeline(NAME), load_environment("local")
        ledger = Ledger.open(lake.root)
        call = Invocation(NAME, "score", hour, hour + HOUR, "test")
        work = Context(pipeline, environment, places, ledger, call, 0, ledger.line(), lambda: lake.spark)
        rows = spine.spine_rows(work, hour + HOUR, hour + HOUR)
        return [row.asDict() for row in spine.with_cells(work, rows, hour + HOUR, as_known=False).collect()]


def test_a_former_lake_goes_on_under_changing_definitions(lake: Harbour) -> None:
    """Published hour by hour: as it was; a window, a column and a wider type added; a column dropped; then heal and maintain."""
    hours = [FIRST + (HOURS + n) * HOUR for n in range(5)]
    _same_everywhere(lake)
    lake.publish(hours[0])
    _same_everywhere(lake)

    _change(lake, "features.yaml", ("windows: [3h, 12h]", "windows: [3h, 6h, 12h]"))
    _change(lake, "tables.yaml",
            ("quay: {type: int,", "quay: {type: bigint,"),
            ("      delay_min: {from", f"{TOLD}      delay_min: {{from"))  # fmt: skip
    before = _cells(lake, hours[0])
    assert before
    assert all(row["boat_landings_6h"] is None and row["boat_landings_12h"] is not None for row in before)
    assert lake.run("heal", FIRST, HOURS, "before").exit_code == 0
    lake.publish(hours[1])
    lake.publish(hours[2])
    _same_everywhere(lake)
    after = _cells(lake, hours[2])
    assert after
    assert all(row["boat_landings_3h"] <= row["boat_landings_6h"] <= row["boat_landings_12h"] for row in after)

    _change(lake, "tables.yaml", (TOLD, ""))
    _change(lake, "features.yaml", ("windows: [3h, 6h, 12h]", "windows: [3h, 12h]"))
    lake.publish(hours[3], 2, "backfill")
    assert lake.run("heal", FIRST, HOURS + 4, "after").exit_code == 0
    _same_everywhere(lake)
    line = Ledger.open(lake.root).line()
    told = differences(lake.root, table_kinds(load_pipeline(NAME, lake.project)), line[:1], line)
    assert {one.table for one in told if one.any} >= {"silver/plans", "features/landings"}
    with lake.here():
        maintain_pipeline(NAME, "local", as_json=True)
    _same_everywhere(lake)

    tables = ["silver/plans", "silver/landings", "tiles/landings", "features/landings"]
    logs = {table: DeltaTable(lake.root / table) for table in tables}
    types = {field.name: field.type.type for field in logs["silver/plans"].schema().fields}
    assert types["quay"] == "long"
    assert all(field.nullable for log in logs.values() for field in log.schema().fields)
    for (table, log), told in zip(logs.items(), seen_by_delta(*[lake.root / t for t in tables]), strict=True):
        rows = log.to_pyarrow_dataset().to_table()
        assert StructType.fromJson(json.loads(told["schema"])).names == rows.column_names, table
        assert len(told["rows"]) == rows.num_rows
        connection = connect()
        connection.register("delta_rs", rows)
        for row in told["rows"][:50]:
            facts = json.loads(row)
            wanted = {name: value for name, value in facts.items() if isinstance(value, int | float)}
            test = " AND ".join(f'abs("{name}" - {value}::DOUBLE) < 1e-5' for name, value in wanted.items())
            assert connection.execute(f"SELECT count(*) FROM delta_rs WHERE {test}").fetchall()[0][0], row


SPARK = {
    "integer": "int",
    "long": "bigint",
    "double": "double",
    "float": "float",
    "date": "date",
    "timestamp": "timestamp",
}
WIDENED = [("integer", "long"), ("integer", "double"), ("float", "double"), ("long", "double"), ("date", "timestamp")]
VALUES = {
    "integer": pa.array([1, None, -(2**31)], pa.int32()), "float": pa.array([1.5, None, -0.1], pa.float32()),
    "long": pa.array([1, None, 2**53], pa.int64()), "date": pa.array([0, None, 15_000], pa.date32()),
}  # fmt: skip


def test_every_engine_reads_old_files_under_a_wider_type(spark: SparkSession, tmp_path: Path) -> None:
    """READ_AS lists what every engine reads without a rewrite; CAST_TO what Spark refuses."""
    for kind, wider in WIDENED:
        folder = tmp_path / f"{kind}_{wider}"
        path = folder / "pub-1" / "day=2024-05-01" / "part.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"v": VALUES[kind], "id": pa.array([1, 2, 3], pa.int64())}), path)
        fields = [("id", "long"), ("v", wider), ("added", "string"), ("day", "date")]
        schema = schema_of({"name": n, "type": t, "nullable": True, "metadata": {}} for n, t in fields)
        assert DeltaStorage(tmp_path).make_file_table(folder.name, schema).commit([staged_file(folder, path)], [], 1)
        wanted = [(1, None), (2, None), (3, None)]
        reader = spark.read.schema(f"id bigint, v {SPARK[wider]}, added string").parquet(str(path))
        if (kind, wider) in READ_AS:
            values = VALUES[kind].cast(conversion := pa.int64() if wider == "long" else pa.float64()).to_pylist()
            read = DeltaTable(folder).to_pyarrow_dataset().to_table().sort_by("id")
            assert (read["v"].to_pylist(), read["v"].type) == (values, conversion)
            assert [(row.id, row.added) for row in reader.collect()] == wanted
            assert [row.v for row in reader.collect()] == values
        else:
            assert (kind, wider) in CAST_TO
            with pytest.raises(Exception, match="FAILED_READ_FILE|cannot be converted|CONVERT"):
                reader.collect()
    free = [(tmp_path / f"{kind}_{wider}", kind, wider) for kind, wider in WIDENED if (kind, wider) in READ_AS]
    for (_, kind, wider), told in zip(free, seen_by_delta(*[folder for folder, *_ in free]), strict=True):
        seen = {json.loads(row)["id"]: json.loads(row).get("v") for row in told["rows"]}
        values = VALUES[kind].cast(pa.int64() if wider == "long" else pa.float64()).to_pylist()
        assert [seen[n] for n in (1, 2, 3)] == values
