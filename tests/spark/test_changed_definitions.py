"""After a change of definitions the rebuilt lake is the one that is built from scratch under the new ones, cell by cell.

The upstream is a bad one: rows that are late, repeated and corrected, hours that come late, twice or empty.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from spark_jobs.cli.changes import change_facts
from spark_jobs.config import load_pipeline
from spark_jobs.config.definitions import define
from spark_jobs.errors import EXIT_USAGE
from spark_jobs.invocation import HOUR
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.pending import Piece, pieces
from spark_jobs.ledger.staleness import Published
from spark_jobs.steps.plan import HOUR_STEPS
from tests.spark.visits import FIRST, NAME, PROJECT, Harbour, Upstream, run_at_once, write_history

HOURS = 20
END = FIRST + HOURS * HOUR
KEPT = {"silver/plans", "silver/landings", "quarantine", "accounts"}
Rows = list[tuple[Any, ...]]


def _project(folder: Path, *edits: tuple[str, Callable[[dict[str, Any]], object]]) -> Path:
    """A copy of the harbour's project with edited files."""
    shutil.copytree(PROJECT, folder)
    for file, edit in edits:
        path = folder / file
        data = yaml.safe_load(path.read_text())
        edit(data)
        path.write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def _measure(data: dict[str, Any]) -> None:
    """The mean of the delay becomes a share of late landings, and there is a window more."""
    group = data["windows"]["landings"]
    group["measures"]["delay_min"] = {"use": "at_least", "columns": ["delay_min"], "options": {"threshold": 20}}
    group["windows"].append("6h")


def _window(data: dict[str, Any]) -> None:
    data["windows"]["landings"]["windows"].append("6h")


def _rule(data: dict[str, Any]) -> None:
    data["rules"][0]["args"]["max_value"] = 60


FEATURES, RULES = "conf/pipelines/harbour/features.yaml", "expectations/harbour/landings.yaml"


@dataclass(frozen=True)
class Lakes:
    """One lake of the former definitions, and where to make others."""

    upstream: Upstream
    former: Harbour
    folder: Path

    def from_scratch(self, name: str, project: Path) -> Harbour:
        """A lake that never knew other definitions than those of `project`."""
        lake = Harbour(self.folder / f"{name}_scratch", self.former.spark, project=project)
        run_at_once(self.upstream, lake)
        return lake

    def copy(self, name: str, project: Path) -> Harbour:
        """The former lake, from now on under the definitions of `project`."""
        shutil.copytree(self.former.data, self.folder / name)
        return replace(self.former, data=self.folder / name, project=project)


@pytest.fixture(scope="module")
def lakes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakes]:
    folder = tmp_path_factory.mktemp("changed")
    write_history(folder / "harbour_history", 20260712, HOURS)
    upstream = Upstream(folder / "upstream", 20260712, HOURS, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        upstream.deliver()
        former = Harbour(folder / "former", spark)
        run_at_once(upstream, former)
        yield Lakes(upstream, former, folder)


def _published(lake: Harbour) -> Published:
    return Published.of(Ledger.open(lake.root), define(load_pipeline(NAME, lake.project)))


def _pieces(lake: Harbour) -> list[Piece]:
    return pieces(load_pipeline(NAME, lake.project), _published(lake))


def _rebuild(lake: Harbour) -> list[Piece]:
    """What `backfill --changed` runs."""
    todo = _pieces(lake)
    for piece in todo:
        steps = [step.name for step in HOUR_STEPS] if piece.how == "hours" else [piece.how]
        for step in steps:
            result = lake.run(step, piece.start, piece.hours, f"changed {piece.how}")
            assert result.exit_code == 0, result.why
    return todo


def _seen(lake: Harbour, known_by: datetime | None = None) -> dict[str, Rows]:
    """Rows that readers see: of tiles their values, since when a tile of equal rows is known may differ; of features all."""
    shown: dict[str, Rows] = {}
    line, pipeline = Ledger.open(lake.root).line(), load_pipeline(NAME, lake.project)
    with connect(lake.root) as connection:
        for table, kind in table_kinds(pipeline).items():
            if not register_current(connection, lake.root, table, kind, line, "shown", known_by=known_by):
                continue
            tiles = table.startswith("tiles/")
            columns = sorted(name for name, *_ in connection.execute("DESCRIBE shown").fetchall())
            columns = [c for c in columns if c != "pub" and not (tiles and c in ("hour", "known_at", "day"))]
            rows = "WHERE n > 0" if tiles else ""
            named = ", ".join(f'"{name}"' for name in columns)
            shown[table] = connection.execute(f'SELECT {named} FROM "shown" {rows} ORDER BY ALL').fetchall()
    return shown


def _differing(lake: Harbour, other: Harbour) -> set[str]:
    """Tables of which readers see other rows in the two lakes, now or as known at any of some hours."""
    instants = [None, *(FIRST + hours * HOUR for hours in (3, 8, 13, HOURS))]
    found: set[str] = set()
    for at in instants:
        one, two = _seen(lake, at), _seen(other, at)
        found |= {table for table in one.keys() | two.keys() if one.get(table) != two.get(table)}
    return found


def test_rebuilt_tiles_and_features_are_those_of_a_lake_from_scratch(lakes: Lakes) -> None:
    project = _project(lakes.folder / "measure_project", (FEATURES, _measure))
    lake, scratch = lakes.copy("measure", project), lakes.from_scratch("measure", project)
    assert {"tiles/landings", "features/landings"} <= _differing(lake, scratch)  # the control
    before = _seen(lake)
    todo = _rebuild(lake)
    assert [(p.how, p.start, p.end, p.tables) for p in todo[:1]] == [
        ("rebuild", FIRST, END, ("tiles/landings", "features/landings"))
    ]
    assert {piece.how for piece in todo[1:]} <= {"heal"}
    assert _differing(lake, scratch) == set()
    after = _seen(lake)
    assert {table: after[table] == before[table] for table in KEPT} == dict.fromkeys(KEPT, True)
    assert _pieces(lake) == []
    release = Ledger.open(lake.root).line()[1]
    assert (release.kind, {table for table, *_ in release.covers}) == (
        "rebuild",
        {"tiles/landings", "features/landings", "quarantine"},
    )


def test_no_step_mixes_tiles_of_two_definitions(lakes: Lakes) -> None:
    """A changed measure refuses the next hour and a heal, with the command; a window more refuses nothing."""
    project = _project(lakes.folder / "refusing_project", (FEATURES, _measure))
    lake = lakes.copy("refusing", project)
    releases = len(Ledger.open(lake.root).line())
    for step, start in (("ingest", END), ("heal", FIRST)):
        refused = lake.run(step, start)
        assert refused.exit_code == EXIT_USAGE
        assert "tiles/landings.delay_min" in refused.why
        assert f"tidegate backfill {NAME} --changed --env local" in refused.why
    assert len(Ledger.open(lake.root).line()) == releases
    wider = replace(lake, project=_project(lakes.folder / "window_project", (FEATURES, _window)))
    with wider.here():
        facts = change_facts(NAME, "local")
    added = ["features/landings.landings_6h", "features/landings.mean_delay_min_6h"]
    assert facts["definitions"] == {"added": added, "changed": [], "removed": []}
    assert [(one["table"], one["hours"]) for one in facts["stale"]] == [("features/landings", HOURS)]
    assert facts["work"][0]["tables"] == ["features/landings"]
    assert facts["seconds"] > 0
    assert facts["commands"] == [f"tidegate backfill {NAME} --changed --env local"]
    assert "mix" not in wider.run("ingest", END).why  # its drops have not come, which is another matter


def test_hours_whose_rules_changed_are_run_again(lakes: Lakes) -> None:
    """Other rules on rows publish other rows: all that is made of them follows."""
    project = _project(lakes.folder / "rule_project", (RULES, _rule))
    lake, scratch = lakes.copy("rule", project), lakes.from_scratch("rule", project)
    assert "silver/landings" in _differing(lake, scratch)  # the control
    todo = _rebuild(lake)
    assert (todo[0].how, todo[0].start, todo[0].end) == ("hours", FIRST, END)
    assert {table for table in _differing(lake, scratch) if not table.startswith("bronze/")} <= set()
    assert _pieces(lake) == []
