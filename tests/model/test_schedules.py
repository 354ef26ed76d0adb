"""Publishing, rollback and maintenance under twenty thousand random schedules of crashes, delays and races.

The code is that of production from the ledger's rows to the release; disk and clock are in memory. A schedule is named by
its seed: `TIDEGATE_SEED=<seed> TIDEGATE_SCHEDULES=1` runs it alone. `make test-long` runs a million.
"""

import multiprocessing
import os
from datetime import timedelta

import pytest
from controls import CONTROLS, wrong
from memory_storage import FileGoneError, MemoryStorage
from schedules import BrokenError, one

from spark_jobs.errors import TidegateError
from spark_jobs.lake.maintenance import UNRELEASED_KEPT_FOR

FIRST = int(os.environ["TIDEGATE_SEED"])  # tests/conftest.py draws one and prints it
SCHEDULES = int(os.environ.get("TIDEGATE_SCHEDULES", "20000"))
PROCESSES = 2
ENOUGH = 6_000  # schedules within which every wrong variant must be caught; the rarest breaks one in 5,000


def _broken(seeds: range) -> list[str]:
    """What the first schedule of these seeds that breaks a promise broke."""
    for seed in seeds:
        try:
            one(seed)
        except (BrokenError, TidegateError, TimeoutError, FileGoneError) as error:
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


@pytest.mark.parametrize("by_its_own_look", [False, True])
def test_control_of_a_vacuum_whose_machine_slept_for_days_between_its_fence_and_its_look(monkeypatch, by_its_own_look):
    """What was young at the fence has grown old at the look: ages count from the fence, or a file is lost.

    Seldom: one schedule in some thousands has such a writer, so these are seeds of which one has.
    """
    vacuum = MemoryStorage.vacuum

    def slept(self, table, before):
        for _ in range(20):  # its writer opens the log after the fence, and gets as far as to its commit
            self.moment()
        self.disk.clock += timedelta(hours=60)
        return vacuum(self, table, self.now() - UNRELEASED_KEPT_FOR if by_its_own_look else before)

    monkeypatch.setattr(MemoryStorage, "vacuum", slept)
    assert (_broken(range(3_000, 4_000)) != []) == by_its_own_look
