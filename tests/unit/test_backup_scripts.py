"""docker/backup.sh and restore.sh refuse what they cannot do before they speak to docker, and say what to do."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKER = '#!/bin/sh\necho "$@" >> "$0.calls"\n'  # an engine on which nothing runs, and that notes what it is asked


@pytest.fixture
def call(tmp_path: Path) -> object:
    """Runs a script of docker/ in a project with an .env; gives exit code, stderr and what docker was asked."""
    project, tool = tmp_path / "project", tmp_path / "bin" / "docker"
    (project / "docker").mkdir(parents=True)
    for name in ("backup.sh", "restore.sh"):
        shutil.copy(CHECKOUT / "docker" / name, project / "docker" / name)
    (project / ".env").write_text("AIRFLOW_FERNET_KEY=one\n")
    tool.parent.mkdir()
    tool.write_text(DOCKER)
    tool.chmod(0o755)

    def run(script: str, folder: str) -> tuple[int, str, list[str]]:
        done = subprocess.run(
            ["bash", f"docker/{script}.sh", folder, "docker", "compose"],
            cwd=project,
            env={"PATH": f"{tool.parent}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        calls = Path(f"{tool}.calls")
        return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []

    return run


def _backup(folder: Path, secrets: str = "AIRFLOW_FERNET_KEY=one\n") -> Path:
    folder.mkdir()
    parts = {name: b"x" for name in ("airflow.dump", "mlflow.dump", "mlflow_accounts.dump", "lake.tar", "models.tar")}
    parts["env.sha256"] = f"{hashlib.sha256(secrets.encode()).hexdigest()}  -\n".encode()
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in parts.items()]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return folder


@pytest.mark.parametrize(
    ("script", "folder", "told"),
    [
        ("backup", "", "no folder is named"),
        ("backup", "full", "there and not empty"),
        ("restore", "", "no folder is named"),
        ("restore", "full", "holds no whole backup"),
        ("restore", "nowhere", "holds no whole backup"),
        ("restore", "torn", "is not what was written"),
        ("restore", "lacking", "is not what was written"),
        ("restore", "foreign", "belongs to another .env"),
    ],
)
def test_what_cannot_be_done_is_refused_before_docker_is_asked(script, folder, told, call, tmp_path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (_backup(tmp_path / "torn") / "lake.tar").write_bytes(b"y")
    (_backup(tmp_path / "lacking") / "lake.tar").unlink()
    _backup(tmp_path / "foreign", "AIRFLOW_FERNET_KEY=two\n")
    code, text, asked = call(script, str(tmp_path / folder) if folder else "")
    assert (code, told in text, "\n  do: " in text, asked) == (64, True, True, []), text
    assert (tmp_path / "full" / "mine").read_text() == "mine"


@pytest.mark.parametrize(("script", "folder"), [("backup", "new"), ("restore", "whole")])
def test_a_platform_that_is_not_up_is_left_alone(script, folder, call, tmp_path) -> None:
    """The control of the refusals above: with nothing wrong, docker is asked, and asked no more than what runs."""
    _backup(tmp_path / "whole")
    code, text, asked = call(script, str(tmp_path / folder))
    assert (code, "the platform is not up" in text) == (64, True), text
    assert asked == [f"compose ps -q {name}" for name in ("postgres", "airflow-scheduler", "mlflow")]
    assert not (tmp_path / "new").exists()
