"""Whether the features that a champion was trained on can still be computed: by ledger and conf/ alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_staleness import FEATURES, NAME, TABLES, Site

from spark_jobs.cli.changes import change_facts, show_changes
from spark_jobs.config.definitions import Definitions, define, input_hashes
from spark_jobs.ledger.former import former_pipeline

MODEL = "late_departure"
INPUTS = ("carrier_share_late_3h", "temperature_f", "distance_mi")


@pytest.fixture
def site(project: Path) -> Site:
    """Two published hours, and a champion that was trained under their definitions."""
    site = Site(project)
    site.edit("pipeline.yaml", lambda data: data.update(alerts=[]))
    site.publish(0, 2, "backfill")
    hashes = input_hashes(site.pipeline, define(site.pipeline))
    site.ledger.add_model_definitions(MODEL, "1", json.dumps({name: hashes[name] for name in INPUTS}))
    site.ledger.add_promotion({"model": MODEL, "alias": "champion", "to_version": "1"})
    return site


def _found(site: Site) -> Any:
    return former_pipeline(site.pipeline, site.ledger, site.ledger.model_definitions(MODEL, "1") or {})


def _threshold(data: dict[str, Any]) -> None:
    data["windows"]["departures"]["measures"]["late"]["options"]["threshold"] = 30


def _staleness(data: dict[str, Any]) -> None:
    data["as_of"]["weather"]["staleness"] = "2h"


def _spine(data: dict[str, Any]) -> None:
    data["spine"]["predict_before"] = "3h"


def test_unchanged_inputs_are_those_of_conf(site: Site) -> None:
    site.edit(FEATURES, lambda data: data["windows"]["departures"]["windows"].append("14d"))
    assert _found(site) == site.pipeline


@pytest.mark.parametrize("edit", [_threshold, _staleness, _spine])
def test_former_features_are_found_in_the_ledger(site: Site, edit: Any) -> None:
    former = site.pipeline.features
    site.edit(FEATURES, edit)
    site.publish(2, 3)  # the newest record is not the one that is needed
    found = _found(site)
    assert found.features == former != site.pipeline.features
    assert found.tables == site.pipeline.tables


def test_a_silver_column_of_another_meaning_leaves_nothing_to_compute(site: Site) -> None:
    site.edit(TABLES, lambda data: data["tables"]["schedules"]["columns"]["distance_mi"].update({"from": "flight"}))
    assert _found(site) is None


def test_records_that_this_version_cannot_use_are_skipped(site: Site) -> None:
    """One without features.yaml, as former versions wrote it, one with an unknown field, one of a table that is gone."""
    site.edit(FEATURES, _threshold)
    features = define(site.pipeline).features or {}
    gone = {**features, "as_of": {"gone": {"table": "gone", "entity": "origin", "columns": ["x"]}}}
    for number, recorded in enumerate((None, {**features, "of_tomorrow": 1}, gone)):
        site.ledger.add_definitions(f"other {number}", Definitions({}, recorded).to_json())
    assert _found(site).features != site.pipeline.features


def test_plan_says_whether_the_champion_keeps_scoring(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.edit(FEATURES, _threshold)
    assert change_facts(NAME, "local")["models"][0]["scores"] is True
    show_changes(NAME, "local", as_json=False)
    assert (
        "trained on former definitions of carrier_share_late_3h; they are computed from silver for its scores until a version"
        " trained on conf/ is promoted" in capsys.readouterr().out
    )
    site.edit(TABLES, lambda data: data["tables"]["schedules"]["columns"]["distance_mi"].update({"from": "flight"}))
    assert change_facts(NAME, "local")["models"][0]["scores"] is False
    show_changes(NAME, "local", as_json=False)
    assert "cannot be computed any more; it does not score until" in capsys.readouterr().out
