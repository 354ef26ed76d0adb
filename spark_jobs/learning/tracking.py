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
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from spark_jobs.config.environment import Places
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.learning.encode import Encoder
from spark_jobs.learning.evaluate import CHALLENGER, CHAMPION, Decision, Figures
from spark_jobs.learning.model_files import LoadedModel, keep_model, kept_model, sha256
from spark_jobs.learning.train import Trained
from spark_jobs.storage.files import exclusive, write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of 7 takes about 4 minutes to say that a server is down
}
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
_ENCODER = "encoder.json"
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_FAULTS_OF_CALLS = frozenset(  # no retry helps
    ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "PERMISSION_DENIED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND",
     "NOT_IMPLEMENTED", "FEATURE_DISABLED", "CUSTOMER_UNAUTHORIZED")
)  # fmt: skip


@dataclass(frozen=True)
class Tracking:
    """Where models are recorded: MLflow's tracking URI and the folder of model files."""

    uri: str
    artifacts: Path

    @staticmethod
    def of(places: Places) -> Tracking:
        """The registry of an environment."""
        return Tracking(places.tracking_uri, places.data / "mlflow" / "artifacts")

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
        return _add_version(client, run_id, model, trained, {"proof": proof.digest})


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
                where, f"the registry's champion became {present} meanwhile", f"{expected}, which it was judged against",
                "run train again: it compares registry and ledger first",
            )  # fmt: skip
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
    with _registry(tracking, f"model {model} {version}") as client:
        loaded = _fetch(client, tracking, model, version)
    keep_model(tracking.kept, loaded)
    return loaded


@dataclass(frozen=True)
class VersionState:
    """What the registry holds of one version."""

    proof: str  # digest of the proof with which it was registered; empty when another tool registered it
    fault: str = ""  # why it cannot be used as it is: its run is deleted, its files are gone or changed


@dataclass(frozen=True)
class RegistryState:
    """What the registry says of a model: whether it knows it, the alias `champion`, and one version."""

    is_registered: bool
    champion: int | None
    version: VersionState | None  # none: there is no such version
    promoted_by: str = ""  # run id of the training that registered the version with the alias, if that can be read


def inspect(tracking: Tracking, model: str, version: int | None) -> RegistryState:
    """The state of `model` and of `version`, read from the registry itself within seconds; changes nothing there.

    Raises:
        RetryError: the registry does not answer.
    """
    database = Path(tracking.uri.removeprefix("sqlite:///"))
    if tracking.uri.startswith("sqlite:///") and not database.exists():
        return RegistryState(False, None, None)  # a client would create it
    with _registry(tracking, f"state of model {model}", is_patient=False) as client:
        is_registered = bool(client.search_registered_models(f"name = '{model}'"))
        alias = _champion(client, model)
        state = None if version is None else _version_state(client, tracking, model, version)
        by = "" if alias in (None, version) else _dag_run(client, model, int(alias or 0))
        return RegistryState(is_registered, alias, state, by)


def _dag_run(client: MlflowClient, model: str, version: int) -> str:
    """Run id of the training that registered a version; empty when its run is gone."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(str(client.get_model_version(model, str(version)).run_id))
    except MlflowException as error:
        if error.error_code == _ABSENT:
            return ""
        raise
    return str(run.data.tags.get("dag_run", ""))


def set_champion(tracking: Tracking, model: str, version: int | None) -> None:
    """Point the alias `champion` to `version`, whatever it points to; none removes it.

    Raises:
        RefusedError: there is no such model or version.
        RetryError: the registry does not answer.
    """
    with _registry(tracking, f"alias of model {model}") as client, _lock(tracking, model):
        if version is not None:
            client.set_registered_model_alias(model, CHAMPION, str(version))
        elif _champion(client, model) is not None:
            client.delete_registered_model_alias(model, CHAMPION)


def restore(tracking: Tracking, kept: LoadedModel, proof: str) -> int:
    """Make `kept` the registry's champion again; returns its version, a new one where the former cannot be used.

    A deleted run of the version is restored. Where the version, its files or the model are gone, the kept files are
    registered again under the same proof. Calling it again changes nothing.

    Raises:
        RetryError: the registry does not answer.
    """
    model = kept.model
    with _registry(tracking, f"restore model {model}") as client, _lock(tracking, model):
        version = _usable_version(client, tracking, kept, proof) or _register_again(client, tracking, kept, proof)
        client.set_registered_model_alias(model, CHAMPION, str(version))
    if version != kept.version:
        keep_model(tracking.kept, replace(kept, version=version))
    return version


def _usable_version(client: MlflowClient, tracking: Tracking, kept: LoadedModel, proof: str) -> int | None:
    """The number of a version that is `kept`: its own, or one that an earlier `restore` registered."""
    numbers = [kept.version]
    for found in client.search_model_versions(f"name = '{kept.model}'"):
        if found.tags.get("restored_from") == str(kept.version) and found.tags.get("proof") == proof:
            numbers.append(int(found.version))
    for number in numbers:
        state = _version_state(client, tracking, kept.model, number, restore_run=True)
        if state and not state.fault and state.proof == proof:
            same = _fetch(client, tracking, kept.model, number)
            if (same.booster, same.encoder) == (kept.booster, kept.encoder):
                return number
    return None


def _register_again(client: MlflowClient, tracking: Tracking, kept: LoadedModel, proof: str) -> int:
    experiment = _experiment(client, tracking, kept.model)
    tags = {"restored_from": str(kept.version), "mlflow.source.name": "tidegate"}
    run_id = str(client.create_run(experiment, run_name=f"restored from version {kept.version}", tags=tags).info.run_id)
    return _add_version(client, run_id, kept.model, kept, {"proof": proof, "restored_from": str(kept.version)})


def _version_state(
    client: MlflowClient, tracking: Tracking, model: str, version: int, *, restore_run: bool = False
) -> VersionState | None:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version(model, str(version))
    except MlflowException as error:
        if error.error_code == _ABSENT:
            return None
        raise
    proof = str(found.tags.get("proof", ""))
    try:
        run = client.get_run(str(found.run_id))
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        return VersionState(proof, "its run is deleted for good")
    if run.info.lifecycle_stage == "deleted":
        if not restore_run:
            return VersionState(proof, "its run is deleted")
        client.restore_run(run.info.run_id)
    try:
        _fetch(client, tracking, model, version)
    except RefusedError as fault:
        return VersionState(proof, fault.found.partition("\n")[0])
    return VersionState(proof)


def _fetch(client: MlflowClient, tracking: Tracking, model: str, version: int) -> LoadedModel:
    """The version with its files from the registry, each as it was registered.

    Raises:
        RefusedError: its files are absent or not those registered, or its booster is no UBJSON.
        RetryError: the store of the files does not answer.
    """
    from mlflow.artifacts import download_artifacts
    from requests import RequestException

    where, again = f"model {model} {version}", "train and register again, or tidegate model restore PIPELINE MODEL"
    tags = client.get_model_version(model, str(version)).tags
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(download_artifacts(f"models:/{model}/{version}", dst_path=folder, tracking_uri=tracking.uri))
            booster, encoder = (path / "model.ubj").read_bytes(), (path / "extra_files" / _ENCODER).read_bytes()
        except OSError as error:
            answer = getattr(error, "response", None)
            if isinstance(error, RequestException) and (
                answer is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
            ):
                raise RetryError(where, f"the store of its files does not answer: {error}", "", "try again") from error
            found = f"files are absent: {str(error).replace(folder, 'its folder')}"
            raise RefusedError(where, found, "the files registered", again) from error
    if [sha256(booster), sha256(encoder)] != [tags.get("booster_sha256"), tags.get("encoder_sha256")]:
        raise RefusedError(where, "files differ from those registered", "equal SHA-256", again)
    if not booster.startswith(b"{"):  # as every UBJSON object does, and no pickle can
        raise RefusedError(where, "model.ubj is not UBJSON", "a booster as `register` writes it", again)
    return LoadedModel(model, version, booster, Encoder.from_json(encoder.decode()))


def _run_of(client: MlflowClient, tracking: Tracking, model: str, proof: Proof) -> str:
    number = _experiment(client, tracking, model)
    runs = client.search_runs([number], f"tags.proof = '{proof.digest}'", order_by=["attributes.start_time ASC"])
    if runs:
        return str(runs[0].info.run_id)
    tags = {"proof": proof.digest, "mlflow.source.name": "tidegate"}
    return str(client.create_run(number, run_name=proof.dag_run, tags=tags).info.run_id)


def _experiment(client: MlflowClient, tracking: Tracking, model: str) -> str:
    """Id of the experiment of `model`; one that somebody deleted is restored with its runs, since its name stays taken."""
    experiment = client.get_experiment_by_name(model)
    if experiment is None:
        # a server keeps model files itself, and hands them out to those who may see them
        served = tracking.uri.startswith(("http://", "https://"))
        place = None if served else (tracking.artifacts / model).absolute().as_uri()
        return str(client.create_experiment(model, artifact_location=place))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _add_version(
    client: MlflowClient, run_id: str, model: str, content: Trained | LoadedModel, tags: Mapping[str, str]
) -> int:
    """Number of a new version of `model` that holds `content`; the model is created where it is not registered."""
    model_id = _log_files(run_id, model, content)
    if model not in [one.name for one in client.search_registered_models(f"name = '{model}'")]:
        client.create_registered_model(model)
    hashes = {"booster_sha256": sha256(content.booster), "encoder_sha256": sha256(content.encoder.to_json().encode())}
    made = client.create_model_version(
        model, f"models:/{model_id}", run_id, model_id=model_id, tags={**hashes, **tags}
    )  # fmt: skip
    client.set_terminated(run_id)
    return int(made.version)


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


def _log_files(run_id: str, model: str, trained: Trained | LoadedModel) -> str:
    import mlflow
    import mlflow.xgboost
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(trained.booster))
    with tempfile.TemporaryDirectory() as folder, mlflow.start_run(run_id=run_id):
        encoder = Path(folder) / _ENCODER
        write_whole(encoder, trained.encoder.to_json(), durable=False)
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
def _registry(tracking: Tracking, where: str, *, is_patient: bool = True) -> Iterator[MlflowClient]:
    """A client; without patience a server that does not answer is given up within seconds."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    if tracking.uri.startswith("sqlite:///"):
        Path(tracking.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    try:
        os.environ.update({} if is_patient else _IMPATIENT)
        mlflow.set_tracking_uri(tracking.uri)
        yield mlflow.MlflowClient(tracking.uri)
    except MlflowException as error:
        if error.error_code == _ABSENT:
            raise RefusedError(where, error.message, "a registered version", "tidegate status") from error
        if error.error_code in _FAULTS_OF_CALLS:
            raise UsageError(
                where, f"the registry at {tracking.uri} refuses: {error.message}", "a registry as tidegate left it",
                "tidegate status shows whether registry and ledger agree; check tracking_uri and its permissions",
            ) from error  # fmt: skip
        raise RetryError(where, f"the registry at {tracking.uri} answers: {error.message}", "", "try again") from error
    finally:
        for name in _IMPATIENT:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


@contextmanager
def _lock(tracking: Tracking, model: str) -> Iterator[None]:
    """One writer a model on this machine: MLflow has no compare-and-swap, so an alias belongs to its last writer."""
    with exclusive(tracking.artifacts / f"{model}.lock"):
        yield
