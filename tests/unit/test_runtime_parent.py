"""A step dies with what started it: real processes, really killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux")

DRIVER = "import sys, time; from spark_jobs.runtime.parent import *; {call}; print('ready', flush=True); time.sleep(60)"


def _tree(call: str, generations: int) -> tuple[subprocess.Popen[str], list[int]]:
    """A chain of processes that ends in a driver; the first, and the numbers of all, oldest first."""
    chain = [sys.executable, "-c", DRIVER.format(call=call)]
    for _ in range(generations - 1):
        chain = [sys.executable, "-c", f"import os, subprocess; subprocess.run({chain!r})"]
    first = subprocess.Popen(chain, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert first.stdout.readline() == "ready\n"
    pids = [first.pid]
    while children := Path(f"/proc/{pids[-1]}/task/{pids[-1]}/children").read_text().split():
        pids.append(int(children[0]))
    assert len(pids) == generations
    return first, pids


def _wait_for_the_end_of_all(first: subprocess.Popen[str]) -> None:
    """The pipe ends when the last process that holds it ends."""
    first.wait(10)
    assert first.stdout.read() == ""
    first.stdout.close()


def test_a_driver_dies_when_its_submit_is_killed():
    """SIGKILL leaves the parent no chance to tell it."""
    first, _ = _tree("die_with_parent()", 2)
    first.kill()
    _wait_for_the_end_of_all(first)


def test_submit_and_driver_die_when_the_submitter_is_killed():
    """As when Airflow's task process is killed."""
    first, _ = _tree("die_with_parent(); die_with_submitter(0.05)", 3)
    first.kill()
    _wait_for_the_end_of_all(first)


def test_a_driver_that_asked_for_nothing_lives_on():
    """What the two functions are for."""
    first, pids = _tree("None", 2)
    first.kill()
    first.wait(10)
    os.kill(pids[1], 0)
    os.kill(pids[1], signal.SIGKILL)
    _wait_for_the_end_of_all(first)
