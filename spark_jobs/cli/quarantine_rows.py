"""`tidegate quarantine show|discard`: held rows one by one. Only `discard` writes, and into the ledger alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import note, say, show_json
from spark_jobs.config import load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest
from spark_jobs.invocation import HOUR, format_hour, parse_hour
from spark_jobs.values import printable

Row = dict[str, Any]
_LONG = 1_000  # characters of a row that people get; JSON has all


@dataclass(frozen=True)
class Chosen:
    """Which held rows a command is about: those that all words given agree on."""

    table: str | None = None
    rule: str | None = None
    hour: datetime | None = None
    file: str | None = None
    line: int | None = None

    def among(self, rows: list[Row]) -> list[Row]:
        """The rows that are meant, of rows of `hour`."""
        asked = {"table": self.table, "file": self.file, "line": self.line}
        wanted = {name: value for name, value in asked.items() if value is not None}
        return [
            row
            for row in rows
            if all(row[name] == value for name, value in wanted.items())
            and (not self.rule or self.rule in row["rules"])
        ]


def check_table(whole: Pipeline, table: str | None) -> str | None:
    """`table`, which rows may be held of.

    Raises:
        UsageError: no such table is judged row by row.
    """
    legal = [*(f"silver/{name}" for name in whole.silver), *whole.feature_tables]
    if table is not None and table not in legal:
        raise UsageError(
            "--table",
            f"no rows of '{table}' are judged",
            nearest(table, legal),
            f"tidegate quarantine list {whole.name}",
        )
    return table


def show_held(pipeline: str, chosen: Chosen, limit: int, env: str, *, as_json: bool) -> None:
    """Held rows one by one, those that were discarded too, with the reason."""
    from spark_jobs.quality.quarantine import masked

    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    rows = [masked(whole, row) for row in _chosen(whole, root, chosen)]
    if as_json:
        show_json({"pipeline": pipeline, "of": len(rows), "rows": rows[:limit]})
        return
    print_rows(rows, limit)
    if not rows and (chosen.rule or chosen.hour):
        note(f"no held row matches; what is held: tidegate quarantine list {pipeline} --env {env}")


def print_rows(rows: list[Row], limit: int) -> None:
    """The first `limit` held rows for people; how many there are, on stderr."""
    for row in rows[:limit]:
        place = f"{row['file']} line {row['line']}" if row["file"] else "made by us"
        cols = [f"{name}={value}" for name, value in _delivered(row["cols"]).items() if value is not None]
        say(f"{format_hour(row['hour'])}  {printable(place)}  {row['reason']}")
        say(f"    key   {printable(row['business_key'], _LONG)}")
        say(f"    cols  {printable(', '.join(cols), _LONG)}")
        if row["discarded"] is not None:
            say(f"    discarded: {printable(row['discarded'], _LONG)}")
    more = f"; --limit {len(rows)} shows all" if limit < len(rows) else ""
    note(f"{min(limit, len(rows))} of {len(rows)} rows{more}")


def _chosen(whole: Pipeline, root: Path, chosen: Chosen) -> list[Row]:
    from spark_jobs.ledger import Ledger
    from spark_jobs.quality.quarantine import held_rows

    check_table(whole, chosen.table)
    ledger = Ledger.open(root)
    end = chosen.hour + HOUR if chosen.hour else None
    return chosen.among(held_rows(whole, root, ledger, ledger.line(), chosen.hour, end))


def _delivered(cols: dict[str, str | None]) -> dict[str, str | None]:
    """The columns as the upstream wrote them: the text beside each typed column, or the whole line if it was no row."""
    if cols.get("raw"):
        return {"fault": cols.get("fault"), "raw": cols["raw"]}
    return {name[1:]: cols[name] for name in cols if name[0] == "_"} or cols


def discard_held(pipeline: str, chosen: Chosen, why: str, env: str, *, as_json: bool) -> None:
    """Count the chosen held rows as discarded from now on; rows that are discarded already stay as they are.

    Raises:
        UsageError: no reason, no word but the table, a file without a line, or no row that is meant.
    """
    from spark_jobs.ledger import Ledger
    from spark_jobs.quality.quarantine import DISCARDED, add_actions

    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    _require_words(pipeline, chosen, why, env)
    rows = _chosen(whole, root, chosen)
    look = f"tidegate quarantine show {pipeline} --table {chosen.table} --env {env}"
    if not rows:
        raise UsageError("quarantine discard", "no held row is meant", _legal(whole, root, chosen), look)
    if any(row["file"] is None for row in rows):
        raise UsageError(
            "--table",
            f"rows of {chosen.table} come from no drop",
            "rows that an upstream delivered",
            f"fix the feature or the rule, then: tidegate quarantine replay {pipeline} --env {env}",
        )
    fresh = [row for row in rows if row["discarded"] is None]
    add_actions(Ledger.open(root), fresh, DISCARDED, why)
    facts = {"pipeline": pipeline, "discarded": len(fresh), "already": len(rows) - len(fresh)}
    if as_json:
        show_json(facts)
    else:
        say(f"{chosen.table}: rows discarded {len(fresh)}, before {facts['already']}")


def _legal(whole: Pipeline, root: Path, chosen: Chosen) -> str:
    rules = {rule for row in _chosen(whole, root, Chosen(chosen.table)) for rule in row["rules"]}
    return f"rows that the newest release holds back; their rules: {nearest(chosen.rule or '', list(rules))}"


def _require_words(pipeline: str, chosen: Chosen, why: str, env: str) -> None:
    look = f"tidegate quarantine show {pipeline} --table {chosen.table} --env {env}"
    if not why.strip():
        raise UsageError("--why", "no reason", "a sentence that the ledger keeps", look)
    if (chosen.file is None) != (chosen.line is None):
        raise UsageError("quarantine discard", "--file or --line alone", "both, which name one row, or none", look)
    if (chosen.rule, chosen.hour, chosen.file) == (None, None, None):
        raise UsageError("quarantine discard", "a whole table", "--rule, --hour, or --file with --line", look)


def chosen_of(
    table: str | None, rule: str | None, hour: str | None, file: str | None = None, line: int | None = None
) -> Chosen:
    """The words of a command as a choice.

    Raises:
        UsageError: the hour is not a whole hour.
    """
    return Chosen(table, rule, parse_hour(hour, "--hour") if hour else None, file, line)
