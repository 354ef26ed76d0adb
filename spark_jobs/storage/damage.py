"""Opens a Delta log, or reports which of its files a machine fault damaged and what to restore."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from spark_jobs.errors import UsageError
from spark_jobs.storage.contents import check_contents
from spark_jobs.storage.restore import RESTORE_FILE, RESTORE_LAKE

_READER = 1  # with deletion vectors (3) or column mapping (2) a file does not say what its rows are


def open_log(folder: Path) -> DeltaTable | None:
    """The Delta table in `folder` at its newest version; none while nobody made it.

    Raises:
        UsageError: a file of its log is torn, empty or gone; the error names it and says what to restore. Or another tool
            made it a table whose files hold rows that were deleted, or columns of other names. Or the log names files or columns
            that no publication writes (`contents.py`).
    """
    if not (folder / "_delta_log").exists():
        return None
    try:
        delta = DeltaTable(folder)
    except TableNotFoundError:
        return None
    except DeltaError as error:
        raise _damaged(folder, " ".join(str(error).partition("\n")[0].split())[:300]) from error
    if _an_empty_commit(folder / "_delta_log", int(delta.version())):
        raise _damaged(folder, "an empty commit")
    needed = delta.protocol()
    if needed.min_reader_version > _READER:
        named = ", ".join(needed.reader_features or []) or "none named"
        raise UsageError(
            f"{folder}/_delta_log",
            f"a table that only readers of Delta's version {needed.min_reader_version} understand ({named})",
            f"version {_READER}, as it was made: its files alone say which rows there are",
            f"revert the table properties that another tool set, or {RESTORE_LAKE}",
        )
    check_contents(delta, folder)
    return delta


def _an_empty_commit(log: Path, version: int) -> bool:
    """Whether a commit since the last checkpoint has no byte, as a power failure leaves files that nobody synced.

    delta-rs takes it for a commit of nothing, and its rows would be missing without a word.
    """
    for number in range(version, -1, -1):
        size = _size(log / f"{number:020}.json")
        if _size(log / f"{number:020}.checkpoint.parquet") or size is None:
            return False  # a checkpoint stands for what is older, else delta-rs had missed the file
        if size == 0:
            return True
    return False


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _damaged(folder: Path, reason: str) -> UsageError:
    """The error about the first damaged file of the log of `folder`, or with delta-rs's `reason` when none is damaged."""
    log = folder / "_delta_log"
    name, state = next(_faults(log), ("", ""))
    return UsageError(
        f"{log}/{name}", state or reason, "the file as it was written", RESTORE_FILE if name else RESTORE_LAKE
    )


def _faults(log: Path) -> Iterator[tuple[str, str]]:
    """Name and state of every file that the newest version needs and that is empty, torn or gone."""
    names = {path.name for path in log.iterdir()}
    commits = sorted(int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.json", name))
    checkpoints = [int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.checkpoint\.parquet", name)]
    hint = _hinted(log)
    first = max([*checkpoints, -1 if hint is None else hint])
    if first >= 0 and (state := _checkpoint_state(log / f"{first:020}.checkpoint.parquet")):
        yield f"{first:020}.checkpoint.parquet", state
    for number in range(first + 1, commits[-1] + 1 if commits else 0):
        path = log / f"{number:020}.json"
        if state := _commit_state(path):
            yield path.name, state


def _hinted(log: Path) -> int | None:
    """Version of the checkpoint that the log points to, none when it points to none that one can read."""
    try:
        return int(json.loads((log / "_last_checkpoint").read_text())["version"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _checkpoint_state(path: Path) -> str:
    if not _size(path):
        return "the checkpoint is empty" if path.exists() else "the checkpoint is gone"
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return "the checkpoint is torn"
    return ""


def _commit_state(path: Path) -> str:
    """What is wrong with a commit; nothing when it is lines of JSON."""
    if not _size(path):
        return "the commit is empty" if path.exists() else "the commit is gone"
    try:
        for line in path.read_bytes().splitlines():
            json.loads(line)
    except ValueError:
        return "the commit is torn"
    return ""
