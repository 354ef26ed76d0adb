"""Whether model.yaml agrees with the rest: label, inputs, estimator and baselines name what other files define."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spark_jobs.config import registered
from spark_jobs.config.clash import Clash, unknown_names, wrong_call
from spark_jobs.config.columns import silver_types, training_columns
from spark_jobs.config.model import Inputs, Model
from spark_jobs.config.section import Scalar, duration_text
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where
from spark_jobs.errors import nearest

FILE = "model.yaml"
# Source: xgboost.readthedocs.io, "XGBoost Parameters"; an option of the estimator -> least and greatest value
_RANGES: dict[str, tuple[float, float]] = {
    "rounds": (1, 100_000),
    "max_depth": (1, 64),
    "learning_rate": (1e-6, 1),
    "min_child_weight": (0, 1e9),
    "subsample": (1e-6, 1),
    "colsample_bytree": (1e-6, 1),
    "reg_lambda": (0, 1e9),
    "max_bin": (2, 65_536),
}
NUMBERS = ("int", "bigint", "double")


def model_clashes(pipeline: Pipeline, transforms: dict[str, registered.Signature]) -> Iterator[Clash]:
    """All places in which model.yaml contradicts tables.yaml, features.yaml or the registered functions."""
    for name, model in pipeline.model_settings.items():
        at = ("models", name)
        yield from _label(pipeline, model, (*at, "label"), transforms)
        yield from _history(pipeline, model, at)
        yield from _inputs(pipeline, model.inputs, (*at, "inputs"))
        yield from _coverage(pipeline, model, (*at, "rows", "min_coverage"))
        yield from _estimator(model, (*at, "estimator"), model.estimator.options)
        for baseline, settings in model.baselines.items():
            place = (*at, "baselines", baseline)
            if settings.inputs:
                yield from _inputs(pipeline, settings.inputs, (*place, "inputs"))
                yield from _estimator(model, place, settings.options)
            columns = training_columns(pipeline)
            if settings.column and settings.column not in columns:
                found = f"no column '{settings.column}' in a training set"
                yield Clash(FILE, (*place, "column"), found, nearest(settings.column, columns))


def _coverage(pipeline: Pipeline, model: Model, at: Where) -> Iterator[Clash]:
    """A requirement of more hours than any window of the model's groups looks back."""
    windows = pipeline.features.windows
    longest = max((max(windows[name].windows) for name in model.inputs.features if name in windows), default=None)
    if model.rows.min_coverage is None or (longest is not None and model.rows.min_coverage <= longest):
        return
    allowed = "a window group among the model's features" if longest is None else f"at most {duration_text(longest)}"
    yield Clash(FILE, at, "is longer than every window that the model sees", allowed)


def _label(pipeline: Pipeline, model: Model, at: Where, transforms: dict[str, registered.Signature]) -> Iterator[Clash]:
    table = pipeline.silver.get(model.label.table)
    if table is None:
        found = f"no table '{model.label.table}'"
        yield Clash(FILE, (*at, "table"), found, nearest(model.label.table, list(pipeline.silver)))
        return
    spine = pipeline.silver.get(pipeline.features.spine.table)
    if spine and table.key != spine.key:
        yield Clash(FILE, (*at, "table"), f"{model.label.table} has the key {table.key}", f"the spine's: {spine.key}")
    yield from wrong_call(FILE, at, model.label, silver_types(pipeline, model.label.table), transforms)


def _inputs(pipeline: Pipeline, inputs: Inputs, at: Where) -> Iterator[Clash]:
    groups = list(pipeline.features.groups)
    yield from unknown_names(FILE, (*at, "features"), inputs.features, groups, "feature group")
    spine = pipeline.silver.get(pipeline.features.spine.table)
    if spine is None:
        return
    columns = spine.columns
    yield from unknown_names(FILE, (*at, "ids"), inputs.ids, columns, "column of the spine")
    yield from unknown_names(FILE, (*at, "numeric"), inputs.numeric, columns, "column of the spine")
    for index, name in enumerate(inputs.numeric):
        if name in columns and columns[name].type not in NUMBERS:
            yield Clash(
                FILE, (*at, "numeric", index), f"'{name}' is a {columns[name].type}", f"one of {', '.join(NUMBERS)}"
            )
    if inputs.calendar:
        of, place = inputs.calendar.of, (*at, "calendar", "of")
        instants = [name for name, column in columns.items() if column.type == "timestamp"]
        if of not in instants:
            yield Clash(FILE, place, f"no timestamp '{of}' in the spine", nearest(of, instants))


def _estimator(model: Model, at: Where, options: Mapping[str, Scalar]) -> Iterator[Clash]:
    known = registered.registered(registered.ESTIMATORS, "estimator")
    if model.estimator.use not in known:
        if at[-1] == "estimator":
            found = f"no estimator '{model.estimator.use}'"
            yield Clash(FILE, (*at, "use"), found, nearest(model.estimator.use, list(known)))
        return
    for option, found, allowed in known[model.estimator.use].faults(options):
        if option:
            yield Clash(FILE, (*at, "options", option), f"{found} of '{model.estimator.use}'", allowed)
    if model.estimator.use == "xgboost":
        for option, value in options.items():
            low, high = _RANGES.get(option, (float("-inf"), float("inf")))
            if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
                yield Clash(
                    FILE, (*at, "options", option), f"{value} is out of range", f"a number from {low:g} to {high:g}"
                )


def _history(pipeline: Pipeline, model: Model, at: Where) -> Iterator[Clash]:
    """Whether something is left to learn from before the last part of history, which is judged."""
    first, end = model.rows.start or pipeline.start, pipeline.end
    if model.rows.start and model.rows.start < pipeline.start:
        yield Clash(
            FILE,
            (*at, "rows", "from"),
            "is before the pipeline's start",
            f"{pipeline.start:%Y-%m-%dT%H:%M:%SZ} or later",
        )
    if end is None:
        return
    if first >= end:
        yield Clash(FILE, (*at, "rows", "from"), "is not before the pipeline's end", f"before {end:%Y-%m-%dT%H:%M:%SZ}")
    elif model.evaluate + model.label.maturity >= end - first:
        found = f"with the label's maturity it is as long as the whole history, {(end - first).days} days"
        yield Clash(FILE, (*at, "evaluate"), found, "less, so that rows are left to train on")
