"""`tidegate quarantine replay`: hours that hold rows run again by the ordinary steps, since a rule, cast or mapping changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.cli.act import submit
from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import note, say, show_json, show_some
from spark_jobs.cli.quarantine_rows import check_table
from spark_jobs.config import load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import EXIT_OK, EXIT_REFUSED, UsageError
from spark_jobs.invocation import HOUR, Invocation, format_hour, parse_hour
from spark_jobs.steps import plan

Row = dict[str, Any]
_HOURS = 30  # lines that people get; JSON has all
Run = Callable[[Invocation], tuple[int, dict[str, object]]]  # one step; exit code and result line
Span = tuple[datetime | None, datetime | None]


def run_again(call: Invocation) -> tuple[int, dict[str, object]]:
    """One step by spark-submit, though its drops, code and configuration may be those behind the published rows."""
    note(f"  {call.step} {format_hour(call.start)}")
    return submit(call, again=True)


@dataclass(frozen=True)
class HourDone:
    """What became of one hour: rows that it held before and holds now, discarded ones aside."""

    hour: datetime
    before: int
    now: int
    exit_code: int
    release: object = None

    def facts(self) -> Row:
        """As JSON has it."""
        return {
            "hour": format_hour(self.hour),
            "held_before": self.before,
            "held_now": self.now,
            "release": self.release,
            "exit_code": self.exit_code,
        }


def replay_held(pipeline: str, table: str | None, span: Span, env: str, *, as_json: bool, run: Run = run_again) -> int:
    """Run the hours of `span` that hold rows (of `table`) again, the oldest first, each as a publication of its own.

    An hour whose gate refuses stays as it was, and the next one is run; any other fault ends it. Returns the exit code: 65
    when a gate refused, else that of the last step.

    Raises:
        UsageError: no such pipeline or table.
    """
    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    hours = _hours(whole, root, check_table(whole, table), span)
    done: list[HourDone] = []
    for hour in hours:
        done.append(_one_hour(whole, root, hour, env, run))
        if done[-1].exit_code not in (EXIT_OK, EXIT_REFUSED):
            break
    left = hours[len(done) :]
    if as_json:
        show_json({"pipeline": pipeline, "hours": [one.facts() for one in done], "left": [*map(format_hour, left)]})
    else:
        _print(pipeline, done, left, env)
    refused = any(one.exit_code == EXIT_REFUSED for one in done)
    ended = done[-1].exit_code if done else EXIT_OK
    return EXIT_REFUSED if refused and ended == EXIT_OK else ended


def _hours(whole: Pipeline, root: Path, table: str | None, span: Span) -> list[datetime]:
    return sorted({row["hour"] for row in _held(whole, root, span) if table in (None, row["table"])})


def _held(whole: Pipeline, root: Path, span: Span, *, discarded: bool = False) -> list[Row]:
    """Rows that readers' newest release holds back, with or without those that were discarded."""
    from spark_jobs.ledger import Ledger
    from spark_jobs.quality.quarantine import held_rows

    ledger = Ledger.open(root)
    return [r for r in held_rows(whole, root, ledger, ledger.line(), *span) if discarded or r["discarded"] is None]


def _one_hour(whole: Pipeline, root: Path, hour: datetime, env: str, run: Run) -> HourDone:
    from spark_jobs.ledger import Ledger
    from spark_jobs.quality.quarantine import REPLAYED, add_actions, line_of

    span = (hour, hour + HOUR)
    before = _held(whole, root, span, discarded=True)
    released: object = None
    for step in plan.HOUR_STEPS:
        code, result = run(Invocation(whole.name, step.name, *span, f"quarantine_replay__{format_hour(hour)}", env))
        released = result.get("release") or released
        if code != EXIT_OK:
            break
    now = _held(whole, root, span, discarded=True)
    kept = {line_of(row) for row in now}
    freed = [row for row in before if row["file"] and line_of(row) not in kept]  # rows of features come from no line
    add_actions(Ledger.open(root), freed, REPLAYED, f"hour published anew as release {released}")
    counts = [sum(row["discarded"] is None for row in rows) for rows in (before, now)]
    return HourDone(hour, counts[0], counts[1], code, released)


def _print(pipeline: str, done: list[HourDone], left: list[datetime], env: str) -> None:
    if not done:
        say(f"{pipeline}: no hour holds rows; nothing to run again")
        return
    rows = [
        [f["hour"], f["held_before"], f["held_now"], f["release"] or "as it was"] for f in (d.facts() for d in done)
    ]
    show_some("", ["hour", "held before", "held now", "release"], rows, _HOURS, "the same command with --json")
    failed = [one for one in done if one.exit_code != EXIT_OK]
    for one in failed[:_HOURS]:
        hour = format_hour(one.hour)
        what = "refused by a gate, readers see it as before" if one.exit_code == EXIT_REFUSED else "not done"
        say(f"{hour}: {what} (exit {one.exit_code}): tidegate status {pipeline} --hour {hour} --env {env}")
    if len(failed) > _HOURS:
        say(
            f"… {len(failed) - _HOURS} more hours refused or not done: tidegate quarantine list {pipeline} --refused --env {env}"
        )
    if left:
        say(f"not tried: {len(left)} hours from {format_hour(left[0])} on")


def span_of(pipeline: str, hour: str | None, start: str | None, end: str | None) -> Span:
    """The hours that --hour, or --from and --to, name; all when none is given.

    Raises:
        UsageError: one of --from and --to alone, both forms at once, no whole hours, or an interval without one.
    """
    if (start is None) != (end is None) or (hour and start):
        raise UsageError(
            "quarantine replay",
            "no interval is named by these words",
            "--hour, or --from with --to, or none of them",
            "tidegate quarantine replay --help",
        )
    if hour:
        at = parse_hour(hour, "--hour")
        return at, at + HOUR
    if not (start and end):
        return None, None
    asked = Invocation(pipeline, "quarantine replay", parse_hour(start, "--from"), parse_hour(end, "--to"), "")
    return asked.start, asked.end
