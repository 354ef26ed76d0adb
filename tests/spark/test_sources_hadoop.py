"""Files of another file system land whole and under the same names: a real FTP server, read by Hadoop in Spark's JVM."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ftp_upstream import PASSWORD, USER, Upstream
from pyspark.sql import SparkSession

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.sources.adopt import adopt_drop
from spark_jobs.sources.drops import Drop, check_drop, drops_of, find_drops
from spark_jobs.sources.files import read_drops
from spark_jobs.sources.mirror import Mirrored, mirror_files
from spark_jobs.sources.shape import MAX_UNPACKED

MINUTE = timedelta(minutes=1)
NOW = datetime.now(UTC).replace(second=0, microsecond=0)  # ftp lists the time of day of files of this half year only
H12 = NOW.replace(minute=0) - 3 * HOUR
H13 = H12 + HOUR
TEXT, MORE = b"id,n\n1,2\n3,4\n", b"id,n\n1,2\n3,5\n6,7\n"
OPTIONS = {"fs.ftp.user.127.0.0.1": "ORDERS_FTP_USER", "fs.ftp.password.127.0.0.1": "ORDERS_FTP_PASSWORD"}
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
        {"kind": "files", "manifests": "orders/{day}/{hour}.manifest.json", "format": "csv", "columns": ["id", "n"],
         "complete": WAYS[by], "hadoop": {"root": root, "options_env": OPTIONS} | section}
    )  # fmt: skip


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """The pipeline's landing folder, not yet made."""
    return tmp_path / "landing"


def copy(spark: SparkSession, conf: SourceConf, landing: Path, *hours: datetime, now: datetime = NOW) -> Mirrored:
    return mirror_files(spark, "orders", conf, landing, hours or [H12], now)


def versions(landing: Path, conf: SourceConf, hour: datetime = H12) -> list[Drop]:
    return drops_of(SourcesConf(sources={"orders": conf}), landing, "orders", [hour]).get(hour, [])


def names(landing: Path) -> set[str]:
    return {path.relative_to(landing).as_posix() for path in landing.rglob("*") if path.is_file()}


def files(hour: datetime, *kinds: str) -> set[str]:
    return {f"orders/{hour:%Y-%m-%d}/{hour:%H}{kind}" for kind in kinds}


def test_a_drop_lands_whole_with_its_times_and_is_read_like_one_of_the_landing_folder(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """The file came before the manifest that names it; an hour that nobody delivered waits and makes no fault."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    done = copy(spark, conf, landing, H12, H13)
    manifest = f"{upstream.root}/orders/{H13:%Y-%m-%d}/{H13:%H}.manifest.json"
    assert done == Mirrored(2, {H13: f"no manifest {manifest}"})
    assert upstream.sent == [f"{H12:%H}.manifest.json", f"{H12:%H}.csv"]  # facts first, but landed last
    assert names(landing) == files(H12, ".csv", ".manifest.json")
    [drop] = versions(landing, conf)
    check_drop(drop, wait_seconds=0)
    assert {os.stat(path).st_mtime for path in (drop.path, drop.manifest)} == {(H13 + MINUTE).timestamp()}
    rows = read_drops(spark, [drop], conf).sort("line").collect()
    assert [(row["id"], row["n"], row["fault"]) for row in rows] == [("1", "2", None), ("3", "4", None)]


def test_a_second_call_copies_nothing_and_mends_what_is_gone_here(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    copy(spark, conf, landing)
    upstream.sent.clear()
    assert copy(spark, conf, landing) == Mirrored(0, {})
    assert upstream.sent == []
    Path(versions(landing, conf)[0].path).unlink()
    assert copy(spark, conf, landing).copied == 1
    check_drop(versions(landing, conf)[0], wait_seconds=0)


def test_a_correction_comes_as_the_next_version(spark: SparkSession, upstream: Upstream, landing: Path) -> None:
    """The first one stays; only what is new is asked for."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    copy(spark, conf, landing)
    upstream.sent.clear()
    upstream.deliver(H12, MORE, 3, H13 + 5 * MINUTE, version=2)
    assert copy(spark, conf, landing).copied == 2
    assert upstream.sent == [f"{H12:%H}.2.manifest.json", f"{H12:%H}.2.csv"]
    assert [(drop.version, drop.rows) for drop in versions(landing, conf)] == [(1, 2), (2, 3)]
    for drop in versions(landing, conf):
        check_drop(drop, wait_seconds=0)


def test_a_correction_under_the_old_files_name_replaces_it(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """The former manifest fits nothing any more, there as here; the newest one counts and its file is whole."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    upstream.put(f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv", MORE, H13 + 5 * MINUTE)
    upstream.deliver(H12, MORE, 3, H13 + 5 * MINUTE, version=2, facts={"file": f"{H12:%H}.csv"})
    assert copy(spark, conf, landing).copied == 3
    newest = find_drops(SourcesConf(sources={"orders": conf}), landing, "orders", [H12])[H12]
    assert (newest.version, Path(newest.path).read_bytes()) == (2, MORE)
    assert copy(spark, conf, landing).copied == 0


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
    data: bytes | None, facts: dict[str, Any], said: str, spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """The refusal names the manifest there; no part of a file stays here."""
    conf = source(upstream.root)
    manifest = upstream.deliver(H12, TEXT, 2, H13 + MINUTE, facts=facts)
    file = manifest.with_name(f"{H12:%H}.csv")
    file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(RefusedError, match=said) as refused:
        copy(spark, conf, landing)
    assert refused.value.where == f"{upstream.root}/orders/{H12:%Y-%m-%d}/{manifest.name}"
    assert refused.value.allowed
    assert "delivered again" in refused.value.todo or "deliver the manifest again" in refused.value.todo
    assert names(landing) == set()


def test_a_broken_correction_lands_nothing_and_leaves_what_was_there(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """Mended as a third version, the hour is whole, and the broken second one is left out."""
    conf = source(upstream.root)
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    copy(spark, conf, landing)
    before = {path: (landing / path).read_bytes() for path in names(landing)}
    manifest = upstream.deliver(H12, MORE, 3, H13 + 5 * MINUTE, version=2)
    manifest.with_name(f"{H12:%H}.2.csv").write_bytes(MORE[:-1])
    with pytest.raises(RefusedError, match="16 bytes"):
        copy(spark, conf, landing)
    assert {path: (landing / path).read_bytes() for path in names(landing)} == before
    upstream.deliver(H12, MORE, 3, H13 + 9 * MINUTE, version=3)
    assert copy(spark, conf, landing).copied == 2
    assert [drop.version for drop in versions(landing, conf)] == [1, 3]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """With a manifest and without; the file is of zeros that take no place on the disk."""
    manifest = upstream.deliver(H12, TEXT, 2, H13 + MINUTE, facts={"bytes": MAX_UNPACKED + 1})
    file = manifest.with_name(f"{H12:%H}.csv")
    os.truncate(file, MAX_UNPACKED + 1)
    os.utime(file, (H13.timestamp(), H13.timestamp()))
    for by in ("manifest", "stable"):
        with pytest.raises(RefusedError, match=f"size: {MAX_UNPACKED + 1} bytes"):
            copy(spark, source(upstream.root, by), landing)
    assert f"{H12:%H}.csv" not in upstream.sent


def test_a_fault_is_looked_at_twice_since_the_upstream_may_be_writing(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """The folder was listed before the file was there that its manifest names by now."""
    manifest = upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    file = manifest.with_name(f"{H12:%H}.csv")
    file.unlink()
    upstream.before_sending = lambda _: file.write_bytes(TEXT)
    assert copy(spark, source(upstream.root), landing).copied == 2
    check_drop(versions(landing, source(upstream.root))[0], wait_seconds=0)


def test_a_file_that_grows_while_it_is_read_is_waited_for(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """One byte more than listed is enough to know it."""

    def grow(file: Path) -> None:
        if file.suffix == ".csv":
            file.write_bytes(MORE * 1000)

    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    upstream.before_sending = grow
    with pytest.raises(RetryError, match=f"{len(TEXT)} are listed"):
        copy(spark, source(upstream.root), landing)
    assert names(landing) == set()


def test_N15_a_link_in_the_landing_folder_is_never_written_through(
    spark: SparkSession, upstream: Upstream, landing: Path, tmp_path: Path
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
        copy(spark, conf, landing)
    day.unlink()
    day.mkdir()
    for name in (f"{H12:%H}.csv", f".{H12:%H}.csv.tmp", f".{H12:%H}.manifest.json.tmp"):
        (day / name).symlink_to(outside / "victim")
    copy(spark, conf, landing)
    assert (outside / "victim").read_bytes() == b"mine"
    check_drop(versions(landing, conf)[0], wait_seconds=0)


def test_N12_a_file_lands_with_its_marker_and_is_adopted_like_one_of_the_landing_folder(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """Not before the marker is there, nor when it is older than the file; other bytes are the next version."""
    conf = source(upstream.root, "marker")
    name, marker = f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv", f"ready/{H12:%Y-%m-%d}-{H12:%H}.done"
    assert copy(spark, conf, landing).waiting == {H12: f"no file {upstream.root}/{name}"}
    upstream.put(name, TEXT, H13 + MINUTE)
    assert copy(spark, conf, landing).waiting == {H12: f"no marker {upstream.root}/{marker}"}
    assert names(landing) == set()
    upstream.put(marker, b"whatever", H13 + 2 * MINUTE)
    assert copy(spark, conf, landing) == Mirrored(2, {})
    assert names(landing) == {name, marker}
    landed = adopt_drop("orders", conf, landing, H12, NOW, sleep=lambda _: None)
    assert (landed.rows, landed.written, versions(landing, conf)[0].arrived_at) == (2, True, H13 + 2 * MINUTE)
    assert copy(spark, conf, landing) == Mirrored(0, {})
    upstream.put(name, MORE, H13 + 5 * MINUTE)
    assert "is younger than its marker" in copy(spark, conf, landing).waiting[H12]
    upstream.put(marker, b"", H13 + 6 * MINUTE)
    assert copy(spark, conf, landing).copied == 2
    assert adopt_drop("orders", conf, landing, H12, NOW, sleep=lambda _: None).version == 2


def test_N12_a_file_lands_when_nobody_wrote_to_it_there_for_long_enough(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """A copy made before would look untouched here however much is still written there."""
    conf = source(upstream.root, "stable")
    upstream.put(f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv", TEXT, H13 + MINUTE)
    early = copy(spark, conf, landing, now=H13 + 11 * MINUTE - timedelta(seconds=1))
    assert "is whole from" in early.waiting[H12]
    assert names(landing) == set()
    due = H13 + 11 * MINUTE
    assert copy(spark, conf, landing, now=due) == Mirrored(1, {})
    assert adopt_drop("orders", conf, landing, H12, due, sleep=lambda _: None).rows == 2
    check_drop(versions(landing, conf)[0], wait_seconds=0)
    assert copy(spark, conf, landing, now=due) == Mirrored(0, {})


def test_N12_hdfs_is_no_place_for_files_that_nobody_writes_to(
    spark: SparkSession, upstream: Upstream, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is open has the time of its opening there; told also when a variable names it."""
    conf = source(upstream.root, "stable", root_env="ORDERS_ROOT")
    monkeypatch.setenv("ORDERS_ROOT", "hdfs://namenode/deliveries")
    with pytest.raises(UsageError, match="tells no time of the last writing"):
        copy(spark, conf, landing)


def test_N12_a_file_that_is_written_over_while_it_is_read_does_not_land(
    spark: SparkSession, upstream: Upstream, landing: Path
) -> None:
    """Of the same length, with another time."""
    conf, name = source(upstream.root, "stable"), f"orders/{H12:%Y-%m-%d}/{H12:%H}.csv"
    upstream.put(name, TEXT, H13 + MINUTE)
    upstream.before_sending = lambda _: upstream.put(name, TEXT[::-1], NOW - MINUTE)
    with pytest.raises(RetryError, match="waiting: .* changed while it was read"):
        copy(spark, conf, landing)
    assert names(landing) == set()


def test_an_option_from_the_environment_reaches_the_file_system_and_stands_nowhere_else(
    spark: SparkSession, upstream: Upstream, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in Spark's settings, not in Hadoop's of the session, not in what is said of a wrong password."""
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    conf = source(upstream.root)
    assert copy(spark, conf, landing).copied == 2  # it signed in
    hadoop = spark._jsc.hadoopConfiguration()
    assert [hadoop.get(name) for name in OPTIONS] == [None, None]
    told = str(spark.sparkContext.getConf().getAll()) + str(spark.sql("SET").collect())
    assert PASSWORD not in told + str(os.environ.get("PYSPARK_SUBMIT_ARGS"))
    monkeypatch.setenv("ORDERS_FTP_PASSWORD", f"{PASSWORD}x")
    monkeypatch.setenv("ORDERS_FTP_USER", "sk-canary-user")
    with pytest.raises(UsageError, match="Login failed") as wrong:
        copy(spark, conf, landing)
    assert "sk-canary" not in str(wrong.value)
    monkeypatch.delenv("ORDERS_FTP_PASSWORD")
    upstream.sent.clear()
    with pytest.raises(UsageError, match="the variable ORDERS_FTP_PASSWORD is not set"):
        copy(spark, conf, landing)
    assert upstream.sent == []


def test_an_address_may_come_from_a_variable(
    spark: SparkSession, upstream: Upstream, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the rules of root, and whoever breaks them is not told what it was."""
    upstream.deliver(H12, TEXT, 2, H13 + MINUTE)
    conf = source("hdfs://namenode/deliveries", root_env="ORDERS_ROOT")
    monkeypatch.setenv("ORDERS_ROOT", upstream.root + "/")
    assert copy(spark, conf, landing).copied == 2
    monkeypatch.setenv("ORDERS_ROOT", f"ftp://me:{PASSWORD}@127.0.0.1/")
    with pytest.raises(UsageError, match="user or password") as wrong:
        copy(spark, conf, landing)
    assert PASSWORD not in str(wrong.value)


@pytest.mark.parametrize(
    ("root", "section", "fault", "said"),
    [
        ("ftp://127.0.0.1:9/orders", {}, RetryError, "Connection refused"),
        ("hdfs://127.0.0.1:9/orders", {}, RetryError, "Connection refused"),
        ("webhdfs://127.0.0.1:9/orders", {}, RetryError, "Connection refused"),
        ("hdfs://namenode.invalid/orders", {}, RetryError, "namenode.invalid"),
        ("nofs://somewhere/orders", {}, UsageError, 'No FileSystem for scheme "nofs"'),
        ("s3a://bucket/orders", {}, UsageError, "S3AFileSystem not found"),
        ("http://127.0.0.1:9/orders", {}, UsageError, "UnsupportedOperationException"),
        ("x://h/orders", {"options": {"fs.x.impl": "no.such.Class"}}, UsageError, "no.such.Class not found"),
    ],
)
def test_N16_who_cannot_be_reached_is_waited_for_and_a_wrong_scheme_is_a_fault_of_usage(
    root: str, section: dict[str, Any], fault: type[TidegateError], said: str, spark: SparkSession, landing: Path
) -> None:
    with pytest.raises(fault, match=said) as told:
        copy(spark, source(root, options_env={}, **section), landing)
    assert (told.value.where.startswith("orders "), names(landing)) == (True, set())


def test_N16_who_never_answers_is_given_up_in_time(spark: SparkSession, landing: Path) -> None:
    """It takes the connection and says nothing, for which Hadoop's ftp has no limit of its own."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        root = f"ftp://127.0.0.1:{silent.getsockname()[1]}/orders"
        with pytest.raises(RetryError, match="no answer within 1 s"):
            copy(spark, source(root, options_env={}, timeout_s=1), landing)
