"""`tidegate quarantine list|show --refused`: rows that refused hours held back and that nobody published."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import say, show_json, show_table
from spark_jobs.cli.quarantine_rows import Chosen, check_table, print_rows
from spark_jobs.config import load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import format_hour, parse_hour
from spark_jobs.ledger import Ledger
from spark_jobs.quality.refusals import Attempt, broken_rules, refused_attempts, refused_rows

Row = dict[str, Any]
_ATTEMPTS, _LINES = 5, 10  # refused runs, and lines of each table, that people get; JSON has all
_NO_FILE = (
    "no file of held rows: the drop could not be read, or `tidegate maintain` removed the rows (two days after the refusal);"
    " run the hour again to see them"
)
_NO_ROW = "no row broke a rule on rows: rules on hours or on the drop refused"


@dataclass(frozen=True)
class Refused:
    """Which refused runs a command is about; without hour and run those of hours that are refused now."""

    hour: datetime | None = None
    run: str | None = None


def refused_of(refused: bool, hour: str | None, run: str | None) -> Refused | None:
    """The choice that --refused, --hour and --run make; None without --refused.

    Raises:
        UsageError: --run without --refused, or an hour that is not a whole hour.
    """
    if run is not None and not refused:
        raise UsageError("--run", "given without --refused", "--refused --run ID", "tidegate quarantine list --help")
    return Refused(parse_hour(hour, "--hour") if hour else None, run) if refused else None


def list_refused(pipeline: str, refused: Refused, env: str, *, as_json: bool) -> None:
    """Refused runs, the rules that they broke, and their held rows by table, rule and hour.

    Raises:
        UsageError: an hour or a run that no gate refused.
    """
    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    attempts = _attempts(pipeline, root, refused, env)
    shown = attempts if as_json else attempts[-_ATTEMPTS:]
    facts = [_facts(whole, root, attempt) for attempt in shown]
    if as_json:
        show_json({"pipeline": pipeline, "refused": facts})
        return
    for fact in facts:
        _print(pipeline, fact, env)
    if len(attempts) > len(shown):
        say(f"… {len(attempts) - len(shown)} older refused runs: the same command with --hour H or --json")
    if not attempts:
        say(f"{pipeline}: no hour is refused now")


def show_refused(pipeline: str, chosen: Chosen, refused: Refused, limit: int, env: str, *, as_json: bool) -> None:
    """Rows that refused runs held back, one by one.

    Raises:
        UsageError: an hour or a run that no gate refused, or rows that are gone.
    """
    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    check_table(whole, chosen.table)
    rows: list[Row] = []
    gone: list[Attempt] = []
    for attempt in _attempts(pipeline, root, refused, env):
        found = refused_rows(whole, root, attempt, datetime.now(UTC))
        gone += [attempt] if found is None else []
        rows += chosen.among(found or [])
    if gone and not rows:
        raise UsageError(
            f"publication {gone[-1].pub}",
            _NO_FILE,
            "",
            f"tidegate status {pipeline} --hour {format_hour(gone[-1].hours[0])} --env {env}",
        )
    if as_json:
        show_json({"pipeline": pipeline, "of": len(rows), "rows": rows[:limit]})
    else:
        print_rows(rows, limit)


def _attempts(pipeline: str, root: Path, refused: Refused, env: str) -> list[Attempt]:
    attempts = refused_attempts(Ledger.open(root), refused.hour, refused.run)
    if attempts or (refused.hour is None and refused.run is None):
        return attempts
    what = f"run '{refused.run}'" if refused.run else f"hour {format_hour(refused.hour)}" if refused.hour else ""
    look = f"tidegate status {pipeline}" + (f" --hour {format_hour(refused.hour)}" if refused.hour else "")
    raise UsageError("quarantine --refused", f"no gate refused {what}", "an hour or a run that one refused",
                     f"{look} --env {env}")  # fmt: skip


def _facts(whole: Pipeline, root: Path, attempt: Attempt) -> Row:
    rows, row = refused_rows(whole, root, attempt, datetime.now(UTC)), attempt.row
    return {
        "pub": attempt.pub, "run": row["dag_run"], "step": row["step"], "from": format_hour(row["from_hour"]),
        "to": format_hour(row["to_hour"]), "hours": [*map(format_hour, attempt.hours)],
        "rows": None if rows is None else len(rows),
        "note": _NO_FILE if rows is None else _NO_ROW if not rows else "",
        "broken": [
            {"table": table, "rule": rule.rule, "outcome": rule.outcome.value, "observed": rule.observed,
             "allowed": rule.allowed, "bad": rule.bad, "total": rule.total}
            for table, rule in broken_rules(Ledger.open(root), attempt)
        ],
        "held": _groups(rows or []),
    }  # fmt: skip


def _groups(rows: list[Row]) -> list[Row]:
    counts = Counter((row["table"], rule, format_hour(row["hour"])) for row in rows for rule in row["rules"])
    example = {
        (row["table"], rule, format_hour(row["hour"])): row["business_key"]
        for row in rows[::-1]
        for rule in row["rules"]
    }
    return [
        {"table": key[0], "rule": key[1], "hour": key[2], "rows": count, "example_key": example[key]}
        for key, count in sorted(counts.items())
    ]


def _print(pipeline: str, facts: Row, env: str) -> None:
    hours = facts["hours"]
    span = hours[0] if len(hours) == 1 else f"[{facts['from']}, {facts['to']}), {len(hours)} hours refused"
    held = "" if facts["rows"] is None else f", rows held back {facts['rows']}"
    say(f"{pipeline} {span}: publication {facts['pub'] or 'none'}, run {facts['run']}{held}")
    if facts["note"]:
        say(f"  {facts['note']}")
    columns = ["table", "rule", "outcome", "observed"]
    _table([[one[name] for name in columns] for one in facts["broken"]], ["broken in", *columns[1:]], "broken rules",
           f"tidegate status {pipeline} --hour {hours[0]} --env {env} --json")  # fmt: skip
    which = f"--hour {hours[0]}" if len(hours) == 1 else f"--run {shlex.quote(facts['run'])}"
    groups = [[one["table"], one["rule"], one["hour"], one["rows"], one["example_key"]] for one in facts["held"]]
    _table(groups, ["rows of", "rule", "hour", "rows", "example key"], "groups of rows",
           f"tidegate quarantine list {pipeline} --refused {which} --env {env} --json")  # fmt: skip
    for table in sorted({one["table"] for one in facts["held"]}):
        say(f"  its rows: tidegate quarantine show {pipeline} --table {table} --refused {which} --env {env}")


def _table(rows: list[list[object]], columns: list[str], what: str, command: str) -> None:
    if rows:
        show_table("", columns, rows[:_LINES])
    if len(rows) > _LINES:
        say(f"… {len(rows) - _LINES} more {what}: {command}")
