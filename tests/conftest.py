"""One Spark session a test process, and a copy of the project for tests that change its configuration."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    """A local session set like a submitted one."""
    from spark_jobs.lake.session import local_session

    session = local_session()
    yield session
    session.stop()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with the shipped conf/ and expectations/; its data lie below it."""
    folder = tmp_path / "project"
    for name in ("conf", "expectations"):
        shutil.copytree(CHECKOUT / name, folder / name)
    monkeypatch.setenv("TIDEGATE_PROJECT", str(folder))
    monkeypatch.delenv("TIDEGATE_DATA", raising=False)
    return folder
