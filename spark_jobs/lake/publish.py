"""Make staged files readable: commit them by reference, table by table, then one release row that readers follow.

Needs no JVM and copies no byte; a crash anywhere leaves rows of a publication that no release names.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.failpoints import failpoint
from spark_jobs.lake import staging
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Ledger, Release, StaleBaseError

SCHEMA_VERSION = "1"


@dataclass(frozen=True)
class Publication:
    """A staged publication that its gates let through."""

    pub: int
    kind: str
    covers: dict[str, tuple[datetime, datetime]]
    staged: dict[str, Staged]
    base: int | None
    read: frozenset[str]  # tables whose released rows the stages looked at
    why: str = ""


def publish(root: Path, ledger: Ledger, publication: Publication) -> Release:
    """Append every table, read back, release. Returns the release.

    Raises:
        RefusedError: a staged file is not the one that was audited.
        RetryError: what was read back differs, or another release touched what was read: stage again.
    """
    for staged in publication.staged.values():
        changed = staging.changed_files(root, staged)
        if changed:
            raise RefusedError(
                f"{root.name} pub {publication.pub} {staged.table}",
                f"{len(changed)} staged file(s) changed after the audit, first {changed[0]}",
                "the bytes that the gate saw",
            )
    failpoint("publish.before_append")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda staged: _append(root, staged), publication.staged.values()))
    failpoint("publish.after_append")
    for staged in publication.staged.values():
        _read_back(root, staged)
    failpoint("publish.before_release")
    covers = tuple((table, start, end) for table, (start, end) in sorted(publication.covers.items()))
    rows = {table: staged.rows for table, staged in publication.staged.items()}
    draft = Release(
        0, publication.pub, None, publication.kind, covers, frozenset(), rows, publication.why, datetime.now(UTC)
    )
    try:
        release = ledger.release(draft, publication.base, publication.read)
    except StaleBaseError as error:
        raise RetryError(
            f"{root.name} pub {publication.pub}", f"release {error.releases} came first and touched what was read",
            todo="run the step again: it stages anew",
        ) from error  # fmt: skip
    failpoint("publish.after_release")
    staging.drop_manifest(root, publication.pub)
    return release


def _append(root: Path, staged: Staged) -> None:
    """Commit the files of `staged`; files that an earlier attempt already committed are left as they are."""
    if not staged.files:
        return
    table = _open(root, staged)
    if _committed(table, staged.pub):
        return  # the commit landed though its answer was lost
    actions: list[AddAction | RemoveAction] = [
        AddAction(file.path, file.size, {"day": file.day}, int(datetime.now(UTC).timestamp() * 1000), True, file.stats)
        for file in staged.files
    ]
    table.create_write_transaction(
        actions, "append", table.schema(), ["day"],
        commit_properties=CommitProperties(custom_metadata={"pub": str(staged.pub)}),
    )  # fmt: skip
    failpoint(f"publish.appended.{staged.table}")


def _open(root: Path, staged: Staged) -> DeltaTable:
    path = staging.table_folder(root, staged.table)
    try:
        return DeltaTable(path)
    except TableNotFoundError:
        with suppress(
            DeltaError
        ):  # another publication made it first; with retries it would be made again as version 1
            DeltaTable.create(
                path, Schema.from_json(staged.schema), mode="error", partition_by=["day"],
                description=f"schema_version {SCHEMA_VERSION}", commit_properties=CommitProperties(max_commit_retries=0),
            )  # fmt: skip
        return DeltaTable(path)


def _committed(table: DeltaTable, pub: int) -> dict[str, int]:
    """Size by path of the files of `pub` that the log names."""
    actions = table.get_add_actions(flatten=True).select(["path", "size_bytes"])
    paths, sizes = (actions.column(i).to_pylist() for i in (0, 1))
    return {path: size for path, size in zip(paths, sizes, strict=True) if path.startswith(f"pub-{pub}/")}


def _read_back(root: Path, staged: Staged) -> None:
    """Ask the log anew what it names for this publication.

    Raises:
        RetryError: not exactly the staged files.
    """
    expected = {file.path: file.size for file in staged.files}
    found = _committed(DeltaTable(staging.table_folder(root, staged.table)), staged.pub) if expected else {}
    if found != expected:
        raise RetryError(
            f"{root.name} pub {staged.pub} {staged.table}",
            f"the log names {len(found)} file(s), {len(expected)} were staged",
            "exactly the staged files",
            "run the step again: it stages under a new publication",
        )
