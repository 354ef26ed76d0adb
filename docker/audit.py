"""`make audit`: every package of uv.lock against the advisories of today, through pip-audit.

What was found goes to docker/advisories.json with the day; an advisory that is accepted stands there under `accepted` with its
reason. An audit that could look at nothing is no audit: pip-audit ends with 0 then, so its answer is held against the lock.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[1]
STORED = CHECKOUT / "docker" / "advisories.json"
EXPORT = ["export", "--locked", "--all-extras", "--no-emit-project", "--no-header", "--quiet"]
AUDIT = ["tool", "run", "--from", "pip-audit==2.10.1", "pip-audit", "--strict", "--require-hashes", "--disable-pip",
         "--progress-spinner", "off", "--format", "json", "--requirement"]  # fmt: skip


def wanted(export: str) -> dict[str, str]:
    """Version by name of what the exported lock installs on this machine."""
    lines = re.sub(r"\\\n\s*", " ", export).splitlines()
    asked = [Requirement(line.split(" --hash")[0]) for line in lines if line and not line.startswith(("#", " "))]
    here = [one for one in asked if one.marker is None or one.marker.evaluate()]
    return {one.name: str(one.specifier).removeprefix("==") for one in here}


def faults(
    told: dict[str, Any], packages: dict[str, str], accepted: dict[str, str]
) -> tuple[list[str], dict[str, list[str]]]:
    """Why this is no clean audit of `packages`, and the advisories by `name==version`."""
    looked = {one["name"]: one for one in told["dependencies"] if "skip_reason" not in one}
    missed = sorted(name for name, version in packages.items() if looked.get(name, {}).get("version") != version)
    found = [f"{len(missed)} of {len(packages)} packages were not audited: {', '.join(missed[:5])}"] if missed else []
    hits = {
        f"{name}=={one['version']}": sorted(bug["id"] for bug in one["vulns"])
        for name, one in looked.items()
        if one["vulns"]
    }
    found += [f"{where}: {bug}" for where, bugs in sorted(hits.items()) for bug in bugs if not accepted.get(bug)]
    return (found or ["the lock names no package"]) if not packages else found, hits


def main(uv: str) -> int:
    """Exit code: 1 where something was found, or where nothing could be."""
    export = subprocess.run([uv, *EXPORT], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(export)
        file.flush()
        done = subprocess.run([uv, *AUDIT, file.name], capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)
    except json.JSONDecodeError:
        print(f"audit: nothing was audited: {done.stderr.strip()[-500:]}", file=sys.stderr)
        return 1
    accepted = json.loads(STORED.read_text())["accepted"] if STORED.exists() else {}
    packages = wanted(export)
    bad, hits = faults(told, packages, accepted)
    for line in bad:
        print(f"audit: {line}", file=sys.stderr)
    if not any("not audited" in line for line in bad) and packages:
        day = datetime.now(UTC).date().isoformat()
        STORED.write_text(
            json.dumps({"taken": day, "packages": packages, "hits": hits, "accepted": accepted}, indent=1) + "\n"
        )
        print(
            f"audit: {len(packages)} packages, {sum(map(len, hits.values()))} advisories, {len(accepted)} accepted; kept in {STORED}"
        )
    return 1 if bad or done.returncode not in (0, 1) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
