"""Registry and ledger disagree on a champion: detected, reported, and undone by each command. Real MLflow on SQLite files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from spark_jobs.alerts.incidents import open_incidents
from spark_jobs.cli.look import show_status
from spark_jobs.cli.model import adopt_champion, demote_champion, restore_champion
from spark_jobs.errors import EXIT_USAGE, RetryError, UsageError
from spark_jobs.invocation import Invocation, parse_hour
from spark_jobs.learning import tracking as registry
from spark_jobs.learning.drift import Drift, find_drift
from spark_jobs.learning.encode import Encoder, Input
from spark_jobs.learning.evaluate import CHALLENGER, CHAMPION, Decision, Figures
from spark_jobs.learning.tracking import Proof, Tracking
from spark_jobs.learning.train import Trained
from spark_jobs.ledger import Ledger
from spark_jobs.steps.run import StepRun

NAME, MODEL = "nycflights13", "late_departure"
KEY = f"{NAME}/registry/{MODEL}"


def _trained(rounds: int) -> Trained:
    rows = np.arange(200, dtype=np.float32).reshape(100, 2)
    booster = xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(rows, rows[:, 0] > 100), rounds)
    return Trained(bytes(booster.save_raw("ubj")), Encoder((Input("distance", "number", "distance"),)), 100, 50)


@dataclass(frozen=True)
class Place:
    """A data folder with a registry and a ledger."""

    data: Path

    @property
    def tracking(self) -> Tracking:
        """The registry of its environment."""
        other = self.data / "mlflow" / "other.db"
        database = other if other.exists() else other.with_name("mlflow.db")
        return Tracking(f"sqlite:///{database}", self.data / "mlflow" / "artifacts")

    @property
    def ledger(self) -> Ledger:
        """The ledger of its pipeline."""
        return Ledger.open(self.data / "lake" / NAME)

    def register(self, run: str, rounds: int) -> tuple[int, str]:
        """Version and proof digest of a model of so many rounds."""
        proof = Proof(run, 7, "d", "c", "v")
        figures = {CHALLENGER: Figures(1000, 200, 0.74, 0.4), "one_column": Figures(1000, 200, 0.6, math.nan)}
        decision = Decision(True, True, ("auc 0.7400",), ())
        return registry.register(self.tracking, MODEL, _trained(rounds), proof, figures, decision, {}), proof.digest

    def promote(self, run: str, rounds: int) -> int:
        """As `train` does: register, move the alias, record it."""
        before = self.ledger.champion(MODEL)
        version, digest = self.register(run, rounds)
        registry.promote(self.tracking, MODEL, version, int(before) if before else None)
        self.ledger.add_promotion(
            {
                "model": MODEL,
                "alias": CHAMPION,
                "from_version": before,
                "to_version": str(version),
                "why": "",
                "proof_digest": digest,
            }
        )
        return version

    def drift(self) -> Drift | None:
        """What the comparison finds."""
        return find_drift(self.tracking, self.ledger, NAME, "local", MODEL)

    def client(self) -> Any:
        """What a person uses who does not know tidegate."""
        from mlflow import MlflowClient

        return MlflowClient(self.tracking.uri)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry without a model; making one takes a second."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with registry._registry(Tracking(f"sqlite:///{file}", file.parent), "create") as client:
        client.search_registered_models()
    return file


@pytest.fixture
def place(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A data folder whose champion is version 2, in registry and ledger."""
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path))
    (tmp_path / "mlflow").mkdir()
    shutil.copy(empty_database, tmp_path / "mlflow" / "mlflow.db")
    shutil.copy(empty_database, tmp_path / "empty.db")
    place = Place(tmp_path)
    monkeypatch.setattr(Tracking, "of", staticmethod(lambda places: place.tracking))
    assert (place.promote("week-1", 3), place.promote("week-2", 4)) == (1, 2)
    assert place.drift() is None
    return place


def _alias_deleted(place: Place) -> None:
    place.client().delete_registered_model_alias(MODEL, CHAMPION)


def _alias_moved(place: Place) -> None:
    place.client().set_registered_model_alias(MODEL, CHAMPION, "1")


def _version_deleted(place: Place) -> None:
    place.client().delete_model_version(MODEL, "2")


def _model_deleted(place: Place) -> None:
    place.client().delete_registered_model(MODEL)


def _run_deleted(place: Place) -> None:
    client = place.client()
    client.delete_run(client.get_model_version(MODEL, "2").run_id)


def _experiment_deleted(place: Place) -> None:
    client = place.client()
    client.delete_experiment(client.get_experiment_by_name(MODEL).experiment_id)


def _files_gone(place: Place) -> None:
    shutil.rmtree(place.tracking.artifacts / MODEL)


def _other_registry(place: Place) -> None:
    shutil.copy(place.data / "empty.db", place.data / "mlflow" / "other.db")


def _number_taken_by_another_model(place: Place) -> None:
    client = place.client()
    client.delete_registered_model(MODEL)
    for run in ("other-1", "other-2"):
        place.register(run, 5)
    client.set_registered_model_alias(MODEL, CHAMPION, "2")


HARMS: dict[Callable[[Place], None], str] = {
    _alias_deleted: "no version carries the alias",
    _alias_moved: "version 1 carries the alias",
    _version_deleted: "has no such version",
    _model_deleted: f"has no model '{MODEL}'",
    _run_deleted: "its run is deleted",
    _experiment_deleted: "its run is deleted",
    _files_gone: "files are absent",
    _other_registry: f"has no model '{MODEL}'",
    _number_taken_by_another_model: "is another model",
}


@pytest.mark.parametrize("harm", HARMS)
def test_the_champion_is_restored_and_a_later_promotion_works(place, harm, capsys):
    """Status names the fault and the commands; after `restore` the same model scores, and the next one can be promoted."""
    harm(place)
    found = place.drift()
    assert found is not None
    assert HARMS[harm] in found.found
    show_status(NAME, None, "local", as_json=True)
    shown = json.loads(capsys.readouterr().out)["registry"][0]
    assert (shown["problem"], shown["ways"]) == (found.found, found.ways)
    assert f"tidegate model restore {NAME} {MODEL} --env local" in shown["ways"].values()

    restore_champion(NAME, MODEL, "local", as_json=True)
    assert place.drift() is None
    version = int(place.ledger.champion(MODEL) or 0)
    assert registry.load_model(place.tracking, MODEL, version, fresh=True).booster == _trained(4).booster
    assert registry.load_model(place.tracking, MODEL, version).booster == _trained(4).booster
    assert json.loads(capsys.readouterr().out)["problem"] is None
    restore_champion(NAME, MODEL, "local", as_json=True)
    assert int(place.ledger.champion(MODEL) or 0) == version
    assert place.promote("week-3", 6) not in (None, version)
    assert place.drift() is None


@pytest.mark.parametrize("harm", HARMS)
def test_a_demoted_model_has_no_champion_anywhere_until_the_next_promotion(place, harm):
    harm(place)
    demote_champion(NAME, MODEL, "not trusted", "local", as_json=True)
    assert (place.ledger.champion(MODEL), place.drift()) == (None, None)
    assert place.promote("week-3", 6)
    assert place.drift() is None


def test_the_registry_s_champion_is_adopted(place):
    _alias_moved(place)
    adopt_champion(NAME, MODEL, "", "local", as_json=True)
    assert (place.ledger.champion(MODEL), place.drift()) == ("1", None)
    _alias_deleted(place)
    with pytest.raises(UsageError, match="tidegate model demote"):
        adopt_champion(NAME, MODEL, "", "local", as_json=True)
    demote_champion(NAME, MODEL, "", "local", as_json=True)
    place.client().set_registered_model_alias(MODEL, CHAMPION, "2")  # by hand, and the ledger has none
    found = place.drift()
    assert found is not None
    assert "the ledger has no champion" in found.found
    adopt_champion(NAME, MODEL, "", "local", as_json=True)
    assert (place.ledger.champion(MODEL), place.drift()) == ("2", None)


def test_training_stops_with_the_commands_and_the_incident_closes_with_the_way_out(place):
    """Exit 64 before a session starts; a retry would not help."""
    _alias_moved(place)
    start = parse_hour("2013-11-01T12:00:00")
    call = Invocation(NAME, "train", start, parse_hour("2013-11-01T13:00:00"), "week-3")
    run = StepRun(call, lambda: pytest.fail("a session started"))
    result = run.run()
    assert (result.exit_code, result.state) == (EXIT_USAGE, "failed")
    for command in ("restore", "adopt", "demote"):
        assert f"tidegate model {command} {NAME} {MODEL} --env local" in result.why
    incident = open_incidents(place.ledger.incidents())[KEY]
    assert "version 1 carries the alias" in incident["body"]
    run._registry_drifts()
    assert [row["event"] for row in place.ledger.incidents() if row["incident"] == KEY].count("opened") == 1
    run.desk.published(call, 1)  # of intervals; the incident of a model stays open
    assert KEY in open_incidents(place.ledger.incidents())
    restore_champion(NAME, MODEL, "local", as_json=True)
    assert KEY not in open_incidents(place.ledger.incidents())


def test_a_damaged_champion_is_reported_but_does_not_stop_training(place):
    _run_deleted(place)
    found = place.drift()
    assert found is not None
    assert not found.blocks_promotion("week-3")


def test_a_training_that_moved_the_alias_and_was_killed_goes_on(place):
    """Its retry writes the promotion to the ledger; any other run stops."""
    version, _ = place.register("week-3", 6)
    registry.promote(place.tracking, MODEL, version, 2)
    found = place.drift()
    assert found is not None
    assert not found.blocks_promotion("week-3")
    assert found.blocks_promotion("week-4")


def test_a_registry_that_does_not_answer_is_no_drift(place, monkeypatch, capsys):
    """Scoring and status go on; no incident is opened."""
    nowhere = Tracking("http://127.0.0.1:9", place.tracking.artifacts)
    with pytest.raises(RetryError):
        find_drift(nowhere, place.ledger, NAME, "local", MODEL)
    monkeypatch.setattr(Tracking, "of", staticmethod(lambda places: nowhere))
    show_status(NAME, None, "local", as_json=False)
    assert "not compared for model" in capsys.readouterr().out
    call = Invocation(NAME, "publish", parse_hour("2013-11-01"), parse_hour("2013-11-01T01:00:00"), "hour")
    assert StepRun(call, lambda: pytest.fail("a session started"))._registry_drifts() == []
    assert open_incidents(place.ledger.incidents()) == {}


def test_a_model_without_a_local_copy_and_without_files_cannot_be_restored(place):
    _files_gone(place)
    shutil.rmtree(place.tracking.kept)
    with pytest.raises(UsageError, match="tidegate model demote"):
        restore_champion(NAME, MODEL, "local", as_json=True)


def test_a_deleted_experiment_is_restored_by_the_next_registration(place):
    _experiment_deleted(place)
    assert place.register("week-3", 5)[0] == 3
    client = place.client()
    assert client.get_experiment_by_name(MODEL).lifecycle_stage == "active"
