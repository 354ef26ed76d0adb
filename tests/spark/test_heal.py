"""Healed cells are those of all that is known now, told by plain SQL over the rows that readers see; nothing else changes.

The lake is of a day and a half with late, corrected, repeated and re-delivered rows, published at once: its cells are as known then.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from spark_jobs.cli.heal import heal_cells
from spark_jobs.config import load_pipeline
from spark_jobs.errors import EXIT_REFUSED, UsageError
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.lake.healing import plan_heal
from spark_jobs.ledger import Ledger
from spark_jobs.result import Result
from tests.spark.conftest import PAST
from tests.spark.visits import FIRST, NAME, PROJECT, Harbour, Upstream, run_at_once, write_history

HOURS = 36
TABLES = ("features/landings", "features/last_landing")
WINDOWS = """
WITH rows AS (SELECT 'boat' AS entity, boat AS key, * FROM "silver/landings" UNION ALL BY NAME
              SELECT 'quay' AS entity, quay::VARCHAR AS key, * FROM "silver/landings" WHERE quay IS NOT NULL)
SELECT c.entity, c.key, c.as_of,
       count(r.event_at) FILTER (r.event_at >= c.as_of - INTERVAL 3 HOURS)::INT, count(r.event_at)::INT,
       avg(r.delay_min) FILTER (r.event_at >= c.as_of - INTERVAL 3 HOURS), avg(r.delay_min)
FROM "features/landings" c
LEFT JOIN rows r ON r.entity = c.entity AND r.key = c.key AND r.event_at >= c.as_of - INTERVAL 12 HOURS AND r.event_at < c.as_of
GROUP BY ALL ORDER BY ALL"""
AS_OF = """
SELECT c.entity, c.key, c.as_of, (
    SELECT r.delay_min FROM "silver/landings" r
    WHERE r.boat = c.key AND r.event_at < c.as_of AND r.event_at >= c.as_of - INTERVAL 12 HOURS
    ORDER BY r.event_at DESC, r.known_at DESC, r.delay_min DESC NULLS LAST LIMIT 1)
FROM "features/last_landing" c ORDER BY ALL"""
SEEN = {
    "features/landings": "entity, key, as_of, landings_3h, landings_12h, mean_delay_min_3h, mean_delay_min_12h",
    "features/last_landing": "entity, key, as_of, delay_min",
}
Cells = dict[str, list[tuple[Any, ...]]]


def _seen(lake: Harbour) -> Cells:
    with lake.reader(None) as (connection, _):
        return {
            table: connection.execute(f'SELECT {SEEN[table]} FROM "{table}" ORDER BY ALL').fetchall()
            for table in TABLES
        }


def _wrong(lake: Harbour, upto: datetime | None = None) -> Cells:
    """Cells that readers see and that are not those of all that is known now."""
    seen = _seen(lake)
    with lake.reader(None) as (connection, _):
        told = {t: set(connection.execute(sql).fetchall()) for t, sql in zip(TABLES, (WINDOWS, AS_OF), strict=True)}
    assert all(len(told[table]) == len(seen[table]) > 100 for table in TABLES)
    late = {t: [cell for cell in seen[t] if cell not in told[t] and (upto is None or cell[2] <= upto)] for t in TABLES}
    return {table: cells for table, cells in late.items() if cells}


def _span(lake: Harbour) -> tuple[datetime, datetime] | None:
    return plan_heal(load_pipeline(NAME, lake.project), lake.root, Ledger.open(lake.root)).stale


def _heal(lake: Harbour) -> Result:
    start, end = _span(lake) or pytest.fail("there is nothing to heal")
    return lake.run("heal", start, (end - start) // HOUR)


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Harbour]]:
    """The upstream and a lake that was never healed; copy it."""
    folder = tmp_path_factory.mktemp("harbour")
    write_history(folder / "harbour_history", 20260712, HOURS)
    upstream = Upstream(folder / "upstream", 20260712, HOURS, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        upstream.deliver()
        lake = Harbour(folder / "lake", spark)
        run_at_once(upstream, lake)
        yield upstream, lake


@pytest.fixture
def lake(made: tuple[Upstream, Harbour], tmp_path: Path) -> Harbour:
    """A copy of its own."""
    shutil.copytree(made[1].data, tmp_path / "lake")
    return replace(made[1], data=tmp_path / "lake")


@pytest.fixture(scope="module")
def healed(made: tuple[Upstream, Harbour], tmp_path_factory: pytest.TempPathFactory) -> tuple[Harbour, Result]:
    """The lake healed once, and what the step said; copy it."""
    folder = tmp_path_factory.mktemp("healed") / "lake"
    shutil.copytree(made[1].data, folder)
    lake = replace(made[1], data=folder)
    return lake, _heal(lake)


def test_N14_healed_cells_are_those_of_all_that_is_known_now(made, healed):
    """Before, many were not: late rows, corrections and drops that came again with other rows."""
    before = _wrong(made[1])
    assert min(len(cells) for cells in before.values()) > 20
    assert before.keys() == set(TABLES)
    assert _wrong(healed[0]) == {}


def test_only_cells_that_differ_are_restated(made, healed):
    lake, result = healed
    before = _wrong(made[1])
    assert result.rows == {table: len(cells) for table, cells in before.items()}
    assert (result.state, result.release) == ("published", 2)
    release = Ledger.open(lake.root).line()[-1]
    assert (release.kind, release.why) == ("heal", f"{sum(result.rows.values())} cells restated")


def test_what_was_known_at_an_earlier_hour_stays(made, healed):
    for at in (FIRST + 10 * HOUR, FIRST + 24 * HOUR, FIRST + (HOURS - 1) * HOUR):
        assert healed[0].shown(at, []) == made[1].shown(at, [])


def test_a_healed_lake_has_nothing_to_heal_and_says_so_without_spark(healed, capsys, monkeypatch):
    lake, _ = healed
    assert _span(lake) is None
    with lake.here():
        monkeypatch.setattr(subprocess, "Popen", None)
        assert heal_cells(NAME, None, None, "", "local", as_json=False) == 0
        with pytest.raises(UsageError, match="only one of them"):
            heal_cells(NAME, format_hour(FIRST), None, "", "local", as_json=False)
    assert "nothing to heal: every cell takes into account all rows known up to release 2" in capsys.readouterr().out


def test_healed_hours_asked_for_again_publish_nothing(lake):
    _heal(lake)
    again = lake.run("heal", FIRST, HOURS)
    assert (again.state, again.release, sum(again.rows.values())) == ("empty", None, 0)
    assert [release.kind for release in Ledger.open(lake.root).line()] == ["backfill", "heal"]


def test_a_correction_after_a_heal_is_healed_from_its_own_rows_on_by_the_command(made, healed, tmp_path):
    """One hour comes again with other rows and is published; the command finds the hours and runs by spark-submit."""
    upstream, lake = made[0], replace(healed[0], data=tmp_path / "lake")
    shutil.copytree(healed[0].data, lake.data)
    corrected = FIRST + 20 * HOUR
    again = Upstream(lake.data / "again", upstream.seed, HOURS, upstream.slot)
    again._replay(corrected, only=["landings"], minutes=60 * 20, seed=99)
    shutil.copytree(again.landing, lake.landing, dirs_exist_ok=True)
    lake.publish(corrected)
    assert _wrong(lake) != {}
    start, end = _span(lake) or pytest.fail("nothing to heal")
    assert FIRST < start < corrected
    assert end == corrected + 12 * HOUR  # the longest window ends there
    environ = {**os.environ, "TIDEGATE_PROJECT": str(PROJECT), "TIDEGATE_DATA": str(lake.data)}
    command = [sys.executable, "-m", "spark_jobs.cli", "heal", NAME, "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["state"] == "published"
    assert f"cells of the hours from {format_hour(start)}" in done.stderr
    assert _wrong(lake) == {}


def test_a_heal_that_is_rolled_back_is_healed_again(healed, made, tmp_path):
    lake = replace(healed[0], data=tmp_path / "lake")
    shutil.copytree(healed[0].data, lake.data)
    Ledger.open(lake.root).rollback(NAME, 1, "test")
    assert _seen(lake) == _seen(made[1])
    assert _heal(lake).state == "published"
    assert _seen(lake) == _seen(healed[0])


def test_one_hour_is_healed_alone(lake, made):
    at = FIRST + 20 * HOUR
    before = {t: [cell for cell in cells if cell[2] == at + HOUR] for t, cells in _wrong(lake).items()}
    assert any(before.values())
    result = lake.run("heal", at)
    assert result.rows == {table: len(before.get(table, [])) for table in TABLES}
    assert [cell for cells in _wrong(lake).values() for cell in cells if cell[2] == at + HOUR] == []
    assert _wrong(lake, at) == {
        t: [cell for cell in cells if cell[2] <= at] for t, cells in _wrong(made[1], at).items()
    }


def test_a_gate_that_blocks_leaves_every_cell_as_it_was(lake, made, tmp_path):
    """Rules on hours are asked of all cells that readers would see, not of the restated ones alone."""
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project)
    suite = project / "expectations" / NAME / "features_landings.yaml"
    rules = yaml.safe_load(suite.read_text())
    rules["rules"].append(
        {
            "id": "few",
            "type": "expect_table_row_count_to_be_between",
            "args": {"max_value": 1},
            "scope": "hour",
            "why": "no hour has so few cells",
        }
    )
    suite.write_text(yaml.safe_dump(rules))
    result = _heal(replace(lake, project=project))
    assert (result.exit_code, result.state) == (EXIT_REFUSED, "refused")
    assert "few" in result.why
    assert _seen(lake) == _seen(made[1])


LOOKED_UP = """
SELECT c.key, c.as_of, c.seats FROM features_planes c WHERE seats IS DISTINCT FROM (
    SELECT p.seats FROM silver_planes p WHERE p.tail_number = c.key AND p.changed_at <= c.as_of
    ORDER BY p.changed_at DESC LIMIT 1)"""


def test_what_is_looked_up_is_healed_from_the_instant_on_from_which_it_held(past, tmp_path):
    """The register's drop of an hour of two days ago comes again, with other numbers of seats."""
    site, corrected, end_of_lake = past.copy(tmp_path / "data"), PAST + 50 * HOUR, PAST + 72 * HOUR

    def wrong() -> list[tuple[Any, ...]]:
        with site.reader() as connection:
            return connection.execute(LOOKED_UP).fetchall()

    before = wrong()
    assert {as_of for _, as_of, _ in before} == {PAST + 30 * HOUR}  # held from that instant on, known an hour later
    assert site.run("heal", PAST, 72).rows["features/planes"] == len(before)
    assert wrong() == []
    site.register(corrected, every=2, more_seats=11)
    site.publish(corrected, dag_run="corrected")
    assert min(as_of for _, as_of, _ in wrong()) == corrected
    found = len(wrong())
    assert found > 100
    start, end = plan_heal(site.pipeline, site.root, site.ledger).stale or pytest.fail("nothing to heal")
    assert (start, end) == (corrected - HOUR, end_of_lake)
    result = site.run("heal", start, (end - start) // HOUR)
    assert {table: rows for table, rows in result.rows.items() if rows} == {"features/planes": found}
    assert wrong() == []
