"""Releases, intervals, verdicts, incidents: what happened, as facts that are appended and never changed.

Readable and writable without a JVM, so that gates, pages and alerts cost milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.config.definitions import Definitions
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import folds, releasing
from spark_jobs.ledger.folds import Release, Segment
from spark_jobs.ledger.releasing import MAY_RELEASE_FOR, StaleBaseError
from spark_jobs.ledger.store import Before, LedgerStore
from spark_jobs.storage import Row, Storage
from spark_jobs.storage.delta import DeltaStorage
from spark_jobs.verdict import Verdict

__all__ = ["MAY_RELEASE_FOR", "Ledger", "Release", "Rollback", "Row", "Segment", "StaleBaseError", "folds"]


@dataclass(frozen=True)
class Rollback:
    """What a rollback did: its release, and the hours [from, to) that lost their rows or show other rows."""

    release: Release
    withdrawn: list[tuple[datetime, datetime]]
    published: list[tuple[datetime, datetime]]


class _RecordedError(Exception):
    """The row is there already; nothing is to be written."""


class Ledger:
    """The ledger of one pipeline, below {lake}/{pipeline}/ledger."""

    def __init__(self, storage: Storage, by: str = "cli", pipeline: str = "PIPELINE") -> None:
        self.pipeline = pipeline  # for the commands that errors name
        self.storage = storage
        self.store = LedgerStore(storage, by)
        self._releases: list[Release] = []  # those read so far; rows never change, so only later ones are read again

    @staticmethod
    def open(root: Path, by: str = "cli") -> Ledger:
        """The ledger of the pipeline whose lake folder is `root`."""
        return Ledger(DeltaStorage(root), by, root.name)

    # intervals
    def intervals(self, *columns: str) -> list[Row]:
        """All rows of `intervals`, oldest first; only `columns`, where given."""
        return self.store.rows("intervals", columns or None)

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
        rows = self.store.rows("intervals", where={"dag_run": dag_run, "step": step})
        return rows[-1] if rows else None

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
        """The newest verdict on each table of one publication, in the order in which tables were first judged.

        A step that was killed may be tried again under the same publication.
        """
        rows = {row["table"]: row for row in self.store.rows("verdicts", where={"pub": pub})}
        return [Verdict.from_json(row["verdict"]) for row in rows.values()]

    # releases
    def releases(self) -> list[Release]:
        """All releases, oldest first."""
        newest = self._releases[-1].release if self._releases else 0
        self._releases += map(Release.of, self.store.rows("releases", above={"release": newest}))
        return list(self._releases)

    def require_young(self, pub: int) -> None:
        """That `pub` may still be released.

        Raises:
            RetryError: it was started more than a day ago.
        """
        releasing.require_young(self.store, pub, releasing.started_at(self.store, pub))

    def released(self, pub: int) -> Release | None:
        """The release of a publication, if there is one."""
        rows = self.store.rows("releases", where={"pub": pub})
        return Release.of(rows[-1]) if rows else None

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
            raise UsageError(
                "--release", f"no release {release}", newest, f"tidegate release list {self.pipeline}"
            ) from error

    def release(self, draft: Release, unless_since: int | None, touched: Iterable[str]) -> Release:
        """Publish: the one commit that readers follow. Returns the release as written.

        `draft` says what it covers; number, parent and dead are set against the newest release in one compare-and-swap.
        A publication is released once: when it stands there already (its answer was lost), that release is returned.

        Raises:
            StaleBaseError: a release after `unless_since` is a rollback or covers a table of `touched`.
            RetryError: the publication was started more than a day ago.
        """
        return releasing.release(self.store, draft, unless_since, touched)

    def rollback(self, pipeline: str, to: int, why: str) -> Rollback:
        """Readers see again what they saw at release `to`; no table is touched. Undone by a rollback to the release before.

        Hours that were published and no longer are become withdrawn, so that catch-up leaves them alone; those that show
        other rows stay published. Hours that never were published keep their state. Called again after a crash, it continues.

        Raises:
            UsageError: no such release, or readers see just that.
        """
        line = self.line()
        try:
            changed, published = releasing.hours_changed(line, to)
        except UsageError as fault:
            raise UsageError(fault.where, fault.found, fault.allowed, f"tidegate release list {pipeline}") from None
        call = Invocation(pipeline, "rollback", min(changed), max(changed) + HOUR, f"rollback__{to}")
        pub = self.start(call, "", "", line[-1].release)
        release = releasing.rollback(self.store, self.releases(), pub, to, why)
        covered = folds.covered_hours(self.line(release.release))
        lost, kept = folds.spans(published - covered), folds.spans(changed & covered)
        for state, spans in (("withdrawn", lost), ("published", kept)):
            for start, end in spans:
                self.record(replace(call, start=start, end=end), state, pub, why=f"rollback to release {to}: {why}")
        return Rollback(release, lost, kept)

    # quarantine
    def quarantine_actions(self, action: str) -> list[Row]:
        """The rows of `quarantine_actions` of one action, oldest first."""
        return self.store.rows("quarantine_actions", where={"action": action})

    def add_quarantine_action(self, row: Row) -> int:
        """Add what was decided about one held row."""
        return self.store.append("quarantine_actions", lambda seq, _: row)

    # definitions
    def add_definitions(self, digest: str, definitions: str) -> None:
        """Record the definitions behind a configuration hash, once."""
        self._add_definitions({"digest": digest}, definitions)

    def add_model_definitions(self, model: str, version: str, definitions: str) -> None:
        """Record the definitions of the inputs that a registered version of a model was trained on, once."""
        self._add_definitions({"model": model, "version": version}, definitions)

    def _add_definitions(self, name: Row, definitions: str) -> None:
        if self.store.rows("definitions", ["seq"], name):
            return

        def build(_: int, before: Before) -> Row:
            if before(["seq"], name):
                raise _RecordedError
            return {**name, "definitions": definitions}

        with suppress(_RecordedError):
            self.store.append("definitions", build)

    def definitions(self) -> dict[str, Definitions]:
        """All recorded definitions by configuration hash."""
        rows = self.store.rows("definitions", ["digest", "definitions"])
        return {row["digest"]: Definitions.from_json(row["definitions"]) for row in rows if row["digest"]}

    def model_definitions(self, model: str, version: str) -> dict[str, str] | None:
        """Hash of each input column that a version was trained on; none where it was not recorded."""
        rows = self.store.rows("definitions", ["definitions"], {"model": model, "version": version})
        return dict(json.loads(rows[0]["definitions"])) if rows else None

    # incidents and promotions
    def incidents(self) -> list[Row]:
        """All rows of `incidents`, oldest first."""
        return self.store.rows("incidents")

    def add_incident(self, row: Row) -> int:
        """Add an event of an incident."""
        return self.store.append("incidents", lambda seq, _: row)

    def add_incident_after(self, build: Callable[[list[Row]], Row]) -> int:
        """Add the event that `build(all rows so far)` makes, in one compare-and-swap; what it raises ends the attempt."""
        return self.store.append("incidents", lambda seq, before: build(before()))

    def promotions(self) -> list[Row]:
        """All rows of `promotions`, oldest first."""
        return self.store.rows("promotions")

    def add_promotion(self, row: Row) -> int:
        """Add a move of a model's alias."""
        return self.store.append("promotions", lambda seq, _: row)

    def champion(self, model: str) -> str | None:
        """Version of `model` that scores: the last that was promoted, if it was not demoted since."""
        row = self.last_promotion(model)
        return str(row["to_version"]) if row and row["to_version"] else None

    def champions(self, models: Iterable[str]) -> dict[str, str]:
        """Version of the champion by model; models without one are left out."""
        return {model: version for model in models if (version := self.champion(model))}

    def last_promotion(self, model: str) -> Row | None:
        """The newest row of `promotions` on the champion of `model`; without to_version it was demoted."""
        rows = [r for r in self.promotions() if (r["model"], r["alias"]) == (model, "champion")]
        return rows[-1] if rows else None


def _interval(call: Invocation, state: str) -> Row:
    return {"dag_run": call.dag_run, "step": call.step, "from_hour": call.start, "to_hour": call.end, "state": state}


def hours_of(release: Release) -> tuple[datetime, datetime] | None:
    """The widest interval that a release covers; none for one that covers nothing."""
    if not release.covers:
        return None
    return min(a for _, a, _ in release.covers), max(b for _, _, b in release.covers)
