"""Small append-only Delta tables with compare-and-swap, through delta-rs: no JVM, a few milliseconds a row.

Knows versions and rows; what they mean is `folds.py`'s work.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from spark_jobs.ledger.schemas import SCHEMA_VERSION, SCHEMAS

Row = dict[str, Any]
_ONCE = CommitProperties(max_commit_retries=0)
_TRIES = 200  # each loses only when another writer won, so the whole always moves on


class LedgerStore:
    """The tables below one folder.

    `clock` stamps rows for people to read; nothing is ever ordered by it.
    """

    def __init__(self, folder: Path, by: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.folder, self.by, self._clock = folder, by, clock

    def append(self, table: str, build: Callable[[int, list[Row]], Row]) -> int:
        """Add the row that `build(seq, rows before it)` makes and return its seq, the version of this very commit.

        `build` is called again whenever another writer was first; what it raises ends the attempt with nothing written.

        Raises:
            TimeoutError: other writers won every one of many tries.
        """
        for _ in range(_TRIES):
            delta = self._open(table)
            seq = delta.version() + 1
            row = build(seq, self._rows(table, delta))
            stamped = {**row, "seq": seq, "at": self._clock(), "by": self.by, "schema_version": SCHEMA_VERSION}
            unknown = sorted(set(stamped) - set(SCHEMAS[table].names))
            if unknown:
                raise KeyError(f"ledger table {table} has no column {unknown}")
            try:
                write_deltalake(
                    delta, pa.Table.from_pylist([stamped], schema=SCHEMAS[table]), mode="append",
                    commit_properties=_ONCE,
                )  # fmt: skip
            except CommitFailedError:
                continue
            return seq
        raise TimeoutError(f"{self.folder / table}: {_TRIES} appends lost against other writers")

    def rows(self, table: str) -> list[Row]:
        """All rows, oldest first."""
        try:
            return self._rows(table, DeltaTable(self.folder / table))
        except TableNotFoundError:
            return []

    def _rows(self, table: str, delta: DeltaTable) -> list[Row]:
        return sorted(delta.to_pyarrow_table().to_pylist(), key=lambda row: row["seq"])

    def _open(self, table: str) -> DeltaTable:
        path = self.folder / table
        try:
            return DeltaTable(path)
        except TableNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(
                DeltaError
            ):  # another writer made it first; with retries its creation is committed again as version 1
                DeltaTable.create(path, SCHEMAS[table], mode="error", commit_properties=_ONCE)
            return DeltaTable(path)
