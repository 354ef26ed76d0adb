"""What a gate refused: the newest attempts, the rules that they broke, and the rows that they held back. No Spark.

The rows of a refused publication are staged Parquet that no log names; `tidegate maintain` removes them after two days.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import hours_between, parse_hour
from spark_jobs.lake.maintenance import UNRELEASED_KEPT_FOR
from spark_jobs.lake.rows import plain_rows
from spark_jobs.ledger import Ledger
from spark_jobs.quality.quarantine import masked
from spark_jobs.steps.plan import JUDGED, OF_HOURS
from spark_jobs.storage import Row
from spark_jobs.verdict import RuleResult


@dataclass(frozen=True)
class Attempt:
    """One refused attempt: its row of `intervals`, and the hours of it that no later attempt has settled."""

    row: Row
    hours: tuple[datetime, ...]

    @property
    def pub(self) -> int | None:
        """Its publication; none for a run that was refused before it had one."""
        return None if self.row["pub"] is None else int(self.row["pub"])


def refused_attempts(ledger: Ledger, hour: datetime | None = None, run: str | None = None) -> list[Attempt]:
    """Refused attempts, the oldest first.

    Without arguments those that are the newest of an hour; with `hour` the newest refused one of that hour, whatever came
    after it; with `run` those of that run, one per interval.
    """
    rows = [row for row in ledger.intervals() if row["step"] in OF_HOURS]
    if hour is None and run is None:
        return _unsettled(rows)
    newest: dict[tuple[datetime, datetime], Row] = {}
    for row in rows:
        matches = run in (None, row["dag_run"]) and (hour is None or row["from_hour"] <= hour < row["to_hour"])
        if matches and _is_refused(row):
            newest[row["from_hour"], row["to_hour"]] = row
    chosen = sorted(newest.values(), key=lambda row: int(row["seq"]))
    chosen = chosen[-1:] if run is None else chosen
    return [Attempt(row, (hour,) if hour else tuple(_hours(row))) for row in chosen]


def _unsettled(rows: list[Row]) -> list[Attempt]:
    newest = {hour: row for row in rows for hour in _hours(row)}
    of_attempt: dict[int, list[datetime]] = defaultdict(list)
    by_seq = {int(row["seq"]): row for row in newest.values() if _is_refused(row)}
    for hour, row in newest.items():
        if int(row["seq"]) in by_seq:
            of_attempt[int(row["seq"])].append(hour)
    return [Attempt(by_seq[seq], tuple(sorted(of_attempt[seq]))) for seq in sorted(by_seq)]


def _hours(row: Row) -> list[datetime]:
    return list(hours_between(row["from_hour"], row["to_hour"]))


def _is_refused(row: Row) -> bool:
    return row["state"] == "refused" and row["step"] in JUDGED


def broken_rules(ledger: Ledger, attempt: Attempt) -> list[tuple[str, RuleResult]]:
    """Table and rule of everything that did not pass in the attempt, the blocking rules of each table first."""
    verdicts = ledger.verdicts(attempt.pub) if attempt.pub is not None else []
    return [(verdict.table, rule) for verdict in verdicts for rule in verdict.broken()]


def refused_rows(pipeline: Pipeline, root: Path, attempt: Attempt, now: datetime) -> list[Row] | None:
    """Rows that the attempt held back in its hours, values of sensitive columns masked; None when no file of them is left.

    Grain and columns as `held_rows`; none of these rows is discarded, since nobody can discard what was never published.
    """
    files = _files(root, attempt.pub)
    if not files:  # Spark writes no file for no row; maintenance leaves empty folders
        kept = (root / "quarantine" / f"pub-{attempt.pub}").exists()
        return [] if kept and now - attempt.row["at"] < UNRELEASED_KEPT_FOR else None
    tables = [pq.ParquetFile(path).read() for path in files]  # one by one: a path may hold any character
    rows = plain_rows(pa.concat_tables(tables, promote_options="permissive"))
    for row in rows:
        row |= {"hour": parse_hour(row["hour"]), "drop_sha256": row["cols"].get("drop_sha256"), "discarded": None}
    return [masked(pipeline, row) for row in sorted(rows, key=_order) if row["hour"] in attempt.hours]


def _order(row: Row) -> tuple[datetime, str, str, int]:
    return row["hour"], row["table"], row["file"] or "", row["line"] or 0


def _files(root: Path, pub: int | None) -> list[Path]:
    """Staged files of `quarantine`: of the newest attempt where several applications shared the publication."""
    folder = root / "quarantine" / f"pub-{pub}"
    attempts = sorted(folder.glob("attempt-*"), key=lambda path: int(path.name.removeprefix("attempt-")))
    return sorted((attempts[-1] if attempts else folder).glob("day=*/*.parquet"))
