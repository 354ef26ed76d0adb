"""Storage on a disk: small tables and lake logs as Delta tables through delta-rs. No JVM, milliseconds a commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from spark_jobs.errors import RetryError
from spark_jobs.failpoints import failpoint
from spark_jobs.storage import Answer, Item, Row, StagedFile, day_of
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.evolution import IncompatibleError, evolved, fields_of, schema_of
from spark_jobs.storage.files import adopt_whole, sha256_of, write_whole
from spark_jobs.storage.parquet import merged_rows, rewritten_rows, staged_file

# Compare-and-swap: with delta-rs's own retries plain appends never conflict, and a creation that lost the race is
# committed again as version 1.
_ONCE = CommitProperties(max_commit_retries=0)
LAKE_SCHEMA_VERSION = "1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_DAY = [("day", "=", "0001-01-01")]  # a partition that never exists: an overwrite of it only changes the schema
_TRIES = 100  # each loses only when another writer of the log won
# Opening a log costs 1 ms and 0.4 ms for each commit since its last checkpoint, and a step opens thirty (delta-rs's default: 100)
_SETTINGS = {"delta.checkpointInterval": "10"}
_WHOLE_FILE = 1_000_000  # bytes of a file of rows that compaction leaves alone; about 20,000 rows


class DeltaRows:
    """A small table at one version."""

    def __init__(self, delta: DeltaTable) -> None:
        self._delta = delta

    @property
    def version(self) -> int:
        """The version that was opened."""
        return int(self._delta.version())

    def rows(
        self, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None,
        above: Mapping[str, int] | None = None,
    ) -> list[Row]:  # fmt: skip
        """The rows of that version, oldest first."""
        tests = [ds.field(name) == value for name, value in (where or {}).items()]
        tests += [ds.field(name) > value for name, value in (above or {}).items()]
        wanted = None if columns is None else [*dict.fromkeys((*columns, "seq"))]
        dataset = self._delta.to_pyarrow_dataset()
        found = dataset.to_table(columns=wanted, filter=reduce(and_, tests) if tests else None).sort_by("seq")
        names = found.column_names
        return [dict(zip(names, row, strict=True)) for row in zip(*map(_values, found.columns), strict=True)]

    def append(self, row: Row | None) -> bool:
        """One commit on top of that version, or none."""
        try:
            if row is None:
                self._delta.create_write_transaction([], "append", self._delta.schema(), commit_properties=_ONCE)
            else:
                one = pa.Table.from_pylist([row], schema=pa.schema(self._delta.schema().to_arrow()))
                write_deltalake(self._delta, one, mode="append", commit_properties=_ONCE)
        except CommitFailedError:
            return False
        return True


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The cells as Python values; instants ten times as fast as pyarrow makes them."""
    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    microseconds = column.cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + timedelta(microseconds=value) for value in microseconds]


class DeltaFiles:
    """The log of a lake table at one version."""

    def __init__(self, delta: DeltaTable) -> None:
        self._delta = delta

    def sizes(self) -> dict[str, int]:
        """Size by path."""
        actions = self._delta.get_add_actions(flatten=True).select(["path", "size_bytes"])
        paths, sizes = (actions.column(i).to_pylist() for i in (0, 1))
        return dict(zip(paths, sizes, strict=True))

    def commit(self, add: Sequence[StagedFile], remove: Iterable[str], pub: int | None) -> bool:
        """One commit on top of that version, or none."""
        now, gone = int(datetime.now(UTC).timestamp() * 1000), set(remove)
        sizes = self.sizes() if gone else {}
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.path, file.size, {"day": file.day}, now, pub is not None, file.stats) for file in add
        ]
        actions += [RemoveAction(path, pub is not None, now, sizes[path], {"day": day_of(path)}) for path in gone]
        metadata = {"pub": str(pub)} if pub is not None else None
        once = CommitProperties(custom_metadata=metadata, max_commit_retries=0)
        try:
            self._delta.create_write_transaction(
                actions, "append", self._delta.schema(), ["day"], commit_properties=once
            )
        except CommitFailedError:
            return False
        return True

    def schema(self) -> str:
        """As JSON."""
        return str(self._delta.schema().to_json())

    def replace(self, files: Sequence[StagedFile], schema: str) -> bool:
        """An overwrite of all partitions: delta-rs commits removals, additions and the schema together."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.path, file.size, {"day": file.day}, now, False, file.stats) for file in files
        ]
        try:
            self._delta.create_write_transaction(
                actions, "overwrite", Schema.from_json(schema), ["day"], commit_properties=_ONCE
            )
        except CommitFailedError:
            return False
        return True


def _write_rows(rows: pa.Table, path: Path) -> None:
    """Write `rows` as the Parquet file `path`, whole, on the disk before its log names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    pq.write_table(rows, part, compression="zstd")
    adopt_whole(part, path)


class DeltaStorage:
    """One pipeline's folder on a disk."""

    def __init__(self, root: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.root, self._clock = root, clock

    def now(self) -> datetime:
        """This machine's clock, or the one handed in."""
        return self._clock()

    def row_table(self, table: str) -> DeltaRows | None:
        """A small table at its newest version."""
        delta = self._open(table)
        return DeltaRows(delta) if delta else None

    def make_row_table(self, table: str, schema: pa.Schema) -> DeltaRows:
        """A small table at its newest version, made where needed."""
        return DeltaRows(self._open(table) or self._make(table, schema))

    def compact_rows(self, table: str) -> None:
        """One file and one checkpoint; whoever else commits meanwhile wins, and a full disk leaves all as it was."""
        delta = self._open(table)
        if delta is not None:
            with suppress(DeltaError, OSError):  # tidying must not answer for a row that landed
                delta.optimize.compact(target_size=_WHOLE_FILE)
                delta.create_checkpoint()

    def file_table(self, table: str) -> DeltaFiles | None:
        """A lake log at its newest version."""
        delta = self._open(table)
        return DeltaFiles(delta) if delta else None

    def make_file_table(self, table: str, schema: str) -> DeltaFiles:
        """A lake log at its newest version, created where needed, under a schema that holds files of `schema`.

        Raises:
            RetryError: the log's schema changed since the files were staged, and no longer holds them.
        """
        for _ in range(_TRIES):
            delta = self._open(table) or self._make(table, Schema.from_json(schema_of(fields_of(schema))), ["day"])
            try:
                grown = evolved(delta.schema().to_json(), schema)
            except IncompatibleError as error:
                raise RetryError(table, f"{error}: definitions changed since the files were staged",
                                 todo="run the step again: it stages under the new schema") from error  # fmt: skip
            if grown is None:
                return DeltaFiles(delta)
            failpoint("storage.schema.before")
            with suppress(CommitFailedError):  # another writer was first: look at the schema that it left
                delta.create_write_transaction(
                    [], "overwrite", Schema.from_json(grown), ["day"], _NO_DAY, commit_properties=_ONCE
                )
                failpoint("storage.schema.after")
        raise RetryError(table, f"{_TRIES} commits lost against other writers")

    def merge_files(self, table: str, paths: Sequence[str], target: str) -> StagedFile:
        """One Parquet file with the rows of `paths` in their order, under the log's schema as far as it holds theirs."""
        folder, delta = self.root / table, self._open(table)
        rows = merged_rows([folder / path for path in paths], delta.schema().to_json() if delta else None)
        _write_rows(rows, folder / target)
        return staged_file(folder, folder / target)

    def rewrite_file(
        self, table: str, path: str, target: str, schema: str, since: datetime, *,
        renames: Mapping[str, str], fills: Mapping[str, Any],
    ) -> StagedFile:  # fmt: skip
        """One Parquet file for another."""
        folder = self.root / table
        fresh = folder / target
        if not fresh.is_file() or fresh.stat().st_mtime < since.timestamp():
            _write_rows(rewritten_rows(folder / path, renames, fills, schema), fresh)
        return staged_file(folder, fresh)

    def vacuum(self, table: str, before: datetime) -> int:
        """Staged files of dead attempts and files that compaction replaced.

        delta-rs lists what the log does not name; it would count an age from the moment at which it looks, and a machine
        may have slept for days until then.
        """
        delta = self._open(table)
        if delta is None:
            return 0
        listed = [self.root / table / path for path in delta.vacuum(0, enforce_retention_duration=False, full=True)]
        old = [path for path in listed if path.is_file() and path.stat().st_mtime < before.timestamp()]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def sha256(self, path: str) -> str | None:
        """Hash of the bytes on disk."""
        try:
            return sha256_of(self.root / path)
        except FileNotFoundError:
            return None

    def read_text(self, path: str) -> str | None:
        """A small file's text."""
        try:
            return (self.root / path).read_text()
        except FileNotFoundError:
            return None

    def write_text(self, path: str, text: str) -> None:
        """Whole, so that a reader finds the old text or the new."""
        write_whole(self.root / path, text)

    def remove(self, path: str) -> None:
        """Unlink."""
        (self.root / path).unlink(missing_ok=True)

    def files(self, folder: str) -> list[tuple[str, datetime]]:
        """Every file below `folder`, with its time."""
        found = sorted(path for path in (self.root / folder).rglob("*") if path.is_file())
        return [(p.relative_to(self.root).as_posix(), datetime.fromtimestamp(p.stat().st_mtime, UTC)) for p in found]

    def each(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """Four at a time: a commit waits for the disk."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(function, items))

    def _open(self, table: str) -> DeltaTable | None:
        return open_log(self.root / table)

    def _make(self, table: str, schema: Any, partition_by: list[str] | None = None) -> DeltaTable:
        path = self.root / table
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(DeltaError):  # another writer made it first
            DeltaTable.create(
                path, schema, mode="error", partition_by=partition_by, commit_properties=_ONCE,
                configuration=_SETTINGS, description=f"schema_version {LAKE_SCHEMA_VERSION}",
            )  # fmt: skip
        made = self._open(table)
        if made is None:
            raise RetryError(table, f"no Delta table in {path} after it was created", todo="run the command again")
        return made
