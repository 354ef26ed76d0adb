"""Keep the lake small: fewer files behind the same rows, none of dead attempts, nothing older than was declared.

Works on whole files and follows two rules. Only files of released publications are compacted, and only those of
publications that can no longer be released are removed. And before a file is deleted from the disk, a commit to its
table's log and to `releases` makes every commit that was under way ask the ledger anew, where its publication is found
too old. No table is locked; readers and writers go on meanwhile.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from functools import partial

from spark_jobs.failpoints import failpoint
from spark_jobs.lake.versions import pub_of
from spark_jobs.ledger import MAY_RELEASE_FOR, Ledger
from spark_jobs.ledger.schemas import SCHEMAS
from spark_jobs.storage import FileTable, day_of

# The clocks of two machines never differ by a day. Also how old the log may be that a reader holds.
UNRELEASED_KEPT_FOR = 2 * MAY_RELEASE_FOR
_TRIES = 20


def remove_unreleased(ledger: Ledger, tables: Iterable[str]) -> dict[str, int]:
    """Stop naming files of publications that were never released and no longer may be; how many a table.

    Their manifests go as well. The files themselves go with `vacuum`.
    """
    failpoint("maintenance.unreleased.before")
    limit = ledger.storage.now() - UNRELEASED_KEPT_FOR
    old = {
        row["pub"] for row in ledger.store.rows("intervals", ["pub", "at"], {"state": "started"}) if row["at"] < limit
    }
    ledger.store.fence("releases")
    dead = old - {row["pub"] for row in ledger.store.rows("releases", ["pub"])}
    counts = {
        table: _stop_naming(ledger, table, lambda path: (pub := pub_of(path)) is not None and pub in dead)
        for table in tables
    }
    for path, _ in ledger.storage.files("staging"):
        if int(path.removeprefix("staging/").partition(".")[0]) in dead:
            ledger.storage.remove(path)
    failpoint("maintenance.unreleased.after")
    return counts


def remove_days(ledger: Ledger, table: str, before: date) -> int:
    """Stop naming the files of days before `before`, whatever they hold; how many. What retention declares."""
    failpoint("maintenance.retention.before")
    count = _stop_naming(ledger, table, lambda path: day_of(path) < before.isoformat())
    failpoint("maintenance.retention.after")
    return count


def compact_days(ledger: Ledger, table: str, before: date) -> int:
    """One file a day instead of many, for days before `before`; how many files less.

    Rows stay as they are, publication numbers among them, so that every release reads the same.
    """
    failpoint("maintenance.compact.before")
    released = {row["pub"] for row in ledger.store.rows("releases", ["pub"])}
    saved, opened = 0, ledger.storage.file_table(table)
    by_day: dict[str, list[str]] = defaultdict(list)
    for path in opened.sizes() if opened else ():
        pub = pub_of(path)
        if day_of(path) < before.isoformat() and (pub is None or pub in released):
            by_day[day_of(path)].append(path)
    for day, paths in sorted(by_day.items()):
        if len(paths) > 1 and _compact(ledger, table, day, sorted(paths)):
            saved += len(paths) - 1
    failpoint("maintenance.compact.after")
    return saved


def _compact(ledger: Ledger, table: str, day: str, paths: list[str]) -> bool:
    """Put one file in the place of `paths`; False when another compaction was faster."""
    storage, name = ledger.storage, hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]
    for _ in range(_TRIES):
        opened = storage.file_table(table)
        if opened is None or not set(paths) <= set(opened.sizes()):
            return False
        merged = storage.merge_files(table, paths, f"compacted-{name}/day={day}/part.parquet")
        failpoint("maintenance.compact.merged")
        if opened.commit([merged], paths, None):
            return True
    return False


def vacuum(ledger: Ledger, tables: Iterable[str]) -> dict[str, int]:
    """Delete files that no log names and that are older than two days; how many a table."""
    failpoint("maintenance.vacuum.before")
    counts = {}
    for table in tables:
        counts[table] = _delete_old(ledger, table, partial(_fence, ledger, table))
    failpoint("maintenance.vacuum.after")
    return counts


def compact_ledger(ledger: Ledger) -> None:
    """One file behind the rows of each ledger table, and no file that an older version named."""
    for table in SCHEMAS:
        if ledger.store.exists(table):
            ledger.store.compact(table)
            _delete_old(ledger, f"ledger/{table}", partial(ledger.store.fence, table))


def _delete_old(ledger: Ledger, table: str, fence: Callable[[], None]) -> int:
    """Delete what the log does not name and was old before the fence: who opens the log after it has younger files."""
    limit = ledger.storage.now() - UNRELEASED_KEPT_FOR
    fence()
    return ledger.storage.vacuum(table, limit)


def _stop_naming(ledger: Ledger, table: str, unwanted: Callable[[str], bool]) -> int:
    def commit(opened: FileTable) -> int | None:
        paths = [path for path in opened.sizes() if unwanted(path)]
        return len(paths) if not paths or opened.commit([], paths, None) else None

    return _until_won(ledger, table, commit)


def _fence(ledger: Ledger, table: str) -> None:
    """An empty commit: a publication that is about to commit must open the log anew and ask whether it still may."""
    _until_won(ledger, table, lambda opened: 0 if opened.commit([], [], None) else None)


def _until_won(ledger: Ledger, table: str, commit: Callable[[FileTable], int | None]) -> int:
    for _ in range(_TRIES):
        opened = ledger.storage.file_table(table)
        if opened is None:
            return 0
        count = commit(opened)
        if count is not None:
            return count
    raise TimeoutError(f"{table}: {_TRIES} commits lost against other writers; maintenance may run again at any time")
