"""`tidegate fetch` with a source whose files are on another file system: a real FTP server, and no JVM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ftp_upstream import PASSWORD, USER, Upstream

from spark_jobs.cli.fetch import fetch_drops
from spark_jobs.config import load_pipeline
from spark_jobs.errors import EXIT_OK, RefusedError, RetryError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.drops import find_drops

SMALL = Path(__file__).parents[1] / "faults" / "small"
TEN = datetime(2024, 5, 1, 22, tzinfo=UTC)
TEXT = (
    b"gauge,read_at,next_at,level\n"
    b"upper,2024-05-01T22:10:00Z,2024-05-02T02:10:00Z,1204\n"
    b"lower,2024-05-01T22:20:00Z,2024-05-02T02:20:00Z,980\n"
)


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A server whose user and password are in the environment."""
    monkeypatch.setenv("RIVER_USER", USER)
    monkeypatch.setenv("RIVER_PASSWORD", PASSWORD)
    server = Upstream(tmp_path / "upstream")
    yield server
    server.close()


@pytest.fixture
def river(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, whose one source is on the server."""
    folder = tmp_path / "project"
    shutil.copytree(SMALL, folder)
    monkeypatch.setenv("TIDEGATE_PROJECT", str(folder))
    monkeypatch.setenv("TIDEGATE_DATA", str(folder / "var"))
    options = {"username": "RIVER_USER", "password": "RIVER_PASSWORD"}
    change(folder, remote={"root": upstream.root, "options_env": options})
    return folder


def change(folder: Path, **changes: Any) -> None:
    path = folder / "conf/pipelines/river/sources.yaml"
    declared = yaml.safe_load(path.read_text())["sources"]
    declared["readings"] |= changes
    path.write_text(yaml.safe_dump({"sources": declared}))


def fetch(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert fetch_drops("river", "2024-05-01T22", "2024-05-01T23", ["readings"], "local", as_json=True) == EXIT_OK
    return list(json.loads(capsys.readouterr().out)["drops"])


def test_a_file_and_its_manifest_are_copied_once(
    upstream: Upstream, river: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.deliver(TEN, TEXT, 2, TEN + HOUR, source="readings")
    assert [[(drop["rows"], drop["written"]) for drop in fetch(capsys)] for _ in range(2)] == [
        [(2, True)],
        [(2, False)],
    ]
    assert find_drops(load_pipeline("river").sources, river / "var/landing/river", "readings", [TEN])[TEN].rows == 2


def test_a_file_without_manifest_is_copied_with_its_marker_and_gets_one(
    upstream: Upstream, river: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The password enters no log and no file."""
    complete = {"by": "marker", "data": "readings/{day}/{hour}.csv", "marker": "readings/{day}/{hour}.done"}
    change(river, complete=complete)
    for name, data in (("22.csv", TEXT), ("22.done", b"")):
        upstream.put(f"readings/2024-05-01/{name}", data, TEN + timedelta(hours=2))
    assert [[(drop["rows"], drop["written"]) for drop in fetch(capsys)] for _ in range(2)] == [
        [(2, True)],
        [(2, False)],
    ]
    assert upstream.sent == ["22.csv"]
    written = [path for path in (river / "var").rglob("*") if path.is_file()]
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []


def test_files_that_are_not_there_are_tried_again_later(
    upstream: Upstream, river: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 75 with the reason; what has landed before counts, also when the other side has removed it."""
    with pytest.raises(RetryError, match="waiting: 1 hour\\(s\\) without complete files") as waiting:
        fetch(capsys)
    assert f"no manifest {upstream.root}/readings/2024-05-01/22.manifest.json" in waiting.value.found
    manifest = upstream.deliver(TEN, TEXT, 2, TEN + HOUR, source="readings")
    fetch(capsys)
    manifest.unlink()
    assert [drop["rows"] for drop in fetch(capsys)] == [2]


def test_a_broken_file_is_refused_and_lands_nothing(
    upstream: Upstream, river: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = upstream.deliver(TEN, TEXT, 2, TEN + HOUR, source="readings")
    manifest.with_name("22.csv").write_bytes(TEXT[:-1])
    with pytest.raises(RefusedError, match="its file 22.csv has .* bytes") as refused:
        fetch(capsys)
    assert PASSWORD not in str(refused.value)
    assert [path for path in (river / "var/landing").rglob("*") if path.is_file()] == []
