"""Train: fit on the executors, judge on later rows beside baselines and champion, register, promote; all on record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.columns import input_columns
from spark_jobs.config.definitions import define, input_hashes, model_digest
from spark_jobs.config.model import Model
from spark_jobs.errors import RefusedError, TidegateError, UsageError
from spark_jobs.lake.admission import require_verdicts, sealed_row
from spark_jobs.lake.staging import staged_files
from spark_jobs.learning import evaluate, tracking
from spark_jobs.learning.encode import Encoder
from spark_jobs.learning.evaluate import CHALLENGER, CHAMPION, Decision, Figures
from spark_jobs.learning.fits import Fits
from spark_jobs.learning.folds import EVALUATE, TRAIN
from spark_jobs.learning.model_files import sha256
from spark_jobs.learning.set_folder import set_folder
from spark_jobs.learning.tracking import Proof, Tracking
from spark_jobs.learning.train import Trained
from spark_jobs.ledger.former import former_inputs
from spark_jobs.runtime.places import code_version
from spark_jobs.steps.context import Context
from spark_jobs.storage import Row
from spark_jobs.storage.files import write_whole
from spark_jobs.values import to_json


@dataclass(frozen=True)
class TrainOutput:
    """What is known of each model that was trained, and what ended the training before all were; see `Result.models`."""

    models: Mapping[str, Any]
    fault: TidegateError | None


def run(context: Context) -> TrainOutput:
    """Train every model on the set that this run staged, up to one that does not clear its thresholds.

    Such a model is not registered, and the champion stays.

    Raises:
        RetryError: no training set of this run.
        RefusedError: the gate refused the set, or its files are not those that were judged.
    """
    row = sealed_row(context.ledger, context.call)
    _require_judged(context, row)
    models: dict[str, Any] = {}
    for name, model in context.pipeline.model_settings.items():
        try:
            for facts in _facts(context, name, model, int(row["pub"])):
                models[name] = {**models.get(name, {}), **facts}
        except TidegateError as fault:
            return TrainOutput(models, fault)
    return TrainOutput(models, None)


def _require_judged(context: Context, row: Row) -> None:
    """That the sets of all models of conf/ are the very files on which their gate gave a verdict that lets them through.

    Raises:
        UsageError: conf/ has other models.
        RefusedError: otherwise.
    """
    pub, sealed, tables = int(row["pub"]), json.loads(row["staged"] or "{}"), context.pipeline.training_sets
    where = f"{context.call.pipeline}/train pub {pub}"
    if sealed.keys() != {*tables}:
        found = f"training_set staged {', '.join(sorted(sealed)) or 'nothing'}"
        again = context.call.with_step("training_set").command()
        raise UsageError(where, found, f"the models of model.yaml: {', '.join(tables)}", again)
    present: dict[str, str] = {}
    for table in tables:
        with suppress(OSError, pa.ArrowException):  # a file that cannot be read is not the one that was recorded
            present[table] = staged_files(context.root, table, pub, "").digest
    require_verdicts(context.ledger, where, pub, tables, sealed, present)


def _facts(context: Context, name: str, model: Model, pub: int) -> Iterator[dict[str, Any]]:
    """What is known of a model once it is judged, and once it is registered.

    Raises:
        RefusedError: it does not clear its thresholds; it is not registered.
    """
    folder = set_folder(context.root, name, pub)
    manifest = json.loads((folder / "manifest.json").read_text())
    _require_same_settings(context, name, manifest)
    rows = context.spark.read.parquet(str(context.root / "training_sets" / name / f"pub-{pub}"))
    training, judged = (rows.where(F.col("fold") == fold).persist() for fold in (TRAIN, EVALUATE))
    columns = {group: input_columns(context.pipeline, group) for group in context.pipeline.features.groups}
    key = context.pipeline.silver[context.pipeline.features.spine.table].key
    made_of = f"{manifest['digest']} {model_digest(context.pipeline, name)} {code_version(context.places.project)}"
    fits = Fits(folder, pub, made_of, training, key, columns)
    trained = fits.fit(CHALLENGER, model.inputs, model.estimator)
    found = _figures(context, name, model, trained, fits, judged)
    decision = evaluate.decide(found, model.to_register, model.to_promote)
    if CHAMPION not in found and (champion := context.ledger.champion(name)):
        told = (
            f"champion version {champion} was trained on former definitions of its inputs: not comparable on these rows"
        )
        decision = replace(decision, reasons=(*decision.reasons, told))
    _keep_report(context, name, pub, found, decision, manifest)
    yield evaluate.summary(found, decision, int(manifest["rows"]))
    if not decision.register:
        raise RefusedError(
            f"model {name}", "; ".join(decision.blocked), "every bar of model.yaml under register",
            f"look at {context.root / 'models' / name}.json; the champion stays",
        )  # fmt: skip
    yield _register(context, name, model, trained, found, decision, manifest)


def _require_same_settings(context: Context, name: str, manifest: dict[str, Any]) -> None:
    """The set was built for this very model: another label or other rows would be another model under the same name.

    Raises:
        UsageError: model.yaml, or a definition of an input, changed since.
    """
    now = {
        "model_digest": model_digest(context.pipeline, name),
        "definitions": input_hashes(context.pipeline, define(context.pipeline)),
    }
    changed = [what for what, value in now.items() if manifest.get(what) != value]
    if changed:
        raise UsageError(
            f"model {name}", f"the training set of publication {manifest['pub']} was built under other {' and '.join(changed)}",
            "the same conf/ in training_set and train", context.call.with_step("training_set").command(),
        )  # fmt: skip


def _figures(
    context: Context, name: str, model: Model, trained: Trained, fits: Fits, judged: DataFrame
) -> dict[str, Figures]:
    """Challenger, baselines and champion on the same judged rows."""
    models: dict[str, tuple[bytes, Encoder]] = {CHALLENGER: (trained.booster, trained.encoder)}
    singles: dict[str, tuple[str, float]] = {}
    for baseline, settings in model.baselines.items():
        if settings.column:
            singles[baseline] = (settings.column, evaluate.score_of_missing(fits.training, settings.column))
        elif settings.inputs:
            simple = fits.fit(baseline, settings.inputs, model.estimator, settings.options)
            models[baseline] = (simple.booster, simple.encoder)
    version = context.ledger.champion(name)
    if version is not None:
        champion = tracking.load_model(Tracking.of(context.places), name, int(version))
        former = former_inputs(context.pipeline, context.ledger, name, version)
        if former is None:  # trained before definitions were recorded
            former = sorted({one.column for one in champion.encoder.inputs} - {*judged.columns})
        if not former:
            models[CHAMPION] = (champion.booster, champion.encoder)
    return evaluate.judge(judged, models, singles)


def _register(
    context: Context, name: str, model: Model, trained: Trained, found: dict[str, Figures], decision: Decision,
    manifest: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Register the model and, where it may, promote it: its version, the champion before it, and whether it was promoted."""
    inputs = sorted({one.column for one in trained.encoder.inputs})
    meant = {column: manifest["definitions"][column] for column in inputs}
    verdicts = tuple(v.staged_digest[:16] for v in context.ledger.verdicts(manifest["pub"]))
    proof = Proof(
        context.call.dag_run, int(manifest["release"] or 0), manifest["digest"], context.pipeline.config_hash,
        _code_version(context, manifest["pub"]), verdicts, model_digest(context.pipeline, name),
        sha256(json.dumps(meant, sort_keys=True).encode())[:16],
    )  # fmt: skip
    params = {"use": model.estimator.use, "seed": model.estimator.seed, **model.estimator.options}
    version = tracking.register(Tracking.of(context.places), name, trained, proof, found, decision, params)
    context.ledger.add_model_definitions(name, str(version), json.dumps(meant, sort_keys=True))
    before = context.ledger.champion(name)
    done = {"version": str(version), "champion_before": before, "promoted": decision.promote and before != str(version)}
    if not done["promoted"]:
        return done
    tracking.promote(Tracking.of(context.places), name, version, int(before) if before else None)
    context.ledger.add_promotion(
        {"model": name, "alias": CHAMPION, "from_version": before, "to_version": str(version),
         "why": "; ".join(decision.reasons), "proof_digest": proof.digest}
    )  # fmt: skip
    return done


def _code_version(context: Context, pub: int) -> str:
    """The code that made the training set."""
    rows = [row for row in context.ledger.intervals() if row["pub"] == pub and row["code_version"]]
    return str(rows[0]["code_version"]) if rows else ""


def _keep_report(
    context: Context, name: str, pub: int, found: dict[str, Figures], decision: Decision, manifest: dict[str, Any]
) -> None:
    """What the pages show of the newest training: figures, bars, the set that it rests on."""
    path: Path = context.root / "models" / f"{name}.json"
    facts = {
        "schema_version": 1, "model": name, "pub": pub, "training_set": manifest,
        "figures": {figure: asdict(value) for figure, value in found.items()}, "decision": decision.to_dict(),
    }  # fmt: skip
    write_whole(path, to_json(facts))
