"""The command `backfill`: the steps of an hour over an interval, or over what lies between the hours that a gate refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from spark_jobs.cli.act import step_call, submit
from spark_jobs.cli.output import note, say, show_json
from spark_jobs.cli.planning import checks_line
from spark_jobs.cli.results import show_result
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.definitions import define
from spark_jobs.errors import EXIT_OK, EXIT_REFUSED, UsageError
from spark_jobs.invocation import Invocation, format_hour, parse_hour
from spark_jobs.lake.changes import require_publishable
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.pending import pieces
from spark_jobs.ledger.staleness import Published
from spark_jobs.steps import plan

Span = tuple[datetime, datetime]  # [from, to)
SHOWN = 10  # refused spans that the last lines name; all of them stand in the ledger


def run_backfill(
    pipeline: str,
    start: str | None,
    end: str | None,
    dag_run: str,
    env: str,
    *,
    as_json: bool,
    leave_out_refused: bool = False,
) -> int:
    """Run the steps of an hour over the interval, in order, stopping at the first that does not end with 0: its exit code.

    `leave_out_refused`: where gates refuse single hours, what lies before, between and after them is published all the
    same, each stretch as a publication; 65 when an hour was left out.
    """

    def run(low: datetime, high: datetime) -> tuple[int, list[Span]]:
        return _run_steps(pipeline, format_hour(low), format_hour(high), dag_run, env, as_json=as_json)

    if start is None or end is None:
        allowed = "--from and --to, or --changed"
        raise UsageError("backfill", "no interval", allowed, f"tidegate plan {pipeline} --env {env}")
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    if not leave_out_refused:
        return run(low, high)[0]
    code, refused = around_refused(low, high, run)
    if refused:
        _tell_refused(pipeline, refused, env, as_json=as_json)
    return code


def rebuild_changed(pipeline: str, interval: str | None, env: str, *, as_json: bool) -> int:
    """Rebuild what changed definitions made stale, the oldest hours first: the exit code of the first part that fails, or 0.

    Raises:
        UsageError: an interval is named, or conf/ contradicts published rows.
    """
    if interval is not None:
        found = "an interval beside --changed"
        raise UsageError(
            "backfill", found, "--changed alone: its hours are those that plan shows", f"tidegate plan {pipeline}"
        )
    whole, (_, places) = load_pipeline(pipeline), load_environment(env)
    require_publishable(whole, places.lake / pipeline, env)
    todo = pieces(whole, Published.of(Ledger.open(places.lake / pipeline), define(whole)))
    for piece in todo:
        start, end, dag_run = format_hour(piece.start), format_hour(piece.end), f"changed__{whole.config_hash}"
        note(f"{piece.how}: {', '.join(piece.tables)}")
        if piece.how == "hours":
            code, _ = _run_steps(pipeline, start, end, f"{dag_run}__{start}", env, as_json=as_json)
        else:
            code, result = submit(step_call(pipeline, piece.how, start, end, f"{dag_run}__{start}", env))
            show_result(result, as_json=as_json)
        if code != EXIT_OK:
            return code
    if not todo:
        why = "nothing is stale: readers see what today's definitions make"
        show_json({"pipeline": pipeline, "state": "empty", "why": why}) if as_json else say(why)
    return EXIT_OK


def around_refused(
    start: datetime, end: datetime, run: Callable[[datetime, datetime], tuple[int, list[Span]]]
) -> tuple[int, list[Span]]:
    """Run [start, end) and, where hours of it are refused, each stretch that they leave: exit code, spans left out.

    The oldest stretch first, as a scheduler would run its hours: what a later one looks back upon is published by then.

    Args:
        start: of the interval.
        end: of the interval.
        run: runs all steps over [from, to); its exit code and, when it is 65, the spans that alone were refused.
    """
    waiting, refused = [(start, end)], list[Span]()
    while waiting:
        stretch = waiting.pop(0)
        code, spans = run(*stretch)
        if code != EXIT_OK and not (code == EXIT_REFUSED and spans):
            return code, refused
        if code == EXIT_REFUSED:
            refused += spans
            waiting = [*_left(stretch, spans), *waiting]
    return EXIT_REFUSED if refused else EXIT_OK, sorted(refused)


def _left(stretch: Span, spans: Iterable[Span]) -> list[Span]:
    """What `spans`, disjoint, leave of the stretch."""
    edges = [stretch[0], *(edge for span in sorted(spans) for edge in span), stretch[1]]
    return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]


def _run_steps(pipeline: str, start: str, end: str, dag_run: str, env: str, *, as_json: bool) -> tuple[int, list[Span]]:
    for step in plan.HOUR_STEPS:
        call = step_call(pipeline, step.name, start, end, dag_run, env)
        note(f"{step.name}: {call.hours} hours from {format_hour(call.start)} to {format_hour(call.end)}")
        if "bronze" in step.stages:
            note(checks_line(pipeline, env))
        code, result = submit(call)
        show_result(result, as_json=as_json, env=env)
        if code != EXIT_OK:
            return code, _refused(result)
    return EXIT_OK, []


def _refused(result: dict[str, object]) -> list[Span]:
    spans = result.get("refused")
    return [(parse_hour(a), parse_hour(b)) for a, b in spans] if isinstance(spans, list) else []


def _tell_refused(pipeline: str, refused: list[Span], env: str, *, as_json: bool) -> None:
    calls = [Invocation(pipeline, "backfill", low, high, "", env) for low, high in refused]
    spans = [(format_hour(call.start), format_hour(call.end)) for call in calls]
    if as_json:
        show_json({"pipeline": pipeline, "state": "refused", "refused": spans})
        return
    say(f"left out: {sum(call.hours for call in calls)} hours that a gate refused")
    for low, high in spans[:SHOWN]:
        say(f"  [{low}, {high})")
    if len(spans) > SHOWN:
        say(f"  and {len(spans) - SHOWN} more: tidegate quarantine list {pipeline} --refused --env {env} --json")
    say(f"why: tidegate status {pipeline} --hour {spans[0][0]} --env {env}")
    say(f"once it is corrected: {calls[0].backfill()}")
