"""The steps of a pipeline and the stages in each, in order: DAG wiring, command line and report read it here.

A step is one task and, where it needs Spark, one spark-submit; a stage is one unit of work inside it. Which gate follows
which step, and which step goes on with what another one staged, is data as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest


@dataclass(frozen=True)
class Step:
    """One step: its stages in order, and the scopes of the verdicts that it leaves for gates."""

    name: str
    cadence: str  # 'hourly', 'daily', 'weekly' or 'on demand'
    stages: tuple[str, ...]
    gates: tuple[str, ...] = ()
    meaning: str = ""
    continues: str = ""  # the step of the same run and interval whose publication this one goes on with


STEPS: Final[dict[str, Step]] = {
    step.name: step
    for step in (
        Step("ingest", "hourly", ("bronze", "silver"), ("silver",),
             "read the drops, type and judge them; staged, nothing readable yet"),
        Step("build_features", "hourly", ("tiles", "features", "predictions"), ("features",),
             "compute features of what ingest staged, judge them, predict with the champion; staged, nothing readable yet",
             "ingest"),
        Step("publish", "hourly", ("publish",), (),
             "make what ingest and build_features staged readable: the hours as one release, then their predictions; starts a"
             " JVM only to stage again what another release overtook, or to predict with a champion promoted since",
             "build_features"),
        Step("heal", "daily", ("heal",), (),
             "compute cells again that late or corrected rows made wrong; publish those that differ"),
        Step("rebuild", "on demand", ("rebuild",), (),
             "compute tiles and features of published hours again whose definitions changed, from silver; publish them"),
        Step("training_set", "weekly", ("training_set",), ("training_set",),
             "one row a spine row with its features as known at prediction time and its label"),
        Step("train", "weekly", ("train",), (),
             "train on the executors, evaluate on later rows, register, promote", "training_set"),
        Step("score", "weekly", ("score",), (),
             "add the champion's predictions to published hours that lack them"),
    )
}  # fmt: skip
# Steps of former versions, whose rows a ledger keeps for ever: `prepare` staged an hour, `publish_and_score` published it.
_FORMER_STAGED, _FORMER_PUBLISHED = "prepare", "publish_and_score"
JUDGED: Final = frozenset(
    [*(step.name for step in STEPS.values() if step.cadence == "hourly" and step.gates), _FORMER_STAGED]
)
# Their rows in `intervals` record the state of an hour; those of predictions do not.
OF_HOURS: Final = JUDGED | {step.name for step in STEPS.values() if "publish" in step.stages} | {_FORMER_PUBLISHED}
# The step whose row has everything of a publication: what is staged, the account of rows, the release it was made on.
SEALS: Final = frozenset([*(step.continues for step in STEPS.values() if "publish" in step.stages), _FORMER_STAGED])
HOUR_STEPS: Final = tuple(step for step in STEPS.values() if step.cadence == "hourly")
"""The steps that take an hour's drops to its readers, in order."""


def step(name: str) -> Step:
    """The step `name`.

    Raises:
        UsageError: there is no such step.
    """
    if name in STEPS:
        return STEPS[name]
    raise UsageError("step", f"no step '{name}'", nearest(name, list(STEPS)))


def steps_before(name: str) -> list[Step]:
    """The steps of the same run and interval whose publication step `name` goes on with, in order; none where it begins one."""
    former = STEPS[name].continues
    return [*steps_before(former), STEPS[former]] if former else []


def stages_from(name: str) -> tuple[str, ...]:
    """The stages of step `name` and of the steps that continue its publication, in order."""
    continuing = [one for one in STEPS.values() if name in {before.name for before in steps_before(one.name)}]
    return tuple(stage for one in (STEPS[name], *continuing) for stage in one.stages)


def first_step(name: str) -> str:
    """The step to begin with when the publication that `name` works on has to be made anew."""
    return next((one.name for one in steps_before(name)), name)


def tables_read(pipeline: Pipeline, stages: Iterable[str]) -> list[str]:
    """Lake tables whose released rows `stages` read."""
    tiles = [f"tiles/{group.table}" for group in pipeline.features.windows.values()]
    silver = [
        *(f"silver/{name}" for name in pipeline.silver),
        "accounts",
    ]  # accounts say when rows of silver were known
    read = {
        "silver": silver,
        "tiles": [*silver, *tiles],
        "features": [*silver, *tiles],
        "predictions": [*silver, *pipeline.feature_tables],
        "score": [*silver, *pipeline.feature_tables],
        "heal": [*silver, *tiles, *pipeline.feature_tables],
        "rebuild": [*silver, *tiles, *pipeline.feature_tables, "quarantine"],
        "training_set": [*silver, *pipeline.feature_tables],
        "train": pipeline.training_sets,
    }
    return list(dict.fromkeys(table for stage in stages for table in read.get(stage, [])))


def tables_written(pipeline: Pipeline, stages: Iterable[str]) -> list[str]:
    """Lake tables that `stages` stage or make readable."""
    held = ["quarantine"]
    tiles = [f"tiles/{group.table}" for group in pipeline.features.windows.values()]
    predictions = [f"predictions/{name}" for name in pipeline.model_settings]
    written = {
        "bronze": [f"bronze/{name}" for name in pipeline.sources.sources],
        "silver": [*(f"silver/{name}" for name in pipeline.silver), *held, "accounts"],
        "tiles": tiles,
        "features": [*pipeline.feature_tables, "spine_accounts", *held],
        "predictions": predictions,
    }
    written |= {
        "publish": [table for tables in written.values() for table in tables],
        "heal": pipeline.feature_tables,
        "rebuild": [*tiles, *pipeline.feature_tables, *held],
        "score": predictions,
        "training_set": pipeline.training_sets,
    }
    return list(dict.fromkeys(table for stage in stages for table in written.get(stage, [])))


def tables_of(pipeline: Pipeline, stage: str) -> frozenset[str]:
    """Lake tables that `stage` may touch: it reads released rows, or rows that a stage before it staged, or writes them."""
    staged_before = tables_written(pipeline, ["bronze"]) if stage == "silver" else []
    return frozenset([*staged_before, *tables_read(pipeline, [stage]), *tables_written(pipeline, [stage])])
