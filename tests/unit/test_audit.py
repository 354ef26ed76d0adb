"""docker/audit.py never passes where nothing was audited; a shell script plays uv and pip-audit, a small repository the clone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
EXPORT = 'one==1.0 \\\n    --hash=sha256:aa\ntwo==2.0 ; python_version < "4" \\\n    --hash=sha256:bb\nold==9 ; python_version < "3"\n'
ONE, TWO = {"name": "one", "version": "1.0", "vulns": []}, {"name": "two", "version": "2.0", "vulns": []}
HIT = TWO | {"vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}


@pytest.fixture
def audit(tmp_path: Path) -> Any:
    """Runs the script in a project of its own with what pip-audit answers; gives exit code, stderr and what is stored."""
    (tmp_path / "docker").mkdir()
    shutil.copy(CHECKOUT / "docker" / "audit.py", tmp_path / "docker")
    stored = tmp_path / "docker" / "advisories.json"

    def run(
        answer: str, code: int = 0, accepted: dict[str, str] | None = None, clone: Path | str = ""
    ) -> tuple[int, str, Any]:
        (tmp_path / "export.txt").write_text(EXPORT)
        (tmp_path / "answer.json").write_text(answer)
        if accepted is not None:
            stored.write_text(json.dumps({"accepted": accepted}))
        tool = tmp_path / "uv"
        tool.write_text(
            f'#!/bin/sh\n[ "$1" = export ] && exec cat {tmp_path}/export.txt\n'
            f'case "$*" in *--strict*--require-hashes*) ;; *) exit 9;; esac\ncat {tmp_path}/answer.json\nexit {code}\n'
        )
        tool.chmod(0o755)
        command = [sys.executable, str(tmp_path / "docker" / "audit.py"), str(tool), str(clone)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, json.loads(stored.read_text()) if stored.exists() else None

    return run


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "not audited"),
        (json.dumps({"dependencies": []}), "2 of 2 packages were not: one==1.0, two==2.0"),
        (json.dumps({"dependencies": [ONE]}), "1 of 2 packages were not: two==2.0"),
        (json.dumps({"dependencies": [ONE, {"name": "two", "skip_reason": "not on PyPI"}]}), "1 of 2 packages"),
        (json.dumps({"dependencies": [ONE, TWO | {"version": "1.9"}]}), "1 of 2 packages were not: two==2.0"),
    ],
)
def test_an_audit_that_looked_at_less_than_the_lock_fails_and_stores_no_day(answer: str, told: str, audit: Any) -> None:
    """Though pip-audit ends with 0."""
    code, text, stored = audit(answer)
    assert (code, told in text, stored) == (1, True, None), text


def test_a_clean_audit_passes_and_stores_its_day_and_what_it_looked_at(audit: Any) -> None:
    code, text, stored = audit(json.dumps({"dependencies": [ONE, TWO]}))
    assert (code, stored["looked"], stored["hits"]) == (0, ["one==1.0", "two==2.0"], {}), text
    assert stored["for_other_machines"] == ["old==9"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", stored["taken"])


@pytest.mark.parametrize(("accepted", "code"), [({}, 1), ({"PYSEC-1": ""}, 1), ({"PYSEC-1": "two is never called"}, 0)])
def test_an_advisory_fails_unless_it_is_accepted_with_a_reason(accepted: dict[str, str], code: int, audit: Any) -> None:
    found, text, stored = audit(json.dumps({"dependencies": [ONE, HIT]}), 1, accepted)
    assert (found, "two==2.0: PYSEC-1" in text) == (code, code == 1)
    assert (stored["hits"], stored["accepted"]) == ({"two==2.0": ["PYSEC-1"]}, accepted)


@pytest.fixture
def clone(tmp_path: Path) -> Any:
    """Makes a repository such as pypa/advisory-database, of one day, with one advisory on `package`."""

    def make(affected: str, package: str = "two", more: str = "") -> Path:
        folder = tmp_path / "clone" / "vulns" / package
        folder.mkdir(parents=True)
        told = f"id: PYSEC-1\n{more}affected:\n- package: {{name: {package}, ecosystem: PyPI}}\n  {affected}\n"
        (folder / "PYSEC-1.yaml").write_text(told)
        day = os.environ | dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2024-10-10T17:35:05Z")
        commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Assign IDs"]
        for words in (["init", "-q"], ["add", "."], commit):
            subprocess.run(["git", *words], cwd=tmp_path / "clone", check=True, env=day)
        return tmp_path / "clone"

    return make


def span(*events: str, kind: str = "ECOSYSTEM") -> str:
    return f"ranges: [{{type: {kind}, events: [{', '.join(f'{{{event}}}' for event in events)}]}}]"


@pytest.mark.parametrize(
    ("affected", "hit"),
    [
        (span("introduced: 0", "fixed: 2.0.1"), True),
        (span("introduced: 2.0"), True),
        (span("introduced: 0", "last_affected: 2.0"), True),
        (span("introduced: 0", "fixed: 1.0", "introduced: 1.9", "fixed: 2.10"), True),
        ("versions: [1.0, 2.0.0, 0.3.2d]", True),
        (span("introduced: 0", "fixed: 2.0"), False),
        (span("introduced: 0", "fixed: 1.0", "introduced: 2.10"), False),
        (span("introduced: 0", "last_affected: 1.9"), False),
        (span("introduced: 0", kind="GIT"), False),
        ("versions: [2.0rc1, 2.0.1]", False),
    ],
)
def test_a_clone_finds_a_version_that_an_advisory_lists_or_has_in_a_range(
    affected: str, hit: bool, audit: Any, clone: Any
) -> None:
    code, text, stored = audit("", clone=clone(affected))
    assert (code, "two==2.0: PYSEC-1" in text, stored["hits"]) == (
        hit,
        hit,
        {"two==2.0": ["PYSEC-1"]} if hit else {},
    ), text
    assert (stored["taken"], stored["source"]["advisories"]) == ("2024-10-10", 1)
    assert (stored["looked"], stored["for_other_machines"]) == (["old==9", "one==1.0", "two==2.0"], [])


@pytest.mark.parametrize("what", [{"package": "three"}, {"more": "withdrawn: 2023-01-01T00:00:00Z\n"}, None])
def test_a_clone_without_an_advisory_on_the_lock_is_no_audit(
    what: dict[str, str] | None, audit: Any, clone: Any, tmp_path: Path
) -> None:
    code, text, stored = audit("", clone=tmp_path if what is None else clone(span("introduced: 0"), **what))
    assert (code, "not audited" in text, stored) == (1, True, None), text


def complaints(kept: dict[str, Any], locked: set[str]) -> list[str]:
    """Why the kept audit says nothing good of what is locked now."""
    undated = [] if re.fullmatch(r"\d{4}-\d\d-\d\d", kept["taken"]) else ["no day"]
    empty = [] if kept["source"].get("tool") or kept["source"]["advisories"] > 0 else ["no advisory"]
    new = sorted(locked - {*kept["looked"], *kept["for_other_machines"]})
    hits = {bug for where, bugs in kept["hits"].items() if where in locked for bug in bugs}
    return undated + empty + new + sorted(bug for bug in hits if not kept["accepted"].get(bug))


def kept_and_locked() -> tuple[dict[str, Any], set[str]]:
    packages = tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]
    locked = {f"{one['name']}=={one['version']}" for one in packages if "registry" in one["source"]}
    return json.loads((CHECKOUT / "docker" / "advisories.json").read_text()), locked


def test_the_kept_audit_looked_at_all_that_is_locked_and_nothing_hits_it() -> None:
    """After a change of uv.lock: make audit, or make audit FROM=a clone of pypa/advisory-database.

    It is worth what its day is worth, and 10 October 2024 is little: most of the locked versions came out later. So it shows that
    nothing known to be bad then was locked, and nothing of what became known since. Only `make audit` with a network shows that.
    """
    kept, locked = kept_and_locked()
    assert complaints(kept, locked) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"taken": ""}, "no day"),
        ({"source": {"commit": "3ccb", "advisories": 0}}, "no advisory"),
        ({"looked": []}, "pyspark==4.2.0"),
        ({"hits": {"pyspark==4.2.0": ["PYSEC-1"]}}, "PYSEC-1"),
        ({"hits": {"pyspark==4.2.0": ["PYSEC-1"]}, "accepted": {"PYSEC-1": ""}}, "PYSEC-1"),
    ],
)
def test_a_kept_audit_without_day_advisory_package_or_reason_is_told(change: dict[str, Any], told: str) -> None:
    kept, locked = kept_and_locked()
    assert told in complaints(kept | change, locked)
