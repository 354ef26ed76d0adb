"""Kind http: an upstream that is down, busy, slow or says no; what is asked again, and which exit code is the end."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from http_upstream import HOUR, Answer, Server, Waits, fetch_hour, refused_fetch, source_at

from spark_jobs.errors import RetryError, UsageError
from spark_jobs.sources.http import fetch_drop


def test_a_busy_upstream_is_asked_again_when_it_says(upstream: Server, tmp_path: Path) -> None:
    """Retry-After in seconds, as a date (by the upstream's own clock), in the past, far off (capped), and nonsense."""
    monday = {"Date": "Fri, 01 Nov 2013 13:00:00 GMT"}
    asks = ["7", "Fri, 01 Nov 2013 13:00:05 GMT", "Fri, 01 Nov 2013 12:00:00 GMT", "9" * 400, "soon"]
    busy = [Answer(b"busy", 429 if at % 2 else 503, {"Retry-After": text, **monday}) for at, text in enumerate(asks)]
    upstream.says(*busy, Answer(b'[{"id": 1}]'))
    waits = Waits()
    assert fetch_hour(source_at(upstream), tmp_path, sleep=waits, longest_wait=60.0).rows == 1
    assert waits[:4] == [7.0, 5.0, 0.0, 60.0]
    assert 16 <= waits[4] <= 17


def test_a_failing_upstream_is_asked_again_after_growing_times(upstream: Server, tmp_path: Path) -> None:
    """500 twice, then 200: waits of 1 to 2 and 2 to 3 seconds, by chance, so that not all come back at once."""
    seen = set()
    for folder in "ab":
        upstream.asked.clear()
        upstream.says(Answer(status=500), Answer(status=502), Answer(b'[{"id": 1}]'))
        waits = Waits()
        assert fetch_hour(source_at(upstream), tmp_path / folder, sleep=waits).rows == 1
        assert 1 <= waits[0] <= 2 <= waits[1] <= 3
        seen |= set(waits)
    assert len(seen) == 4


def test_N16_an_upstream_that_fails_on_ends_with_exit_75(upstream: Server, tmp_path: Path) -> None:
    """Six times, and nothing has landed; a former page does not count either."""
    upstream.says(Answer(headers={"Link": "</2>; rel=next"}), Answer(b"secret page", status=500))
    fault = refused_fetch(RetryError, r"status 500, 6 time\(s\)", source_at(upstream, {"pages": "link"}), tmp_path)
    assert (fault.exit_code, fault.where, len(upstream.asked)) == (75, "orders 2013-11-01T12:00:00, page 2", 7)
    assert "secret page" not in str(fault)


def test_N16_an_upstream_that_is_down_ends_with_exit_75(tmp_path: Path) -> None:
    """A closed port."""
    server = Server()
    source = source_at(server)
    server.close()
    waits = Waits()
    refused_fetch(RetryError, "cannot be reached", source, tmp_path, sleep=waits)
    assert len(waits) == 5


def test_an_answer_that_breaks_off_is_asked_for_again(upstream: Server, tmp_path: Path) -> None:
    """Fewer bytes than its Content-Length, a cut gzip of unknown length, then the whole."""
    rows = b'[{"id": 1}, {"id": 2}]'
    upstream.says(
        Answer(rows[:10], headers={"Content-Length": "22"}, then=lambda out: None),
        Answer(b"no gzip", headers={"Content-Encoding": "gzip"}, then=lambda out: None),
        Answer(gzip.compress(rows), headers={"Content-Encoding": "gzip"}),
    )
    waits = Waits()
    assert fetch_hour(source_at(upstream), tmp_path, sleep=waits).rows == 2
    assert len(waits) == 2


def test_a_wait_that_does_not_fit_into_the_timeout_is_not_begun(upstream: Server, tmp_path: Path) -> None:
    """Retry-After of 30 s with 10 s left: the scheduler's own retry comes sooner."""
    upstream.says(Answer(status=429, headers={"Retry-After": "30"}))
    waits = Waits()
    source = source_at(upstream, {"timeout": timedelta(seconds=10)})
    refused_fetch(RetryError, r"status 429, 1 time\(s\)", source, tmp_path, sleep=waits)
    assert waits == []


@pytest.mark.parametrize("talk", ["nothing", "body", "head"])
def test_N16_an_upstream_that_is_too_slow_ends_with_exit_75(talk: str, upstream: Server, tmp_path: Path) -> None:
    """One that stalls, and one that drips a byte at a time so that no single wait is long, in its body or in its head."""

    def drip(out: Any) -> None:
        while not upstream.closing.wait(0.02):
            out.write(b" ")
            out.flush()

    def silent(path: str, number: int) -> Answer:
        upstream.closing.wait()
        return Answer()

    if talk == "nothing":
        upstream.answer = silent
    elif talk == "body":
        upstream.says(Answer(b"[", then=drip))
    else:
        upstream.says(Answer(head=drip))
    source = source_at(upstream, {"timeout": timedelta(seconds=0.4)})
    refused_fetch(RetryError, "too slow: not all pages within 0.4 s", source, tmp_path)


def test_a_page_that_stalls_is_asked_for_again_before_the_timeout(upstream: Server, tmp_path: Path) -> None:
    """A lost connection may never say so."""

    def answer(path: str, number: int) -> Answer:
        if number == 0:
            upstream.asked.append(("stalled", {}))
            upstream.closing.wait()
        return Answer(b'[{"id": 1}]')

    upstream.answer = answer
    source = source_at(upstream, {"timeout": timedelta(seconds=10)})
    assert fetch_hour(source, tmp_path, stall=0.2).rows == 1


def test_an_hour_that_is_not_over_is_not_asked_for(upstream: Server, tmp_path: Path) -> None:
    """A part of an hour would be published as the hour."""
    source = source_at(upstream)
    with pytest.raises(RetryError, match="the hour is not over"):
        fetch_hour(source, tmp_path, HOUR + timedelta(minutes=59))
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with pytest.raises(RetryError, match="the hour is not over"):
        fetch_drop("orders", source, tmp_path, this_hour + timedelta(hours=1))
    assert upstream.asked == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 201, 206, 304])
def test_a_status_that_no_retry_changes_ends_at_once(status: int, upstream: Server, tmp_path: Path) -> None:
    """Exit 64, one request."""
    upstream.says(Answer(b"" if status == 304 else b"[]", status=status))
    fault = refused_fetch(UsageError, f"status {status}", source_at(upstream), tmp_path)
    assert (fault.exit_code, len(upstream.asked)) == (64, 1)
    assert ("token" in fault.todo) == (status in (401, 403))
