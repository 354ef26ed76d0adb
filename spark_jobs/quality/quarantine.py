"""Rows that quarantine holds, and what people decided about them: folded here once for every reader. No Spark.

A decision is about a line of a drop, known by the drop's bytes: it holds when its hour is published anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import parse_hour
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger, Release
from spark_jobs.storage import Row
from spark_jobs.verdict import MASKED

DISCARDED, REPLAYED = "discarded", "replayed"
ALL = 10**9  # rows
Line = tuple[str, str | None, int | None, str | None]  # table, file, line, drop_sha256


def line_of(row: Row) -> Line:
    """What a held row, or an action on one, is known by; file, line and drop are none for rows of features."""
    return row["table"], row["file"], row["line"], row["drop_sha256"]


def discards(ledger: Ledger) -> dict[Line, Row]:
    """The first row of `quarantine_actions` that discards each line."""
    return {line_of(row): row for row in reversed(ledger.quarantine_actions(DISCARDED))}


def hours_condition(start: datetime | None, end: datetime | None) -> str:
    """The SQL condition that selects rows of the hours [start, end); none: no bound, empty without both."""
    bounds = [(">=", start), ("<", end)]
    return " AND ".join(f"hour {test} TIMESTAMPTZ '{at.isoformat()}'" for test, at in bounds if at)


def held_rows(
    pipeline: Pipeline,
    root: Path,
    ledger: Ledger,
    line: Sequence[Release],
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[Row]:
    """Rows of the hours [start, end) that the last release of `line` keeps from its readers, the oldest hours first.

    Grain: a row of a table. Columns are those of `quarantine`, hour as an instant, and drop_sha256 and `discarded`: why
    somebody discarded it, else none.
    """
    where = hours_condition(start, end)
    kind, gone = table_kinds(pipeline)["quarantine"], discards(ledger)
    rows = read_current(root, "quarantine", kind, line, where=where, limit=ALL, newest_first=False)
    for row in rows:
        row |= {"hour": parse_hour(row["hour"]), "drop_sha256": row["cols"].get("drop_sha256")}
        row["discarded"] = gone[line_of(row)]["why"] if line_of(row) in gone else None
    return rows


def masked(pipeline: Pipeline, row: Row) -> Row:
    """A row of `held_rows` as people may see it: without the values of columns that tables.yaml calls sensitive."""
    table: str = row["table"]
    hidden, name = pipeline.sensitive(table), table.partition("/")[2]
    if not hidden:
        return row
    key = pipeline.silver[name].version_key if table.startswith("silver/") else ["key"]
    covered = {*hidden, *(f"_{column}" for column in hidden), "raw"}  # raw: a line that could not be taken apart
    cols = {column: value and MASKED if column in covered else value for column, value in row["cols"].items()}
    return {**row, "cols": cols, "business_key": MASKED if hidden & {*key} else row["business_key"]}


def add_actions(ledger: Ledger, rows: Iterable[Row], action: str, why: str) -> None:
    """Record `action` on each of these held rows, one after the other: begun again after a crash, it goes on."""
    for row in rows:
        facts = {name: row[name] for name in ("pub", "table", "file", "line", "drop_sha256")}
        ledger.add_quarantine_action({**facts, "action": action, "why": why})
