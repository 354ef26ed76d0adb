"""C4: the disk of the lake is full in the middle of an hour; a lake of its own, on a small disk in memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.platform.stack import PIPELINE, Stack

FIRST, FULL, END = "2013-01-01T12:00:00", "2013-01-01T14:00:00", "2013-01-01T15:00:00"
LEFT_KB = 200
FROM = {"replay": (), "fetch": ("--source", "planes")}


class Small:
    """A container of the project's image with 256 MB for its lake."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *words: str) -> tuple[int, str]:
        """Exit code and output of a command in it."""
        done = subprocess.run(["docker", "exec", self.name, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def tidegate(self, command: str, low: str, high: str, *more: str) -> tuple[int, str]:
        """One of our commands over [low, high)."""
        return self.run("tidegate", command, PIPELINE, "--from", low, "--to", high, *more)

    def rows(self) -> Any:
        """What readers see of departures."""
        _, told = self.run("tidegate", "read", PIPELINE, "silver/departures", "--limit", "1000", "--json")
        found = json.loads(told.strip().splitlines()[-1])
        return found | {"rows": sorted(map(json.dumps, found["rows"]))}  # readers promise no order


@pytest.fixture
def small(stack: Stack) -> Iterator[Small]:
    image = stack.inspect("airflow-scheduler")["Config"]["Image"]
    name = f"{stack.container('airflow-scheduler')[:12]}-disk"
    subprocess.run(
        ["docker", "run", "--detach", "--rm", "--name", name, "--read-only", "--cap-drop", "ALL", "--memory", "4g",
         "--tmpfs", "/tmp:mode=1777,exec", "--tmpfs", "/data:size=256m,uid=10001,gid=10001", "--user", "10001:10001",
         "--env", "TIDEGATE_ENV=local", "--env", "TIDEGATE_DATA=/data", image, "sleep", "1800"],
        check=True, capture_output=True,
    )  # fmt: skip
    yield Small(name)
    subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


def test_a_full_disk_fails_the_hour_leaves_readers_what_they_had_and_the_same_command_ends_it(small: Small) -> None:
    for command in ("replay", "fetch"):
        code, told = small.tidegate(command, FIRST, END, *FROM[command])
        assert code == 0, told[-3000:]
    code, told = small.tidegate("backfill", FIRST, FULL)
    assert code == 0, told[-3000:]
    before = small.rows()
    assert before["rows"]
    fill = f"dd if=/dev/zero of=/data/ballast bs=1k count=$(( $(df --output=avail -k /data | tail -1) - {LEFT_KB} ))"
    assert small.run("sh", "-c", fill)[0] == 0
    code, told = small.tidegate("backfill", FULL, END)
    assert code != 0
    assert "No space left on device" in told
    assert small.rows() == before
    small.run("rm", "/data/ballast")
    code, told = small.tidegate("backfill", FULL, END)
    assert code == 0, told[-3000:]
    after = small.rows()
    assert after["release"] > before["release"]
    assert len(after["rows"]) > len(before["rows"])
