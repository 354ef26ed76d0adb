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
# What takes minutes begins first, the longest at the top; the short tests of other folders then fill both processes.
LONGEST = [
    "tests/spark/test_bulk_equals_hourly.py",
    "tests/spark",
    "tests/spark/test_backfill_around.py",
    "tests/model/test_evolving_schemas.py",
    "tests/faults",
    "tests/spark/test_evolution.py",
    "tests/model/test_schedules.py",
]
SHARED_LAKES = ("past", "morning")  # fixtures of tests/spark that take a minute or two to make
USERS = frozenset(  # the files that use them are run by one process; all others have lakes of their own
    f"tests/spark/test_{name}.py"
    for name in (
        *("alerts_sent", "bad_input", "drops_refused", "empty_hour", "event_window", "heal", "heal_rhythm", "hours"),
        *("oracle", "quarantine_replay", "sensitive", "views", "weeks"),
    )
)


def pytest_configure(config: pytest.Config) -> None:
    """One seed for all processes of a run; TIDEGATE_SEED repeats it."""
    os.environ.setdefault("TIDEGATE_SEED", str(random.SystemRandom().randrange(1, 10**9)))


def pytest_report_header(config: pytest.Config) -> str:
    """The seed, in the first lines of every run."""
    return f"seed of random schedules: TIDEGATE_SEED={os.environ['TIDEGATE_SEED']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest first, so that two processes end at about the same time.

    Raises:
        pytest.UsageError: a file uses lakes that another process may make a second time.
    """
    spark = [item for item in items if item.nodeid.startswith("tests/spark/")]
    files = {_file(item.nodeid) for item in spark if {*SHARED_LAKES} & {*getattr(item, "fixturenames", ())}}
    if missing := sorted(files - USERS):
        raise pytest.UsageError(f"tests/conftest.py: add to USERS, since they use {SHARED_LAKES}: {', '.join(missing)}")
    items.sort(key=lambda item: _place(_scope(item.nodeid)))


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def _scope(nodeid: str) -> str:
    """Tests of one scope are run by one process."""
    file = _file(nodeid)
    folder = file.rpartition("/")[0]
    return folder if folder == "tests/faults" or file in USERS else file


def _place(scope: str) -> int:
    """Where a scope stands in the order: those of LONGEST, others that need Spark, all others."""
    if scope in LONGEST:
        return LONGEST.index(scope)
    return len(LONGEST) + (not scope.startswith("tests/spark/"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which tests stay together when several processes run them: those of `_scope`."""
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
