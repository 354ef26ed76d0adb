"""Kind http: how rows become versions of a drop in the landing folder, and since when they count as known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from http_upstream import (
    ARRIVED,
    HOUR,
    Answer,
    Server,
    fetch_hour,
    files_in,
    landed_bytes,
    newest_drop,
    refused_fetch,
    source_at,
)

from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.sources.landing import land


def test_the_same_rows_again_change_nothing(upstream: Server, tmp_path: Path) -> None:
    """However they are spread over pages, and whenever they come."""
    upstream.says(Answer(b'[{"id": 1}, {"id": 2}]'))
    source = source_at(upstream, {"pages": "link"})
    fetch_hour(source, tmp_path)
    before, stamps = files_in(tmp_path), [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))]
    upstream.asked.clear()
    upstream.says(Answer(b'[\n{"id": 1}\n]', headers={"Link": "</2>; rel=next"}), Answer(b'[{"id": 2}]'))
    again = fetch_hour(source, tmp_path, ARRIVED + timedelta(days=1))
    assert (again.version, again.written, again.pages) == (1, False, 2)
    assert files_in(tmp_path) == before
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))] == stamps


def test_other_rows_are_the_next_version_and_so_are_the_first_ones_again(upstream: Server, tmp_path: Path) -> None:
    """What readers have had stays; the newest arrival counts, also by a clock that went back."""
    source, sent = source_at(upstream), [b'{"id": 1}', b'{"id": 2}', b'{"id": 1}']
    for version, row in enumerate(sent, start=1):
        upstream.says(Answer(b"[" + row + b"]"))
        done = fetch_hour(source, tmp_path, ARRIVED - timedelta(seconds=version))
        assert (done.version, done.written) == (version, True)
        newest = newest_drop(source, tmp_path)
        assert newest is not None
        assert (newest.version, newest.arrived_at) == (version, ARRIVED - timedelta(seconds=1))
    names = {f"12{mark}{kind}" for mark in ("", ".2", ".3") for kind in (".jsonl", ".manifest.json")}
    assert {Path(path).name for path in files_in(tmp_path)} == names


@pytest.mark.parametrize("harm", ["gone", "cut", "changed"])
def test_a_data_file_that_is_lost_is_written_again(harm: str, upstream: Server, tmp_path: Path) -> None:
    """Its manifest stays as it was."""
    upstream.says(Answer(b'[{"id": 1}]'))
    source = source_at(upstream)
    fetch_hour(source, tmp_path)
    before, file = files_in(tmp_path), tmp_path / "orders/2013-11-01/12.jsonl"
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b'{"id"' if harm == "cut" else b'{"id": 2}\n')
    assert fetch_hour(source, tmp_path).written
    assert files_in(tmp_path) == before


def test_N12_a_fetch_killed_between_file_and_manifest_leaves_no_drop_and_the_next_one_is_whole(
    upstream: Server, tmp_path: Path
) -> None:
    """Other rows meanwhile; the killed attempt's bytes are written over, as no manifest has named them."""
    upstream.says(Answer(b'[{"id": 1}]'))
    source = source_at(upstream)
    code = (
        "import sys; from datetime import datetime; from pathlib import Path\n"
        "from spark_jobs.config.sources import SourceConf; from spark_jobs.sources.http import fetch_drop\n"
        "source = SourceConf.model_validate_json(sys.argv[1])\n"
        "fetch_drop('orders', source, Path(sys.argv[2]), *map(datetime.fromisoformat, sys.argv[3:]))"
    )
    words = [source.model_dump_json(by_alias=True), str(tmp_path), HOUR.isoformat(), ARRIVED.isoformat()]
    environ = {**os.environ, "TIDEGATE_FAILPOINT": "fetch.manifest.before"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environ, check=False, timeout=60, capture_output=True
    )
    assert (done.returncode, done.stderr) == (-9, b"")
    assert files_in(tmp_path) == {"orders/2013-11-01/12.jsonl": b'{"id": 1}\n'}
    assert newest_drop(source, tmp_path) is None
    upstream.says(Answer(b'[{"id": 2}]'))
    assert fetch_hour(source, tmp_path).version == 1
    assert landed_bytes(source, tmp_path) == b'{"id": 2}\n'


def test_fetches_at_the_same_time_each_land_whole(upstream: Server, tmp_path: Path) -> None:
    """Eight at once with other bytes each: eight versions, each manifest speaking of its own file."""
    source = source_at(upstream)
    with ThreadPoolExecutor(8) as pool:
        rows = [b'{"id": %d}\n' % number * 1000 for number in range(8)]
        done = list(pool.map(lambda data: land("orders", source, tmp_path, HOUR, data, 1000, ARRIVED), rows))
    assert sorted(one.version for one in done) == list(range(1, 9))
    for one, data in zip(done, rows, strict=True):
        facts = json.loads(one.manifest.read_text())
        assert (one.manifest.parent / facts["file"]).read_bytes() == data
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    "template", ["{day}/{hour}", "{day}-{hour}.json", "o/{day}/x{hour}y.jsonl", "o/{day}/{hour}.manifest.json"]
)
def test_a_drop_is_found_wherever_its_manifest_belongs(template: str, upstream: Server, tmp_path: Path) -> None:
    """No data file is taken for a manifest, also beside a second version."""
    source = source_at(upstream, manifests=template)
    for body in (b"[1]", b"[2]"):
        upstream.says(Answer(body))
        fetch_hour(source, tmp_path)
    newest = newest_drop(source, tmp_path)
    assert newest is not None
    assert (newest.version, len(files_in(tmp_path)), landed_bytes(source, tmp_path)) == (2, 4, b"2\n")


def test_a_folder_that_leads_out_of_the_landing_folder_is_not_written_to(upstream: Server, tmp_path: Path) -> None:
    """N15: a link in the place of the source's folder."""
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    landing.mkdir()
    outside.mkdir()
    (landing / "orders").symlink_to(outside)
    with pytest.raises(RefusedError, match="leads out of the landing folder"):
        fetch_hour(source_at(upstream), landing)
    assert list(outside.iterdir()) == []


def test_a_source_of_kind_files_is_not_fetched(upstream: Server, tmp_path: Path) -> None:
    """Its drops are its upstream's."""
    source = source_at(upstream).model_copy(update={"kind": "files", "http": None})
    refused_fetch(UsageError, "kind files", source, tmp_path)


@pytest.mark.parametrize(
    ("arrived", "second", "expected"),
    [
        ("last_modified", "Fri, 01 Nov 2013 13:00:20 GMT", datetime(2013, 11, 1, 13, 0, 20, tzinfo=UTC)),
        ("last_modified", "Fri, 01 Nov 2013 12:00:00 GMT", datetime(2013, 11, 1, 13, 0, 10, tzinfo=UTC)),
        ("last_modified", "Fri, 01 Jan 2999 00:00:00 GMT", None),
        ("fetched", "Fri, 01 Nov 2013 13:00:20 GMT", None),
    ],
    ids=["the later page", "the earlier page", "in the future", "not asked for"],
)
def test_rows_arrive_when_the_last_page_could_be_had_and_never_after_they_were_fetched(
    arrived: str, second: str, expected: datetime | None, upstream: Server, tmp_path: Path
) -> None:
    link = {"Link": f'<{upstream.home}/orders?page=2>; rel="next"', "Last-Modified": "Fri, 01 Nov 2013 13:00:10 GMT"}
    upstream.says(Answer(b'[{"id": 1}]', headers=link), Answer(b'[{"id": 2}]', headers={"Last-Modified": second}))
    source = source_at(upstream, {"pages": "link", "arrived": arrived})
    fetch_hour(source, tmp_path)
    drop = newest_drop(source, tmp_path)
    assert drop is not None
    assert drop.arrived_at == (expected or ARRIVED)


@pytest.mark.parametrize("header", [{}, {"Last-Modified": "yesterday"}], ids=["none", "nonsense"])
def test_a_page_that_does_not_say_when_it_could_be_had_is_refused_where_that_counts(
    header: dict[str, str], upstream: Server, tmp_path: Path
) -> None:
    upstream.says(Answer(b"[]", headers=header))
    with pytest.raises(RefusedError, match="no header Last-Modified") as refused:
        fetch_hour(source_at(upstream, {"arrived": "last_modified"}), tmp_path)
    assert "write arrived: fetched" in refused.value.todo
    assert not list(tmp_path.rglob("*.json*"))
