"""Which drops count, whether a file is what its manifest says, and from when its rows are known."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.config.sources import SourcesConf
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.sources.drops import Drop, check_drop, find_drops, known_at, require_drops

H12 = datetime(2013, 11, 1, 12, tzinfo=UTC)
H13 = H12 + timedelta(hours=1)
CONF = SourcesConf.model_validate(
    {
        "sources": {
            "orders": {
                "kind": "files",
                "manifests": "orders/{day}/{hour}.manifest.json",
                "format": "csv",
                "columns": ["id", "n"],
            }
        }
    }
)

ORDERS = CONF.sources["orders"]


def land(landing: Path, at: datetime = H12, version: int = 1, arrived: str = "13:00:30", **other: Any) -> Path:
    """Deliver one drop of two rows; `other` replaces facts of its manifest. Returns the manifest's path."""
    stem = f"{at:%H}" if version == 1 else f"{at:%H}.{version}"
    folder = landing / "orders" / f"{at:%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    data = gzip.compress(f"id,n\n1,{version}\n2,{version}\n".encode(), mtime=0)
    (folder / f"{stem}.csv.gz").write_bytes(data)
    facts = {
        "schema_version": 1,
        "source": "orders",
        "hour": f"{at:%Y-%m-%dT%H}:00:00",
        "file": f"{stem}.csv.gz",
        "rows": 2,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "arrived_at": f"{at:%Y-%m-%d}T{arrived}Z",
    }
    manifest = folder / f"{stem}.manifest.json"
    manifest.write_text(json.dumps(facts | other))
    return manifest


def only_drop(landing: Path) -> Drop:
    return find_drops(CONF, landing, "orders", [H12])[H12]


def check(drop: Drop) -> None:
    check_drop(drop, sleep=lambda _: None)


def test_a_drop_carries_the_facts_of_its_manifest_and_passes_the_check(tmp_path: Path) -> None:
    """File is told relative to the landing folder, so that rows can be traced on any machine."""
    land(tmp_path)
    drop = only_drop(tmp_path)
    assert (drop.file, drop.rows, drop.version, drop.arrived_at) == (
        "orders/2013-11-01/12.csv.gz",
        2,
        1,
        datetime(2013, 11, 1, 13, 0, 30, tzinfo=UTC),
    )
    check(drop)


def test_an_hour_without_a_manifest_is_absent_although_a_file_lies_there(tmp_path: Path) -> None:
    """The manifest is written last: without it a file is still on its way."""
    land(tmp_path)
    (tmp_path / "orders/2013-11-01/13.csv.gz").write_bytes(b"half")
    assert list(find_drops(CONF, tmp_path, "orders", [H12, H13, H12 + timedelta(days=3)])) == [H12]


def test_of_two_versions_the_newest_arrival_counts(tmp_path: Path) -> None:
    """Not the highest number, and not the newest file."""
    land(tmp_path, arrived="13:00:30")
    land(tmp_path, version=2, arrived="13:09:30")
    land(tmp_path, version=3, arrived="13:05:00")
    assert only_drop(tmp_path).version == 2


def same(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_N11_a_drop_that_comes_again_with_the_same_bytes_stays_the_first(tmp_path: Path) -> None:
    """Known since it came; after other bytes it is a new one."""
    first = land(tmp_path, arrived="13:00:30").with_name("12.csv.gz").read_bytes()
    for version, arrived in ((2, "16:00:00"), (3, "17:00:00")):
        file = land(tmp_path, version=version, arrived=arrived, **same(first)).with_name(f"12.{version}.csv.gz")
        file.write_bytes(first)
    assert only_drop(tmp_path).version == 1
    assert known_at(only_drop(tmp_path), ORDERS) == H13
    land(tmp_path, version=2, arrived="16:00:00")
    assert only_drop(tmp_path).version == 3


def test_N11_a_drop_whose_file_was_cut_is_known_since_it_came_whole(tmp_path: Path) -> None:
    """The same bytes by its manifest; nobody could read them before."""
    first = land(tmp_path, arrived="13:00:30").with_name("12.csv.gz")
    whole = first.read_bytes()
    first.write_bytes(whole[:9])
    land(tmp_path, version=2, arrived="16:00:00", **same(whole)).with_name("12.2.csv.gz").write_bytes(whole)
    assert only_drop(tmp_path).version == 2


def test_N16_a_missing_hour_waits_until_its_grace_ends_and_is_late_then(tmp_path: Path) -> None:
    """75 either way; the text tells them apart."""
    land(tmp_path)
    found, conf = find_drops(CONF, tmp_path, "orders", [H12, H13]), CONF.sources["orders"]
    require_drops(found, conf, "orders", [H12], H13)
    due = H13 + timedelta(hours=1) + ORDERS.grace
    with pytest.raises(RetryError, match=r"waiting: no drop of 1 hour.*2013-11-01T13:00:00"):
        require_drops(found, conf, "orders", [H12, H13], due - timedelta(seconds=1))
    with pytest.raises(RetryError, match="late: no drop"):
        require_drops(found, conf, "orders", [H12, H13], due)


def test_an_undeclared_source_is_a_usage_error_with_the_nearest_name(tmp_path: Path) -> None:
    """A typing error is not a missing drop."""
    with pytest.raises(UsageError, match="did you mean 'orders'"):
        find_drops(CONF, tmp_path, "order", [H12])


def test_a_wrong_hash_is_refused_with_both_hashes_and_the_way_out(tmp_path: Path) -> None:
    """Where, found, expected, what to do."""
    land(tmp_path, sha256="0" * 64)
    with pytest.raises(RefusedError) as refused:
        check(only_drop(tmp_path))
    assert refused.value.where.endswith("orders/2013-11-01/12.csv.gz")
    assert refused.value.found.startswith("sha256 ")
    assert "0" * 64 in refused.value.allowed
    assert "delivered again" in refused.value.todo


@pytest.mark.parametrize(("size", "found"), [(10_000, r"\d+ bytes"), (1, r"\d+ bytes")])
def test_a_wrong_size_is_refused(tmp_path: Path, size: int, found: str) -> None:
    """Cut short or longer than stated."""
    land(tmp_path, bytes=size)
    with pytest.raises(RefusedError, match=f"{found}\n  allowed: {size} bytes"):
        check(only_drop(tmp_path))


def test_a_file_that_its_manifest_names_but_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The manifest comes last, so the file cannot still be on its way."""
    land(tmp_path)
    drop = only_drop(tmp_path)
    Path(drop.path).unlink()
    with pytest.raises(RefusedError, match="the file is missing"):
        check(drop)


def test_N12_a_file_that_grows_between_the_two_looks_is_refused_as_growing(tmp_path: Path) -> None:
    """Not read before size and hash match."""
    land(tmp_path, bytes=10_000)
    drop = only_drop(tmp_path)

    def grow(_: float) -> None:
        with open(drop.path, "ab") as stream:
            stream.write(b"more")

    with pytest.raises(RefusedError, match=r"still growing \(\d+, then \d+ bytes"):
        check_drop(drop, sleep=grow)


def test_a_file_that_is_whole_at_the_second_look_passes(tmp_path: Path) -> None:
    """One recheck, so that a moment's delay of a file system is no refusal."""
    land(tmp_path)
    drop = only_drop(tmp_path)
    whole = Path(drop.path).read_bytes()
    Path(drop.path).write_bytes(whole[:5])

    def arrive(_: float) -> None:
        Path(drop.path).write_bytes(whole)

    check_drop(drop, sleep=arrive)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": "2"},
        {"sha256": "abc"},
        {"schema_version": 2},
        {"file": "../12.csv.gz"},
        {"file": "/etc/passwd"},
        {"arrived_at": "yesterday"},
        {"arrived_at": "2013-11-01T13:00:30+02:00"},
        {"source": "returns"},
        {"hour": "2013-11-01T11:00:00"},
    ],
)
def test_a_manifest_with_one_wrong_fact_is_refused_by_its_path(tmp_path: Path, change: dict[str, Any]) -> None:
    """Everything later rests on these facts, so none is guessed."""
    manifest = land(tmp_path, **change)
    with pytest.raises(RefusedError) as refused:
        only_drop(tmp_path)
    assert refused.value.where == str(manifest)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_manifest_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    """Cut short, empty, or something else."""
    land(tmp_path).write_text(text)
    with pytest.raises(RefusedError, match="malformed manifest"):
        only_drop(tmp_path)


def test_all_broken_manifests_of_an_interval_are_told_at_once(tmp_path: Path) -> None:
    """A backfill does not find them one by one."""
    land(tmp_path).write_text("{")
    land(tmp_path, H13).write_text("{")
    with pytest.raises(RefusedError, match=r"2 broken drops(.|\n)*12\.manifest(.|\n)*13\.manifest"):
        find_drops(CONF, tmp_path, "orders", [H12, H13])


@pytest.mark.parametrize("linked", ["file", "manifest", "day"])
def test_N15_a_link_that_leads_out_of_the_landing_folder_is_refused(tmp_path: Path, linked: str) -> None:
    """Links inside of it are an operator's business."""
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    manifest = land(landing)
    target = {"file": manifest.with_name("12.csv.gz"), "manifest": manifest, "day": manifest.parent}[linked]
    target.rename(outside)
    target.symlink_to(outside)
    with pytest.raises(RefusedError, match="leads out of the landing folder"):
        only_drop(landing)


@pytest.mark.parametrize(
    ("arrived", "known"),
    [
        ("12:30:00", 13),
        ("13:00:30", 13),
        ("13:14:59", 13),
        ("13:15:00", 14),
        ("13:59:59", 14),
        ("14:00:00", 15),
        ("17:20:00", 18),
    ],
)
def test_rows_are_known_at_the_end_of_their_hour_or_of_the_hour_of_a_late_arrival(
    tmp_path: Path, arrived: str, known: int
) -> None:
    """Half-open like every interval: at the end of the grace a drop is late."""
    land(tmp_path, arrived=arrived)
    assert known_at(only_drop(tmp_path), ORDERS) == datetime(2013, 11, 1, known, tzinfo=UTC)


def test_known_at_follows_the_grace_of_the_source(tmp_path: Path) -> None:
    """A source with a longer grace is on time for longer."""
    land(tmp_path)
    late = replace(only_drop(tmp_path), arrived_at=datetime(2013, 11, 1, 13, 40, tzinfo=UTC))
    assert known_at(late, ORDERS.model_copy(update={"grace": timedelta(hours=1)})) == H13
    assert known_at(late, ORDERS) == H13 + timedelta(hours=1)


def test_an_arrival_ahead_of_the_clock_refuses_the_drop(tmp_path: Path) -> None:
    """Its rows would be known in the future, and no correction would ever be newer; a small skew is allowed."""
    now = datetime.now(UTC)
    soon, later = (f"{now + ahead:%FT%TZ}" for ahead in (timedelta(minutes=2), timedelta(minutes=20)))
    manifest = land(tmp_path, arrived_at=soon)
    assert only_drop(tmp_path).version == 1
    land(tmp_path, arrived_at=later)
    with pytest.raises(RefusedError, match="lies in the future") as fault:
        only_drop(tmp_path)
    assert (fault.value.where, fault.value.exit_code) == (str(manifest), 65)
    patient = SourcesConf(sources={"orders": ORDERS.model_copy(update={"clock_skew": timedelta(hours=1)})})
    assert find_drops(patient, tmp_path, "orders", [H12])[H12].version == 1


def test_history_is_known_at_its_own_hour_and_its_corrections_since_they_arrived(tmp_path: Path) -> None:
    """Only hours before `history_until`; without it every drop is known since it arrived."""
    land(tmp_path, arrived_at="2025-01-01T07:10:00Z")
    first = only_drop(tmp_path)
    late = datetime(2025, 1, 1, 8, tzinfo=UTC)
    history = ORDERS.model_copy(update={"history_until": H13})
    assert known_at(first, ORDERS) == late
    assert known_at(first, history) == H13
    assert known_at(replace(first, version=2), history) == late
    assert known_at(first, ORDERS.model_copy(update={"history_until": H12})) == late
