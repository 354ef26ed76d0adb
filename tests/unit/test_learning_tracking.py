"""Real MLflow on a SQLite file; one registry a module, because making one costs seconds."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.learning import tracking as registry
from spark_jobs.learning.encode import Encoder, Input
from spark_jobs.learning.evaluate import CHALLENGER, Decision, Figures
from spark_jobs.learning.model_files import kept_model, sha256
from spark_jobs.learning.tracking import Proof, Tracking
from spark_jobs.learning.train import Trained

YES = Decision(True, True, ("auc 0.7400, at least 0.7200",), ())
FIGURES = {CHALLENGER: Figures(1000, 200, 0.74, 0.4), "one_column": Figures(1000, 200, 0.6, math.nan)}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> Tracking:
    folder = tmp_path_factory.mktemp("registry")
    return Tracking(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")


@pytest.fixture(scope="module")
def trained() -> Trained:
    rows = np.arange(200, dtype=np.float32).reshape(100, 2)
    booster = xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(rows, rows[:, 0] > 100), 3)
    encoder = Encoder((Input("id_place", "id", "place", ("A", "B")), Input("distance", "number", "distance")))
    return Trained(bytes(booster.save_raw("ubj")), encoder, 100, 50)


def _register(tracking: Tracking, trained: Trained, model: str, run: str, figures=FIGURES, decision=YES) -> int:
    return registry.register(tracking, model, trained, Proof(run, 7, "d", "c", "v"), figures, decision, {"rounds": 3})


def test_a_registration_sent_twice_is_one_version_and_another_run_is_the_next(tracking, trained):
    first = _register(tracking, trained, "twice", "week-1")
    assert _register(tracking, trained, "twice", "week-1") == first == 1
    assert _register(tracking, trained, "twice", "week-2") == 2


def test_a_model_that_was_not_allowed_is_not_registered(tracking, trained):
    with pytest.raises(RefusedError, match=r"auc 0\.95"):
        _register(tracking, trained, "leak", "week-1", decision=Decision(False, False, (), ("auc 0.95",)))
    assert registry.champion(tracking, "leak") is None


def test_the_alias_moves_only_while_the_expected_champion_still_carries_it(tracking, trained):
    first, second = (_register(tracking, trained, "race", run) for run in ("week-1", "week-2"))
    registry.promote(tracking, "race", first, expected=None)
    registry.promote(tracking, "race", first, expected=None)  # the retry of a promotion whose answer was lost
    with pytest.raises(RetryError, match="became 1 meanwhile"):
        registry.promote(tracking, "race", second, expected=None)
    assert registry.champion(tracking, "race") == first
    registry.promote(tracking, "race", second, expected=first)
    assert registry.champion(tracking, "race") == second


def test_a_version_without_a_finite_area_never_becomes_champion(tracking, trained):
    blind = {CHALLENGER: Figures(1000, 0, math.nan, 0.4)}
    version = _register(tracking, trained, "blind", "week-1", figures=blind)
    with pytest.raises(RefusedError, match="auc is nan"):
        registry.promote(tracking, "blind", version, expected=None)
    assert registry.champion(tracking, "blind") is None


@pytest.mark.parametrize("harm", ["absent", "changed"])
def test_a_version_whose_files_are_not_those_registered_never_becomes_champion(tracking, trained, harm):
    version = _register(tracking, trained, f"harmed_{harm}", "week-1")
    for file in (tracking.artifacts / f"harmed_{harm}").rglob("model.ubj"):
        if harm == "absent":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(RefusedError, match=r"absent|differ"):
        registry.promote(tracking, f"harmed_{harm}", version, expected=None)
    assert registry.champion(tracking, f"harmed_{harm}") is None


def test_an_unknown_version_is_refused(tracking, trained):
    _register(tracking, trained, "known", "week-1")
    with pytest.raises(RefusedError):
        registry.load_model(tracking, "known", 99)


def test_a_loaded_version_is_kept_and_read_again_without_the_registry(tracking, trained):
    version = _register(tracking, trained, "kept", "week-1")
    loaded = registry.load_model(tracking, "kept", version)
    assert (loaded.booster, loaded.encoder) == (trained.booster, trained.encoder)
    nowhere = Tracking("sqlite:////nowhere/at/all.db", tracking.artifacts)
    assert registry.load_model(nowhere, "kept", version) == loaded


def test_a_kept_file_that_changed_is_not_used(tracking, trained):
    version = _register(tracking, trained, "spoilt", "week-1")
    registry.load_model(tracking, "spoilt", version)
    kept = tracking.kept / "spoilt" / str(version) / "booster.ubj"
    kept.write_bytes(b"other")
    assert kept_model(tracking.kept, "spoilt", version) is None
    assert registry.load_model(tracking, "spoilt", version).booster == trained.booster


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_in_place_of_a_model_is_refused_and_not_opened(tracking, trained, tmp_path, protocol):
    """Also when whoever planted it wrote its hash beside it. The control: opened, it would have made its file."""
    model, mark = f"pickled_{protocol}", tmp_path / "planted"
    version = _register(tracking, trained, model, "week-1")
    planted = pickle.dumps(_Touch(mark), protocol)
    for file in (tracking.artifacts / model).rglob("model.ubj"):
        file.write_bytes(planted)
    with registry._registry(tracking, "plant") as client:
        client.set_model_version_tag(model, str(version), "booster_sha256", sha256(planted))
    with pytest.raises(RefusedError, match="not UBJSON"):
        registry.promote(tracking, model, version, expected=None)
    with pytest.raises(RefusedError, match="not UBJSON"):  # what scoring asks for
        registry.load_model(tracking, model, version)
    assert kept_model(tracking.kept, model, version) is None
    assert not mark.exists()
    pickle.loads(planted)
    assert mark.exists()
