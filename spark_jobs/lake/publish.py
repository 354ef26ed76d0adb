"""Make staged files readable: commit them by reference, table by table, then one release row that readers follow.

Needs no JVM and copies no byte; a crash anywhere leaves rows of a publication that no release names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from spark_jobs.errors import RefusedError, RetryError, SupersededError
from spark_jobs.failpoints import failpoint
from spark_jobs.lake import staging
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Ledger, Release, StaleBaseError
from spark_jobs.storage import FileTable, Storage

_TRIES = 100  # each loses only when another writer of the table won


@dataclass(frozen=True)
class Publication:
    """A staged publication that its gates let through."""

    pub: int
    kind: str
    covers: dict[str, tuple[datetime, datetime]]
    staged: Mapping[str, Staged]
    base: int | None
    read: frozenset[str]  # tables whose released rows the stages looked at
    why: str = ""


def publish(ledger: Ledger, publication: Publication) -> Release:
    """Append every table, read back, release. Returns the release.

    Raises:
        RefusedError: a staged file is not the one that was audited.
        RetryError: what was read back differs, or a day has gone: stage again.
        SupersededError: another release touched what was read: stage again.
    """
    storage, tables = ledger.storage, list(publication.staged.values())
    for staged in tables:
        changed = staging.changed_files(storage, staged)
        if changed:
            raise RefusedError(
                f"pub {publication.pub} {staged.table}",
                f"{len(changed)} staged file(s) changed after the audit, first {changed[0]}",
                "the bytes that the gate saw",
            )
    failpoint("publish.before_append")
    _append(ledger, publication.pub, tables)
    failpoint("publish.after_append")
    if not ledger.released(publication.pub):  # by another attempt at the same publication, compacted since perhaps
        for staged in tables:
            _read_back(storage, staged)
    failpoint("publish.before_release")
    covers = tuple((table, start, end) for table, (start, end) in sorted(publication.covers.items()))
    rows = {staged.table: staged.rows for staged in tables}
    draft = Release(
        0, publication.pub, None, publication.kind, covers, frozenset(), rows, publication.why, storage.now()
    )
    try:
        release = ledger.release(draft, publication.base, publication.read)
    except StaleBaseError as error:
        raise SupersededError(
            f"pub {publication.pub}",
            f"release {error.releases} came first and touched what was read",
            todo="run the step again: it stages anew",
        ) from error
    failpoint("publish.after_release")
    staging.drop_manifest(storage, publication.pub)
    return release


def _append(ledger: Ledger, pub: int, tables: Sequence[Staged]) -> None:
    """Commit the files of `tables`; files that an earlier attempt already committed are left as they are.

    The logs are opened first and the ledger is asked after: whatever compaction or vacuum made of this publication since then
    also committed to its log, so that the commit there fails and both are asked anew. One question serves all tables: it
    costs twice as much as a commit.
    """
    storage, waiting = ledger.storage, [staged for staged in tables if staged.files]
    for _ in range(_TRIES):
        opened = storage.each(lambda s: (s, storage.make_file_table(s.table, s.schema)), waiting)
        missing = [(staged, table) for staged, table in opened if not _named(table.sizes(), pub)]
        if not missing or ledger.released(pub):
            return
        ledger.require_young(pub)
        landed = storage.each(_commit, missing)
        waiting = [staged for (staged, _), done in zip(missing, landed, strict=True) if not done]
    raise RetryError(f"pub {pub} {waiting[0].table}", f"{_TRIES} commits lost against other writers")


def _commit(opened: tuple[Staged, FileTable]) -> bool:
    """One commit at the version that was opened; false when another writer was first."""
    staged, table = opened
    landed = table.commit(staged.files, [], staged.pub)
    if landed:
        failpoint(f"publish.appended.{staged.table}")
    return landed


def _named(sizes: dict[str, int], pub: int) -> dict[str, int]:
    """Those of `sizes` that are files of `pub`."""
    return {path: size for path, size in sizes.items() if path.startswith(f"pub-{pub}/")}


def _read_back(storage: Storage, staged: Staged) -> None:
    """Ask the log anew what it names for this publication.

    Raises:
        RetryError: not exactly the staged files.
    """
    expected = {file.path: file.size for file in staged.files}
    table = storage.file_table(staged.table) if expected else None
    found = _named(table.sizes(), staged.pub) if table else {}
    if found != expected:
        raise RetryError(
            f"pub {staged.pub} {staged.table}",
            f"the log names {len(found)} file(s), {len(expected)} were staged",
            "exactly the staged files",
            "run the step again: it stages under a new publication",
        )
    failpoint(f"publish.read_back.{staged.table}")
