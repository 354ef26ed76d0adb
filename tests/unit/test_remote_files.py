"""Files of another file system land whole and under the same names: against a real FTP server."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ftp_upstream import PASSWORD, USER, Upstream

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.connectors.delivery import FetchRequest
from spark_jobs.connectors.files.copied import land_files
from spark_jobs.connectors.files.mirror import mirror_files
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.adopt import adopt_drop
from spark_jobs.sources.drops import Drop, check_drop, drops_of, find_drops
from spark_jobs.sources.shape import MAX_UNPACKED

MINUTE = timedelta(minutes=1)
NOW = datetime.now(UTC).replace(second=0, microsecond=0)  # ftp lists the time of day of files of this half year only
H12 = NOW.replace(minute=0) - 3 * HOUR
H13 = H12 + HOUR
TEXT, MORE = b"id,n\n1,2\n3,4\n", b"id,n\n1,2\n3,5\n6,7\n"
OPTIONS = {"username": "ORDERS_FTP_USER", "password": "ORDERS_FTP_PASSWORD"}
Copied = tuple[int, dict[datetime, str]]  # files, and why hours have none yet
WAYS = {
    "manifest": {},
    "marker": {"by": "marker", "data": "orders/{day}/{hour}.csv", "marker": "ready/{day}-{hour}.done"},
    "stable": {"by": "stable", "data": "orders/{day}/{hour}.csv", "for": "10m"},
}


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A server whose user and password stand in the environment."""
    monkeypatch.setenv("ORDERS_FTP_USER", USER)
    monkeypatch.setenv("ORDERS_FTP_PASSWORD", PASSWORD)
    server = Upstream(tmp_path / "upstream")
    yield server
    server.close()


def source(root: str, by: str = "manifest", **section: Any) -> SourceConf:
    return SourceConf.model_validate(
        {
            "kind": "files",
            "manifests": "orders/{day}/{hour}.manifest.json",
            "format": "csv",
            "columns": ["id", "n"],
            "complete": WAYS[by],
            "remote": {"root": root, "options_env": OPTIONS} | section,
        }
    )


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """The pipeline's landing folder, not yet made."""
    return tmp_path / "landing"


def copy(conf: SourceConf, landing: Path, *hours: datetime, now: datetime = NOW) -> Copied:
    wanted = hours or (H12,)
    done = mirror_files(FetchRequest("orders", conf, landing, landing, wanted[0], wanted[-1] + HOUR, now))
    return sum(done.copied.values()), done.waiting


def versions(landing: Path, conf: SourceConf, hour: datetime = H12) -> list[Drop]:
    return drops_of(SourcesConf(sources={"orders": conf}), landing, "orders", [hour]).get(hour, [])


def names(landing: Path) -> set[str]:
    return {path.relative_to(landing).as_posix() for path in landing.rglob("*") if path.is_file()}


def files(hour: datetime, *kinds: str) -> set[str]:
    return {f"orders/{hour:%Y-%m-%d}/{hour:%H}{kind}" for kind in kinds}


def test_a_drop_lands_whole_with_its_times_and_is_read_like_one_of_the_landing_folder(
    upstream: Upstream, landing: Path
) -> None:
    """The file came before the manifest that names it; an hour that nobody delivered waits and makes no fault."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    done = copy(conf, landing, H12, H13)
    manifest = f"{upstream.root}/orders/{H13:%Y-%m-%d}/{H13:%H}.manifest.json"
    assert done == (2, {H13: f"no manifest {manifest}"})
    assert upstream.sent == [f"{H12:%H}.manifest.json", f"{H12:%H}.csv"]  # facts first, but landed last
    assert names(landing) == files(H12, ".csv", ".manifest.json")
    [drop] = versions(landing, conf)
    check_drop(drop, wait_seconds=0)
    assert {os.stat(path).st_mtime for path in (drop.path, drop.manifest)} == {(H13 + MINUTE).timestamp()}
    assert Path(drop.path).read_bytes() == TEXT


def test_a_second_call_copies_nothing_and_mends_what_is_gone_here(upstream: Upstream, landing: Path) -> None:
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    copy(conf, landing)
    upstream.sent.clear()
    assert copy(conf, landing) == (0, {})
    assert upstream.sent == []
    Path(versions(landing, conf)[0].path).unlink()
    assert copy(conf, landing)[0] == 1
    check_drop(versions(landing, conf)[0], wait_seconds=0)


def test_a_correction_comes_as_the_next_version(upstream: Upstream, landing: Path) -> None:
    """The first one stays; only what is new is asked for."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    copy(conf, landing)
    upstream.sent.clear()
    upstream.deliver(H12, MORE, 3, H13 + 5 * MINUTE, version=2)
    assert copy(conf, landing)[0] == 2
    assert upstream.sent == [f"{H12:%H}.2.manifest.json", f"{H12:%H}.2.csv"]
    assert [(drop.version, drop.rows) for drop in versions(landing, conf)] == [(1, 2), (2, 3)]
    for drop in versions(landing, conf):
        check_drop(drop, wait_seconds=0)


def test_a_correction_under_the_old_files_name_replaces_it(upstream: Upstream, landing: Path) -> None:
    """The former manifest fits nothing any more, there as here; the newest one counts and its file is whole."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    upstream.put(f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv", MORE, H13 + 5 * MINUTE)
    upstream.deliver(H12, MORE, 3, H13 + 5 * MINUTE, version=2, facts={"file": f"{H12:%H}.csv"})
    assert copy(conf, landing)[0] == 3
    newest = find_drops(SourcesConf(sources={"orders": conf}), landing, "orders", [H12])[H12]
    assert (newest.version, Path(newest.path).read_bytes()) == (2, MORE)
    assert copy(conf, landing)[0] == 0


@pytest.mark.parametrize(
    ("data", "facts", "said"),
    [
        (TEXT[:-4], {}, "9 bytes"),
        (TEXT[::-1], {}, "sha256"),
        (None, {}, "is missing"),
        (TEXT, {"file": f"{H13:%H}.manifest.json"}, "has the name of a manifest"),
        (TEXT, {"file": "../12.csv"}, "bare file name"),
        (TEXT, {"source": "returns"}, "speaks of returns"),
        (TEXT, {"schema_version": 2}, "malformed manifest: schema_version"),
    ],
)
def test_N1_what_its_manifest_does_not_fit_is_refused_and_lands_nothing(
    data: bytes | None, facts: dict[str, Any], said: str, upstream: Upstream, landing: Path
) -> None:
    """The refusal names the manifest there; no part of a file stays here."""
    conf = source(upstream.root)
    manifest = upstream.deliver(H12, TEXT, 2, H13 + MINUTE, facts=facts)
    file = manifest.with_name(f"{H12:%H}.csv")
    file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(RefusedError, match=said) as refused:
        copy(conf, landing)
    assert refused.value.where == f"orders {upstream.root}/orders/{H12:%Y-%m-%d}/{manifest.name}"
    assert refused.value.allowed
    assert "delivered again" in refused.value.todo or "deliver the manifest again" in refused.value.todo
    assert names(landing) == set()


def test_a_broken_correction_lands_nothing_and_leaves_what_was_there(upstream: Upstream, landing: Path) -> None:
    """Mended as a third version, the hour is whole, and the broken second one is left out."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    copy(conf, landing)
    before = {path: (landing / path).read_bytes() for path in names(landing)}
    manifest = upstream.deliver(H12, MORE, 3, H13 + 5 * MINUTE, version=2)
    manifest.with_name(f"{H12:%H}.2.csv").write_bytes(MORE[:-1])
    with pytest.raises(RefusedError, match="16 bytes"):
        copy(conf, landing)
    assert {path: (landing / path).read_bytes() for path in names(landing)} == before
    upstream.deliver(H12, MORE, 3, H13 + 9 * MINUTE, version=3)
    assert copy(conf, landing)[0] == 2
    assert [drop.version for drop in versions(landing, conf)] == [1, 3]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(upstream: Upstream, landing: Path) -> None:
    """With a manifest and without; the file is of zeros that take no place on the disk."""
    manifest = upstream.deliver(H12, TEXT, 2, H13 + MINUTE, facts={"bytes": MAX_UNPACKED + 1})
    file = manifest.with_name(f"{H12:%H}.csv")
    os.truncate(file, MAX_UNPACKED + 1)
    os.utime(file, (H13.timestamp(), H13.timestamp()))
    for by in ("manifest", "stable"):
        with pytest.raises(RefusedError, match=f"size: {MAX_UNPACKED + 1} bytes"):
            copy(source(upstream.root, by), landing)
    assert f"{H12:%H}.csv" not in upstream.sent


def test_a_fault_is_looked_at_twice_since_the_upstream_may_be_writing(upstream: Upstream, landing: Path) -> None:
    """The folder was listed before the file was there that its manifest names by now."""
    manifest = upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    file = manifest.with_name(f"{H12:%H}.csv")
    file.unlink()
    upstream.before_sending = lambda _: file.write_bytes(TEXT)
    assert copy(source(upstream.root), landing)[0] == 2
    check_drop(versions(landing, source(upstream.root))[0], wait_seconds=0)


def test_a_file_that_grows_while_it_is_copied_is_tried_again_later(upstream: Upstream, landing: Path) -> None:
    """One byte more than listed is enough to know it."""

    def grow(file: Path) -> None:
        if file.suffix == ".csv":
            file.write_bytes(MORE * 1000)

    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    upstream.before_sending = grow
    with pytest.raises(RetryError, match=f"changed while it was copied: .*{len(TEXT)} bytes were listed"):
        copy(source(upstream.root), landing)
    assert names(landing) == set()


def test_N15_a_link_in_the_landing_folder_is_never_written_through(
    upstream: Upstream, landing: Path, tmp_path: Path
) -> None:
    """Neither a day that leads out of it, nor a file's own name, nor that of its part."""
    conf, outside = source(upstream.root), tmp_path / "outside"
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    outside.mkdir()
    (outside / "victim").write_bytes(b"mine")
    (landing / "orders").mkdir(parents=True)
    day = landing / "orders" / f"{H12:%Y-%m-%d}"
    day.symlink_to(outside)
    with pytest.raises(RefusedError, match="leads out of the landing folder"):
        copy(conf, landing)
    day.unlink()
    day.mkdir()
    for name in (f"{H12:%H}.csv", f".{H12:%H}.csv.tmp", f".{H12:%H}.manifest.json.tmp"):
        (day / name).symlink_to(outside / "victim")
    copy(conf, landing)
    assert (outside / "victim").read_bytes() == b"mine"
    check_drop(versions(landing, conf)[0], wait_seconds=0)


def test_N12_a_file_lands_with_its_marker_and_is_adopted_like_one_of_the_landing_folder(
    upstream: Upstream, landing: Path
) -> None:
    """Not before the marker is there, nor when it is older than the file; other bytes are the next version."""
    conf = source(upstream.root, "marker")
    name, marker = f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv", f"ready/{H12:%Y-%m-%d}-{H12:%H}.done"
    assert copy(conf, landing)[1] == {H12: f"no file {upstream.root}/{name}"}
    upstream.put(name, TEXT, H13 + MINUTE)
    assert copy(conf, landing)[1] == {H12: f"no marker {upstream.root}/{marker}"}
    assert names(landing) == set()
    upstream.put(marker, b"whatever", H13 + 2 * MINUTE)
    assert copy(conf, landing) == (2, {})
    assert names(landing) == {name, marker}
    landed = adopt_drop("orders", conf, landing, H12, NOW, sleep=lambda _: None)
    assert (landed.rows, landed.written, versions(landing, conf)[0].arrived_at) == (2, True, H13 + 2 * MINUTE)
    assert copy(conf, landing) == (0, {})
    upstream.put(name, MORE, H13 + 5 * MINUTE)
    assert "is younger than its marker" in copy(conf, landing)[1][H12]
    upstream.put(marker, b"", H13 + 6 * MINUTE)
    assert copy(conf, landing)[0] == 2
    assert adopt_drop("orders", conf, landing, H12, NOW, sleep=lambda _: None).version == 2


def test_N12_a_file_lands_when_nobody_wrote_to_it_there_for_long_enough(upstream: Upstream, landing: Path) -> None:
    """A copy made before would look untouched here however much is still written there."""
    conf = source(upstream.root, "stable")
    upstream.put(f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv", TEXT, H13 + MINUTE)
    early = copy(conf, landing, now=H13 + 11 * MINUTE - timedelta(seconds=1))
    assert "is complete from" in early[1][H12]
    assert names(landing) == set()
    due = H13 + 11 * MINUTE
    assert copy(conf, landing, now=due) == (1, {})
    assert adopt_drop("orders", conf, landing, H12, due, sleep=lambda _: None).rows == 2
    check_drop(versions(landing, conf)[0], wait_seconds=0)
    assert copy(conf, landing, now=due) == (0, {})


def test_N12_hdfs_is_no_place_for_files_that_nobody_writes_to(
    upstream: Upstream, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is open has the time of its opening there; told also when a variable names it."""
    conf = source(upstream.root, "stable", root_env="ORDERS_ROOT")
    monkeypatch.setenv("ORDERS_ROOT", "hdfs://namenode/deliveries")
    with pytest.raises(UsageError, match="hdfs does not show when a file was last written to"):
        copy(conf, landing)


def test_N12_a_file_that_is_written_over_while_it_is_read_does_not_land(upstream: Upstream, landing: Path) -> None:
    """Of the same length, with another time."""
    conf, name = source(upstream.root, "stable"), f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv"
    upstream.put(name, TEXT, H13 + MINUTE)
    upstream.before_sending = lambda _: upstream.put(name, TEXT[::-1], NOW - MINUTE)
    with pytest.raises(RetryError, match="waiting: .* changed while it was copied"):
        copy(conf, landing)
    assert names(landing) == set()


def test_an_option_from_the_environment_reaches_the_file_system_and_stands_nowhere_else(
    upstream: Upstream, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in Spark's settings, not in Hadoop's of the session, not in what is said of a wrong password."""
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    conf = source(upstream.root)
    assert copy(conf, landing)[0] == 2  # it signed in
    monkeypatch.setenv("ORDERS_FTP_PASSWORD", f"{PASSWORD}x")
    monkeypatch.setenv("ORDERS_FTP_USER", "sk-canary-user")
    with pytest.raises(UsageError, match="530") as wrong:
        copy(conf, landing)
    assert "sk-canary" not in str(wrong.value)
    monkeypatch.delenv("ORDERS_FTP_PASSWORD")
    upstream.sent.clear()
    with pytest.raises(UsageError, match="the variable ORDERS_FTP_PASSWORD is not set"):
        copy(conf, landing)
    assert upstream.sent == []


def test_an_address_may_come_from_a_variable(
    upstream: Upstream, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the rules of root, and whoever breaks them is not told what it was."""
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    conf = source("hdfs://namenode/deliveries", root_env="ORDERS_ROOT")
    monkeypatch.setenv("ORDERS_ROOT", upstream.root + "/")
    assert copy(conf, landing)[0] == 2
    monkeypatch.setenv("ORDERS_ROOT", f"ftp://me:{PASSWORD}@127.0.0.1/")
    with pytest.raises(UsageError, match="user or password") as wrong:
        copy(conf, landing)
    assert PASSWORD not in str(wrong.value)


@pytest.mark.parametrize(
    ("root", "section", "fault", "said"),
    [
        ("ftp://127.0.0.1:9/orders", {}, RetryError, "Connection refused"),
        ("sftp://127.0.0.1:9/orders", {}, RetryError, "Unable to connect to port 9"),
        (
            "s3://bucket/orders",
            {"options": {"endpoint_url": "http://127.0.0.1:9", "anon": True}},
            RetryError,
            "127.0.0.1:9",
        ),
        ("sftp://host.invalid/orders", {}, RetryError, "host.invalid"),
        ("webhdfs://127.0.0.1:9/orders", {}, RetryError, "refused"),
        ("nofs://somewhere/orders", {}, UsageError, "Protocol not known: nofs"),
        ("gs://bucket/orders", {}, UsageError, "install gcsfs"),
        ("ftp://127.0.0.1:9/orders", {"options": {"nosuch": 1, "timeout": "x"}}, UsageError, "cannot be read"),
    ],
)
def test_an_unreachable_server_is_tried_later_and_a_wrong_section_is_not(
    root: str, section: dict[str, Any], fault: type[TidegateError], said: str, landing: Path
) -> None:
    """Source and address are named; nothing lands."""
    with pytest.raises(fault, match=said) as told:
        copy(source(root, options_env={}, **section), landing)
    assert (told.value.where.startswith("orders "), names(landing)) == (True, set())
    assert root in told.value.found


def test_a_server_that_never_answers_is_given_up_in_time(landing: Path) -> None:
    """It accepts the connection and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        root = f"ftp://127.0.0.1:{silent.getsockname()[1]}/orders"
        with pytest.raises(RetryError, match="no answer within 1 s"):
            copy(source(root, options_env={}, timeout_s=1), landing)


def test_a_large_file_is_copied_in_blocks(upstream: Upstream, landing: Path) -> None:
    data = b"id,n\n" + b"1,2\n" * (5 << 20)  # 20 MiB, more than one block
    upstream.deliver(H12, data, 5 << 20, H13 + MINUTE)
    assert copy(source(upstream.root), landing)[0] == 2
    check_drop(versions(landing, source(upstream.root))[0], wait_seconds=0)


def test_a_delivery_has_the_drops_and_why_other_hours_have_none(upstream: Upstream, landing: Path) -> None:
    """The contract of all connectors, for files with their own manifests and for files without."""
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    for by, why in (("manifest", "no manifest"), ("stable", "no file")):
        request = FetchRequest("orders", source(upstream.root, by), landing, landing, H12, H12 + 2 * HOUR, NOW)
        [first, again] = land_files(request), land_files(request)
        assert [(drop.hour, drop.rows, drop.written) for drop in first.drops] == [(H12, 2, by == "manifest")]
        assert [(drop.hour, drop.rows, drop.written) for drop in again.drops] == [(H12, 2, False)]
        assert list(first.missing) == [H13]
        assert first.missing[H13].startswith(f"{why} {upstream.root}")
