"""The steps of a pipeline and the stages in each, in order: DAG wiring, command line and report read it here.

A step is one spark-submit; a stage is one unit of work inside it. Which gate follows which step is data as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest


@dataclass(frozen=True)
class Step:
    """One Spark application: its stages in order, and the scopes of the verdicts that it leaves for gates."""

    name: str
    cadence: str  # 'hourly' or 'weekly': the DAG that it belongs to
    stages: tuple[str, ...]
    gates: tuple[str, ...] = ()
    meaning: str = ""


STEPS: Final[dict[str, Step]] = {
    step.name: step
    for step in (
        Step("query", "hourly", ("query",), (),
             "ask the databases of sources of kind jdbc for the rows of the hours, and land them as drops"),
        Step("prepare", "hourly", ("bronze", "silver", "tiles", "features"), ("silver", "features"),
             "read the drops, type and judge them, compute features; all staged, nothing readable yet"),
        Step("publish_and_score", "hourly", ("publish", "score"), (),
             "make what prepare staged readable as one release, score it with the champion"),
        Step("training_set", "weekly", ("training_set",), ("training_set",),
             "one row a spine row with its features as known at prediction time and its label"),
        Step("train", "weekly", ("train",), (),
             "train on the executors, evaluate on later rows, register, promote"),
    )
}  # fmt: skip


def step(name: str) -> Step:
    """The step `name`.

    Raises:
        UsageError: no such step.
    """
    if name not in STEPS:
        raise UsageError("step", f"no step '{name}'", nearest(name, list(STEPS)))
    return STEPS[name]


def tables_read(pipeline: Pipeline, step_name: str) -> list[str]:
    """Lake tables whose released rows `step_name` reads."""
    tiles = [f"tiles/{group.table}" for group in pipeline.features.windows.values()]
    silver = [f"silver/{name}" for name in pipeline.silver]
    return {
        "query": [],
        "prepare": [*silver, *tiles],
        "publish_and_score": [*silver, *pipeline.feature_tables],
        "training_set": [*silver, *pipeline.feature_tables],
        "train": [f"training_sets/{name}" for name in (pipeline.models.models if pipeline.models else {})],
    }[step_name]


def tables_written(pipeline: Pipeline, step_name: str) -> list[str]:
    """Lake tables that `step_name` stages or makes readable."""
    models = pipeline.models.models if pipeline.models else {}
    staged = [
        *(f"bronze/{name}" for name in pipeline.sources.sources),
        *(f"silver/{name}" for name in pipeline.silver),
        *(f"tiles/{group.table}" for group in pipeline.features.windows.values()),
        *pipeline.feature_tables, "quarantine", "accounts",
    ]  # fmt: skip
    return {
        "query": [],
        "prepare": staged,
        "publish_and_score": [*staged, *(f"predictions/{name}" for name in models)],
        "training_set": [f"training_sets/{name}" for name in models],
        "train": [],
    }[step_name]
