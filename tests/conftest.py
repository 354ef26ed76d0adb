"""One Spark session a test process, and a copy of the project for tests that change its configuration."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
LONGEST = "tests/spark/test_bulk_equals_hourly.py"  # ten minutes, with lakes of its own
ONE_PROCESS = ("tests/spark", "tests/faults")  # folders whose tests share lakes that take a minute to make, and a JVM


def pytest_configure(config: pytest.Config) -> None:
    """One seed for all processes of a run; TIDEGATE_SEED repeats it."""
    os.environ.setdefault("TIDEGATE_SEED", str(random.SystemRandom().randrange(1, 10**9)))


def pytest_report_header(config: pytest.Config) -> str:
    """The seed, in the first lines of every run."""
    return f"seed of random schedules: TIDEGATE_SEED={os.environ['TIDEGATE_SEED']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, so that two processes end at about the same time."""
    order = [LONGEST, *ONE_PROCESS]
    items.sort(key=lambda item: order.index(scope) if (scope := _scope(item.nodeid)) in order else len(order))


def _scope(nodeid: str) -> str:
    """Tests of one scope are run by one process."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder in ONE_PROCESS and file != LONGEST else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which tests stay together when several processes run them: those of a file, and those of the folders ONE_PROCESS."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        """Marks (--dist loadgroup) are not heard by pytest-xdist 3.8 under pytest 9.2."""

        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    return ByFolder(config, log)


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """A local session set like a submitted one.

    `make test-long` gives it more memory: a killed driver never hands back what it held of the JVM.
    """
    from spark_jobs.lake.session import local_session

    session = local_session(memory_mb=int(os.environ.get("TIDEGATE_TEST_HEAP_MB", "3072")))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def new_project() -> Callable[[Path], Path]:
    """Makes a folder a project of its own, with the shipped conf/ and expectations/, outside of any checkout."""

    def make(folder: Path) -> Path:
        for name in ("conf", "expectations"):
            shutil.copytree(CHECKOUT / name, folder / name)
        return folder

    return make


@pytest.fixture
def project(new_project: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own; its data lie below it."""
    folder = new_project(tmp_path / "project")
    monkeypatch.setenv("TIDEGATE_PROJECT", str(folder))
    monkeypatch.delenv("TIDEGATE_DATA", raising=False)
    return folder
