"""Which function runs which stage of plan.py, what it gets of the stages before, and what is kept of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from spark_jobs.quality.gate import JudgedTables
from spark_jobs.stages import bronze, features, heal, rebuild, score, silver, tiles, train, training_set
from spark_jobs.stages.score import StartPublication
from spark_jobs.steps.context import Context
from spark_jobs.steps.progress import Progress

# What came before, the context of the stage, and how it starts a publication of its own -> what came of it.
RunStage = Callable[[Progress, Context, StartPublication], Progress]


def _bronze(before: Progress, context: Context, start: StartPublication) -> Progress:
    done = bronze.run(context, bronze.BronzeInput(before.drops))
    return replace(before, context=before.context.after(done.staged, done.known))


def _silver(before: Progress, context: Context, start: StartPublication) -> Progress:
    done = silver.run(context, silver.SilverInput(before.drops))
    return replace(_judged(before, done), accounts=done.accounts)


def _tiles(before: Progress, context: Context, start: StartPublication) -> Progress:
    return replace(before, context=before.context.after(tiles.run(context).staged))


def _features(before: Progress, context: Context, start: StartPublication) -> Progress:
    return _judged(before, features.run(context))


def _predictions(before: Progress, context: Context, start: StartPublication) -> Progress:
    return replace(before, predictions=score.stage(context, score.PredictionsInput(start)).staged)


def _heal(before: Progress, context: Context, start: StartPublication) -> Progress:
    return _judged(before, heal.run(context))


def _rebuild(before: Progress, context: Context, start: StartPublication) -> Progress:
    return _judged(before, rebuild.run(context))


def _training_set(before: Progress, context: Context, start: StartPublication) -> Progress:
    done = training_set.run(context)
    staged = before.context.after(done.staged)
    return replace(before, context=staged, verdicts=(*before.verdicts, *done.verdicts), models=done.models)


def _train(before: Progress, context: Context, start: StartPublication) -> Progress:
    done = train.run(context)
    return replace(before, models=done.models, fault=done.fault)


def _judged(before: Progress, done: JudgedTables) -> Progress:
    return replace(
        before,
        context=before.context.after(done.staged),
        verdicts=(*before.verdicts, *done.verdicts),
        held=(*before.held, *done.held),
    )


STAGES: Final[Mapping[str, RunStage]] = {
    "bronze": _bronze,
    "silver": _silver,
    "tiles": _tiles,
    "features": _features,
    "predictions": _predictions,
    "heal": _heal,
    "rebuild": _rebuild,
    "training_set": _training_set,
    "train": _train,
}
"""The stages that make a publication; `publish` and `score` release what is staged, see steps/run.py."""
