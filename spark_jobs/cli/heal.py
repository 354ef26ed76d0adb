"""The command `heal`: finds the stale hours without Spark and starts an application only if there are any."""

from __future__ import annotations

from spark_jobs.cli.act import run_step
from spark_jobs.cli.output import note, say, show_json
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.errors import EXIT_OK, UsageError
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.ledger import Ledger
from spark_jobs.steps.due_hours import heal_due
from spark_jobs.steps.request import Request


def heal_cells(pipeline: str, start: str | None, end: str | None, dag_run: str, env: str, *, as_json: bool) -> int:
    """Heal the cells of [start, end), or of all stale hours; returns the exit code of the step.

    Raises:
        UsageError: nothing is published, or only one of `start` and `end` is given.
    """
    whole = load_pipeline(pipeline)
    _, places = load_environment(env)
    ledger = Ledger.open(places.lake / pipeline, by=dag_run or "cli")
    if not ledger.line():
        raise UsageError(
            f"{pipeline}/heal", "nothing is published yet", "hours that were published", f"tidegate status {pipeline}"
        )
    if (start is None) != (end is None):
        raise UsageError("--from and --to", "only one of them is given", "both, or none to heal all stale hours")
    if start is None or end is None:
        base = ledger.line()[-1].release
        call = Invocation(pipeline, "heal", whole.start, whole.start + HOUR, dag_run or f"heal__release-{base}", env)
        stale = heal_due(Request.of(call))
        if stale is None:
            _show_nothing_to_heal(pipeline, base, as_json=as_json)
            return EXIT_OK
        start, end = map(format_hour, stale)
    note(f"heal: cells of the hours from {start} to {end}")
    return run_step(pipeline, "heal", start, end, dag_run, env, as_json=as_json)


def _show_nothing_to_heal(pipeline: str, base: int, *, as_json: bool) -> None:
    why = f"nothing to heal: every cell takes into account all rows known up to release {base}"
    if as_json:
        show_json({"pipeline": pipeline, "step": "heal", "state": "empty", "release": base, "why": why})
    else:
        say(why)
