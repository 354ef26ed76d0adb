"""Files without a manifest: which become drops and when, what is refused, and that a manifest is never written over."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.sources.adopt import adopt_drop
from spark_jobs.sources.drops import check_drop, drops_of, find_drops, known_at, require_drops
from spark_jobs.sources.landing import Landed, next_version
from spark_jobs.sources.parse import parse_drop
from spark_jobs.sources.spent import remove_spent

H12 = datetime(2013, 11, 1, 12, tzinfo=UTC)
H13 = H12 + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TEXT = b"id,n\n1,2\n3,4\n"
FOLDER = "orders/2013-11-01"
BASE: dict[str, Any] = {
    "kind": "files",
    "manifests": "orders/{day}/{hour}.manifest.json",
    "format": "csv",
    "columns": ["id", "n"],
}


def source(by: str, data: str = "{hour}.csv", **changes: Any) -> SourceConf:
    more = {"marker": {"marker": "orders/{day}/{hour}.done"}, "stable": {"for": "10m"}}[by]
    return SourceConf.model_validate(BASE | {"complete": {"by": by, "data": f"orders/{{day}}/{data}"} | more} | changes)


MARKER, STABLE = source("marker"), source("stable")


def put(landing: Path, name: str, data: bytes, at: datetime) -> Path:
    """A file of the hour's day, last changed at `at`."""
    path = landing / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def adopt(landing: Path, conf: SourceConf, now: datetime = H13 + 14 * MINUTE, sleep: Any = lambda _: None) -> Landed:
    return adopt_drop("orders", conf, landing, H12, now, sleep=sleep)


def versions(landing: Path, conf: SourceConf = MARKER) -> list[int]:
    found = drops_of(SourcesConf(sources={"orders": conf}), landing, "orders", [H12])
    return [drop.version for drop in found.get(H12, [])]


def delivered(landing: Path, data: bytes = TEXT, name: str = "12.csv", minutes: int = 1) -> Path:
    """The data file, and then its marker half a minute later."""
    path = put(landing, name, data, H13 + minutes * MINUTE)
    put(landing, "12.done", b"", H13 + minutes * MINUTE + timedelta(seconds=30))
    return path


def test_a_file_with_its_marker_is_a_drop_like_one_with_a_manifest(tmp_path: Path) -> None:
    """Rows, size, hash and arrival (the marker's) are right, and everything after finds it; a second look writes nothing."""
    path = delivered(tmp_path)
    landed = adopt(tmp_path, MARKER)
    assert (landed.rows, landed.bytes, landed.version, landed.written) == (2, len(TEXT), 1, True)
    drop = find_drops(SourcesConf(sources={"orders": MARKER}), tmp_path, "orders", [H12])[H12]
    check_drop(drop, wait_seconds=0)
    assert (drop.path, drop.file) == (str(path), f"{FOLDER}/12.csv")
    assert drop.arrived_at == H13 + timedelta(seconds=90)
    assert known_at(drop, MARKER) == H13
    rows = parse_drop(path.read_bytes(), drop.file, drop.rows, drop.bytes, drop.sha256, MARKER)
    assert rows["id"].to_pylist() == ["1", "3"]
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir()}
    assert adopt(tmp_path, MARKER) == Landed(landed.manifest, landed.file, 1, 2, len(TEXT), False)
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == before


def test_N12_a_file_without_its_marker_is_not_taken_however_old(tmp_path: Path) -> None:
    """No manifest is written, and no folder is made for what is not there."""
    with pytest.raises(RetryError, match=r"waiting: no file 12\.csv"):
        adopt(tmp_path, MARKER)
    assert list(tmp_path.iterdir()) == []
    put(tmp_path, "12.csv", TEXT, H13)
    with pytest.raises(RetryError, match=r"waiting: no marker 12\.done"):
        adopt(tmp_path, MARKER, H13 + timedelta(days=9))
    assert versions(tmp_path) == []


def test_a_marker_without_its_file_waits(tmp_path: Path) -> None:
    """The marker is written last: the file may be on its way over another path."""
    put(tmp_path, "12.done", b"", H13)
    with pytest.raises(RetryError, match=r"waiting: no file 12\.csv"):
        adopt(tmp_path, MARKER)


def test_N12_a_marker_older_than_the_file_speaks_of_a_former_file(tmp_path: Path) -> None:
    """The upstream writes a correction under the old name while the old marker is still there."""
    delivered(tmp_path)
    adopt(tmp_path, MARKER)
    put(tmp_path, "12.csv", TEXT[:-4], H13 + 5 * MINUTE)
    with pytest.raises(RetryError, match=r"the marker 12\.done is older than the file"):
        adopt(tmp_path, MARKER)
    assert versions(tmp_path) == [1]


def test_a_marker_or_a_file_of_tomorrow_is_refused_and_one_of_a_minute_ahead_waits(tmp_path: Path) -> None:
    """A clock that is ahead would make the rows known in the future; a small skew passes by itself."""
    put(tmp_path, "12.csv", TEXT, H13)
    put(tmp_path, "12.done", b"", H13 + timedelta(days=1))
    with pytest.raises(RefusedError, match="lies in the future"):
        adopt(tmp_path, MARKER)
    put(tmp_path, "12.csv", TEXT, H13 + timedelta(days=1))
    with pytest.raises(RefusedError, match="lies in the future"):
        adopt(tmp_path, STABLE)
    put(tmp_path, "12.csv", TEXT, H13)
    put(tmp_path, "12.done", b"", H13 + 120 * MINUTE)
    with pytest.raises(RetryError, match="which is not yet"):
        adopt(tmp_path, MARKER, H13 + 119 * MINUTE)


@pytest.mark.parametrize(
    ("changed", "now", "whole"),
    [
        (H13 + MINUTE, H13 + 11 * MINUTE - timedelta(seconds=1), False),
        (H13 + MINUTE, H13 + 11 * MINUTE, True),
        (H12 + 20 * MINUTE, H12 + 50 * MINUTE, False),  # the hour goes on, and so may the file
        (H12 + 20 * MINUTE, H13 + 9 * MINUTE, False),
        (H12 + 20 * MINUTE, H13 + 10 * MINUTE, True),
    ],
)
def test_N12_a_file_is_stable_when_nobody_wrote_to_it_for_that_long(
    tmp_path: Path, changed: datetime, now: datetime, whole: bool
) -> None:
    """By the clock that the caller hands in, and never before the hour is over; it arrived when it was last changed."""
    put(tmp_path, "12.csv", TEXT, changed)
    if not whole:
        with pytest.raises(RetryError, match="waiting: the file was last changed at"):
            adopt(tmp_path, STABLE, now)
        assert versions(tmp_path, STABLE) == []
        return
    landed = adopt(tmp_path, STABLE, now)
    assert json.loads(landed.manifest.read_text())["arrived_at"] == f"{changed:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize("same_size", [False, True])
def test_N12_a_file_that_changes_between_the_two_looks_is_not_taken(tmp_path: Path, same_size: bool) -> None:
    """Longer, or of the same length with another time."""
    path, looks = put(tmp_path, "12.csv", TEXT, H13), []

    def write(seconds: float) -> None:
        looks.append(seconds)
        put(tmp_path, "12.csv", TEXT[::-1] if same_size else TEXT + b"5,6\n", H13 + MINUTE)

    with pytest.raises(RetryError, match=r"12\.csv changed while it was read"):
        adopt(tmp_path, STABLE, sleep=write)
    assert (looks, versions(tmp_path, STABLE), path.exists()) == ([2.0], [], True)


def test_a_backfill_waits_for_no_second_look_at_files_that_are_days_old(tmp_path: Path) -> None:
    """Thousands of hours would wait two seconds each."""
    looks: list[float] = []
    put(tmp_path, "12.csv", TEXT, H13)
    assert adopt(tmp_path, STABLE, H13 + timedelta(days=2), looks.append).written
    assert looks == []


def test_N11_other_bytes_under_the_same_name_are_the_next_version_and_no_manifest_is_rewritten(tmp_path: Path) -> None:
    """Back to the first bytes is a third version; the newest counts though its clock went back."""
    delivered(tmp_path)
    first = adopt(tmp_path, MARKER).manifest
    told = first.read_bytes()
    delivered(tmp_path, b"id,n\n1,2\n3,5\n6,7\n", minutes=5)
    second = adopt(tmp_path, MARKER)
    assert (second.version, second.rows, second.manifest.name) == (2, 3, "12.2.manifest.json")
    delivered(tmp_path, TEXT, minutes=3)
    assert adopt(tmp_path, MARKER).version == 3
    assert first.read_bytes() == told
    conf = SourcesConf(sources={"orders": MARKER})
    newest = find_drops(conf, tmp_path, "orders", [H12])[H12]
    assert (newest.version, newest.rows, newest.arrived_at) == (3, 2, H13 + timedelta(minutes=5, seconds=30))
    check_drop(newest, wait_seconds=0)


def test_a_correction_by_hand_is_not_undone_by_the_file_that_it_corrects(tmp_path: Path) -> None:
    """The upstream's file lies there still, with the bytes of version 1."""
    delivered(tmp_path)
    adopt(tmp_path, MARKER)
    put(tmp_path, "12.2.csv", b"id,n\n1,9\n", H13)
    with next_version("orders", MARKER, tmp_path, H12) as following:
        following.state("12.2.csv", b"id,n\n1,9\n", 1, H13 + 5 * MINUTE)
    assert (adopt(tmp_path, MARKER).version, versions(tmp_path)) == (2, [1, 2])


@pytest.mark.parametrize(
    ("form", "data", "name"),
    [
        ("csv", b"", "12.csv"),
        ("csv", b"id,n\n", "12.csv"),
        ("csv", b"id,n", "12.csv"),
        ("csv", gzip.compress(b"id,n\n", mtime=0), "12.csv.gz"),
        ("csv", b"", "12.csv.gz"),
        ("jsonl", b"", "12.jsonl"),
        ("jsonl", gzip.compress(b"", mtime=0), "12.jsonl.gz"),
        ("parquet", b"", "12.parquet"),
        ("parquet", "no rows", "12.parquet"),
    ],
)
def test_N2_a_file_of_no_rows_is_refused_until_a_manifest_by_hand_says_so(
    tmp_path: Path, form: str, data: Any, name: str
) -> None:
    """The refusal says which manifest; written as it says, the empty hour is a drop."""
    if isinstance(data, str):
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": pa.array([], pa.string()), "n": pa.array([], pa.int64())}), sink)
        data = sink.getvalue()
    conf = source("marker", name.replace("12", "{hour}"), format=form)
    path = delivered(tmp_path, data, name)
    with pytest.raises(RefusedError, match="no rows, and nobody says that the hour has none") as refused:
        adopt(tmp_path, conf)
    assert (refused.value.where, versions(tmp_path, conf)) == (str(path), [])
    manifest, _, text = refused.value.todo.partition("write ")[2].partition(" by hand: ")
    Path(manifest).write_text(text)
    landed = adopt(tmp_path, conf)
    assert (landed.rows, landed.written, str(landed.manifest)) == (0, False, manifest)
    drop = find_drops(SourcesConf(sources={"orders": conf}), tmp_path, "orders", [H12])[H12]
    assert parse_drop(path.read_bytes(), drop.file, 0, drop.bytes, drop.sha256, conf).num_rows == 0


@pytest.mark.parametrize(
    ("form", "data", "name", "said"),
    [
        ("csv", gzip.compress(TEXT, mtime=0)[:-6], "12.csv.gz", "gzip: cut short"),
        ("csv", b"random bytes", "12.csv.gz", "gzip: Not a gzipped file"),
        ("jsonl", gzip.compress(b"{}", mtime=0)[:-9], "12.jsonl.gz", "gzip: "),
        ("parquet", b"random bytes", "12.parquet", "parquet: "),
    ],
)
def test_N1_what_cannot_be_unpacked_is_refused_by_name_and_gets_no_manifest(
    tmp_path: Path, form: str, data: bytes, name: str, said: str
) -> None:
    """Whole by its marker, and broken all the same."""
    conf = source("marker", name.replace("12", "{hour}"), format=form)
    path = delivered(tmp_path, data, name)
    with pytest.raises(RefusedError, match=said) as refused:
        adopt(tmp_path, conf)
    assert refused.value.where == str(path)
    assert "delivered again" in refused.value.todo
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted(["12.done", name])


@pytest.mark.parametrize(
    ("form", "data", "rows"),
    [
        ("csv", b"id,n\r\n1,2\r\n", 1),
        ("csv", b"\xef\xbb\xbfid,n\n1,2", 1),
        ("csv", b"id,n\n\n1\n1,2,3\n", 3),
        ("csv", b"n,m\n1,2\n", 1),
        ("jsonl", b'{"id":1}\n[]\n\n', 3),
        ("parquet", None, 5),
    ],
)
def test_the_rows_of_the_manifest_are_those_that_the_parser_finds(
    tmp_path: Path, form: str, data: bytes | None, rows: int
) -> None:
    """Broken lines are rows, too; what is wrong with them, or with the header, is told when the drop is read."""
    if data is None:
        sink = io.BytesIO()
        pq.write_table(pa.table({"id": list("abcde"), "n": [1, 2, 3, 4, 5]}), sink)
        data = sink.getvalue()
    conf = source("marker", "{hour}.data", format=form)
    delivered(tmp_path, data, "12.data")
    landed = adopt(tmp_path, conf)
    drop = find_drops(SourcesConf(sources={"orders": conf}), tmp_path, "orders", [H12])[H12]
    parsed = parse_drop(data, drop.file, drop.rows, drop.bytes, drop.sha256, conf)
    assert landed.rows == rows
    assert not any((fault or "").startswith("rows:") for fault in parsed["fault"].to_pylist())


@pytest.mark.parametrize("name", ["12.csv", "12.done"])
@pytest.mark.parametrize("inside", [True, False])
def test_N15_a_link_is_refused_wherever_it_leads(tmp_path: Path, name: str, inside: bool) -> None:
    """As data or as marker; nothing behind it is read, and no manifest is written."""
    landing = tmp_path / "landing"
    path = delivered(landing).with_name(name)
    target = (landing if inside else tmp_path) / "elsewhere"
    path.rename(target)
    path.symlink_to(target)
    with pytest.raises(RefusedError, match="a link") as refused:
        adopt(landing, MARKER)
    assert refused.value.where == str(path)
    assert versions(landing) == []


def test_N15_a_day_that_is_a_link_out_of_the_landing_folder_is_refused(tmp_path: Path) -> None:
    """Whatever lies there, nothing is written there."""
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    folder = delivered(landing).parent
    folder.rename(outside)
    folder.symlink_to(outside)
    with pytest.raises(RefusedError, match="leads out of the landing folder"):
        adopt(landing, MARKER)
    assert sorted(entry.name for entry in outside.iterdir()) == ["12.csv", "12.done"]


def test_N15_a_markers_folder_that_leads_out_of_the_landing_folder_is_refused(tmp_path: Path) -> None:
    """A marker may lie in another folder than the data."""
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    complete = {"by": "marker", "data": "orders/{day}/{hour}.csv", "marker": "ready/{day}-{hour}"}
    conf = SourceConf.model_validate(BASE | {"complete": complete})
    put(landing, "12.csv", TEXT, H13)
    outside.mkdir()
    (outside / "2013-11-01-12").touch()
    (landing / "ready").symlink_to(outside)
    with pytest.raises(RefusedError, match="leads out of the landing folder"):
        adopt(landing, conf)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_N15_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, make: Any) -> None:
    """A folder, or a pipe that nobody writes to."""
    path = delivered(tmp_path)
    path.unlink()
    make(path)
    with pytest.raises(RefusedError, match="no file"):
        adopt(tmp_path, MARKER)


def test_two_at_once_write_one_manifest(tmp_path: Path) -> None:
    """The sensor and a person: the second waits for the first and finds its manifest."""
    put(tmp_path, "12.csv", TEXT, H13)
    inside, finish, done = threading.Event(), threading.Event(), list[Landed]()

    def slow(_: float) -> None:
        inside.set()
        assert finish.wait(30)

    first = threading.Thread(target=lambda: done.append(adopt(tmp_path, STABLE, sleep=slow)))
    second = threading.Thread(target=lambda: done.append(adopt(tmp_path, STABLE, sleep=slow)))
    first.start()
    assert inside.wait(30)
    second.start()
    finish.set()
    first.join(30)
    second.join(30)
    assert sorted(landed.written for landed in done) == [False, True]
    assert versions(tmp_path, STABLE) == [1]


def test_an_hour_without_its_file_says_what_has_to_lie_there() -> None:
    """The upstream knows of no manifest."""
    for conf, said in ((MARKER, r"\{hour\}\.csv with its marker orders/"), (STABLE, "nobody writing to it any more")):
        with pytest.raises(RetryError, match=said) as waiting:
            require_drops({}, conf, "orders", [H12], H13)
        assert "tidegate fetch" in waiting.value.allowed
        assert "a manifest orders/" not in waiting.value.allowed


def test_a_spent_drop_goes_with_its_marker(tmp_path: Path) -> None:
    """Both versions, their one file, the marker and the empty folder."""
    path = delivered(tmp_path)
    adopt(tmp_path, MARKER)
    delivered(tmp_path, b"id,n\n1,9\n", minutes=5)
    adopt(tmp_path, MARKER)
    conf = SourcesConf(sources={"orders": MARKER})
    newest = find_drops(conf, tmp_path, "orders", [H12])[H12]
    assert remove_spent(conf, tmp_path, [H12], {("orders", H12): newest.sha256}) == 4
    assert not path.parent.exists()
