"""What a Delta log says of a Parquet file: its rows and the bounds of those columns by which readers skip files."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from spark_jobs.storage import StagedFile

STATS_COLUMNS = ("hour", "known_at", "pub", "as_of", "event_hour")  # whole hours and a number: exact as statistics


def staged_file(folder: Path, path: Path) -> StagedFile:
    """The file at `path`, below the table's `folder` in a folder day=…, as a log names it."""
    metadata = pq.read_metadata(path)
    day = unquote(path.parent.name.removeprefix("day="))
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return StagedFile(
        path.relative_to(folder).as_posix(), path.stat().st_size, sha256, metadata.num_rows, day,
        json.dumps(_stats(metadata)),
    )  # fmt: skip


def _stats(metadata: Any) -> dict[str, Any]:
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            name = column.path_in_schema
            if name not in STATS_COLUMNS or column.statistics is None or not column.statistics.has_min_max:
                continue
            low, high = column.statistics.min, column.statistics.max
            lowest[name] = min(low, lowest.get(name, low))
            highest[name] = max(high, highest.get(name, high))
    return {
        "numRecords": metadata.num_rows,
        "minValues": {name: _stat(value) for name, value in lowest.items()},
        "maxValues": {name: _stat(value) for name, value in highest.items()},
    }


def _stat(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return value
