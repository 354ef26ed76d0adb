"""Whether the registry and the ledger name the same champion, and the commands that make them agree again.

Scoring follows the ledger and works from local copies, so it goes on when somebody deletes a version, moves the alias or
restores the registry from an old copy. Training follows both, so a promotion is impossible until they agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_jobs.learning import tracking
from spark_jobs.learning.evaluate import CHAMPION
from spark_jobs.learning.tracking import RegistryState, Tracking
from spark_jobs.ledger import Ledger
from spark_jobs.values import Lines


@dataclass(frozen=True)
class Drift:
    """How the registry differs from the ledger for one model."""

    model: str
    ledger: int | None  # version that scores
    registry: int | None  # version that carries the alias
    found: str
    ways: dict[str, str]  # what a person may want -> the command

    promoted_by: str = ""  # run id of the training that registered the version with the alias

    def blocks_promotion(self, dag_run: str) -> bool:
        """Whether training run `dag_run` cannot promote a version: the alias is elsewhere than the ledger has it.

        An earlier attempt of the same run may have moved the alias and ended before it wrote to the ledger; a retry does.
        """
        return self.ledger != self.registry and self.promoted_by != dag_run

    def text(self) -> str:
        """The difference and every way out, one a line."""
        return Lines.of([self.found, *(f"  to {way}: {command}" for way, command in self.ways.items())])


def find_drift(where: Tracking, ledger: Ledger, pipeline: str, env: str, model: str) -> Drift | None:
    """How registry and ledger disagree on the champion of `model`; None when they agree.

    Raises:
        RetryError: the registry does not answer.
        UsageError: the registry refuses the request.
    """
    row = ledger.last_promotion(model)
    champion = int(row["to_version"]) if row and row["to_version"] else None
    state = tracking.inspect(where, model, champion)
    fault = _fault(where, model, champion, str(row["proof_digest"] or "") if row else "", state)
    if not fault:
        return None
    ways = _ways(pipeline, env, model, champion, state)
    return Drift(model, champion, state.champion, f"model {model}: {fault}", ways, state.promoted_by)


def _fault(where: Tracking, model: str, champion: int | None, proof: str, state: RegistryState) -> str:
    """What is wrong in one sentence; empty when registry and ledger agree."""
    registry = f"the registry at {where.uri}"
    if champion is None:
        moved = f"{registry} has the alias {CHAMPION} on version {state.champion}, but the ledger has no champion"
        return moved if state.champion else ""
    ledger = f"the ledger's champion is version {champion}"
    if not state.is_registered:
        return f"{ledger}, but {registry} has no model '{model}' (deleted, or tracking_uri names another registry)"
    if state.version is None:
        return f"{ledger}, but {registry} has no such version (deleted, or restored from an old copy)"
    if proof and state.version.proof != proof:
        return f"{ledger}, but version {champion} in {registry} is another model than the one that was promoted"
    if state.champion is None:
        return f"{ledger}, but in {registry} no version carries the alias {CHAMPION}"
    if state.champion != champion:
        return f"{ledger}, but in {registry} version {state.champion} carries the alias {CHAMPION}"
    return (
        f"version {champion}, the champion, is damaged in {registry}: {state.version.fault}"
        if state.version.fault
        else ""
    )


def _ways(pipeline: str, env: str, model: str, champion: int | None, state: RegistryState) -> dict[str, str]:
    """The commands that can work in this state."""
    words = f"{pipeline} {model} --env {env}"
    ways = {}
    if champion is not None:
        ways[f"give version {champion} back to the registry"] = f"tidegate model restore {words}"
    if state.champion is not None and state.champion != champion:
        ways[f"score with version {state.champion}"] = f"tidegate model adopt {words}"
    what = "score no more until a version is promoted" if champion is not None else "remove the alias"
    return {**ways, what: f"tidegate model demote {words}"}
