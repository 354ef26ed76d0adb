"""One drop's bytes -> rows as text: the fast and the exact way agree, and no row is lost, invented or moved."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.csv_records import MAX_RECORD_LINES, record_lines, records
from spark_jobs.sources.parse import count_rows, joined, parse_drop, plain_rows, read_drop
from spark_jobs.sources.shape import Body, FileFault, Part, drop_table
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
        (b'"a"b,4', '"a"b,4', "csv: text after a closing quote"),
        (b'"a"\r,4', '"a"\r,4', "csv: text after a closing quote"),
        (b'a"b,4', 'a"b,4', "csv: quote inside a value that does not begin with one"),
        (b' "a",4', ' "a",4', "csv: blank before a quote"),
        (b"a\rb,4", "a\rb,4", "csv: carriage return inside the line"),
    ],
)
def test_N5_N8_a_broken_line_is_kept_as_it_was_and_the_others_are_read(line: bytes, raw: str, fault: str) -> None:
    """Too few or too many fields, bad bytes, a misplaced quote: one row, with its reason."""
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
        good(1, "10.357019999999999", None),
        good(2, None, "true"),
        good(3, "1e400", "NaN"),
    ]


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
        ("1", None),
        (None, "keys: missing column n"),
        (None, "keys: new column m"),
        (None, "keys: missing column n; new column m"),
    ]


texts = st.lists(st.sampled_from([b"a", b"1", b",", b"\n", b'"', b"\r", b" ", b"\x00", b"\xff", b"NA", b"\xc3\xa9"]))


def _read(body: bytes, head: bytes = b"id,n\n") -> Part:
    data = head + body
    try:
        rows = count_rows(data, "12.csv", CSV)
    except FileFault:
        rows = 1
    return read_drop(data, "12.csv", rows, len(data), hashlib.sha256(data).hexdigest(), CSV)


@settings(max_examples=600, deadline=None)
@given(texts.map(b"".join))
@example(b"a,1\n")
@example(b"a,1\r\n,NA\r\n")
@example(b'"a\nb",1\n2,""\n')
@example(b'"a\r\nb",1\r\n"c""",2\r\n')
@example(b'"a","\n"\n')
@example(b'"",""""\n"\n\n",1')
def test_N6_the_fast_way_gives_what_the_exact_way_gives(body: bytes) -> None:
    """Any bytes: equal rows, whichever way is taken; or the file is refused by both."""
    found, _ = joined([_read(body)], CSV)
    if found["line"].to_pylist() == [0]:
        with pytest.raises(FileFault) as fault:
            csv_lines(body, ["id", "n"], CSV)
        assert refused(found.to_pylist()) == str(fault.value)
        return
    exact = csv_lines(body, ["id", "n"], CSV)
    assert found.to_pylist() == drop_table(exact.records, exact.notes, CSV).to_pylist()
    lines = record_lines(body)
    if lines is not None:
        assert lines.tolist() == [record.line for record in records(body, 2)]


fields = st.text(st.sampled_from('a,"\n\r é\u2028'), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(fields, fields), max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_records_are_read_back_as_any_writer_of_rfc_4180_wrote_them(
    rows: list[tuple[str, str]], end: str, quote_all: bool
) -> None:
    """Values, their number and their first lines; `count_rows` counts the same records."""
    stream = io.StringIO(newline="")
    quote_all = quote_all or any(
        "\r" in value for row in rows for value in row
    )  # Python 3.11 writes a carriage return without quotes
    writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    first_lines = []
    writer.writerow(["id", "n"])
    for row in rows:
        first_lines.append(stream.getvalue().count("\n") + 1)
        writer.writerow(row)
    data = stream.getvalue().encode()
    assert count_rows(data, "12.csv", CSV) == len(rows)
    found = parse_drop(data, "12.csv", len(rows), len(data), hashlib.sha256(data).hexdigest(), CSV).to_pylist()
    assert [(row["id"], row["n"]) for row in found] == [tuple(value or None for value in row) for row in rows]
    assert [row["line"] for row in found] == first_lines


def test_a_quoted_line_break_belongs_to_its_value_and_the_line_is_that_of_the_first() -> None:
    """LF, CRLF, CR, separators and doubled quotes inside quotes."""
    text = b'id,n\n1,"a\nb"\n2,"c\r\nd"\n"3","e\rf,""g"""\n4,h\n'
    assert parsed(text, 4) == [
        good(2, "1", "a\nb"),
        good(4, "2", "c\r\nd"),
        good(6, "3", 'e\rf,"g"'),
        good(7, "4", "h"),
    ]
    assert isinstance(_read(b'1,"a\nb"\r\n2,"c\r\nd"\r\n'), Body)  # by Arrow


@pytest.mark.parametrize(
    ("body", "rows", "fault"),
    [
        (b'1,2\n3,"a\n5,6\n', 2, "csv: record that begins on line 3: a quote is not closed (2 lines)"),
        (b'1,"a\n7,8\n9,"b\n', 3, "csv: record that begins on line 2: text after a closing quote (3 lines)"),
        (b'1, "a\n7,8\nb"\n', 1, "csv: record that begins on line 2: blank before a quote (3 lines)"),
        (b'"a"b,"x\n7,8\n9"\n', 1, "csv: record that begins on line 2: text after a closing quote (3 lines)"),
        (b'1,"' + b"\n" * MAX_RECORD_LINES + b'"\n', 1, "csv: record that begins on line 2: it would span more than"),
        (b'1,"a\nb"\n', 2, "rows: 1 records in 2 lines found, the manifest says 2; it must count records"),
    ],
)
def test_a_quote_that_hides_where_records_begin_refuses_the_drop(body: bytes, rows: int, fault: str) -> None:
    """No line inside such a record is published as a row, and no row is swallowed; the line is where the quote opens."""
    assert refused(parsed(b"id,n\n" + body, rows)).startswith(fault)


def test_a_record_may_span_as_many_lines_as_allowed() -> None:
    """One less than the limit is text."""
    text = b"\n" * (MAX_RECORD_LINES - 1)
    for other in (b"", b'a"b,1\n'):
        assert parsed(b'id,n\n1,"' + text + b'"\n' + other, 1 + bool(other))[0] == good(2, "1", text.decode())


def test_a_record_of_several_lines_with_other_fields_is_one_row_in_quarantine() -> None:
    """Its text is kept whole, and the next record is read."""
    rows = parsed(b'id,n\n1,"a\nb",c\n5,6\n', 2)
    assert rows == [bad(2, '1,"a\nb",c', "fields: 3 found, the header has 2"), good(4, "5", "6")]


def test_a_line_separator_of_unicode_ends_no_record() -> None:
    """U+2028 and U+0085 are characters like others, in JSON and in CSV."""
    assert parsed("id,n\n1,a\u2028b\n".encode(), 1) == [good(2, "1", "a\u2028b")]
    assert parsed('{"id":1,"n":"a\u2028b\u0085"}\n'.encode(), 1, JSONL) == [good(1, "1", "a\u2028b\u0085")]
    broken = parsed(b'{"id":1,"n":"a\nb"}\n', 2, JSONL)  # a line break is written as an escape in JSON
    assert [str(row["fault"]).split(":")[0] for row in broken] == ["json", "json"]


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
    bodies = [part for part in (_read(b"1,2\n3,NA\n"), _read(b"4,5\n"), _read(b'"4",5\n')) if isinstance(part, Body)]
    assert [body.quoted for body in bodies] == [False, False, True]
    assert plain_rows(bodies[:2], CSV) is not None
    assert plain_rows(bodies[2:], CSV) is not None
