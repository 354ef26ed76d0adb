"""Files that a step has written but nobody can read yet: Parquet in the table's own folder, known to no Delta log.

The files that a gate audits are the very files that `publish.py` commits, by reference and unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow.parquet as pq

if TYPE_CHECKING:  # publishing needs no Spark: neither does this module, but to write a frame
    from pyspark.sql import DataFrame

STATS_COLUMNS = ("hour", "known_at", "pub", "as_of", "event_hour")  # whole hours and a number: exact as statistics


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file; `path` is relative to the table's folder."""

    path: str
    size: int
    sha256: str
    rows: int
    day: str
    stats: str


@dataclass(frozen=True)
class Staged:
    """What one publication staged for one table."""

    table: str
    pub: int
    schema: str  # the Spark schema as JSON, which is also Delta's
    files: tuple[StagedFile, ...]

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def digest(self) -> str:
        """A hash over path and hash of every file: two equal digests are the same bytes."""
        text = "\n".join(f"{file.path} {file.sha256}" for file in sorted(self.files, key=lambda f: f.path))
        return hashlib.sha256(text.encode()).hexdigest()


def table_folder(root: Path, table: str) -> Path:
    """Folder of a lake table below the pipeline's folder `root`."""
    return root / table


def stage(root: Path, table: str, pub: int, frame: DataFrame, *, bulk: bool) -> Staged:
    """Write `frame` (columns day, hour, known_at, pub among others) as staged files of `pub`.

    A second run of the same publication replaces the files of the first; a bulk frame gets one file a day.
    """
    target = table_folder(root, table) / f"pub-{pub}"
    spread = frame.repartition("day") if bulk else frame.coalesce(1)
    spread.write.mode("overwrite").partitionBy("day").parquet(str(target))
    return staged_files(root, table, pub, frame.schema.json())


def staged_files(root: Path, table: str, pub: int, schema: str) -> Staged:
    """What lies on disk as staged files of `pub` for `table`; `schema` is the Spark schema as JSON, `day` in it."""
    folder = table_folder(root, table)
    paths = sorted((folder / f"pub-{pub}").rglob("*.parquet"))
    return Staged(table, pub, schema, tuple(_staged_file(folder, path) for path in paths))


def _staged_file(folder: Path, path: Path) -> StagedFile:
    metadata = pq.read_metadata(path)
    day = unquote(path.parent.name.removeprefix("day="))
    return StagedFile(
        path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path), metadata.num_rows, day,
        json.dumps(_stats(metadata)),
    )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def changed_files(root: Path, staged: Staged) -> list[str]:
    """Staged files whose bytes are no longer those that were audited (gone, other size, other hash)."""
    folder = table_folder(root, staged.table)
    return [
        file.path
        for file in staged.files
        if not (folder / file.path).is_file() or _sha256(folder / file.path) != file.sha256
    ]


def _manifest(root: Path, pub: int) -> Path:
    return root / "staging" / f"{pub}.json"


def save_manifest(root: Path, pub: int, tables: Iterable[Staged]) -> None:
    """Keep what was staged for the step that publishes it."""
    path = _manifest(root, pub)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps([asdict(staged) for staged in tables]))
    fresh.rename(path)


def load_manifest(root: Path, pub: int) -> dict[str, Staged]:
    """What `pub` staged, by table.

    Raises:
        FileNotFoundError: nothing was staged under `pub`, or it was published and removed.
    """
    tables = json.loads(_manifest(root, pub).read_text())
    return {t["table"]: Staged(**{**t, "files": tuple(StagedFile(**file) for file in t["files"])}) for t in tables}


def drop_manifest(root: Path, pub: int) -> None:
    """Forget the manifest of a publication that was released."""
    _manifest(root, pub).unlink(missing_ok=True)
