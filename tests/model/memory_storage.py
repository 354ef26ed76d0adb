# ruff: noqa: D102 (the protocol in spark_jobs.storage says what each method does)
"""The storage seam in memory: one disk that all actors share, and a moment before and after each act at which the
schedule may stop, delay or kill the actor.

The same promises as `spark_jobs.storage.delta` and no more: a commit happens whole or not at all, and only on top of the
version that was opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from spark_jobs.storage import Row, StagedFile


@dataclass
class Disk:
    """Everything that survives a crash, and the one clock."""

    clock: datetime
    rows: dict[str, list[Row | None]] = field(default_factory=dict)  # by table, one entry a commit
    logs: dict[str, list[dict[str, int]]] = field(default_factory=dict)  # by table, named files after each commit
    objects: dict[str, tuple[str, datetime]] = field(default_factory=dict)  # by path: content, time


class FileGoneError(Exception):
    """A file that a log named when it was opened is no longer there; a reader opens the log anew."""


class MemoryRows:
    """A small table at one version."""

    def __init__(self, storage: MemoryStorage, table: str) -> None:
        self._storage, self._commits = storage, storage.disk.rows[table]
        self.version = len(self._commits) - 1

    def rows(
        self,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        above: Mapping[str, int] | None = None,
    ) -> list[Row]:
        equal, more = (where or {}).items(), (above or {}).items()
        known = [row for row in self._commits[: self.version + 1] if row is not None]
        return [
            row
            for row in known
            if all(row.get(name) == value for name, value in equal) and all(row[name] > value for name, value in more)
        ]

    def append(self, row: Row | None) -> bool:
        self._storage.moment()
        won = len(self._commits) - 1 == self.version
        if won:
            self._commits.append(dict(row) if row is not None else None)
        self._storage.moment()
        return won


class MemoryFiles:
    """The log of a lake table at one version."""

    def __init__(self, storage: MemoryStorage, table: str) -> None:
        self._storage, self._commits = storage, storage.disk.logs[table]
        self._version = len(self._commits)

    def sizes(self) -> dict[str, int]:
        return self._commits[self._version - 1]

    def commit(self, add: Sequence[StagedFile], remove: Iterable[str], pub: int | None) -> bool:
        self._storage.moment()
        won = len(self._commits) == self._version
        if won:
            gone = set(remove)
            kept = {path: size for path, size in self._commits[-1].items() if path not in gone}
            self._commits.append(kept | {file.path: file.size for file in add})
        self._storage.moment()
        return won


class MemoryStorage:
    """One actor's hold of the disk; `moment` is where the schedule takes over."""

    def __init__(self, disk: Disk, moment: Callable[[], None]) -> None:
        self.disk, self.moment = disk, moment

    def now(self) -> datetime:
        return self.disk.clock

    def row_table(self, table: str) -> MemoryRows | None:
        self.moment()
        return MemoryRows(self, table) if table in self.disk.rows else None

    def make_row_table(self, table: str, schema: object) -> MemoryRows:
        self.moment()
        self.disk.rows.setdefault(table, [None])
        return MemoryRows(self, table)

    def compact_rows(self, table: str) -> None:
        self.moment()
        if table in self.disk.rows:
            self.disk.rows[table].append(None)

    def file_table(self, table: str) -> MemoryFiles | None:
        self.moment()
        return MemoryFiles(self, table) if table in self.disk.logs else None

    def make_file_table(self, table: str, schema: str) -> MemoryFiles:
        self.moment()
        self.disk.logs.setdefault(table, [{}])
        return MemoryFiles(self, table)

    def merge_files(self, table: str, paths: Sequence[str], target: str) -> StagedFile:
        rows = [row for path in paths for row in self.read_rows(table, path)]
        return self.write_rows(table, target, rows)

    def vacuum(self, table: str, before: datetime) -> int:
        self.moment()
        named = self.disk.logs[table][-1] if table in self.disk.logs else {}
        gone = [
            path
            for path, (_, at) in self.disk.objects.items()
            if path.startswith(f"{table}/") and path.removeprefix(f"{table}/") not in named and at < before
        ]
        self.moment()  # listed, not yet deleted
        for path in gone:
            self.disk.objects.pop(path, None)
        return len(gone)

    def sha256(self, path: str) -> str | None:
        self.moment()
        found = self.disk.objects.get(path)
        return _hash(found[0]) if found else None

    def read_text(self, path: str) -> str | None:
        self.moment()
        found = self.disk.objects.get(path)
        return found[0] if found else None

    def write_text(self, path: str, text: str) -> None:
        self.moment()
        self.disk.objects[path] = (text, self.disk.clock)
        self.moment()

    def remove(self, path: str) -> None:
        self.moment()
        self.disk.objects.pop(path, None)

    def files(self, folder: str) -> list[tuple[str, datetime]]:
        self.moment()
        return [(path, at) for path, (_, at) in sorted(self.disk.objects.items()) if path.startswith(f"{folder}/")]

    def each(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [function(item) for item in items]

    # what Spark and readers do with Parquet files
    def write_rows(self, table: str, path: str, rows: Sequence[Sequence[Any]]) -> StagedFile:
        """A file of rows, known to no log."""
        text = json.dumps(rows)
        self.write_text(f"{table}/{path}", text)
        day = path.split("day=")[1].split("/")[0]
        return StagedFile(path, len(text), _hash(text), len(rows), day, "{}")

    def read_rows(self, table: str, path: str) -> list[list[Any]]:
        """The rows of a file.

        Raises:
            FileGoneError: it was there once.
        """
        text = self.read_text(f"{table}/{path}")
        if text is None:
            raise FileGoneError(f"{table}/{path}")
        rows: list[list[Any]] = json.loads(text)
        return rows


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
