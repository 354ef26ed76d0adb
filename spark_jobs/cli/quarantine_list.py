"""`tidegate quarantine list`: what the newest release holds back, by table, rule and hour."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import say, show_json, show_table
from spark_jobs.config import load_pipeline
from spark_jobs.invocation import HOUR, format_hour

_LINES = 20  # that people get; above it hours are told by day, and JSON has all
Row = dict[str, Any]


def list_held(pipeline: str, hour: datetime | None, env: str, *, as_json: bool) -> None:
    """Held rows (of `hour`) by table, rule and hour; a row that broke two rules counts under both."""
    from spark_jobs.ledger import Ledger, folds
    from spark_jobs.quality.quarantine import held_rows, masked

    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    ledger = Ledger.open(root)
    line, end = ledger.line(), hour + HOUR if hour else None
    rows = [masked(whole, row) for row in held_rows(whole, root, ledger, line, hour, end)]
    held = [row for row in rows if row["discarded"] is None]
    newest = max(folds.covered_hours(line), default=None)
    states = folds.hour_states(ledger.intervals("step", "from_hour", "to_hour", "state"), line)
    facts: Row = {
        "pipeline": pipeline,
        "release": line[-1].release if line else None,
        "newest_hour": format_hour(newest) if newest else None,
        "rows": len(held),
        "discarded": len(rows) - len(held),
        "held": _groups(held, newest, whole.owner, "%Y-%m-%dT%H:%M:%S"),
        "refused_hours": sorted(format_hour(hour) for hour, state in states.items() if state == "refused"),
    }
    if as_json:
        show_json(facts)
        return
    by_day = _groups(held, newest, whole.owner, "%Y-%m-%d") if len(facts["held"]) > _LINES else facts["held"]
    _print_list(facts, by_day, env)


def _groups(rows: list[Row], newest: datetime | None, owner: str, format_at: str) -> list[Row]:
    """By table, rule and time; age in hours of the oldest row, back from the newest published hour."""
    found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for rule in row["rules"]:
            found[row["table"], rule, row["hour"].strftime(format_at)].append(row)
    return [
        {
            "table": table,
            "rule": rule,
            "hour": at,
            "rows": len(of),
            "owner": owner,
            "example_key": of[0]["business_key"],
            "age_hours": int((newest - min(row["hour"] for row in of)) / HOUR) if newest else 0,
        }
        for (table, rule, at), of in sorted(found.items())
    ]


def _print_list(facts: Row, groups: list[Row], env: str) -> None:
    name, hours = facts["pipeline"], facts["refused_hours"]
    release = facts["release"] or "none"
    say(f"{name}, release {release}: rows held back {facts['rows']}, discarded {facts['discarded']}")
    columns = ["table", "rule", "hour", "rows", "age_hours", "owner", "example_key"]
    if groups:
        words = [column.replace("_", " ") for column in columns]
        show_table("", words, [[group[column] for column in columns] for group in groups[:_LINES]])
    if len(groups) > _LINES:
        say(f"… {len(groups) - _LINES} more: the same command with --json, or --hour H")
    if hours:
        say(
            f"{len(hours)} hours that a gate refused are not counted: tidegate quarantine list {name} --refused --env {env}"
        )
