"""docker/audit.py never passes where nothing was audited; a shell script plays uv and pip-audit."""

from __future__ import annotations

import json
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

    def run(answer: str, code: int = 0, accepted: dict[str, str] | None = None) -> tuple[int, str, Any]:
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
        command = [sys.executable, str(tmp_path / "docker" / "audit.py"), str(tool)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, json.loads(stored.read_text()) if stored.exists() else None

    return run


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "nothing was audited"),
        (json.dumps({"dependencies": []}), "2 of 2 packages were not audited: one, two"),
        (json.dumps({"dependencies": [ONE]}), "1 of 2 packages were not audited: two"),
        (json.dumps({"dependencies": [ONE, {"name": "two", "skip_reason": "not on PyPI"}]}), "1 of 2 packages"),
        (json.dumps({"dependencies": [ONE, TWO | {"version": "1.9"}]}), "1 of 2 packages were not audited: two"),
    ],
)
def test_an_audit_that_looked_at_less_than_the_lock_fails_and_stores_no_day(answer: str, told: str, audit: Any) -> None:
    """Though pip-audit ends with 0."""
    code, text, stored = audit(answer)
    assert (code, told in text, stored) == (1, True, None), text


def test_a_clean_audit_passes_and_stores_its_day_and_what_it_looked_at(audit: Any) -> None:
    code, text, stored = audit(json.dumps({"dependencies": [ONE, TWO]}))
    assert (code, stored["packages"], stored["hits"]) == (0, {"one": "1.0", "two": "2.0"}, {}), text
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", stored["taken"])


@pytest.mark.parametrize(("accepted", "code"), [({}, 1), ({"PYSEC-1": ""}, 1), ({"PYSEC-1": "two is never called"}, 0)])
def test_an_advisory_fails_unless_it_is_accepted_with_a_reason(accepted: dict[str, str], code: int, audit: Any) -> None:
    found, text, stored = audit(json.dumps({"dependencies": [ONE, HIT]}), 1, accepted)
    assert (found, "two==2.0: PYSEC-1" in text) == (code, code == 1)
    assert (stored["hits"], stored["accepted"]) == ({"two==2.0": ["PYSEC-1"]}, accepted)


def test_no_advisory_of_the_last_audit_hits_the_lock() -> None:
    """Without the network: what the last `make audit` kept, against uv.lock as it is now."""
    path = CHECKOUT / "docker" / "advisories.json"
    if not path.exists():
        pytest.skip("no audit is kept: no source of advisories could be reached yet; do: make audit")
    kept = json.loads(path.read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", kept["taken"])
    packages = tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]
    locked = {f"{one['name']}=={one['version']}" for one in packages if "version" in one}
    hit = {bug for where, bugs in kept["hits"].items() if where in locked for bug in bugs}
    assert hit <= {bug for bug, reason in kept["accepted"].items() if reason}
