"""Publishing, rollback and maintenance under twenty thousand random schedules of crashes, delays and races.

The code is that of production from the ledger's rows to the release; disk and clock are in memory. A schedule is named by
its seed: `TIDEGATE_SEED=<seed> TIDEGATE_SCHEDULES=1` runs it alone. `make test-long` runs a million.
"""

import multiprocessing
import os

import pytest
from controls import CONTROLS, wrong
from memory_storage import MemoryStorage
from schedules import BrokenError, one

from spark_jobs.errors import TidegateError
from spark_jobs.lake.maintenance import UNRELEASED_KEPT_FOR

FIRST = int(os.environ["TIDEGATE_SEED"])  # tests/conftest.py draws one and prints it
SCHEDULES = int(os.environ.get("TIDEGATE_SCHEDULES", "20000"))
PROCESSES = 2
ENOUGH = 3_000  # schedules within which every wrong variant must be caught


def _broken(seeds: range) -> list[str]:
    """What the first schedule of these seeds that breaks a promise broke."""
    for seed in seeds:
        try:
            one(seed)
        except (BrokenError, TidegateError, TimeoutError) as error:
            return [f"seed {seed}: {error}"]
    return []


@pytest.mark.parametrize("count", [SCHEDULES, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_no_schedule_breaks_a_promise(count):
    """Nothing unchecked or half-done is readable, nothing is lost, every attempt gets through in the end."""
    seeds = range(FIRST, FIRST + count)
    parts = [seeds[n::PROCESSES] for n in range(PROCESSES)]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        broken = [text for found in pool.map(_broken, parts) for text in found]
    assert broken == []


@pytest.mark.parametrize("name", CONTROLS)
def test_control(name):
    """Each wrong variant of the protocol breaks a promise within a few schedules of fixed seeds."""
    with wrong(name):
        assert _broken(range(ENOUGH)) != []


def test_control_of_a_race_that_one_schedule_in_a_hundred_thousand_runs_into(monkeypatch):
    """A vacuum that counts ages from when it looks: the machine slept for days between its fence and its look."""
    rare = range(600_089_369, 600_089_370)
    assert _broken(rare) == []
    vacuum = MemoryStorage.vacuum

    def by_its_own_look(self, table, before):
        moment, first = self.moment, [True]
        moment()  # here the machine sleeps; the moment with which vacuum begins is this one
        self.moment = lambda: None if first and first.pop() else moment()
        try:
            return vacuum(self, table, self.now() - UNRELEASED_KEPT_FOR)
        finally:
            self.moment = moment

    monkeypatch.setattr(MemoryStorage, "vacuum", by_its_own_look)
    assert _broken(rare) != []
