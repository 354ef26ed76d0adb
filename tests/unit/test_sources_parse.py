"""One drop's bytes -> rows as text: the fast and the exact way agree, and no row is lost, invented or moved."""

from __future__ import annotations

import gzip
import hashlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.parse import joined, parse_drop, plain_rows, read_drop
from spark_jobs.sources.shape import Body, Part, drop_table
from spark_jobs.sources.text_lines import csv_lines

CSV = SourceConf.model_validate(
    {"kind": "files", "manifests": "o/{day}/{hour}.json", "format": "csv", "columns": ["id", "n"]}
)
JSONL = CSV.model_copy(update={"format": "jsonl"})
Row = dict[str, object]


def parsed(text: bytes, rows: int, conf: SourceConf = CSV, limit: int = 10_000) -> list[Row]:
    data = gzip.compress(text, mtime=0)
    table = parse_drop(data, "12.gz", rows, len(data), hashlib.sha256(data).hexdigest(), conf, limit)
    return [dict(row) for row in table.to_pylist()]


def good(line: int, id: str | None, n: str | None) -> Row:
    return {"id": id, "n": n, "line": line, "raw": None, "fault": None}


def bad(line: int, raw: str | None, fault: str) -> Row:
    return {"id": None, "n": None, "line": line, "raw": raw, "fault": fault}


def refused(rows: list[Row]) -> str:
    """The reason of a drop of which nothing is used: one row of line 0."""
    (row,) = rows
    assert (row["line"], row["raw"], row["id"]) == (0, None, None)
    return str(row["fault"])


def test_clean_rows_are_text_with_the_number_of_their_line_and_nulls() -> None:
    """Empty and NA are no value; numbers stay as they were written."""
    assert parsed(b"id,n\n1,007\n,NA\n", 2) == [good(2, "1", "007"), good(3, None, None)]


@pytest.mark.parametrize("text", [b"id,n\r\n1,2\r\n", b"\xef\xbb\xbfid,n\n1,2\n", b"id,n\n1,2", b'"id","n"\n"1","2"\n'])
def test_N8_a_byte_order_mark_and_other_line_ends_and_quotes_change_nothing(text: bytes) -> None:
    """Four ways to write the same row."""
    assert parsed(text, 1) == [good(2, "1", "2")]


def test_N4_columns_in_another_order_are_taken_by_name() -> None:
    """Values never follow the place."""
    assert parsed(b"n,id\n2,1\n", 1) == parsed(b"id,n\n1,2\n", 1) == [good(2, "1", "2")]
    assert parsed(b'n,id\n"2",1\n', 1) == [good(2, "1", "2")]


@pytest.mark.parametrize(
    ("line", "raw", "fault"),
    [
        (b"3", "3", "fields: 1 found, the header has 2"),
        (b"3,4,5", "3,4,5", "fields: 3 found, the header has 2"),
        (b"", "", "blank line"),
        (b"a\xff,4", "a\\xff,4", "bad UTF-8 at byte 2"),
        (b"a\x00,4", "a\\x00,4", "NUL character"),
        (b'"a,4', '"a,4', "csv: open quote"),
        (b'"a"b,4', '"a"b,4', "csv: ',' expected after '\"'"),
        (b"a\rb,4", "a\rb,4", "csv: carriage return inside the line"),
    ],
)
def test_N5_N8_a_broken_line_is_kept_as_it_was_and_the_others_are_read(line: bytes, raw: str, fault: str) -> None:
    """Too few or too many fields, bad bytes, an open quote: one row, with its reason."""
    assert parsed(b"id,n\n1,2\n" + line + b"\n5,6\n", 3) == [good(2, "1", "2"), bad(3, raw, fault), good(4, "5", "6")]


@pytest.mark.parametrize(
    ("text", "rows", "fault"),
    [
        (b"id\n1\n", 1, "header: missing column n"),
        (b"id,n,m\n1,2,3\n", 1, "header: new column m"),
        (b"id,m\n1,2\n", 1, "header: missing column n; new column m"),
        (b"id,n,n\n1,2,3\n", 1, "header: repeated column n"),
        (b"", 1, "header: the file has none"),
        (b"\nid,n\n", 1, "header: the file has none"),
        (b"id,\xff\n1,2\n", 1, "header: bad UTF-8 at byte 4"),
        (b"id,n\n", 2, "rows: 0 found, the manifest says 2"),
        (b"id,n\n1,2\n3,4\n", 1, "rows: 2 found, the manifest says 1"),
        (b"id,n\n" + b"1,2\n" * 9_000, 9_000, "size: more than 10000 bytes when unpacked"),
    ],
)
def test_N2_N7_a_drop_that_is_not_what_it_should_be_is_refused_as_a_whole(text: bytes, rows: int, fault: str) -> None:
    """One row of line 0 with the reason, and nothing else of the file."""
    assert refused(parsed(text, rows)) == fault


def test_N2_an_empty_drop_is_legal_when_its_manifest_says_so() -> None:
    """A header alone, or nothing at all."""
    nothing = hashlib.sha256(b"").hexdigest()
    assert parsed(b"id,n\n", 0) == []
    assert parse_drop(b"", "12.csv.gz", 0, 0, nothing, CSV).num_rows == 0
    assert parsed(b"", 0, JSONL) == []
    assert refused(parse_drop(b"", "12.csv.gz", 1, 0, nothing, CSV).to_pylist()) == "gzip: the file is empty"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (gzip.compress(b"id,n\n1,2\n", mtime=0)[:-6], "gzip: cut short"),
        (b"id,n\n1,2\n", "gzip: Not a gzipped file"),
        (gzip.compress(b"id,n\n1,2\n", mtime=0)[:-8] + b"12345678", "gzip: CRC check failed"),
    ],
)
def test_N1_gzip_that_does_not_unpack_is_refused_although_its_hash_is_right(data: bytes, fault: str) -> None:
    """The upstream may have hashed a broken file."""
    rows = parse_drop(data, "12.csv.gz", 1, len(data), hashlib.sha256(data).hexdigest(), CSV)
    assert refused(rows.to_pylist()).startswith(fault)


def test_bytes_that_are_not_the_manifests_are_not_parsed() -> None:
    """Size first, then hash."""
    assert (
        refused(parse_drop(b"id,n\n", "12.csv", 0, 4, "0" * 64, CSV).to_pylist())
        == "bytes: 5 found, the manifest says 4"
    )
    assert refused(parse_drop(b"id,n\n", "12.csv", 0, 5, "0" * 64, CSV).to_pylist()).startswith("sha256: ")


def test_json_values_become_text_as_they_were_written() -> None:
    """No digit is lost, null and a text that means null are one, the order of keys does not matter."""
    text = b'{"id":10.357019999999999,"n":null}\n{"n":true,"id":"NA"}\n{"id":1e400,"n":NaN}\n'
    assert parsed(text, 3, JSONL) == [
        good(1, "10.357019999999999", None), good(2, None, "true"), good(3, "1e400", "NaN")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[1,2]", "json: not an object"),
        ("{", "json: Expecting property name"),
        ("", "json: Expecting value"),
        ('{"id":1}', "keys: missing column n"),
        ('{"id":1,"n":2,"m":3}', "keys: new column m"),
        ('{"id":1,"id":2,"n":3}', "json: a key stands twice"),
        ('{"id":{"a":1},"n":2}', "json: id is not a single value"),
        ('{"id":"\\u0000","n":2}', "json: id holds a NUL"),
        ('{"id":"\\ud800","n":2}', "json: id holds a NUL or half a character"),
        ("[" * 5000, "json: "),
    ],
)
def test_a_line_that_is_not_an_object_with_the_declared_keys_is_kept_with_its_reason(line: str, fault: str) -> None:
    """The others are read."""
    rows = parsed(b'{"id":1,"n":2}\n' + line.encode() + b"\n", 2, JSONL, limit=100_000)
    assert rows[0] == good(1, "1", "2")
    assert (rows[1]["line"], rows[1]["raw"], rows[1]["id"]) == (2, line, None)
    assert str(rows[1]["fault"]).startswith(fault)


def test_N7_a_new_or_missing_key_of_json_is_the_fault_of_its_line_and_the_other_lines_are_read() -> None:
    """Each line has its own keys, in any order: the same three outcomes as a header's, one line at a time."""
    rows = parsed(b'{"n":2,"id":1}\n{"id":1}\n{"id":1,"n":2,"m":3}\n{"id":1,"m":2}\n', 4, JSONL)
    assert [(row["id"], row["fault"]) for row in rows] == [
        ("1", None), (None, "keys: missing column n"), (None, "keys: new column m"),
        (None, "keys: missing column n; new column m"),
    ]  # fmt: skip


texts = st.lists(st.sampled_from([b"a", b"1", b",", b"\n", b'"', b"\r", b" ", b"\x00", b"\xff", b"NA", b"\xc3\xa9"]))


def _read(body: bytes, head: bytes = b"id,n\n") -> Part:
    rows, data = body.count(b"\n") + (bool(body) and not body.endswith(b"\n")), head + body
    return read_drop(data, "12.csv", rows, len(data), hashlib.sha256(data).hexdigest(), CSV)


@settings(max_examples=300, deadline=None)
@given(texts.map(b"".join))
@example(b"a,1\n")
@example(b"a,1\r\n,NA\r\n")
def test_N6_the_fast_way_gives_what_the_exact_way_gives(body: bytes) -> None:
    """Any bytes: one row a line, and equal rows, whichever way is taken."""
    lines = body.count(b"\n") + (bool(body) and not body.endswith(b"\n"))
    exact = csv_lines(body, ["id", "n"], CSV)
    found, _ = joined([_read(body)], CSV)
    assert found["line"].to_pylist() == list(range(2, lines + 2))
    assert found.to_pylist() == drop_table(exact.records, exact.notes, CSV).to_pylist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts.map(b"".join), st.sampled_from([b"id,n\n", b"n,id\n", b"id\n"])), max_size=6))
@example([(b"a,1\n", b"id,n\n"), (b"b,2", b"n,id\n"), (b"c,3,4\n", b"id,n\n"), (b"", b"id,n\n"), (b"d,5\n", b"id\n")])
def test_many_drops_at_once_give_what_each_gives_by_itself(drops: list[tuple[bytes, bytes]]) -> None:
    """Whatever their headers, and whatever is wrong with one of them; each row keeps its drop and its line."""
    parts = [_read(body, head) for body, head in drops]
    rows, owners = joined(parts, CSV)
    for number, part in enumerate(parts):
        alone = joined([part], CSV)[0].to_pylist()
        assert [row for row, owner in zip(rows.to_pylist(), owners, strict=True) if owner == number] == alone
    assert rows.num_rows == len(owners)


def test_the_fast_way_is_taken_for_a_clean_body() -> None:
    """Otherwise the properties above would hold for nothing."""
    assert isinstance(_read(b"1,2\n3,NA\n"), Body)
    assert plain_rows(b"1,2\n3,NA\n4,5\n", ["id", "n"], [2, 1], CSV) is not None
