"""The steps of a pipeline and the stages in each, in order: DAG wiring, command line and report read it here.

A step is one spark-submit; a stage is one unit of work inside it. Which gate follows which step, and which step goes on
with what another one staged, is data as well. An environment's grouping says which steps take an hour to its readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spark_jobs.config.environment import Grouping
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest


@dataclass(frozen=True)
class Step:
    """One Spark application: its stages in order, and the scopes of the verdicts that it leaves for gates."""

    name: str
    cadence: str  # 'hourly', 'daily' or 'weekly'
    stages: tuple[str, ...]
    gates: tuple[str, ...] = ()
    meaning: str = ""
    grouping: Grouping | None = None  # the only one that has it; none: all have it
    continues: str = ""  # the step of the same run and interval whose publication this one goes on with


STEPS: Final[dict[str, Step]] = {
    step.name: step
    for step in (
        Step("prepare", "hourly", ("bronze", "silver", "tiles", "features"), ("silver", "features"),
             "read the drops, type and judge them, compute features; all staged, nothing readable yet", "fused"),
        Step("publish_and_score", "hourly", ("publish", "score"), (),
             "make what prepare staged readable as one release, score it with the champion", "fused", "prepare"),
        Step("ingest", "hourly", ("bronze", "silver"), ("silver",),
             "read the drops, type and judge them; staged, nothing readable yet", "split"),
        Step("build_features", "hourly", ("tiles", "features"), ("features",),
             "compute features of what ingest staged and judge them; staged, nothing readable yet", "split", "ingest"),
        Step("publish", "hourly", ("publish",), (),
             "make what ingest and build_features staged readable as one release", "split", "build_features"),
        Step("score", "hourly", ("score",), (),
             "score what was published with the champion", "split", "build_features"),
        Step("heal", "daily", ("heal",), (),
             "make cells anew that rows made wrong which came late or were corrected; publish those that differ"),
        Step("rebuild", "daily", ("tiles", "features"), (),
             "compute tiles and features of published hours again whose definitions changed, from silver; publish them"),
        Step("training_set", "weekly", ("training_set",), ("training_set",),
             "one row a spine row with its features as known at prediction time and its label"),
        Step("train", "weekly", ("train",), (),
             "train on the executors, evaluate on later rows, register, promote"),
    )
}  # fmt: skip
JUDGED: Final = frozenset(step.name for step in STEPS.values() if step.cadence == "hourly" and step.gates)
# Their rows in `intervals` record the state of an hour; those of scores do not.
OF_HOURS: Final = JUDGED | {step.name for step in STEPS.values() if "publish" in step.stages}
# The one step of a publication whose row has everything: what is staged, the account of rows, the release it was made on.
SEALS: Final = frozenset(step.continues for step in STEPS.values() if "publish" in step.stages)


def step(name: str, grouping: Grouping | None = None) -> Step:
    """The step `name`; with `grouping`, one that an environment of this grouping has.

    Raises:
        UsageError: no such step, or not in this grouping.
    """
    legal = [one.name for one in STEPS.values() if grouping is None or one.grouping in (None, grouping)]
    if name in legal:
        return STEPS[name]
    found = f"no step '{name}'" + (f" where spark.grouping is {grouping}" if name in STEPS else "")
    raise UsageError("step", found, nearest(name, legal))


def hour_steps(grouping: Grouping) -> list[Step]:
    """The steps that take an hour's drops to their readers, in order."""
    return [one for one in STEPS.values() if one.cadence == "hourly" and one.grouping == grouping]


def steps_before(name: str) -> list[Step]:
    """The steps of the same run and interval whose publication step `name` goes on with, in order; none where it begins one."""
    former = STEPS[name].continues
    return [*steps_before(former), STEPS[former]] if former else []


def first_step(name: str) -> str:
    """The step to begin with when the publication that `name` works on has to be made anew."""
    return next((one.name for one in steps_before(name)), name)


def tables_read(pipeline: Pipeline, stages: Iterable[str]) -> list[str]:
    """Lake tables whose released rows `stages` read."""
    tiles = [f"tiles/{group.table}" for group in pipeline.features.windows.values()]
    silver = [f"silver/{name}" for name in pipeline.silver]
    read = {
        "silver": silver,
        "tiles": [*silver, *tiles],
        "features": [*silver, *tiles],
        "score": [*silver, *pipeline.feature_tables],
        "heal": [*silver, *tiles, *pipeline.feature_tables],
        "training_set": [*silver, *pipeline.feature_tables],
        "train": [f"training_sets/{name}" for name in _models(pipeline)],
    }
    return list(dict.fromkeys(table for stage in stages for table in read.get(stage, [])))


def tables_written(pipeline: Pipeline, stages: Iterable[str]) -> list[str]:
    """Lake tables that `stages` stage or make readable."""
    held = ["quarantine"]
    written = {
        "bronze": [f"bronze/{name}" for name in pipeline.sources.sources],
        "silver": [*(f"silver/{name}" for name in pipeline.silver), *held, "accounts"],
        "tiles": [f"tiles/{group.table}" for group in pipeline.features.windows.values()],
        "features": [*pipeline.feature_tables, "spine_accounts", *held],
    }
    written |= {
        "publish": [table for tables in written.values() for table in tables],
        "heal": pipeline.feature_tables,
        "score": [f"predictions/{name}" for name in _models(pipeline)],
        "training_set": [f"training_sets/{name}" for name in _models(pipeline)],
    }
    return list(dict.fromkeys(table for stage in stages for table in written.get(stage, [])))


def _models(pipeline: Pipeline) -> list[str]:
    return list(pipeline.models.models) if pipeline.models else []
