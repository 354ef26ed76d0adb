"""`tidegate model`: which version scores, by ledger and registry, and how the two are made to agree. No JVM."""

from __future__ import annotations

import json
from typing import Any

from spark_jobs.alerts.incidents import Desk
from spark_jobs.cli.output import say, show_json
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import RefusedError, TidegateError, UsageError, nearest
from spark_jobs.learning import drift, tracking
from spark_jobs.learning.evaluate import CHAMPION
from spark_jobs.learning.model_files import kept_model
from spark_jobs.learning.tracking import Tracking
from spark_jobs.ledger import Ledger


class ModelRegistry:
    """One model of a pipeline, its ledger and its registry."""

    def __init__(self, pipeline: str, model: str, env: str) -> None:
        """Raises UsageError: no such pipeline, environment or model."""
        self.whole: Pipeline = load_pipeline(pipeline)
        self.environment: Environment
        self.places: Places
        self.environment, self.places = load_environment(env)
        models = list(self.whole.models.models) if self.whole.models else []
        if model not in models:
            raise UsageError("model", f"no model '{model}' in {pipeline}/model.yaml", nearest(model, models),
                             f"tidegate status {pipeline}")  # fmt: skip
        self.pipeline, self.model, self.env = pipeline, model, env
        self.ledger = Ledger.open(self.places.lake / pipeline)
        self.tracking = Tracking.of(self.places)

    def champion(self) -> int:
        """The ledger's champion.

        Raises:
            UsageError: there is none.
        """
        version = self.ledger.champion(self.model)
        if version is None:
            raise UsageError(f"model {self.model}", "the ledger has no champion", "a promoted version",
                             f"tidegate model adopt {self.pipeline} {self.model} --env {self.env}")  # fmt: skip
        return int(version)

    def record(self, to: int | None, why: str, proof: str) -> None:
        """Move the ledger's champion to a version, or to none."""
        before = self.ledger.champion(self.model)
        if before == (str(to) if to else None):
            return
        self.ledger.add_promotion(
            {"model": self.model, "alias": CHAMPION, "from_version": before, "to_version": str(to) if to else None,
             "why": why, "proof_digest": proof}
        )  # fmt: skip

    def finish(self, text: str, *, as_json: bool) -> None:
        """Close the incident if registry and ledger agree now, and print what was done."""
        found = drift.find_drift(self.tracking, self.ledger, self.pipeline, self.env, self.model)
        desk = Desk(self.whole, self.environment, self.places, self.ledger)
        desk.registry(self.model, found.text() if found else "", self.env)
        if as_json:
            show_json({"pipeline": self.pipeline, "model": self.model, "champion": self.ledger.champion(self.model),
                       "done": text, "problem": found.found if found else None})  # fmt: skip
            return
        say(text)
        if found:
            say(found.text())


def restore_champion(pipeline: str, model: str, env: str, *, as_json: bool) -> None:
    """Make the ledger's champion the registry's champion again, from the local copy where the registry lost it.

    Raises:
        UsageError: there is no champion, or no usable local copy of it.
        RetryError: the registry does not answer.
    """
    one = ModelRegistry(pipeline, model, env)
    version, row = one.champion(), one.ledger.last_promotion(model) or {}
    proof = str(row.get("proof_digest") or "")
    try:
        kept = kept_model(one.tracking.kept, model, version) or tracking.load_model(one.tracking, model, version)
    except RefusedError as fault:
        raise UsageError(
            f"model {model}", f"version {version} has no copy in {one.tracking.kept}, and the registry has none: {fault.found}",
            "a local copy, which the first scored hour or the promotion leaves there",
            f"tidegate model demote {pipeline} {model} --env {env}, then train again",
        ) from fault  # fmt: skip
    restored = tracking.restore(one.tracking, kept, proof)
    definitions = one.ledger.model_definitions(model, str(version))
    if definitions is not None:
        one.ledger.add_model_definitions(model, str(restored), json.dumps(definitions, sort_keys=True))
    one.record(restored, f"restored: version {version} was registered again from its local copy", proof)
    again = "" if restored == version else f", registered again as version {restored}"
    one.finish(f"{model}: the registry has the champion again, version {version}{again}", as_json=as_json)


def adopt_champion(pipeline: str, model: str, why: str, env: str, *, as_json: bool) -> None:
    """Make the registry's champion the one that scores, after its files were checked.

    Raises:
        UsageError: the registry has no champion.
        RefusedError: its files are absent or not those that tidegate registered.
        RetryError: the registry does not answer.
    """
    one = ModelRegistry(pipeline, model, env)
    state = tracking.inspect(one.tracking, model, None)
    if state.champion is None:
        raise UsageError(f"model {model}", f"no version carries the alias {CHAMPION} in {one.tracking.uri}",
                         "a version with the alias", f"tidegate model demote {pipeline} {model} --env {env}")  # fmt: skip
    tracking.load_model(one.tracking, model, state.champion, fresh=True)
    version = tracking.inspect(one.tracking, model, state.champion).version
    one.record(state.champion, why or "adopted from the registry", version.proof if version else "")
    one.finish(f"{model}: version {state.champion} of the registry scores from now on", as_json=as_json)


def demote_champion(pipeline: str, model: str, why: str, env: str, *, as_json: bool) -> None:
    """Leave the model without a champion, in registry and ledger: hours are published without scores.

    Raises:
        RetryError: the registry does not answer.
    """
    one = ModelRegistry(pipeline, model, env)
    before = one.ledger.champion(model)
    if tracking.inspect(one.tracking, model, None).champion is not None:
        tracking.set_champion(one.tracking, model, None)
    one.record(None, why or "demoted by hand", "")
    was = f" (it was version {before})" if before else ""
    one.finish(
        f"{model}: no champion{was}; hours are published without scores until a version is promoted", as_json=as_json
    )


def registry_facts(whole: Pipeline, places: Places, ledger: Ledger, env: str) -> list[dict[str, Any]]:
    """For every model whose registry and ledger disagree, or whose registry does not answer: what, and the ways out."""
    found: list[dict[str, Any]] = []
    where = Tracking.of(places)
    for model in whole.model_settings:
        try:
            one = drift.find_drift(where, ledger, whole.name, env, model)
        except TidegateError as fault:
            found.append({"model": model, "problem": None, "unreachable": fault.found, "ways": {}})
        else:
            if one:
                found.append(
                    {
                        "model": model,
                        "problem": one.found,
                        "ledger": one.ledger,
                        "registry": one.registry,
                        "ways": one.ways,
                    }
                )
    return found
