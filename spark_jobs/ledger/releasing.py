"""The one commit that readers follow: `release` adds publications to what counts, `rollback` takes them away again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from spark_jobs.errors import RetryError, UsageError
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import format_hour, hours_between
from spark_jobs.ledger import folds
from spark_jobs.ledger.folds import Release
from spark_jobs.ledger.store import Before, LedgerStore
from spark_jobs.storage import Row

MAY_RELEASE_FOR = timedelta(days=1)  # from its start on; maintenance removes what is older and was never released


class StaleBaseError(Exception):
    """Another release touched what this publication read; it must be staged again."""

    def __init__(self, releases: Sequence[int]) -> None:
        self.releases = list(releases)
        super().__init__(self.releases)


class _WrittenBeforeError(Exception):
    """The row stands there already; nothing is to be written."""


def release(store: LedgerStore, draft: Release, unless_since: int | None, touched: Iterable[str]) -> Release:
    """Release `draft`; see `Ledger.release`."""
    written: list[Release] = []
    read = set(touched)
    began = started_at(store, draft.pub)

    def build(seq: int, before: Before) -> Row:
        written[:] = [Release.of(row) for row in before(where={"pub": draft.pub})]
        if written:
            raise _WrittenBeforeError
        require_young(store, draft.pub, began)
        since = unless_since or 0
        newer = [Release.of(row) for row in before(above={"release": since})]
        blocking = [r.release for r in newer if r.kind == "rollback" or read & {t for t, _, _ in r.covers}]
        if blocking:
            raise StaleBaseError(blocking)
        last = newer or [Release.of(row) for row in before(where={"release": since})]
        written[:] = [_next(last, draft)]
        return release_row(written[-1])

    with suppress(_WrittenBeforeError):
        store.append("releases", build)
    return written[-1]


def started_at(store: LedgerStore, pub: int) -> datetime | None:
    """When a publication was started, by the clock that stamped its row."""
    rows = store.rows("intervals", ["at"], {"pub": pub, "seq": pub})
    return rows[0]["at"] if rows else None


def require_young(store: LedgerStore, pub: int, began: datetime | None) -> None:
    """That a publication may still release.

    Raises:
        RetryError: it may not: maintenance removes the rows of publications twice as old that were never released.
    """
    if began is not None and store.storage.now() - began > MAY_RELEASE_FOR:
        hours = int(MAY_RELEASE_FOR / timedelta(hours=1))
        raise RetryError(
            f"publication {pub}",
            f"it was started more than {hours} hours ago",
            f"at most {hours} hours",
            "run the step again: it stages under a new publication",
        )


def _next(releases: Sequence[Release], draft: Release) -> Release:
    """`draft` as the child of the last of `releases`, the newest: what was dead stays dead."""
    if not releases:
        return replace(draft, release=1, parent=None)
    newest = releases[-1]
    return replace(draft, release=newest.release + 1, parent=newest.release, dead=newest.dead | draft.dead)


def rollback(store: LedgerStore, known: Sequence[Release], pub: int, to: int, why: str) -> Release:
    """Readers see again what they saw at release `to`, and the scores given since; see `Ledger.rollback`.

    `known` are the releases so far, all or the oldest of them.
    """
    written: list[Release] = []

    def build(seq: int, before: Before) -> Row:
        newer = before(above={"release": known[-1].release if known else 0})
        line = folds.chain([*known, *map(Release.of, newer)])
        newest, dead = line[-1], dead_at(line, to)
        if newest.kind == "rollback" and newest.dead == dead:
            written[:] = [newest]  # an earlier attempt came this far
            raise _WrittenBeforeError
        now = store.storage.now()
        written[:] = [Release(newest.release + 1, pub, newest.release, "rollback", (), dead, {}, why, now)]
        return release_row(written[-1])

    failpoint("rollback.before_release")
    with suppress(_WrittenBeforeError):
        store.append("releases", build)
    failpoint("rollback.after_release")
    return written[-1]


def dead_at(line: Sequence[Release], to: int) -> frozenset[int]:
    """Pubs that are dead after a rollback to `to`: those that were, and all released since but scores, which are facts.

    Raises:
        UsageError: there is no release `to`.
    """
    target = [r for r in line if r.release == to]
    if not target:
        legal = f"1 to {line[-1].release}" if line else "none yet"
        raise UsageError("release", f"no release {to}", legal)
    return target[0].dead | {r.pub for r in line if r.release > to and r.kind not in ("score", "rollback")}


def hours_changed(line: Sequence[Release], to: int) -> tuple[set[datetime], set[datetime]]:
    """Hours of which a rollback to `to` takes rows away or brings some back; among them those that a publication covers.

    Scores and restated cells change rows of hours that they do not publish: such an hour may never have been published.

    Raises:
        UsageError: there is no release `to`, or readers see what they saw then.
    """
    dead = dead_at(line, to)
    before = line[-2] if line[-1].kind == "rollback" and line[-1].dead == dead else line[-1]  # an attempt cut short
    pubs = dead ^ before.dead
    changed = [release for release in line if release.pub in pubs]
    hours = {h for r in changed for a, b in {(a, b) for _, a, b in r.covers} for h in hours_between(a, b)}
    if not hours:
        raise UsageError(
            "release", f"release {to}", "a release that shows other rows than the newest (scores always stay)"
        )
    return hours, folds.hours_published(changed)


def release_row(release: Release) -> Row:
    """The ledger row that states `release`."""
    covers = [[t, format_hour(a), format_hour(b)] for t, a, b in release.covers]
    return {
        "release": release.release,
        "pub": release.pub,
        "parent": release.parent,
        "kind": release.kind,
        "covers": json.dumps(covers),
        "dead": json.dumps(sorted(release.dead)),
        "rows": json.dumps(release.rows, sort_keys=True),
        "why": release.why,
    }
