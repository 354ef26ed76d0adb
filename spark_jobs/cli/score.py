"""The command `score`: adds the champion's predictions to published hours that lack them."""

from __future__ import annotations

from dataclasses import replace

from spark_jobs.cli.act import step_call, submit
from spark_jobs.cli.results import show_result
from spark_jobs.config import load_pipeline
from spark_jobs.errors import UsageError, nearest


def score_hours(pipeline: str, start: str, end: str, model: str, dag_run: str, env: str, *, as_json: bool) -> int:
    """Score the published hours of [start, end) that lack predictions of today's champions; returns the exit code.

    Raises:
        UsageError: model.yaml has no such model.
    """
    whole = load_pipeline(pipeline)
    models = list(whole.models.models) if whole.models else []
    if model and model not in models:
        raise UsageError("--model", f"no model '{model}' in model.yaml", nearest(model, models), "leave it out for all")
    code, result = submit(replace(step_call(pipeline, "score", start, end, dag_run, env), model=model))
    show_result(result, as_json=as_json, env=env)
    return code
