"""What readers see of `accounts`: for each hour and source, where the rows of which drop went. No Spark."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import parse_hour
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Release
from spark_jobs.storage import Row

_ALL = 10**9  # rows


def published_accounts(
    pipeline: Pipeline, root: Path, line: list[Release], start: datetime, end: datetime
) -> list[Row]:
    """Accounts of the hours [start, end) as of the last release of `line`, the latest hours first."""
    hours = f"hour >= TIMESTAMPTZ '{start.isoformat()}' AND hour < TIMESTAMPTZ '{end.isoformat()}'"
    return read_current(root, "accounts", table_kinds(pipeline)["accounts"], line, where=hours, limit=_ALL)


def drops_taken(accounts: list[Row]) -> dict[tuple[str, datetime], str]:
    """The sha256 of the drop behind the published rows, by source and hour."""
    return {(row["source"], parse_hour(row["hour"])): row["drop_sha256"] for row in accounts}
