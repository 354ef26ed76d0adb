"""Waits until every container of the platform is healthy and shows which are not yet; 1 when one ended or time is up."""

from __future__ import annotations

import json
import subprocess
import sys
import time

LIMIT_SECONDS = 300


def states(compose: list[str]) -> dict[str, str]:
    """Health of each container of the project, its state where it has no health check, by service."""
    ids = subprocess.run([*compose, "ps", "-a", "-q"], capture_output=True, text=True, check=True).stdout.split()
    told = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
    found = {}
    for one in json.loads(told):
        state = one["State"]
        name = one["Config"]["Labels"]["com.docker.compose.service"]
        over = "done" if state["ExitCode"] == 0 else f"ended with {state['ExitCode']}"
        running = state.get("Health", {}).get("Status", "running")
        found[name] = running if state["Status"] == "running" else over
    return found


def main(compose: list[str]) -> int:
    """Poll until all is well."""
    began, before = time.monotonic(), ""
    while time.monotonic() - began < LIMIT_SECONDS:
        now = states(compose)
        waiting = sorted(name for name, state in now.items() if state not in ("healthy", "running", "done"))
        told = ", ".join(f"{name} {now[name]}" for name in waiting)
        if told != before:
            print(f"{time.monotonic() - began:5.0f} s  {told or 'all healthy'}", flush=True)
            before = told
        if not waiting:
            return 0
        time.sleep(1)
    print(f"not healthy after {LIMIT_SECONDS} s: {before}\n  do: {' '.join(compose)} logs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
