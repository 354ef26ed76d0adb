"""Our own use of Great Expectations and MLflow speaks to nobody; their default use would, which shows that this test sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Every name that is resolved and every address that is connected to, whoever asks in this process.
WATCH = """
import json, sys, time
asked = set()
def hook(event, found):
    if event == "socket.getaddrinfo":
        asked.add(str(found[0]))
    elif event == "socket.connect" and isinstance(found[1], tuple):
        asked.add(str(found[1][0]))
sys.addaudithook(hook)
"""
OURS = """
from pathlib import Path
from spark_jobs.learning.tracking import Tracking, champion
from spark_jobs.quality import suites
suites._context()
folder = Path(sys.argv[1])
assert champion(Tracking(f"sqlite:///{folder}/mlflow.db", folder), "model") is None
"""
THEIRS = """
import great_expectations, mlflow
great_expectations.get_context(mode="ephemeral")
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}/mlflow.db")
mlflow.create_experiment("one")
"""
TOLD = """
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:  # both send from threads of their own
    time.sleep(0.2)
print(json.dumps(sorted(asked - {"127.0.0.1", "localhost", "::1"})))
"""
SETTINGS = ("DO_NOT_TRACK", "TELEMETRY", "ANALYTICS", "PYTEST", "CI", "GITHUB")


def _asked(script: str, folder: Path, seconds: float) -> list[str]:
    environ = {name: value for name, value in os.environ.items() if not any(word in name for word in SETTINGS)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH + script + TOLD, str(folder), str(seconds)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize(("script", "silent"), [(OURS, True), (THEIRS, False)], ids=["ours", "control"])
def test_nobody_is_told_what_is_done_here(script: str, silent: bool, tmp_path: Path) -> None:
    """The control waits for what its libraries send; ours as long."""
    assert (_asked(script, tmp_path, 6) == []) is silent
