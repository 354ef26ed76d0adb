"""The registry: models with their proof, versions, the alias `champion`. The only file that imports MLflow.

MLflow is imported inside the first call (5 CPU seconds), never on import of this module; a read of a kept version needs
none. Telemetry is off. A registry that does not answer is a transient fault (75).
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.learning.encode import Encoder
from spark_jobs.learning.evaluate import CHALLENGER, CHAMPION, Decision, Figures
from spark_jobs.learning.model_files import LoadedModel, keep_model, kept_model, sha256
from spark_jobs.learning.train import Trained
from spark_jobs.storage.files import exclusive

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of 7 takes about 4 minutes to say that a server is down
}
_ENCODER = "encoder.json"


@dataclass(frozen=True)
class Tracking:
    """Where models are recorded: MLflow's tracking URI and the folder of model files."""

    uri: str
    artifacts: Path

    @property
    def kept(self) -> Path:
        """Folder of versions kept for scoring."""
        return self.artifacts / "kept"


@dataclass(frozen=True)
class Proof:
    """What a model rests on. Equal proofs are one registration: a retried call finds the first one's version."""

    dag_run: str
    data_release: int
    training_digest: str
    config_hash: str
    code_version: str
    verdicts: tuple[str, ...] = ()
    model_digest: str = ""  # of the model's settings in model.yaml
    definitions: str = (
        ""  # digest of the definitions of its inputs; each is in the training set's manifest and the ledger
    )

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode())


def register(
    tracking: Tracking,
    model: str,
    trained: Trained,
    proof: Proof,
    figures: Mapping[str, Figures],
    decision: Decision,
    params: Mapping[str, object],
) -> int:
    """Number of the version that holds `trained`; the same number however often it is called with an equal `proof`.

    Records figures (finite ones), params, the proof and the decision's reasons; moves no alias.

    Raises:
        RefusedError: the decision does not allow it, or the model read back is not the model written.
        RetryError: the registry does not answer.
    """
    if not decision.register:
        raise RefusedError(f"model {model}", "; ".join(decision.blocked), "every bar of model.yaml under register")
    with _registry(tracking, f"register {model}") as client, _lock(tracking, model):
        run_id = _run_of(client, tracking, model, proof)
        found = client.search_model_versions(f"name = '{model}' and run_id = '{run_id}'")
        if found:
            return min(int(version.version) for version in found)
        _log_facts(client, run_id, trained, proof, figures, decision, params)
        model_id = _log_files(run_id, model, trained)
        if model not in [one.name for one in client.search_registered_models(f"name = '{model}'")]:
            client.create_registered_model(model)
        tags = {"booster_sha256": sha256(trained.booster), "encoder_sha256": sha256(trained.encoder.to_json().encode())}
        made = client.create_model_version(
            model, f"models:/{model_id}", run_id, model_id=model_id, tags={**tags, "proof": proof.digest}
        )
        client.set_terminated(run_id)
        return int(made.version)


def champion(tracking: Tracking, model: str) -> int | None:
    """Number of the version that carries the alias `champion`; None when there is no such version or model."""
    with _registry(tracking, f"champion of {model}") as client:
        return _champion(client, model)


def promote(tracking: Tracking, model: str, version: int, expected: int | None) -> None:
    """Move the alias `champion` from `expected` to `version`; a second call with the same words changes nothing.

    Raises:
        RefusedError: the version has no finite auc, or its files are absent or not those registered.
        RetryError: another version became champion meanwhile, or the registry does not answer.
    """
    load_model(tracking, model, version, fresh=True)
    where = f"promote {model} {version}"
    with _registry(tracking, where) as client, _lock(tracking, model):
        measured = client.get_run(str(client.get_model_version(model, str(version)).run_id)).data.metrics.get(
            "auc", math.nan
        )
        if not math.isfinite(measured):
            raise RefusedError(
                where, f"auc is {measured}", "a finite area", "evaluate the version on rows of both classes"
            )
        present = _champion(client, model)
        if present not in (expected, version):
            raise RetryError(
                where, f"the champion is {present}", f"{expected}, which it was judged against", "judge again"
            )
        if present != version:
            client.set_registered_model_alias(model, CHAMPION, str(version))


def load_model(tracking: Tracking, model: str, version: int, fresh: bool = False) -> LoadedModel:
    """The version, from the kept files when they are whole, else from the registry (and then kept); `fresh` asks anew.

    Raises:
        RefusedError: no such version, its files are absent or not those registered, or its booster is no UBJSON.
        RetryError: the registry does not answer.
    """
    kept = None if fresh else kept_model(tracking.kept, model, version)
    if kept:
        return kept
    where = f"model {model} {version}"
    with _registry(tracking, where) as client, tempfile.TemporaryDirectory() as folder:
        from mlflow.artifacts import download_artifacts

        tags = client.get_model_version(model, str(version)).tags
        try:
            path = Path(download_artifacts(f"models:/{model}/{version}", dst_path=folder, tracking_uri=tracking.uri))
            booster, encoder = (path / "model.ubj").read_bytes(), (path / "extra_files" / _ENCODER).read_bytes()
        except OSError as error:
            raise RefusedError(
                where, f"files are absent: {error}", "the files registered", "train and register anew"
            ) from error
    if [sha256(booster), sha256(encoder)] != [tags.get("booster_sha256"), tags.get("encoder_sha256")]:
        raise RefusedError(where, "files differ from those registered", "equal SHA-256", "train and register anew")
    if not booster.startswith(b"{"):  # as every UBJSON object does, and no pickle can
        raise RefusedError(
            where, "model.ubj is not UBJSON", "a booster as `register` writes it", "train and register anew"
        )
    loaded = LoadedModel(model, version, booster, Encoder.from_json(encoder.decode()))
    keep_model(tracking.kept, loaded)
    return loaded


def _run_of(client: MlflowClient, tracking: Tracking, model: str, proof: Proof) -> str:
    experiment = client.get_experiment_by_name(model)
    # a server keeps model files itself, and hands them out to those who may see them
    served = tracking.uri.startswith(("http://", "https://"))
    place = None if served else (tracking.artifacts / model).absolute().as_uri()
    number = experiment.experiment_id if experiment else client.create_experiment(model, artifact_location=place)
    runs = client.search_runs([number], f"tags.proof = '{proof.digest}'", order_by=["attributes.start_time ASC"])
    if runs:
        return str(runs[0].info.run_id)
    tags = {"proof": proof.digest, "mlflow.source.name": "tidegate"}
    return str(client.create_run(number, run_name=proof.dag_run, tags=tags).info.run_id)


def _log_facts(
    client: MlflowClient, run_id: str, trained: Trained, proof: Proof, figures: Mapping[str, Figures],
    decision: Decision, params: Mapping[str, object],
) -> None:  # fmt: skip
    from mlflow.entities import Metric, Param, RunTag

    named: dict[str, float] = {"training_rows": trained.rows, "training_positives": trained.positives}
    for name, one in figures.items():
        before = "" if name == CHALLENGER else f"{name}."
        named |= {f"{before}auc": one.auc, f"{before}log_loss": one.log_loss, f"{before}judged_rows": one.rows}
    tags = {key: json.dumps(value) if isinstance(value, tuple) else str(value) for key, value in asdict(proof).items()}
    tags |= {"reasons": "\n".join(decision.reasons), "inputs": ", ".join(trained.encoder.names)[:5000]}
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, 0, 0) for name, value in named.items() if math.isfinite(value)],
        params=[Param(name, str(value)) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _log_files(run_id: str, model: str, trained: Trained) -> str:
    import mlflow
    import mlflow.xgboost
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(trained.booster))
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=run_id):
        encoder = Path(folder) / _ENCODER
        encoder.write_text(trained.encoder.to_json(), encoding="utf-8")
        made = mlflow.xgboost.log_model(
            booster, name=model, model_format="ubj", extra_files=[str(encoder)],
            pip_requirements=[f"xgboost-cpu=={installed('xgboost-cpu')}"],  # else MLflow loads the model to guess them
        )  # fmt: skip
    return str(made.model_id)


def _champion(client: MlflowClient, model: str) -> int | None:
    for found in client.search_registered_models(f"name = '{model}'"):
        if CHAMPION in found.aliases:
            return int(found.aliases[CHAMPION])
    return None


@contextmanager
def _registry(tracking: Tracking, where: str) -> Iterator[MlflowClient]:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    if tracking.uri.startswith("sqlite:///"):
        Path(tracking.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        mlflow.set_tracking_uri(tracking.uri)
        yield mlflow.MlflowClient(tracking.uri)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise RefusedError(where, error.message, "a registered version", "tidegate status") from error
        raise RetryError(where, f"the registry at {tracking.uri} answers: {error.message}", "", "try again") from error


@contextmanager
def _lock(tracking: Tracking, model: str) -> Iterator[None]:
    """One writer a model on this machine: MLflow has no compare-and-swap, so an alias belongs to its last writer."""
    with exclusive(tracking.artifacts / f"{model}.lock"):
        yield
