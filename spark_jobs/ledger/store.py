"""Small append-only tables with compare-and-swap: a row's number is the version of the very commit that added it.

Knows versions and rows; what they mean is `folds.py`'s work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from spark_jobs.errors import UsageError
from spark_jobs.failpoints import failpoint
from spark_jobs.ledger.schemas import SCHEMA_VERSION, SCHEMAS
from spark_jobs.storage import Row, RowTable, Storage

_TRIES = 200  # each loses only when another writer won, so the whole always moves on
COMPACT_EVERY = 10  # commits: reading costs 1.5 ms a file, and an hour reads tables of the ledger thirty times


class Before(Protocol):
    """Reads the rows that stood there before the new one."""

    def __call__(
        self, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None,
        above: Mapping[str, int] | None = None,
    ) -> list[Row]:  # fmt: skip
        """As `LedgerStore.rows`."""


class LedgerStore:
    """The ledger's tables of one pipeline, below ledger/ of its storage.

    The storage's clock stamps rows for people to read; nothing is ever ordered by it.
    """

    def __init__(self, storage: Storage, by: str) -> None:
        self.storage, self.by = storage, by

    def append(self, table: str, build: Callable[[int, Before], Row]) -> int:
        """Add the row that `build(seq, before)` makes and return its seq, the version of this very commit.

        `before` reads the rows that stand there before the new one, with the arguments of `rows` but for the table.
        `build` is called again whenever another writer was first; what it raises ends the attempt with nothing written.

        Raises:
            TimeoutError: other writers won every one of many tries.
        """
        for _ in range(_TRIES):
            opened = self.storage.make_row_table(_path(table), SCHEMAS[table])
            seq = opened.version + 1
            row = build(seq, partial(_read, table, opened))
            stamped = {**row, "seq": seq, "at": self.storage.now(), "by": self.by, "schema_version": SCHEMA_VERSION}
            unknown = sorted(set(stamped) - set(SCHEMAS[table].names))
            if unknown:
                raise KeyError(f"ledger table {table} has no column {unknown}")
            if opened.append(stamped):
                if seq % COMPACT_EVERY == 0:
                    self.compact(table)
                return seq
        raise TimeoutError(f"ledger table {table}: {_TRIES} appends lost against other writers")

    def rows(
        self, table: str, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None,
        above: Mapping[str, int] | None = None,
    ) -> list[Row]:  # fmt: skip
        """The rows, oldest first: those equal to all of `where` and above all of `above`; only `columns`, where given.

        Raises:
            UsageError: a row was written by a later version of this code.
        """
        opened = self.storage.row_table(_path(table))
        return _read(table, opened, columns, where, above) if opened else []

    def exists(self, table: str) -> bool:
        """Whether anything was ever written into `table`."""
        return self.storage.row_table(_path(table)) is not None

    def fence(self, table: str) -> None:
        """Commit nothing, so that every append that is under way builds its row anew from what it sees then."""
        for _ in range(_TRIES):
            if self.storage.make_row_table(_path(table), SCHEMAS[table]).append(None):
                return
        raise TimeoutError(f"ledger table {table}: {_TRIES} fences lost against other writers")

    def compact(self, table: str) -> None:
        """Fewer files behind the same rows."""
        failpoint("maintenance.compact_ledger.before")
        self.storage.compact_rows(_path(table))
        failpoint("maintenance.compact_ledger.after")


def _path(table: str) -> str:
    return f"ledger/{table}"


def _read(
    table: str, opened: RowTable, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None,
    above: Mapping[str, int] | None = None,
) -> list[Row]:  # fmt: skip
    asked = None if columns is None else [*columns, "schema_version"]
    rows = opened.rows(asked, where, above)
    newest = max((row["schema_version"] for row in rows), default=SCHEMA_VERSION)
    if newest > SCHEMA_VERSION:
        raise UsageError(
            f"ledger table {table}", f"rows of schema version {newest}", f"at most {SCHEMA_VERSION}",
            "run the version of tidegate that wrote them, or a later one",
        )  # fmt: skip
    return rows
