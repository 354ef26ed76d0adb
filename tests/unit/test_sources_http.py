"""Kind http: pages of a real server on this machine become one drop an hour, or an error that says why not."""

from __future__ import annotations

import gzip
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.sources.drops import Drop, check_drop, find_drops
from spark_jobs.sources.http import Fetched, fetch_drop
from spark_jobs.sources.http_client import Patience
from spark_jobs.sources.http_pages import DropText, PageError
from spark_jobs.sources.landing import land
from spark_jobs.sources.parse import parse_drop

HOUR = datetime(2013, 11, 1, 12, tzinfo=UTC)
ARRIVED = datetime(2013, 11, 1, 13, 0, 30, tzinfo=UTC)
TOKEN = "canary-7F3a.TOKEN"  # also the name of a host


@dataclass
class Answer:
    """What the server says to one request; `then` goes on talking after `body`, `head` inside of the head's first line."""

    body: bytes = b"[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    then: Callable[[Any], None] | None = None
    head: Callable[[Any], None] | None = None


class Server:
    """An upstream on a port of its own; `answer` gets the path and the number of the request, from 0."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Answer] = lambda path, number: Answer()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()  # a talk that never ends waits for it
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each body waits 40 ms for the head to be acknowledged

            def do_GET(self) -> None:
                answer = owner.answer(self.path, len(owner.asked))
                owner.asked.append((self.path, {name.lower(): text for name, text in self.headers.items()}))
                if answer.head:
                    with suppress(OSError):
                        self.wfile.write(b"HTTP/1.1 200 OK")
                        answer.head(self.wfile)
                    return
                self.send_response_only(answer.status)
                length = {} if answer.then else {"Content-Length": str(len(answer.body))}
                for name, text in {**length, **answer.headers}.items():
                    self.send_header(name, text)
                with suppress(OSError):  # the client may leave early
                    self.end_headers()
                    self.wfile.write(answer.body)
                    if answer.then:
                        self.close_connection = True
                        answer.then(self.wfile)

            def log_message(self, *words: object) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def home(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.http.server_port}"

    def says(self, *answers: Answer) -> None:
        """One answer after the other, the last one for ever."""
        self.answer = lambda path, number: answers[min(number, len(answers) - 1)]

    def close(self) -> None:
        """End all talk."""
        self.closing.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def upstream() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def _source(upstream: Server, http: dict[str, Any] | None = None, **changes: Any) -> SourceConf:
    section = {"url": f"{upstream.home}/orders?from={{from}}&to={{to}}", **(http or {})}
    return SourceConf.model_validate(
        {"kind": "http", "manifests": "orders/{day}/{hour}.manifest.json", "format": "jsonl",
         "columns": ["id", "amount"], "http": section} | changes
    )  # fmt: skip


class Waits(list[float]):
    """Seconds that a fetch would have waited."""

    async def __call__(self, seconds: float) -> None:
        """Wait for nothing."""
        self.append(seconds)


def _fetch(source: SourceConf, landing: Path, arrived_at: datetime = ARRIVED, **patience: Any) -> Fetched:
    return fetch_drop("orders", source, landing, HOUR, arrived_at, patience=Patience(**{"sleep": Waits()} | patience))


def _newest(source: SourceConf, landing: Path) -> Drop | None:
    drop = find_drops(SourcesConf(sources={"orders": source}), landing, "orders", [HOUR]).get(HOUR)
    if drop:
        check_drop(drop, wait_seconds=0)
    return drop


def _landed(source: SourceConf, landing: Path) -> bytes:
    drop = _newest(source, landing)
    assert drop is not None
    return Path(drop.path).read_bytes()


def _files(landing: Path) -> dict[str, bytes]:
    return {path.relative_to(landing).as_posix(): path.read_bytes() for path in landing.rglob("*") if path.is_file()}


def _refused(kind: type[TidegateError], said: str, source: SourceConf, landing: Path, **patience: Any) -> TidegateError:
    """The error of a fetch, which has four parts and lands nothing."""
    with pytest.raises(kind, match=said) as told:
        _fetch(source, landing, **patience)
    assert told.value.where.startswith("orders 2013-11-01T12:00:00")
    assert all((told.value.found, told.value.allowed, told.value.todo))
    assert _files(landing) == {}
    return told.value


# --- pages -----------------------------------------------------------------------------------------------------------


def test_a_page_becomes_a_drop_whose_manifest_states_it(upstream: Server, tmp_path: Path) -> None:
    """The hour stands in the url; the file lies beside its manifest and is what bronze expects."""
    upstream.says(Answer(b' [ {"id": 1, "amount": 2} ,\n{"id": 2,\r\n "amount": null} ] '))
    source = _source(upstream)
    done = _fetch(source, tmp_path)
    assert [path for path, _ in upstream.asked] == ["/orders?from=2013-11-01T12:00:00Z&to=2013-11-01T13:00:00Z"]
    assert _files(tmp_path)["orders/2013-11-01/12.jsonl"] == b'{"id": 1, "amount": 2}\n{"id": 2,   "amount": null}\n'
    assert (done.version, done.rows, done.bytes, done.pages, done.written) == (1, 2, 51, 1, True)
    drop = _newest(source, tmp_path)
    assert drop is not None
    assert (drop.rows, drop.bytes, drop.arrived_at, drop.manifest) == (2, 51, ARRIVED, str(done.manifest))
    rows = parse_drop(_landed(source, tmp_path), drop.file, drop.rows, drop.bytes, drop.sha256, source)
    assert rows.select(["id", "amount", "fault"]).to_pylist() == [
        {"id": "1", "amount": "2", "fault": None}, {"id": "2", "amount": None, "fault": None},
    ]  # fmt: skip


def test_pages_follow_by_link(upstream: Server, tmp_path: Path) -> None:
    """RFC 8288: several links, several relations in one, upper case, a relative url, a fragment that is dropped."""
    upstream.says(
        Answer(b'[{"id": 1}]', headers={"Link": '</?a>; rel="prev", </orders?page=2>; rel="Last NEXT"'}),
        Answer(b"[]", headers={"Link": f'<{upstream.home}/orders?page=3#rows>; rel=next; title="a, b"'}),
        Answer(b'[{"id": 3}]', headers={"Link": '</orders?page=1>; rel="first"'}),
    )
    source = _source(upstream, {"pages": "link"})
    assert _fetch(source, tmp_path).pages == 3
    assert [path for path, _ in upstream.asked][1:] == ["/orders?page=2", "/orders?page=3"]
    assert _landed(source, tmp_path) == b'{"id": 1}\n{"id": 3}\n'


@pytest.mark.parametrize("last", ["null", '""', "false", None])
def test_pages_follow_by_cursor(last: str | None, upstream: Server, tmp_path: Path) -> None:
    """A text or a number as it stands in the page; the other parameters stay, the former cursor is replaced."""
    end = f', "meta": {{"next": {last}}}' if last else ""
    upstream.says(
        Answer('{"meta": {"next": "a b&c=/+é"}, "d/~": {"items": [{"id": 1}]}}'.encode()),
        Answer(b'{"d/~": {"items": []}, "meta": {"next": 12345678901234567890.50}}'),
        Answer(f'{{"d/~": {{"items": [{{"id": 3}}]}}{end}}}'.encode()),
    )
    cursor = {"field": "/meta/next", "parameter": "after"}
    source = _source(upstream, {"pages": "cursor", "cursor": cursor, "rows": "/d~1~0/items"})
    assert _fetch(source, tmp_path).pages == 3
    asked = [parse_qs(urlsplit(path).query) for path, _ in upstream.asked]
    hour = {"from": ["2013-11-01T12:00:00Z"], "to": ["2013-11-01T13:00:00Z"]}
    assert asked == [hour, hour | {"after": ["a b&c=/+é"]}, hour | {"after": ["12345678901234567890.50"]}]
    assert _landed(source, tmp_path) == b'{"id": 1}\n{"id": 3}\n'


def test_pages_of_csv_keep_their_bytes_and_one_header(upstream: Server, tmp_path: Path) -> None:
    """A BOM, a last line without its end, a page of a header only; a broken line is bronze's to judge."""
    upstream.says(
        Answer(b"\xef\xbb\xbfid,amount\n1,0.10\n2,\xff", headers={"Link": "</2>; rel=next"}),
        Answer(b"id,amount\n", headers={"Link": "</3>; rel=next"}),
        Answer(b'id,amount\r\n"3,1e3\n\n'),
    )
    source = _source(upstream, {"pages": "link"}, format="csv")
    assert _fetch(source, tmp_path).rows == 4
    assert upstream.asked[0][1]["accept"].startswith("text/csv")
    assert _landed(source, tmp_path) == b'id,amount\n1,0.10\n2,\xff\n"3,1e3\n\n'
    drop = _newest(source, tmp_path)
    assert drop is not None
    rows = parse_drop(_landed(source, tmp_path), drop.file, drop.rows, drop.bytes, drop.sha256, source).to_pylist()
    assert [(row["line"], row["id"], row["fault"]) for row in rows] == [
        (2, "1", None), (3, None, "bad UTF-8 at byte 3"), (4, None, "csv: open quote"), (5, None, "blank line"),
    ]  # fmt: skip


def test_numbers_texts_and_doubled_keys_stay_as_they_were_delivered(upstream: Server, tmp_path: Path) -> None:
    """Nothing is parsed and written anew: no digit, escape, key or blank inside a text changes."""
    rows = [
        b'{"id": 0.10, "amount": 1e3}', b'{"id": 12345678901234567890, "amount": -0.0}', b'{"id": 1E400, "amount": NaN}',
        b'{"id": "\\u00e9  \\n \xc3\xa9", "amount": [1, {"]": "}"}]}', b'{"id": 1, "id": 2}', b"7", b"[]",
        b'{"id": ' + b"9" * 5000 + b"}",
    ]  # fmt: skip
    upstream.says(Answer(b'{"x": ["y"], "data": [[7], [' + b", ".join(rows) + b"]]}"))
    source = _source(upstream, {"rows": "/data/1"})
    assert _fetch(source, tmp_path).rows == len(rows)
    assert _landed(source, tmp_path).splitlines() == rows
    drop = _newest(source, tmp_path)
    assert drop is not None
    read = parse_drop(_landed(source, tmp_path), drop.file, drop.rows, drop.bytes, drop.sha256, source).to_pylist()
    assert [(row["id"], row["amount"]) for row in read[:3]] == [
        ("0.10", "1e3"), ("12345678901234567890", "-0.0"), ("1E400", "NaN"),
    ]  # fmt: skip
    assert "twice" in read[4]["fault"]


@pytest.mark.parametrize(("format_", "body"), [("jsonl", b"[]"), ("csv", b"id,amount\n")])
def test_an_hour_without_rows_is_a_drop_of_no_rows_and_so_is_status_204(
    format_: str, body: bytes, upstream: Server, tmp_path: Path
) -> None:
    """The upstream has said so; silence is another thing."""
    upstream.says(Answer(body), Answer(b"", status=204))
    source = _source(upstream, format=format_)
    for version in (1, 2) if format_ == "csv" else (1, 1):
        done = _fetch(source, tmp_path)
        assert (done.version, done.rows) == (version, 0)
        drop = _newest(source, tmp_path)
        assert drop is not None
        data = _landed(source, tmp_path)
        assert parse_drop(data, drop.file, drop.rows, drop.bytes, drop.sha256, source).to_pylist() == []


@pytest.mark.parametrize(
    ("body", "http", "said"),
    [
        (b"", {}, "no JSON"),
        (b"<html>", {}, "no JSON: Expecting value at line 1, column 1"),
        (b'[{"id": 1}', {}, "no JSON"),
        (b"[1] [2]", {}, "no JSON: Extra data"),
        (b'["a\nb"]', {}, "Invalid control character"),
        (b"[" * 100_000, {}, "nested too deeply"),
        (b'["\xff"]', {}, "bad UTF-8 at byte 3"),
        (b'{"data": []}', {}, "no list at the top"),
        (b'{"dat": []}', {"rows": "/data"}, "no list at /data"),
        (b'{"data": {"0": []}}', {"rows": "/data"}, "no list at /data"),
        (b'{"data": [[1]]}', {"rows": "/data/1"}, "no list at /data/1"),
        (b'{"data": [1], "data": [2]}', {"rows": "/data"}, "'data' of /data twice"),
    ],
)
def test_a_page_that_is_not_what_the_source_says_is_refused(
    body: bytes, http: dict[str, Any], said: str, upstream: Server, tmp_path: Path
) -> None:
    """Never an empty or a shorter hour; exit 65, and no part of the page in the message."""
    upstream.says(Answer(body))
    fault = _refused(RefusedError, said, _source(upstream, http), tmp_path)
    assert fault.where.endswith("page 1")
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("second", "said"), [(b"amount,id\n1,2\n", "another header"), (b"", "no header line"), (b"\n1,2", "no header line")]
)
def test_a_csv_page_with_another_header_is_refused(second: bytes, said: str, upstream: Server, tmp_path: Path) -> None:
    """Its values would move into other columns."""
    upstream.says(Answer(b"id,amount\n1,2\n", headers={"Link": "</2>; rel=next"}), Answer(second))
    fault = _refused(RefusedError, said, _source(upstream, {"pages": "link"}, format="csv"), tmp_path)
    assert fault.where.endswith("page 2")


@pytest.mark.parametrize("value", ["{}", "[1]", "true"])
def test_a_cursor_that_is_no_single_value_is_refused(value: str) -> None:
    """It could not be handed back."""
    cursor = {"field": "/next", "parameter": "c"}
    section = {"url": "https://a.example/{from}", "pages": "cursor", "cursor": cursor, "rows": "/d"}
    conf = SourceConf.model_validate(
        {"kind": "http", "manifests": "{day}/{hour}", "format": "jsonl", "columns": ["id"], "http": section}
    )
    with pytest.raises(PageError, match="neither a text nor a number"):
        DropText(conf).add(f'{{"d": [], "next": {value}}}'.encode())


@pytest.mark.parametrize("cursor", ["x" * 70_000, "\\ud800"])
def test_a_cursor_that_no_url_can_hold_is_refused(cursor: str, upstream: Server, tmp_path: Path) -> None:
    """Too long, and half of a character."""
    upstream.says(Answer(f'{{"d": [], "next": "{cursor}"}}'.encode()))
    section = {"pages": "cursor", "cursor": {"field": "/next", "parameter": "c"}, "rows": "/d"}
    fault = _refused(RefusedError, "a cursor at /next that no url can hold", _source(upstream, section), tmp_path)
    assert len(str(fault)) < 500


def test_a_next_page_that_the_source_does_not_know_of_is_refused(upstream: Server, tmp_path: Path) -> None:
    """pages: none would land the first page as if it were the hour."""
    upstream.says(Answer(headers={"Link": "</2>; rel=next"}))
    _refused(RefusedError, "Link names a next page", _source(upstream), tmp_path)


@pytest.mark.parametrize("loop", [["1"], ["1", "2"], ["1", "1"], ["1#a", "1#b"], None])
def test_pages_without_an_end_are_refused(loop: list[str] | None, upstream: Server, tmp_path: Path) -> None:
    """A page that leads to itself, also under another fragment, back to one before, or to ever new ones."""

    def answer(path: str, number: int) -> Answer:
        page = loop[number % len(loop)] if loop else f"{number}"
        return Answer(headers={"Link": f"</orders?page={page}>; rel=next"})

    upstream.answer = answer
    _refused(RefusedError, "no end", _source(upstream, {"pages": "link"}), tmp_path, pages=20)
    assert len(upstream.asked) == (len({page[0] for page in loop}) + 1 if loop else 20)


# --- faults that may pass --------------------------------------------------------------------------------------------


def test_a_busy_upstream_is_asked_again_when_it_says(upstream: Server, tmp_path: Path) -> None:
    """Retry-After in seconds, as a date (by the upstream's own clock), in the past, far off (capped), and nonsense."""
    monday = {"Date": "Fri, 01 Nov 2013 13:00:00 GMT"}
    asks = ["7", "Fri, 01 Nov 2013 13:00:05 GMT", "Fri, 01 Nov 2013 12:00:00 GMT", "9" * 400, "soon"]
    busy = [Answer(b"busy", 429 if at % 2 else 503, {"Retry-After": text, **monday}) for at, text in enumerate(asks)]
    upstream.says(*busy, Answer(b'[{"id": 1}]'))
    waits = Waits()
    assert _fetch(_source(upstream), tmp_path, sleep=waits, longest_wait=60.0).rows == 1
    assert waits[:4] == [7.0, 5.0, 0.0, 60.0]
    assert 16 <= waits[4] <= 17


def test_a_failing_upstream_is_asked_again_after_growing_times(upstream: Server, tmp_path: Path) -> None:
    """500 twice, then 200: waits of 1 to 2 and 2 to 3 seconds, by chance, so that not all come back at once."""
    seen = set()
    for folder in "ab":
        upstream.asked.clear()
        upstream.says(Answer(status=500), Answer(status=502), Answer(b'[{"id": 1}]'))
        waits = Waits()
        assert _fetch(_source(upstream), tmp_path / folder, sleep=waits).rows == 1
        assert 1 <= waits[0] <= 2 <= waits[1] <= 3
        seen |= set(waits)
    assert len(seen) == 4


def test_N16_an_upstream_that_fails_on_ends_with_exit_75(upstream: Server, tmp_path: Path) -> None:
    """Six times, and nothing has landed; a former page does not count either."""
    upstream.says(Answer(headers={"Link": "</2>; rel=next"}), Answer(b"secret page", status=500))
    fault = _refused(RetryError, r"status 500, 6 time\(s\)", _source(upstream, {"pages": "link"}), tmp_path)
    assert (fault.exit_code, fault.where, len(upstream.asked)) == (75, "orders 2013-11-01T12:00:00, page 2", 7)
    assert "secret page" not in str(fault)


def test_N16_an_upstream_that_is_down_ends_with_exit_75(tmp_path: Path) -> None:
    """A closed port."""
    server = Server()
    source = _source(server)
    server.close()
    waits = Waits()
    _refused(RetryError, "cannot be reached", source, tmp_path, sleep=waits)
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
    assert _fetch(_source(upstream), tmp_path, sleep=waits).rows == 2
    assert len(waits) == 2


def test_a_wait_that_does_not_fit_into_the_timeout_is_not_begun(upstream: Server, tmp_path: Path) -> None:
    """Retry-After of 30 s with 10 s left: the scheduler's own retry comes sooner."""
    upstream.says(Answer(status=429, headers={"Retry-After": "30"}))
    waits = Waits()
    source = _source(upstream, {"timeout": timedelta(seconds=10)})
    _refused(RetryError, r"status 429, 1 time\(s\)", source, tmp_path, sleep=waits)
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
    source = _source(upstream, {"timeout": timedelta(seconds=0.4)})
    _refused(RetryError, "too slow: not all pages within 0.4 s", source, tmp_path)


def test_a_page_that_stalls_is_asked_for_again_before_the_timeout(upstream: Server, tmp_path: Path) -> None:
    """A lost connection may never say so."""

    def answer(path: str, number: int) -> Answer:
        if number == 0:
            upstream.asked.append(("stalled", {}))
            upstream.closing.wait()
        return Answer(b'[{"id": 1}]')

    upstream.answer = answer
    source = _source(upstream, {"timeout": timedelta(seconds=10)})
    assert _fetch(source, tmp_path, stall=0.2).rows == 1


def test_an_hour_that_is_not_over_is_not_asked_for(upstream: Server, tmp_path: Path) -> None:
    """A part of an hour would be published as the hour."""
    source = _source(upstream)
    with pytest.raises(RetryError, match="the hour is not over"):
        _fetch(source, tmp_path, HOUR + timedelta(minutes=59))
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with pytest.raises(RetryError, match="the hour is not over"):
        fetch_drop("orders", source, tmp_path, this_hour + timedelta(hours=1))
    assert upstream.asked == []


# --- faults that do not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 201, 206, 304])
def test_a_status_that_no_retry_changes_ends_at_once(status: int, upstream: Server, tmp_path: Path) -> None:
    """Exit 64, one request."""
    upstream.says(Answer(b"" if status == 304 else b"[]", status=status))
    fault = _refused(UsageError, f"status {status}", _source(upstream), tmp_path)
    assert (fault.exit_code, len(upstream.asked)) == (64, 1)
    assert ("token" in fault.todo) == (status in (401, 403))


PLACES = ["http://localhost:{own}/", "//localhost:{own}/", "http://127.0.0.1:{other}/", "https://127.0.0.1:{own}/",
          "http://u:p@127.0.0.1:{own}/", "http://127.0.0.2:{own}/", "file:///etc/passwd", "http://[bad"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", ["redirect", "link"])
def test_nothing_leads_to_another_host(
    how: str, place: str, upstream: Server, other: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another name, port or scheme, or a user of its own: not asked at all, so the token cannot go there."""
    monkeypatch.setenv("ORDERS_TOKEN", TOKEN)
    to = place.format(own=upstream.http.server_port, other=other.http.server_port)
    redirect = Answer(status=302, headers={"Location": to})
    upstream.says(redirect if how == "redirect" else Answer(headers={"Link": f"<{to}>; rel=next"}))
    source = _source(upstream, {"pages": "link", "token_env": "ORDERS_TOKEN"})
    fault = _refused(UsageError, "leads to", source, tmp_path)
    assert f"urls of {upstream.home}" in fault.allowed
    assert (len(upstream.asked), other.asked) == (1, [])


@pytest.mark.parametrize(
    ("how", "to", "kind", "said"),
    [
        ("link", "http://127.0.0.1:x/", UsageError, "the next page leads to no url"),
        ("link", "http://xn--a/", UsageError, "the next page leads to http://xn--a:80"),
        ("redirect", "http://127.0.0.1:x/", RetryError, "connection broken"),  # so httpx takes it
        ("redirect", "http://xn--a/", UsageError, "a redirect leads to no url"),
    ],
)
def test_a_lead_to_no_url_is_no_bug_of_ours(
    how: str, to: str, kind: type[TidegateError], said: str, upstream: Server, tmp_path: Path
) -> None:
    """A port that is no number, a host whose letters do not exist."""
    lead = Answer(status=302, headers={"Location": to})
    upstream.says(lead if how == "redirect" else Answer(headers={"Link": f"<{to}>; rel=next"}))
    _refused(kind, said, _source(upstream, {"pages": "link"}), tmp_path)


def test_a_redirect_on_the_same_host_is_followed_a_few_times(upstream: Server, tmp_path: Path) -> None:
    """With the token; five of them, not six."""
    turns = [Answer(status=status, headers={"Location": f"/{status}"}) for status in (301, 302, 303, 307, 308)]
    upstream.says(*turns, Answer(b'[{"id": 1}]'))
    assert _fetch(_source(upstream), tmp_path / "a").rows == 1
    assert [path for path, _ in upstream.asked][1:] == ["/301", "/302", "/303", "/307", "/308"]
    upstream.asked.clear()
    upstream.says(Answer(status=302, headers={"Location": "/again"}))
    (tmp_path / "b").mkdir()
    _refused(UsageError, "more than 5 redirects", _source(upstream), tmp_path / "b")
    assert len(upstream.asked) == 6


@pytest.mark.parametrize("how", ["one page", "several", "no end", "gzip", "gzip twice"])
def test_pages_that_are_too_large_are_refused(how: str, upstream: Server, tmp_path: Path) -> None:
    """Counted while they come, unpacked, all together; the upstream cannot make us hold more."""

    def pour(out: Any) -> None:
        while not upstream.closing.is_set():  # until the client hangs up
            out.write(b" " * 65536)

    packed = {"Content-Encoding": "gzip"}
    upstream.says(
        {
            "one page": Answer(b"[" + b" " * 5000 + b"]"),
            "several": Answer(b"[" + b" " * 600 + b"]", headers={"Link": "</2>; rel=next"}),
            "no end": Answer(b"[", then=pour),
            "gzip": Answer(gzip.compress(b"[" + b" " * 10_000_000 + b"]"), headers=packed),
            "gzip twice": Answer(gzip.compress(gzip.compress(b"[]")), headers={"Content-Encoding": "gzip, gzip"}),
        }[how]
    )
    said = "not packed with gzip" if how == "gzip twice" else "too large"
    fault = _refused(RefusedError, said, _source(upstream, {"pages": "link", "max_bytes": 1000}), tmp_path)
    assert len(upstream.asked) == (2 if how == "several" else 1)
    assert fault.exit_code == 65


def test_pages_that_are_just_not_too_large_are_taken(upstream: Server, tmp_path: Path) -> None:
    """1000 bytes of 1000, from two pages; an attempt that broke off does not count."""
    page = b"[" + b" " * 498 + b"]"
    upstream.says(
        Answer(page[:499], headers={"Content-Length": "500"}, then=lambda out: None),
        Answer(page, headers={"Link": "</2>; rel=next"}), Answer(page),
    )  # fmt: skip
    assert _fetch(_source(upstream, {"pages": "link", "max_bytes": 1000}), tmp_path).pages == 2


# --- the token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fine", "no conf", "status", "fails", "redirect", "broken", "link"])
def test_the_token_is_sent_and_nowhere_to_be_found(
    how: str, upstream: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Not in the drop, the manifest, an error with its causes, a log of any level, or what is printed."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ORDERS_TOKEN", f"{TOKEN}\n")  # the end of a line in a secret's file is none of the token
    upstream.says(
        {
            "fine": Answer(b'[{"id": 1}]'), "no conf": Answer(b'[{"id": 1}]'), "status": Answer(status=403),
            "fails": Answer(TOKEN.encode(), status=500), "broken": Answer(b"[", headers={"X": TOKEN}),
            "redirect": Answer(status=302, headers={"Location": f"http://{TOKEN}.example/{TOKEN}"}),
            "link": Answer(headers={"Link": f"<http://a.example/{TOKEN}>; rel=next"}),
        }[how]
    )  # fmt: skip
    source = _source(upstream, {"pages": "link"} | ({} if how == "no conf" else {"token_env": "ORDERS_TOKEN"}))
    told = ""
    try:
        _fetch(source, tmp_path)
    except TidegateError as fault:
        causes: BaseException | None = fault
        while causes:
            told += f"{causes!r} {causes}"
            causes = causes.__cause__ or causes.__context__
    assert bool(told) == (how not in ("fine", "no conf"))
    expected = None if how == "no conf" else f"Bearer {TOKEN}"
    assert {headers.get("authorization") for _, headers in upstream.asked} == {expected}
    out, err = capfd.readouterr()
    sent_back = [line for line in caplog.messages if line.startswith("receive_response_headers.complete")]
    logged = "\n".join(line for line in caplog.messages if line not in sent_back)  # httpcore's own, at DEBUG
    everything = told + logged + out + err + str(_files(tmp_path))
    assert TOKEN.lower() not in everything.lower()


@pytest.mark.parametrize(("token", "said"), [(None, "is not set"), (" ", "is not set"), ("sec\nret", "holds no token"),
                                             ("sécret", "holds no token"), ("two words", "holds no token")])  # fmt: skip
def test_a_token_that_is_missing_or_none_is_told_before_anything_is_asked(
    token: str | None, said: str, upstream: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 64, with the name of the variable and without what it holds."""
    monkeypatch.delenv("ORDERS_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("ORDERS_TOKEN", token)
    fault = _refused(UsageError, f"ORDERS_TOKEN {said}", _source(upstream, {"token_env": "ORDERS_TOKEN"}), tmp_path)
    assert upstream.asked == []
    assert not (token or "").strip() or (token or "") not in str(fault)


# --- landing ---------------------------------------------------------------------------------------------------------


def test_the_same_rows_again_change_nothing(upstream: Server, tmp_path: Path) -> None:
    """However they are spread over pages, and whenever they come."""
    upstream.says(Answer(b'[{"id": 1}, {"id": 2}]'))
    source = _source(upstream, {"pages": "link"})
    _fetch(source, tmp_path)
    before, stamps = _files(tmp_path), [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))]
    upstream.asked.clear()
    upstream.says(Answer(b'[\n{"id": 1}\n]', headers={"Link": "</2>; rel=next"}), Answer(b'[{"id": 2}]'))
    again = _fetch(source, tmp_path, ARRIVED + timedelta(days=1))
    assert (again.version, again.written, again.pages) == (1, False, 2)
    assert _files(tmp_path) == before
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))] == stamps


def test_other_rows_are_the_next_version_and_so_are_the_first_ones_again(upstream: Server, tmp_path: Path) -> None:
    """What readers have had stays; the newest arrival counts, also by a clock that went back."""
    source, sent = _source(upstream), [b'{"id": 1}', b'{"id": 2}', b'{"id": 1}']
    for version, row in enumerate(sent, start=1):
        upstream.says(Answer(b"[" + row + b"]"))
        done = _fetch(source, tmp_path, ARRIVED - timedelta(seconds=version))
        assert (done.version, done.written) == (version, True)
        newest = _newest(source, tmp_path)
        assert newest is not None
        assert (newest.version, newest.arrived_at) == (version, ARRIVED - timedelta(seconds=1))
    names = {f"12{mark}{kind}" for mark in ("", ".2", ".3") for kind in (".jsonl", ".manifest.json")}
    assert {Path(path).name for path in _files(tmp_path)} == names


@pytest.mark.parametrize("harm", ["gone", "cut", "changed"])
def test_a_data_file_that_is_lost_is_written_again(harm: str, upstream: Server, tmp_path: Path) -> None:
    """Its manifest stays as it was."""
    upstream.says(Answer(b'[{"id": 1}]'))
    source = _source(upstream)
    _fetch(source, tmp_path)
    before, file = _files(tmp_path), tmp_path / "orders/2013-11-01/12.jsonl"
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b'{"id"' if harm == "cut" else b'{"id": 2}\n')
    assert _fetch(source, tmp_path).written
    assert _files(tmp_path) == before


def test_N12_a_fetch_killed_between_file_and_manifest_leaves_no_drop_and_the_next_one_is_whole(
    upstream: Server, tmp_path: Path
) -> None:
    """Other rows meanwhile; the killed attempt's bytes are written over, as no manifest has named them."""
    upstream.says(Answer(b'[{"id": 1}]'))
    source = _source(upstream)
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
    assert _files(tmp_path) == {"orders/2013-11-01/12.jsonl": b'{"id": 1}\n'}
    assert _newest(source, tmp_path) is None
    upstream.says(Answer(b'[{"id": 2}]'))
    assert _fetch(source, tmp_path).version == 1
    assert _landed(source, tmp_path) == b'{"id": 2}\n'


def test_fetches_at_the_same_time_each_land_whole(upstream: Server, tmp_path: Path) -> None:
    """Eight at once with other bytes each: eight versions, each manifest speaking of its own file."""
    source = _source(upstream)
    with ThreadPoolExecutor(8) as pool:
        rows = [b'{"id": %d}\n' % number * 1000 for number in range(8)]
        done = list(pool.map(lambda data: land("orders", source, tmp_path, HOUR, data, 1000, ARRIVED), rows))
    assert sorted(one.version for one in done) == list(range(1, 9))
    for one, data in zip(done, rows, strict=True):
        facts = json.loads(one.manifest.read_text())
        assert (one.manifest.parent / facts["file"]).read_bytes() == data
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "template", ["{day}/{hour}", "{day}-{hour}.json", "o/{day}/x{hour}y.jsonl", "o/{day}/{hour}.manifest.json"]
)
def test_a_drop_is_found_wherever_its_manifest_belongs(template: str, upstream: Server, tmp_path: Path) -> None:
    """No data file is taken for a manifest, also beside a second version."""
    source = _source(upstream, manifests=template)
    for body in (b"[1]", b"[2]"):
        upstream.says(Answer(body))
        _fetch(source, tmp_path)
    newest = _newest(source, tmp_path)
    assert newest is not None
    assert (newest.version, len(_files(tmp_path)), _landed(source, tmp_path)) == (2, 4, b"2\n")


def test_a_folder_that_leads_out_of_the_landing_folder_is_not_written_to(upstream: Server, tmp_path: Path) -> None:
    """N15: a link in the place of the source's folder."""
    landing, outside = tmp_path / "landing", tmp_path / "outside"
    landing.mkdir()
    outside.mkdir()
    (landing / "orders").symlink_to(outside)
    with pytest.raises(RefusedError, match="leads out of the landing folder"):
        _fetch(_source(upstream), landing)
    assert list(outside.iterdir()) == []


def test_a_source_of_kind_files_is_not_fetched(upstream: Server, tmp_path: Path) -> None:
    """Its drops are its upstream's."""
    source = _source(upstream).model_copy(update={"kind": "files", "http": None})
    _refused(UsageError, "kind files", source, tmp_path)


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
    source = _source(upstream, {"pages": "link", "arrived": arrived})
    _fetch(source, tmp_path)
    drop = _newest(source, tmp_path)
    assert drop is not None
    assert drop.arrived_at == (expected or ARRIVED)


@pytest.mark.parametrize("header", [{}, {"Last-Modified": "yesterday"}], ids=["none", "nonsense"])
def test_a_page_that_does_not_say_when_it_could_be_had_is_refused_where_that_counts(
    header: dict[str, str], upstream: Server, tmp_path: Path
) -> None:
    upstream.says(Answer(b"[]", headers=header))
    with pytest.raises(RefusedError, match="no header Last-Modified") as refused:
        _fetch(_source(upstream, {"arrived": "last_modified"}), tmp_path)
    assert "write arrived: fetched" in refused.value.todo
    assert not list(tmp_path.rglob("*.json*"))
