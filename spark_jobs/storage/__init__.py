"""What the ledger and the publish protocol ask of a disk and of a clock, and nothing else: the one seam below them.

`delta.py` answers with Delta logs on a disk. Tests answer from memory, under seeded schedules of crashes and races; the
code above is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

Row = dict[str, Any]
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file; `path` is relative to the table's folder, `stats` as a Delta log has them."""

    path: str
    size: int
    sha256: str
    rows: int
    day: str
    stats: str


class RowTable(Protocol):
    """A small table of rows, as it was when it was opened."""

    @property
    def version(self) -> int:
        """Number of the newest commit that this view knows."""

    def rows(
        self,
        columns: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        above: Mapping[str, int] | None = None,
    ) -> list[Row]:
        """The rows in order of `seq`: those equal to all of `where` and above all of `above`; only `columns`, where given."""

    def append(self, row: Row | None) -> bool:
        """Add `row` (none: an empty commit) as version + 1; False, and nothing written, when another was first."""


class FileTable(Protocol):
    """The log of a lake table, as it was when it was opened."""

    def sizes(self) -> dict[str, int]:
        """Size in bytes by path of every file that the log names."""

    def commit(self, add: Sequence[StagedFile], remove: Iterable[str], pub: int | None) -> bool:
        """Name `add` and stop naming `remove`, in one commit; False, and nothing changed, when another was first."""

    def schema(self) -> str:
        """The log's schema, as JSON."""

    def replace(self, files: Sequence[StagedFile], schema: str) -> bool:
        """Name exactly `files`, under `schema`, in one commit; False, and nothing changed, when another was first."""


class Storage(Protocol):
    """One pipeline's part of the lake."""

    def now(self) -> datetime:
        """The clock; it stamps rows for people and ages, nothing is ordered by it."""

    def row_table(self, table: str) -> RowTable | None:
        """A small table, none while nobody made it."""

    def make_row_table(self, table: str, schema: Any) -> RowTable:  # a pyarrow schema
        """A small table, made where needed; of several at once one makes it."""

    def compact_rows(self, table: str) -> None:
        """Fewer, larger files behind the same rows; gives way to other writers."""

    def file_table(self, table: str) -> FileTable | None:
        """The log of a lake table, none while nobody made it."""

    def make_file_table(self, table: str, schema: str) -> FileTable:
        """The log of a lake table, created where needed; its schema holds files of `schema` (JSON, as Spark writes it)."""

    def merge_files(self, table: str, paths: Sequence[str], target: str) -> StagedFile:
        """Write the rows of `paths`, all of one day, into the one new file `target`; names nothing in the log."""

    def rewrite_file(
        self,
        table: str,
        path: str,
        target: str,
        schema: str,
        since: datetime,
        *,
        renames: Mapping[str, str],
        fills: Mapping[str, Any],
    ) -> StagedFile:
        """Write the rows of `path` into the new file `target`, cast to `schema`; names nothing in the log.

        Columns are renamed (old -> new), and those of `fills` have that value in every row. A target that was written
        after `since` stays.

        Raises:
            ValueError: a value cannot be cast without loss.
        """

    def vacuum(self, table: str, before: datetime) -> int:
        """Delete files that the log does not name and that were written before `before`; how many."""

    def sha256(self, path: str) -> str | None:
        """Hash of a file's bytes; none when there is no such file. Paths are relative to the pipeline's folder."""

    def read_text(self, path: str) -> str | None:
        """Content of a small file, none when there is no such file."""

    def write_text(self, path: str, text: str) -> None:
        """Replace a small file in one go."""

    def remove(self, path: str) -> None:
        """Delete a small file, if it is there."""

    def files(self, folder: str) -> list[tuple[str, datetime]]:
        """Path and time of the last change of every file below `folder`."""

    def each(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """`function` of every item, in their order, several at a time."""


def day_of(path: str) -> str:
    """The day, YYYY-MM-DD, that a lake file's path names."""
    (day,) = (part.removeprefix("day=") for part in path.split("/") if part.startswith("day="))
    return day
