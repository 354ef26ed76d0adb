"""Kind http: pages of a real server on this machine become one drop an hour, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from http_upstream import (
    ARRIVED,
    Answer,
    Server,
    fetch_hour,
    files_in,
    landed_bytes,
    newest_drop,
    refused_fetch,
    source_at,
)

from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import RefusedError
from spark_jobs.sources.http_pages import DropText, PageError
from spark_jobs.sources.parse import parse_drop


def test_a_page_becomes_a_drop_whose_manifest_states_it(upstream: Server, tmp_path: Path) -> None:
    """The hour stands in the url; the file lies beside its manifest and is what bronze expects."""
    upstream.says(Answer(b' [ {"id": 1, "amount": 2} ,\n{"id": 2,\r\n "amount": null} ] '))
    source = source_at(upstream)
    done = fetch_hour(source, tmp_path)
    assert [path for path, _ in upstream.asked] == ["/orders?from=2013-11-01T12:00:00Z&to=2013-11-01T13:00:00Z"]
    assert files_in(tmp_path)["orders/2013-11-01/12.jsonl"] == b'{"id": 1, "amount": 2}\n{"id": 2,   "amount": null}\n'
    assert (done.version, done.rows, done.bytes, done.pages, done.written) == (1, 2, 51, 1, True)
    drop = newest_drop(source, tmp_path)
    assert drop is not None
    assert (drop.rows, drop.bytes, drop.arrived_at, drop.manifest) == (2, 51, ARRIVED, str(done.manifest))
    rows = parse_drop(landed_bytes(source, tmp_path), drop.file, drop.rows, drop.bytes, drop.sha256, source)
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
    source = source_at(upstream, {"pages": "link"})
    assert fetch_hour(source, tmp_path).pages == 3
    assert [path for path, _ in upstream.asked][1:] == ["/orders?page=2", "/orders?page=3"]
    assert landed_bytes(source, tmp_path) == b'{"id": 1}\n{"id": 3}\n'


@pytest.mark.parametrize("last", ['{"next": null}', '{"next": ""}', '{"next": false}', "{}", "null"])
def test_pages_follow_by_cursor(last: str, upstream: Server, tmp_path: Path) -> None:
    """A text or a number as it stands in the page; the other parameters stay, the former cursor is replaced."""
    upstream.says(
        Answer('{"meta": {"next": "a b&c=/+é"}, "d/~": {"items": [{"id": 1}]}}'.encode()),
        Answer(b'{"d/~": {"items": []}, "meta": {"next": 12345678901234567890.50}}'),
        Answer(f'{{"d/~": {{"items": [{{"id": 3}}]}}, "meta": {last}}}'.encode()),
    )
    cursor = {"field": "/meta/next", "parameter": "after"}
    source = source_at(upstream, {"pages": "cursor", "cursor": cursor, "rows": "/d~1~0/items"})
    assert fetch_hour(source, tmp_path).pages == 3
    asked = [parse_qs(urlsplit(path).query) for path, _ in upstream.asked]
    hour = {"from": ["2013-11-01T12:00:00Z"], "to": ["2013-11-01T13:00:00Z"]}
    assert asked == [hour, hour | {"after": ["a b&c=/+é"]}, hour | {"after": ["12345678901234567890.50"]}]
    assert landed_bytes(source, tmp_path) == b'{"id": 1}\n{"id": 3}\n'


@pytest.mark.parametrize(
    ("field", "second"),
    [
        ("/meta/next", '{"d": [2]}'),
        ("/meta/next", '{"d": [2], "meta": []}'),
        ("/meta/page/next", '{"d": [2], "meta": {}}'),
    ],
)
def test_a_page_that_has_no_place_for_its_cursor_is_refused(
    field: str, second: str, upstream: Server, tmp_path: Path
) -> None:
    """It may be the last page, or one of another form; taken for the last, the rows behind it would be missing."""
    first = '{"d": [1], "meta": {"next": "b", "page": {"next": "b"}}}'
    upstream.says(Answer(first.encode()), Answer(second.encode()))
    section = {"pages": "cursor", "cursor": {"field": field, "parameter": "c"}, "rows": "/d"}
    fault = refused_fetch(RefusedError, "where the cursor stands", source_at(upstream, section), tmp_path)
    assert (fault.exit_code, fault.where) == (65, "orders 2013-11-01T12:00:00, page 2")
    assert f"no object at {field.removesuffix('/next')}," in fault.found
    assert f"a cursor at {field}" in fault.allowed


def test_a_cursor_left_out_at_the_top_of_a_page_is_the_end(upstream: Server, tmp_path: Path) -> None:
    upstream.says(Answer(b'{"d": [1], "next": 2}'), Answer(b'{"d": [2]}'))
    section = {"pages": "cursor", "cursor": {"field": "/next", "parameter": "c"}, "rows": "/d"}
    assert fetch_hour(source_at(upstream, section), tmp_path).pages == 2


def test_pages_of_csv_keep_their_bytes_and_one_header(upstream: Server, tmp_path: Path) -> None:
    """A BOM, a last line without its end, a page of a header only; bronze judges a broken record."""
    upstream.says(
        Answer(b"\xef\xbb\xbfid,amount\n1,0.10\n2,\xff", headers={"Link": "</2>; rel=next"}),
        Answer(b"id,amount\n", headers={"Link": "</3>; rel=next"}),
        Answer(b'id,amount\r\n"3"x,1e3\n\n"a\n4,b",5\n'),
    )
    source = source_at(upstream, {"pages": "link"}, format="csv")
    assert fetch_hour(source, tmp_path).rows == 5
    assert upstream.asked[0][1]["accept"].startswith("text/csv")
    assert landed_bytes(source, tmp_path) == b'id,amount\n1,0.10\n2,\xff\n"3"x,1e3\n\n"a\n4,b",5\n'
    drop = newest_drop(source, tmp_path)
    assert drop is not None
    rows = parse_drop(landed_bytes(source, tmp_path), drop.file, drop.rows, drop.bytes, drop.sha256, source).to_pylist()
    assert [(row["line"], row["id"], row["fault"]) for row in rows] == [
        (2, "1", None), (3, None, "bad UTF-8 at byte 3"), (4, None, "csv: text after a closing quote"),
        (5, None, "blank line"), (6, "a\n4,b", None),
    ]  # fmt: skip


def test_a_page_of_csv_that_ends_inside_quotes_is_refused(upstream: Server, tmp_path: Path) -> None:
    """A record never goes on in the next page; the reason names the page and the line on which the quote opens."""
    upstream.says(Answer(b'id,amount\n1,2\n3,"4\n', headers={"Link": "</2>; rel=next"}))
    source = source_at(upstream, {"pages": "link"}, format="csv")
    fault = refused_fetch(RefusedError, "a quote is not closed", source, tmp_path)
    assert (fault.where, "line 3" in fault.found) == ("orders 2013-11-01T12:00:00, page 1", True)


def test_numbers_texts_and_doubled_keys_stay_as_they_were_delivered(upstream: Server, tmp_path: Path) -> None:
    """Nothing is parsed and written anew: no digit, escape, key or blank inside a text changes."""
    rows = [
        b'{"id": 0.10, "amount": 1e3}', b'{"id": 12345678901234567890, "amount": -0.0}', b'{"id": 1E400, "amount": NaN}',
        b'{"id": "\\u00e9  \\n \xc3\xa9", "amount": [1, {"]": "}"}]}', b'{"id": 1, "id": 2}', b"7", b"[]",
        b'{"id": ' + b"9" * 5000 + b"}",
    ]  # fmt: skip
    upstream.says(Answer(b'{"x": ["y"], "data": [[7], [' + b", ".join(rows) + b"]]}"))
    source = source_at(upstream, {"rows": "/data/1"})
    assert fetch_hour(source, tmp_path).rows == len(rows)
    assert landed_bytes(source, tmp_path).splitlines() == rows
    drop = newest_drop(source, tmp_path)
    assert drop is not None
    read = parse_drop(landed_bytes(source, tmp_path), drop.file, drop.rows, drop.bytes, drop.sha256, source).to_pylist()
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
    source = source_at(upstream, format=format_)
    for version in (1, 2) if format_ == "csv" else (1, 1):
        done = fetch_hour(source, tmp_path)
        assert (done.version, done.rows) == (version, 0)
        drop = newest_drop(source, tmp_path)
        assert drop is not None
        data = landed_bytes(source, tmp_path)
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
    fault = refused_fetch(RefusedError, said, source_at(upstream, http), tmp_path)
    assert fault.where.endswith("page 1")
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("second", "said"), [(b"amount,id\n1,2\n", "another header"), (b"", "no header line"), (b"\n1,2", "no header line")]
)
def test_a_csv_page_with_another_header_is_refused(second: bytes, said: str, upstream: Server, tmp_path: Path) -> None:
    """Its values would move into other columns."""
    upstream.says(Answer(b"id,amount\n1,2\n", headers={"Link": "</2>; rel=next"}), Answer(second))
    fault = refused_fetch(RefusedError, said, source_at(upstream, {"pages": "link"}, format="csv"), tmp_path)
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
    fault = refused_fetch(
        RefusedError, "a cursor at /next that no url can hold", source_at(upstream, section), tmp_path
    )
    assert len(str(fault)) < 500


def test_a_next_page_that_the_source_does_not_know_of_is_refused(upstream: Server, tmp_path: Path) -> None:
    """pages: none would land the first page as if it were the hour."""
    upstream.says(Answer(headers={"Link": "</2>; rel=next"}))
    refused_fetch(RefusedError, "Link names a next page", source_at(upstream), tmp_path)


@pytest.mark.parametrize("loop", [["1"], ["1", "2"], ["1", "1"], ["1#a", "1#b"], None])
def test_pages_without_an_end_are_refused(loop: list[str] | None, upstream: Server, tmp_path: Path) -> None:
    """A page that leads to itself, also under another fragment, back to one before, or to ever new ones."""

    def answer(path: str, number: int) -> Answer:
        page = loop[number % len(loop)] if loop else f"{number}"
        return Answer(headers={"Link": f"</orders?page={page}>; rel=next"})

    upstream.answer = answer
    refused_fetch(RefusedError, "no end", source_at(upstream, {"pages": "link"}), tmp_path, pages=20)
    assert len(upstream.asked) == (len({page[0] for page in loop}) + 1 if loop else 20)
