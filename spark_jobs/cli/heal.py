"""The command `heal`: which cells can differ is known without Spark; only then an application makes them anew."""

from __future__ import annotations

from spark_jobs.cli.act import run_step
from spark_jobs.cli.output import note, show_json
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.errors import EXIT_OK, UsageError
from spark_jobs.invocation import format_hour
from spark_jobs.lake.healing import hours_to_heal
from spark_jobs.ledger import Ledger


def heal_cells(pipeline: str, start: str | None, end: str | None, dag_run: str, env: str, *, as_json: bool) -> int:
    """Heal the cells of [start, end), or of the hours that changed since the last heal; the exit code of the step.

    Raises:
        UsageError: nothing is published, or one end of the interval without the other.
    """
    whole = load_pipeline(pipeline)
    _, places = load_environment(env)
    ledger = Ledger.open(places.lake / pipeline)
    line = ledger.line()
    if not line:
        raise UsageError(
            f"{pipeline}/heal", "nothing is published yet", "hours that were published", f"tidegate status {pipeline}"
        )
    if (start is None) != (end is None):
        raise UsageError("--from and --to", "one of them", "both, or none: the hours that can differ")
    if start is None or end is None:
        span = hours_to_heal(whole, places.lake / pipeline, ledger)
        if span is None:
            why = f"nothing to heal: up to release {line[-1].release} no row came that an older cell could be made of"
            if as_json:
                show_json(
                    {"pipeline": pipeline, "step": "heal", "state": "empty", "release": line[-1].release, "why": why}
                )
            else:
                print(why)
            return EXIT_OK
        start, end = map(format_hour, span)
    note(f"heal: cells of the hours from {start} to {end}")
    return run_step(pipeline, "heal", start, end, dag_run, env, as_json=as_json)
