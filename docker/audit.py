"""`make audit`: every package of uv.lock against advisories: today's by pip-audit, or FROM a clone of pypa/advisory-database.

What was looked at and found goes to docker/advisories.json with the day of the advisories; one that is accepted stands there under
`accepted` with its reason. An audit that could look at nothing is no audit: pip-audit ends with 0 then, so its answer is held against
the lock. A clone serves where no network is; it knows nothing of what was found after its last commit.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[1]
STORED = CHECKOUT / "docker" / "advisories.json"
EXPORT = ["export", "--locked", "--all-extras", "--no-emit-project", "--no-header", "--quiet"]
TOOL = "pip-audit==2.10.1"
AUDIT = ["tool", "run", "--from", TOOL, "pip-audit", "--strict", "--require-hashes", "--disable-pip",
         "--progress-spinner", "off", "--format", "json", "--requirement"]  # fmt: skip


class Answer(NamedTuple):
    """Day and origin of the advisories, the `name==version` that were held against them, and the ids of those that hit, by it."""

    taken: str
    source: dict[str, Any]
    looked: set[str]
    hits: dict[str, list[str]]


class NothingAuditedError(Exception):
    """No advisory could be had; says why."""


def asked(export: str) -> dict[str, bool]:
    """`name==version` of every package of the exported lock, and whether this machine would install it."""
    lines = re.sub(r"\\\n\s*", " ", export).splitlines()
    all_of_it = [Requirement(line.split(" --hash")[0]) for line in lines if line and not line.startswith(("#", " "))]
    return {f"{one.name}{one.specifier}": one.marker is None or one.marker.evaluate() for one in all_of_it}


def live(uv: str, export: str) -> Answer:
    """What pip-audit says today of what this machine would install. Raises NothingAuditedError."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(export)
        file.flush()
        done = subprocess.run([uv, *AUDIT, file.name], capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)["dependencies"]
    except json.JSONDecodeError:
        raise NothingAuditedError(done.stderr.strip()[-500:]) from None
    if done.returncode not in (0, 1):
        raise NothingAuditedError(f"pip-audit ended with {done.returncode}")
    looked = {f"{one['name']}=={one['version']}": one["vulns"] for one in told if "skip_reason" not in one}
    hits = {where: sorted(bug["id"] for bug in bugs) for where, bugs in looked.items() if bugs}
    return Answer(datetime.now(UTC).date().isoformat(), {"tool": TOOL}, set(looked), hits)


def affects(affected: dict[str, Any], version: Version) -> bool:
    """Whether one `affected` entry of an OSV advisory lists the version or has it in a range; a range without an end has none."""
    if canonicalize_version(version) in map(canonicalize_version, affected.get("versions", ())):
        return True
    for span in affected.get("ranges", ()):
        if span["type"] != "ECOSYSTEM":
            continue
        inside = False
        events = [(Version(at), kind) for event in span["events"] for kind, at in event.items()]
        for at, kind in sorted(events):
            if version > at or (version == at and kind != "last_affected"):
                inside = kind == "introduced"
        if inside:
            return True
    return False


def advisories(clone: str, names: set[str]) -> Iterator[dict[str, Any]]:
    """Every advisory of the clone's last commit that names one of the packages and was not withdrawn."""
    packed = subprocess.run(["git", "-C", clone, "archive", "HEAD", "vulns"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for member in tar:
            file = tar.extractfile(member) if canonicalize_name(Path(member.name).parent.name) in names else None
            told = yaml.load(file, Loader=yaml.BaseLoader) if file else None  # text alone: 2.10 is no number here
            if told and not told.get("withdrawn"):
                yield told


def offline(clone: str, packages: set[str]) -> Answer:
    """What the clone says of every locked package, whatever machine it is for. Raises NothingAuditedError."""
    locked: dict[str, set[str]] = {}
    for where in packages:
        locked.setdefault(where.partition("==")[0], set()).add(where)
    hits: dict[str, set[str]] = {}
    ids = set()
    try:
        show = ["git", "-C", clone, "show", "-s", "--format=%H %cs", "HEAD"]
        commit, taken = subprocess.run(show, capture_output=True, text=True, check=True).stdout.split()
        for told in advisories(clone, set(locked)):
            for affected in told["affected"]:
                for where in locked.get(canonicalize_name(affected["package"]["name"]), ()):
                    ids.add(told["id"])
                    if affects(affected, Version(where.partition("==")[2])):
                        hits.setdefault(where, set()).add(told["id"])
    except subprocess.CalledProcessError as error:
        text = error.stderr if isinstance(error.stderr, str) else error.stderr.decode(errors="replace")
        raise NothingAuditedError(text.strip()[-500:]) from None
    if not ids:
        raise NothingAuditedError(f"{clone} has no advisory on any package of the lock")
    source = {"repository": "pypa/advisory-database", "commit": commit, "advisories": len(ids)}
    return Answer(taken, source, packages, {where: sorted(bugs) for where, bugs in sorted(hits.items())})


def main(uv: str, clone: str = "") -> int:
    """Exit code: 1 where something was found, or where nothing could be."""
    export = subprocess.run([uv, *EXPORT], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    packages = asked(export)
    wanted = {where for where, here in packages.items() if here or clone}
    try:
        if not wanted:
            raise NothingAuditedError("the lock names no package")
        answer = offline(clone, wanted) if clone else live(uv, export)
        missed = sorted(wanted - answer.looked)
        if missed:
            raise NothingAuditedError(f"{len(missed)} of {len(wanted)} packages were not: {', '.join(missed[:5])}")
    except NothingAuditedError as error:
        print(f"audit: not audited: {error}", file=sys.stderr)
        return 1
    accepted = json.loads(STORED.read_text())["accepted"] if STORED.exists() else {}
    kept = {"taken": answer.taken, "source": answer.source, "hits": answer.hits, "accepted": accepted,
            "looked": sorted(wanted), "for_other_machines": sorted(set(packages) - wanted)}  # fmt: skip
    STORED.write_text(json.dumps(kept, indent=1) + "\n")
    found = [f"{where}: {bug}" for where, bugs in answer.hits.items() for bug in bugs if not accepted.get(bug)]
    for line in found:
        print(f"audit: {line}", file=sys.stderr)
    print(f"audit: {len(wanted)} packages, advisories of {answer.taken}, {len(found)} to answer; kept in {STORED}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
