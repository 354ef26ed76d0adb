"""The platform's PostgreSQL image as a source: every test of tests/unit/test_database_postgres.py, in a container of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.platform.stack import wait_for, why_not
from tests.unit.test_database_postgres import *  # noqa: F403  # the tests, which use `server` below
from tests.unit.test_database_postgres import PASSWORD

IMAGE = "postgres:15-bookworm"


@dataclass(frozen=True)
class Container:
    """A server in a container; `sql` runs as its owner."""

    name: str
    address: str

    def sql(self, text: str) -> None:
        """Run statements."""
        command = ["docker", "exec", "-i", self.name, "psql", "-U", "postgres", "--no-psqlrc", "-qv", "ON_ERROR_STOP=1"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Container]:
    """A server that is gone afterwards."""
    if reason := why_not():
        pytest.skip(reason)
    start = ["docker", "run", "--rm", "--detach", "--env", f"POSTGRES_PASSWORD={PASSWORD}", IMAGE]
    name = subprocess.run(start, capture_output=True, text=True, check=True).stdout.strip()
    try:
        probe = ["docker", "exec", name, "pg_isready", "-h", "127.0.0.1", "-U", "postgres"]
        wait_for(lambda: None if subprocess.run(probe, capture_output=True, check=False).returncode else True, 60)
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        found = subprocess.run(["docker", "inspect", "-f", form, name], capture_output=True, text=True, check=True)
        container = Container(name, f"{found.stdout.strip()}:5432")
        container.sql(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        yield container
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
