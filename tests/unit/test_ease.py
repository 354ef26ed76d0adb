"""Lines of the first hour that concern the whole: the end screen, no route out, TERM ends every child."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spark_jobs.ledger import Ledger, Release

CHECKOUT = Path(__file__).resolve().parents[2]
TIDEGATE = [sys.executable, "-m", "spark_jobs.cli"]


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The demo's module, with a data folder of its own."""
    monkeypatch.setenv("TIDEGATE_DATA", str(tmp_path))
    monkeypatch.setenv("TIDEGATE_PROJECT", str(CHECKOUT))
    monkeypatch.syspath_prepend(str(CHECKOUT / "demo"))
    import run

    return run


def test_ease_9_the_end_screen_has_at_most_20_lines_and_names_page_and_next_commands(demo, tmp_path, capsys):
    hours = datetime(2013, 11, 1, 12, tzinfo=UTC), datetime(2013, 11, 1, 13, tzinfo=UTC)
    root = tmp_path / "lake" / demo.PIPELINE
    draft = Release(0, 1, None, "hour", (("silver/schedules", *hours),), frozenset(), {}, "", hours[0])
    Ledger.open(root).release(draft, None, [])
    (root / "models").mkdir()
    figures = {name: {"auc": 0.7} for name in ("challenger", "one", "two", "three")}
    (root / "models" / "late_departure.json").write_text(json.dumps({"figures": figures}))
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "data_team.jsonl").write_text("{}\n")
    demo.summary(demo.Demo(), tmp_path / "report" / "page.html")
    screen = capsys.readouterr().out.partition("tidegate demo:")[2].splitlines()
    assert len(screen) <= 20
    assert any("page.html" in line for line in screen)
    assert any("tidegate read" in line for line in screen)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="a namespace without routes needs root")
@pytest.mark.parametrize("words", [["validate"], ["doctor", "--quick"], ["status", "nycflights13"]])
def test_ease_14_commands_work_with_no_route_out(words, tmp_path):
    environ = {**os.environ, "TIDEGATE_DATA": str(tmp_path), "TIDEGATE_PROJECT": str(CHECKOUT)}
    command = ["unshare", "-n", *TIDEGATE, *words]
    ended = subprocess.run(command, cwd=CHECKOUT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


def test_ease_15_term_ends_the_demo_and_its_children_within_10_seconds(tmp_path):
    environ = {**os.environ, "TIDEGATE_DATA": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(
        [sys.executable, "demo/run.py"], cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("[2/"):
            break
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(timeout=10) == 143
    deadline = time.monotonic() + 10
    while (left := _processes_of(tmp_path)) and time.monotonic() < deadline:
        os.sched_yield()
    assert left == []


def _processes_of(data: Path) -> list[str]:
    """Process ids whose environment names this data folder."""
    wanted, found = f"TIDEGATE_DATA={data}".encode(), []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in place.read_bytes().split(b"\0"):
                found.append(place.parent.name)
        except OSError:  # ended meanwhile
            continue
    return found
