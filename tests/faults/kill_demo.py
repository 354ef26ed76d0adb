"""The demo, killed by SIGKILL once in each of its stages and started again, must end with the rows of an unbroken run.

Run by `make test-demo-kills` after `make demo` (its data folder is the unbroken run). Not part of `make test`: it takes
as long as the demo and a half.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from compare_lakes import differences

CHECKOUT = Path(__file__).resolve().parents[2]
STAGE = re.compile(rb"^\[(\d+)/(\d+)\]")
LONGEST_WAIT = {1: 3, 2: 10, 3: 60, 4: 12, 5: 30, 6: 60, 7: 60, 8: 30}  # seconds into a stage, drawn below this


def run_until_killed(data: Path, stage: int, wait: float) -> bool:
    """Start the demo and kill it `wait` seconds after it entered `stage`; False when it ended before."""
    environ = {**os.environ, "TIDEGATE_DATA": str(data), "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen([sys.executable, "demo/run.py"], cwd=CHECKOUT, env=environ, stdout=subprocess.PIPE)
    assert demo.stdout is not None
    os.set_blocking(demo.stdout.fileno(), False)
    deadline: float | None = None
    while demo.poll() is None:
        text = demo.stdout.read() or b""
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        for line in text.splitlines():
            found = STAGE.match(line)
            if found and int(found[1]) >= stage and deadline is None:
                deadline = time.monotonic() + wait
        if deadline is not None and time.monotonic() > deadline:
            demo.send_signal(signal.SIGKILL)
            demo.wait()
            return True
        time.sleep(0.2)
    if demo.returncode:
        raise SystemExit(f"the demo ended with {demo.returncode} before it was killed in stage {stage}")
    return False


def main() -> int:
    """Kill, start again, compare; 0 when both views of every table are equal."""
    reference = Path(os.environ.get("TIDEGATE_REFERENCE") or CHECKOUT / "var")
    data = Path(os.environ.get("TIDEGATE_KILLED") or CHECKOUT / ".cache" / "killed-demo")
    seed = int(os.environ.get("TIDEGATE_SEED", "13"))
    print(f"seed {seed}, unbroken run in {reference}, killed run in {data}", flush=True)
    chance = random.Random(seed)
    killed = [
        stage for stage, longest in LONGEST_WAIT.items() if run_until_killed(data, stage, chance.uniform(0.5, longest))
    ]
    environ = {**os.environ, "TIDEGATE_DATA": str(data)}
    subprocess.run([sys.executable, "demo/run.py"], cwd=CHECKOUT, env=environ, check=True)
    differing = differences(reference, data)
    print(f"killed in stages {killed}; {len(differing)} differences", *differing, sep="\n  ")
    return 1 if differing or len(killed) < len(LONGEST_WAIT) - 1 else 0


if __name__ == "__main__":
    sys.exit(main())
