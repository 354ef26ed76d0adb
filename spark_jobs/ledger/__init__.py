"""Releases, intervals, verdicts, incidents: what happened, as facts that are appended and never changed.

Readable and writable without a JVM, so that gates, pages and alerts cost milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.errors import UsageError
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.ledger import folds
from spark_jobs.ledger.folds import Release, Row, Segment
from spark_jobs.ledger.store import LedgerStore
from spark_jobs.verdict import Verdict

__all__ = ["Ledger", "Release", "Row", "Segment", "folds"]


class Ledger:
    """The ledger of one pipeline, below {lake}/{pipeline}/ledger."""

    def __init__(self, root: Path, by: str = "cli") -> None:
        self.store = LedgerStore(root / "ledger", by)

    @staticmethod
    def open(root: Path, by: str = "cli") -> Ledger:
        """The ledger of the pipeline whose lake folder is `root`."""
        return Ledger(root, by)

    # intervals
    def intervals(self) -> list[Row]:
        """All rows of `intervals`, oldest first."""
        return self.store.rows("intervals")

    def start(self, call: Invocation, code_version: str, config_hash: str, base: int | None) -> int:
        """Record that `call` started and return its publication number: the version of this very append."""
        return self.store.append(
            "intervals",
            lambda seq, _: {
                **_interval(call, "started"), "pub": seq, "base": base,
                "code_version": code_version, "config_hash": config_hash,
            },
        )  # fmt: skip

    def record(self, call: Invocation, state: str, pub: int | None, why: str = "", **facts: Any) -> int:
        """Add what became of `call`; dictionaries among `facts` are kept as JSON."""
        plain = {k: json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for k, v in facts.items()}
        return self.store.append(
            "intervals", lambda seq, _: {**_interval(call, state), "pub": pub, "why": why, **plain}
        )

    def step_row(self, dag_run: str, step: str) -> Row | None:
        """The newest `intervals` row of one step of one run."""
        return folds.step_row(self.intervals(), dag_run, step)

    # verdicts
    def add_verdict(self, call: Invocation, pub: int, verdict: Verdict) -> int:
        """Record a gate's word; nothing is decided before it stands here."""
        row = {
            "pub": pub, "table": verdict.table, "scope": verdict.scope, "from_hour": call.start, "to_hour": call.end,
            "outcome": verdict.outcome.value, "verdict": verdict.to_json(),
            "suite_hash": verdict.suite_hash, "staged_digest": verdict.staged_digest,
        }  # fmt: skip
        return self.store.append("verdicts", lambda seq, _: row)

    def verdicts(self, pub: int) -> list[Verdict]:
        """The verdicts on one publication, in the order in which they were given."""
        return [Verdict.from_json(row["verdict"]) for row in self.store.rows("verdicts") if row["pub"] == pub]

    # releases
    def releases(self) -> list[Release]:
        """All releases, oldest first."""
        return [Release.of(row) for row in self.store.rows("releases")]

    def line(self, release: int | None = None) -> list[Release]:
        """`release` (default: the newest) and its ancestors, oldest first.

        Raises:
            UsageError: there is no such release.
        """
        found = self.releases()
        try:
            return folds.chain(found, release)
        except KeyError as error:
            newest = f"1 to {max(r.release for r in found)}" if found else "none yet"
            raise UsageError("--release", f"no release {release}", newest, "tidegate release list") from error

    def release(self, draft: Release, unless_since: int | None, touched: Iterable[str]) -> Release:
        """Publish: the one commit that readers follow. Returns the release as written.

        `draft` says what it covers; number, parent and dead are set against the newest release in one compare-and-swap.
        A publication is released once: when it stands there already (its answer was lost), that release is returned.

        Raises:
            StaleBaseError: a release after `unless_since` is a rollback or covers a table of `touched`.
        """
        written: list[Release] = []
        read = set(touched)

        def build(seq: int, rows: list[Row]) -> Row:
            before = [Release.of(row) for row in rows]
            written[:] = [r for r in before if r.pub == draft.pub]
            if written:
                raise _ReleasedBeforeError
            newest = before[-1] if before else None
            newer = [r for r in before if r.release > (unless_since or 0)]
            blocking = [r.release for r in newer if r.kind == "rollback" or read & {t for t, _, _ in r.covers}]
            if blocking:
                raise StaleBaseError(blocking)
            dead = newest.dead if newest else frozenset()
            final = replace(draft, release=seq, parent=newest.release if newest else None, dead=dead | draft.dead)
            written[:] = [final]
            return _release_row(final)

        with suppress(_ReleasedBeforeError):
            self.store.append("releases", build)
        return written[-1]

    # incidents and promotions
    def incidents(self) -> list[Row]:
        """All rows of `incidents`, oldest first."""
        return self.store.rows("incidents")

    def add_incident(self, row: Row) -> int:
        """Add an event of an incident."""
        return self.store.append("incidents", lambda seq, _: row)

    def add_incident_after(self, build: Callable[[list[Row]], Row]) -> int:
        """Add the event that `build(all rows so far)` makes, in one compare-and-swap; what it raises ends the attempt."""
        return self.store.append("incidents", lambda seq, rows: build(rows))

    def promotions(self) -> list[Row]:
        """All rows of `promotions`, oldest first."""
        return self.store.rows("promotions")

    def add_promotion(self, row: Row) -> int:
        """Add a move of a model's alias."""
        return self.store.append("promotions", lambda seq, _: row)

    def champion(self, model: str) -> str | None:
        """Version of `model` that the alias champion points to, if any."""
        rows = [r for r in self.promotions() if (r["model"], r["alias"]) == (model, "champion")]
        return str(rows[-1]["to_version"]) if rows else None


class StaleBaseError(Exception):
    """Another release touched what this publication read; it must be staged again."""

    def __init__(self, releases: Sequence[int]) -> None:
        self.releases = list(releases)
        super().__init__(self.releases)


class _ReleasedBeforeError(Exception):
    """The publication has its release already; nothing is to be written."""


def _interval(call: Invocation, state: str) -> Row:
    return {"dag_run": call.dag_run, "step": call.step, "from_hour": call.start, "to_hour": call.end, "state": state}


def _release_row(release: Release) -> Row:
    covers = [[t, format_hour(a), format_hour(b)] for t, a, b in release.covers]
    return {
        "release": release.release, "pub": release.pub, "parent": release.parent, "kind": release.kind,
        "covers": json.dumps(covers), "dead": json.dumps(sorted(release.dead)),
        "rows": json.dumps(release.rows, sort_keys=True), "why": release.why,
    }  # fmt: skip


def hours_of(release: Release) -> tuple[datetime, datetime] | None:
    """The widest interval that a release covers; none for one that covers nothing."""
    if not release.covers:
        return None
    return min(a for _, a, _ in release.covers), max(b for _, _, b in release.covers)
