"""Kind http: no lead to another host, no flood, and a token that is nowhere to be found."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import pytest
from http_upstream import TOKEN, Answer, Server, fetch_hour, files_in, refused_fetch, source_at

from spark_jobs.errors import RefusedError, TidegateError, UsageError

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
    source = source_at(upstream, {"pages": "link", "token_env": "ORDERS_TOKEN"})
    fault = refused_fetch(UsageError, "leads to", source, tmp_path)
    assert f"urls of {upstream.home}" in fault.allowed
    assert (len(upstream.asked), other.asked) == (1, [])


@pytest.mark.parametrize(
    ("how", "to", "said"),
    [
        ("link", "http://127.0.0.1:x/", "the next page leads to no url"),
        ("link", "http://xn--a/", "the next page leads to http://xn--a:80"),
        ("redirect", "http://127.0.0.1:x/", "a redirect leads to no url"),
        ("redirect", "http://xn--a/", "a redirect leads to http://xn--a:80"),
        ("redirect", "http://127.0.0.1:\x01/", "a redirect leads to no url"),
    ],
)
def test_a_lead_to_no_url_is_no_bug_of_ours(how: str, to: str, said: str, upstream: Server, tmp_path: Path) -> None:
    """A port that is no number, a host whose letters do not exist: no retry helps, so exit 64."""
    lead = Answer(status=302, headers={"Location": to})
    upstream.says(lead if how == "redirect" else Answer(headers={"Link": f"<{to}>; rel=next"}))
    fault = refused_fetch(UsageError, said, source_at(upstream, {"pages": "link"}), tmp_path)
    assert (fault.exit_code, fault.where, len(upstream.asked)) == (64, "orders 2013-11-01T12:00:00, page 1", 1)


def test_a_redirect_on_the_same_host_is_followed_a_few_times(upstream: Server, tmp_path: Path) -> None:
    """With the token; five of them, not six."""
    turns = [Answer(status=status, headers={"Location": f"/{status}"}) for status in (301, 302, 303, 307, 308)]
    upstream.says(*turns, Answer(b'[{"id": 1}]'))
    assert fetch_hour(source_at(upstream), tmp_path / "a").rows == 1
    assert [path for path, _ in upstream.asked][1:] == ["/301", "/302", "/303", "/307", "/308"]
    upstream.asked.clear()
    upstream.says(Answer(status=302, headers={"Location": "/again"}))
    (tmp_path / "b").mkdir()
    refused_fetch(UsageError, "more than 5 redirects", source_at(upstream), tmp_path / "b")
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
    fault = refused_fetch(RefusedError, said, source_at(upstream, {"pages": "link", "max_bytes": 1000}), tmp_path)
    assert len(upstream.asked) == (2 if how == "several" else 1)
    assert fault.exit_code == 65


def test_pages_that_are_just_not_too_large_are_taken(upstream: Server, tmp_path: Path) -> None:
    """1000 bytes of 1000, from two pages; an attempt that broke off does not count."""
    page = b"[" + b" " * 498 + b"]"
    upstream.says(
        Answer(page[:499], headers={"Content-Length": "500"}, then=lambda out: None),
        Answer(page, headers={"Link": "</2>; rel=next"}), Answer(page),
    )  # fmt: skip
    assert fetch_hour(source_at(upstream, {"pages": "link", "max_bytes": 1000}), tmp_path).pages == 2


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
    source = source_at(upstream, {"pages": "link"} | ({} if how == "no conf" else {"token_env": "ORDERS_TOKEN"}))
    told = ""
    try:
        fetch_hour(source, tmp_path)
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
    everything = told + logged + out + err + str(files_in(tmp_path))
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
    fault = refused_fetch(
        UsageError, f"ORDERS_TOKEN {said}", source_at(upstream, {"token_env": "ORDERS_TOKEN"}), tmp_path
    )
    assert upstream.asked == []
    assert not (token or "").strip() or (token or "") not in str(fault)
