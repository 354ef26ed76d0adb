"""What a heal reads from ledger and files: times of rows, bases of runs, heals that count."""

from __future__ import annotations

from pathlib import Path

import pytest
from lake_rows import CALLS, SILVER, at, publication

from spark_jobs.lake import healing
from spark_jobs.lake.hours import micros
from spark_jobs.lake.publish import publish
from spark_jobs.lake.stale_hours import Heal
from spark_jobs.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Thing a in hours 1 and 5, b in hour 1, c in hour 5, d in hour 7."""
    ledger = Ledger.open(tmp_path)
    for hours, rows in (((1, 2), [("a", 1), ("b", 1)]), ((5, 6), [("a", 2), ("c", 1)]), ((7, 8), [("d", 1)])):
        base = ledger.line()[-1].release if ledger.line() else None
        pub = ledger.start(CALLS, "code", "conf", base)
        publish(ledger, publication(tmp_path, ledger, pub, hours, *rows))
    return ledger


def _times(root: Path, ledger: Ledger, *hours: int) -> dict[int, tuple[int, int]]:
    pubs = {release.pub for release in ledger.line()} - ledger.line()[-1].dead
    found = healing._times(root, SILVER, ["thing"], "hour", pubs, [at(hour) for hour in hours])
    named = {micros(at(hour)): hour for hour in range(24)}
    return {hour.hour: (named[first], named[last]) for hour, (first, last) in found.items()}


def test_times_are_those_of_all_versions_of_an_hour_s_keys(tmp_path, ledger):
    assert _times(tmp_path, ledger, 5, 7, 9) == {5: (1, 5), 7: (7, 7)}
    assert _times(tmp_path, ledger, 1) == {1: (1, 5)}


def test_times_of_rows_that_a_rollback_took_away_do_not_count(tmp_path, ledger):
    ledger.rollback("p", 1, "test")
    assert _times(tmp_path, ledger, 1, 5, 7) == {1: (1, 1)}


def test_bases_are_those_of_the_runs(ledger):
    pubs = [release.pub for release in ledger.line()]
    assert healing._bases(ledger, set(pubs)) == dict(zip(pubs, (None, 1, 2), strict=True))


def test_a_heal_counts_with_its_interval_while_readers_see_its_base(ledger):
    """An empty heal of release 3 counts no more after a rollback to 2, and again when the rollback is undone."""
    call = CALLS.with_step("heal")
    ledger.record(call, "empty", None, base=3)
    ledger.record(call, "refused", 9, base=3)
    ledger.record(call, "started", 10, base=3)
    heal = Heal(call.start, call.end, 3)
    assert healing._heals(ledger, ledger.line()) == [heal]
    ledger.rollback("p", 2, "test")
    assert healing._heals(ledger, ledger.line()) == []
    ledger.rollback("p", 3, "undo")
    assert healing._heals(ledger, ledger.line()) == [heal]
