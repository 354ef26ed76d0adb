"""Wrong variants of the protocol, each of which the schedules must catch: the proof that they can see.

Each is a context in which the code is wrong in one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import toy_pipeline as toy
from memory_storage import MemoryFiles, MemoryRows, MemoryStorage

from spark_jobs.lake import admission, maintenance, predictions, publish
from spark_jobs.ledger import folds, releasing
from spark_jobs.verdict import Outcome

Control = Callable[[pytest.MonkeyPatch], None]
CONTROLS: dict[str, Control] = {}


def _control(function: Control) -> Control:
    CONTROLS[function.__name__] = function
    return function


@_control
def append_twice_under_one_pub(patch: pytest.MonkeyPatch) -> None:
    """A retry stages again under the number of the first attempt, and nobody reads back."""
    start, count = admission.Ledger.start, iter(range(10**9))
    write_rows = MemoryStorage.write_rows

    def reused(ledger: Any, call: Any, *words: Any) -> int:
        former = ledger.step_row(call.dag_run, call.step)
        return former["pub"] if former and former["pub"] else start(ledger, call, *words)

    def elsewhere(storage: Any, table: str, path: str, rows: Any) -> Any:
        return write_rows(storage, table, path.replace("part", f"part-{next(count)}"), rows)

    patch.setattr(admission.Ledger, "start", reused)
    patch.setattr(MemoryStorage, "write_rows", elsewhere)
    patch.setattr(publish, "_named", lambda sizes, pub: {})
    patch.setattr(publish, "_read_back", lambda storage, staged: None)
    patch.setattr(admission.Ledger, "released", lambda ledger, pub: None)


@_control
def release_before_audit(patch: pytest.MonkeyPatch) -> None:
    """What was staged is sealed before its verdict, and published without one."""
    patch.setattr(admission, "require_verdicts", lambda *words: None)
    record = admission.Ledger.record
    patch.setattr(
        admission.Ledger,
        "add_verdict",
        lambda ledger, call, pub, verdict: (
            record(ledger, call, "staged", pub, staged={}) if verdict.outcome.blocks else 0
        ),
    )
    patch.setattr(Outcome, "blocks", property(lambda outcome: False))


@_control
def read_head_instead_of_the_release(patch: pytest.MonkeyPatch) -> None:
    """Readers take all rows that the newest log names."""
    current = toy.current

    def head(storage: Any, table: str, line: Any, own: Any, span: Any) -> Any:
        if own or span:
            return current(storage, table, line, own, span)
        rows = toy.named_rows(storage, table)
        return toy.choose(table, rows, {row[0]: max(r[2] for r in rows if r[0] == row[0]) for row in rows}, None, span)

    patch.setattr(toy, "current", head)


@_control
def swallow_error_as_pass(patch: pytest.MonkeyPatch) -> None:
    """A check that broke counts as one that passed."""
    patch.setattr(Outcome, "blocks", property(lambda outcome: outcome is Outcome.FAIL))


@_control
def old_key_not_healed(patch: pytest.MonkeyPatch) -> None:
    """Only tiles of new rows are restated, not those that a corrected row left."""
    healed = toy.healed

    def half(before: Any, after: Any, *words: Any) -> Any:
        kept = {tuple(row[1:]) for row in after}
        return healed([row for row in before if tuple(row[1:]) in kept], after, *words)

    patch.setattr(toy, "healed", half)


@_control
def ties_by_hour_instead_of_pub(patch: pytest.MonkeyPatch) -> None:
    """Of two versions known at the same hour the one of the later hour counts."""
    patch.setattr(toy, "rank", lambda row: (row[1], row[0]))


@_control
def known_from_the_clock(patch: pytest.MonkeyPatch) -> None:
    """known_at is when the job ran."""
    write = toy.write

    def stamped(storage: Any, table: str, pub: int, rows: Any) -> Any:
        now = toy.index(storage.now())
        return write(storage, table, pub, [[row[0], max(row[1], now), *row[2:]] for row in rows])

    patch.setattr(toy, "write", stamped)


@_control
def tiles_known_before_those_they_replace(patch: pytest.MonkeyPatch) -> None:
    """An hour that is published late keeps the known time of its drop, though a later hour restated the tile before."""
    healed = toy.healed
    patch.setattr(toy, "healed", lambda *words: healed(*words[:-1], {}))


@_control
def no_look_at_the_base(patch: pytest.MonkeyPatch) -> None:
    """Releases that came between are not looked at."""
    release = releasing.release
    patch.setattr(releasing, "release", lambda store, draft, since, touched: release(store, draft, since, []))
    # rollbacks between are still looked at


@_control
def no_compare_and_swap(patch: pytest.MonkeyPatch) -> None:
    """A row is added whoever was first."""

    def append(opened: Any, row: Any) -> bool:
        opened._storage.moment()
        opened._commits.append(row)
        opened._storage.moment()
        return True

    patch.setattr(MemoryRows, "append", append)


@_control
def append_without_asking_whether_it_was_released(patch: pytest.MonkeyPatch) -> None:
    """An attempt that slept finds its files gone from the log, because they were compacted, and names them again."""
    patch.setattr(publish, "_append", _append_without_asking)


def _append_without_asking(ledger: Any, pub: int, tables: Any) -> None:
    waiting = [staged for staged in tables if staged.files]
    while waiting:
        table = ledger.storage.make_file_table(waiting[0].table, waiting[0].schema)
        if publish._named(table.sizes(), pub) or table.commit(waiting[0].files, [], pub):
            del waiting[0]


@_control
def remove_young_publications(patch: pytest.MonkeyPatch) -> None:
    """Maintenance takes a publication for dead as soon as it is not released."""
    patch.setattr(maintenance, "UNRELEASED_KEPT_FOR", timedelta(0))
    patch.setattr(publish, "_read_back", lambda storage, staged: None)


@_control
def commit_over_another_commit(patch: pytest.MonkeyPatch) -> None:
    """The log of a lake table takes the state that the writer saw, and loses what came between."""

    def commit(opened: Any, add: Any, remove: Any, pub: Any) -> bool:
        opened._storage.moment()
        gone, before = set(remove), opened._commits[opened._version - 1]
        kept = {path: size for path, size in before.items() if path not in gone}
        opened._commits.append(kept | {file.path: file.size for file in add})
        opened._storage.moment()
        return True

    patch.setattr(MemoryFiles, "commit", commit)


@_control
def predictions_of_withdrawn_hours(patch: pytest.MonkeyPatch) -> None:
    """Predictions are released although their hours were rolled back after they were published."""
    live = folds.live
    patch.setattr(predictions, "folds", SimpleNamespace(live=lambda line: live(line) | {r.pub for r in line}))


@_control
def rollback_takes_scores_too(patch: pytest.MonkeyPatch) -> None:
    """What was served is forgotten together with the rows it was made from."""
    patch.setattr(
        releasing,
        "dead_at",
        lambda line, to: line[[r.release for r in line].index(to)].dead | {r.pub for r in line if r.release > to},
    )


@_control
def live_forgets_the_dead(patch: pytest.MonkeyPatch) -> None:
    """A rollback is written and nobody heeds it."""
    patch.setattr(folds, "live", lambda line: frozenset(r.pub for r in line))


@contextmanager
def wrong(name: str) -> Iterator[None]:
    """Inside, the code is wrong in the way of this name."""
    with pytest.MonkeyPatch.context() as patch:
        CONTROLS[name](patch)
        yield
