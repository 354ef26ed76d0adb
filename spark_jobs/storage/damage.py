"""Opens a Delta log, or reports which of its files a machine fault damaged and how to repair the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from spark_jobs.errors import UsageError
from spark_jobs.storage.contents import check_contents

_READER = 1  # with deletion vectors (3) or column mapping (2) a file does not say what its rows are
NO_COMMIT = '{"commitInfo":{"timestamp":0}}'  # a commit that says nothing, in the place of one that is lost


def open_log(folder: Path) -> DeltaTable | None:
    """The Delta table in `folder` at its newest version; none while nobody made it.

    Raises:
        UsageError: a file of its log is torn, empty or gone; the error says which, and how to mend the table. Or another tool
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
            f"{folder}/_delta_log", f"a table that only readers of Delta's version {needed.min_reader_version} understand ({named})",
            f"version {_READER}, as it was made: its files alone say which rows there are",
            "take back what another tool set in its properties, or put the folder back from a copy of the lake",
        )  # fmt: skip
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


def _damaged(folder: Path, words: str) -> UsageError:
    """What a person is told about the log of `folder`, of which delta-rs says `words`."""
    log = folder / "_delta_log"
    name, found, todo = next(_faults(log), ("", words, ""))
    copy = "put the file back from a copy of the lake" if name else "put the folder back from a copy of the lake"
    return UsageError(f"{log}/{name}", found, "the file as it was written", f"{copy}{todo}")


def _faults(log: Path) -> Iterator[tuple[str, str, str]]:
    """Name, state and what to do without a copy, of every file that the newest version needs and that is not whole."""
    names = {path.name for path in log.iterdir()}
    commits = sorted(int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.json", name))
    checkpoints = [int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.checkpoint\.parquet", name)]
    hint = _hinted(log)
    first = max([*checkpoints, -1 if hint is None else hint])
    if first >= 0 and (state := _checkpoint_state(log / f"{first:020}.checkpoint.parquet")):
        older = max((number for number in checkpoints if number < first), default=-1)
        whole = set(range(older + 1, commits[-1] + 1)) <= set(commits)
        todo = "; or delete it and _last_checkpoint, for the commits that it sums up are all there" if whole else ""
        yield f"{first:020}.checkpoint.parquet", state, todo
    for number in range(first + 1, commits[-1] + 1 if commits else 0):
        path = log / f"{number:020}.json"
        if state := _commit_state(path):
            yield path.name, state, _without_copy(path, newest=number == commits[-1])


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


def _without_copy(path: Path, *, newest: bool) -> str:
    """How to go on without a commit. Its number stays taken, so that no publication gets a number that was used."""
    table, number = path.parent.parent, int(path.stem)
    if number == 0 or (table.parent.name == "ledger" and not newest):
        return ""
    before = [path.with_name(f"{number - 1:020}.{ending}") for ending in ("json", "checkpoint.parquet")]
    last = next(file for file in (path, *before) if file.exists())
    since = datetime.fromtimestamp(last.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"; without one write {NO_COMMIT} into it, look with `tidegate status` and `tidegate release list`, and run "
        f"again (`tidegate backfill`) the hours that were under way at {since} or released since"
    )
