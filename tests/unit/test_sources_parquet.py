"""One Parquet file -> rows as text: exactly the texts that are read back as the same values, and what is refused."""

from __future__ import annotations

import hashlib
import io
import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources import parquet_rows
from spark_jobs.sources.parse import count_rows, parse_drop

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def conf_of(*columns: str) -> SourceConf:
    facts = {"kind": "files", "manifests": "o/{day}/{hour}.json", "format": "parquet", "columns": list(columns)}
    return SourceConf.model_validate(facts)


def written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def parsed(data: bytes, rows: int, conf: SourceConf, limit: int = 1 << 30) -> list[dict[str, object]]:
    table = parse_drop(data, "12.parquet", rows, len(data), hashlib.sha256(data).hexdigest(), conf, limit)
    return [dict(row) for row in table.to_pylist()]


def text(values: pa.Array, **options: Any) -> list[object]:
    """What the column x of these values becomes, written and parsed."""
    rows = parsed(written(pa.table({"x": values}), **options), len(values), conf_of("x"))
    assert [row["line"] for row in rows] == list(range(1, len(values) + 1)), rows
    return [row["x"] for row in rows]


def refused(rows: list[dict[str, object]]) -> str:
    (row,) = rows
    assert (row["line"], row["raw"]) == (0, None)
    return str(row["fault"])


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.none() | st.floats(allow_nan=False), min_size=1),
    st.lists(st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)), min_size=1),  # noqa: DTZ001
    st.lists(st.none() | st.dates(), min_size=1),
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1),
)
def test_every_value_is_read_back_from_its_text_as_it_was(
    whole: list[int | None], floats: list[float | None], instants: list[Any], days: list[date | None], texts: list[Any]
) -> None:
    """64-bit numbers to the last bit, instants to the microsecond (naive ones are UTC), days, texts but those of nulls."""
    assert [None if t is None else int(str(t)) for t in text(pa.array(whole, pa.int64()))] == whole
    told = text(pa.array(floats, pa.float64()))
    assert [t and bits(float(str(t))) for t in told] == [v if v is None else bits(v) for v in floats]
    for zone in (None, "UTC", "America/New_York"):
        moments = [v and v.replace(tzinfo=UTC if zone else None) for v in instants]
        back = [t and datetime.fromisoformat(str(t)) for t in text(pa.array(moments, pa.timestamp("us", zone)))]
        assert back == [v and v.replace(tzinfo=UTC) for v in instants]
    assert [t and date.fromisoformat(str(t)) for t in text(pa.array(days, pa.date32()))] == days
    assert text(pa.array(texts, pa.string())) == [None if value in ("", "NA") else value for value in texts]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([-128], pa.int8()), ["-128"]),
        (pa.array([math.nan, math.inf, -math.inf, -0.0]), ["NaN", "Infinity", "-Infinity", "-0"]),
        (pa.array([0.1], pa.float32()), ["0.10000000149011612"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([Decimal("12345678901234567890.10")]), ["12345678901234567890.10"]),
        (pa.array([Decimal("-7")], pa.decimal128(18, 0)), ["-7"]),
        (pa.array([1383264000], pa.timestamp("s")), ["2013-11-01T00:00:00.000Z"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001Z"]),
        (pa.array([1], pa.timestamp("ms", "+02:00")), ["1970-01-01T00:00:00.001Z"]),
        (pa.array([date(2013, 11, 1)], pa.date64()), ["2013-11-01"]),
        (pa.array(["a", "NA", "", None]), ["a", None, None, None]),
        (pa.array(["a", None], pa.large_string()), ["a", None]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array(["b", "a", "b", None]).dictionary_encode(), ["b", "a", "b", None]),
        (pa.array([5, None]).dictionary_encode(), ["5", None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_kinds_of_columns_and_their_texts(values: pa.Array, expected: list[str | None]) -> None:
    """NaN stays NaN, for the gate to judge; a float is told as the double that it is; nanoseconds keep their digits."""
    assert text(values) == expected


def test_an_old_96_bit_timestamp_is_the_instant_that_it_was() -> None:
    """As nanoseconds the year 9999 would wrap around."""
    far = datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
    values = pa.array([EPOCH, far, EPOCH - timedelta(microseconds=1)], pa.timestamp("us", "UTC"))
    data = written(pa.table({"x": values}), use_deprecated_int96_timestamps=True)
    assert [datetime.fromisoformat(str(row["x"])) for row in parsed(data, 3, conf_of("x"))] == values.to_pylist()


def test_N4_columns_in_another_order_are_taken_by_name() -> None:
    """Values never follow the place."""
    data = written(pa.table({"n": [2], "id": ["1"]}))
    assert parsed(data, 1, conf_of("id", "n")) == [{"id": "1", "n": "2", "line": 1, "raw": None, "fault": None}]


@pytest.mark.parametrize(
    ("table", "rows", "fault"),
    [
        (pa.table({"id": [1]}), 1, "schema: missing column n"),
        (pa.table({"id": [1], "n": [1], "m": [1]}), 1, "schema: new column m"),
        (pa.table({"id": [1], "N": [1]}), 1, "schema: missing column n; new column N"),
        (pa.Table.from_arrays([pa.array([1])] * 3, ["id", "n", "n"]), 1, "schema: repeated column n"),
        (pa.table({"id": [1], "n": [[1]]}), 1, "schema: column n is of type list<element: int64>; legal: text"),
        (pa.table({"id": [1], "n": [{"a": 1}]}), 1, "schema: column n is of type struct<a: int64>; legal: text"),
        (pa.table({"id": [1], "n": [b"1"]}), 1, "schema: column n is of type binary; legal: text"),
        (pa.table({"id": [1], "n": pa.array([1], pa.time64("us"))}), 1, "schema: column n is of type time64[us]"),
        (pa.table({"id": [1], "n": pa.array([1], pa.duration("us"))}), 1, "schema: column n is of type duration[us]"),
        (pa.table({"id": [1], "n": [1]}), 2, "rows: 1 found, the manifest says 2"),
        (pa.table({"id": pa.array([], pa.int64()), "n": pa.array([], pa.int64())}), 1, "rows: 0 found"),
    ],
)
def test_N2_N7_a_file_that_is_not_what_it_should_be_is_refused_as_a_whole(
    table: pa.Table, rows: int, fault: str
) -> None:
    """Names first, then kinds, then the count; no value is read before."""
    assert refused(parsed(written(table), rows, conf_of("id", "n"))).startswith(fault)


def test_N2_an_empty_file_is_legal_when_its_manifest_says_so() -> None:
    """No row, or no byte."""
    assert parsed(written(pa.table({"x": pa.array([], pa.string())})), 0, conf_of("x")) == []
    assert parsed(b"", 0, conf_of("x")) == []
    assert refused(parsed(b"", 1, conf_of("x"))).startswith("parquet: ")


def numbers(checksum: bool) -> bytes:
    """A file of 1,000 numbers with one bit of the number 500 flipped."""
    table = pa.table({"x": pa.array(range(1000), pa.int64())})
    data = bytearray(
        written(table, compression="none", use_dictionary=False, write_page_checksum=checksum, write_statistics=False)
    )
    data[data.index((500).to_bytes(8, "little"))] ^= 1
    return bytes(data)


def test_N3_a_flipped_byte_is_refused_by_the_pages_checksum_although_the_files_hash_is_right() -> None:
    """The upstream may have hashed a broken file. Control: without a checksum the sum is wrong without a word."""
    assert "CRC checksum verification failed" in refused(parsed(numbers(True), 1000, conf_of("x")))
    assert sum(int(str(row["x"])) for row in parsed(numbers(False), 1000, conf_of("x"))) == 499_501


def test_N3_a_file_with_other_bytes_than_its_manifests_is_not_opened() -> None:
    """Size, then hash."""
    data = written(pa.table({"x": [1]}))
    flipped = bytes([*data[:10], data[10] ^ 1, *data[11:]])
    rows = parse_drop(flipped, "x", 1, len(data), hashlib.sha256(data).hexdigest(), conf_of("x")).to_pylist()
    assert refused(rows).startswith("sha256: ")


def strings(*values: bytes) -> pa.Array:
    """Texts that may be none."""
    return pa.Array.from_buffers(
        pa.string(), len(values), pa.array(values, pa.binary()).buffers()
    )  # fmt: skip


def test_N8_a_text_that_is_none_breaks_its_own_row_only() -> None:
    """Bad UTF-8 and NUL, in whichever column; the row keeps what it said."""
    table = pa.table({"id": [1, 2, 3, 4], "x": strings(b"a", b"b\xff", b"c\0", "é".encode())})
    rows = parsed(written(table), 4, conf_of("id", "x"))
    assert [(row["id"], row["x"], row["fault"]) for row in rows] == [
        ("1", "a", None), (None, None, "x: bad UTF-8 at byte 2"), (None, None, "x: NUL character"), ("4", "é", None),
    ]  # fmt: skip
    assert [row["raw"] for row in rows] == [
        None, '{"id": "2", "x": "b\\\\xff"}', '{"id": "3", "x": "c\\\\x00"}', None
    ]  # fmt: skip


def test_lines_are_numbered_through_all_batches_and_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is the row's number in the file."""
    monkeypatch.setattr(parquet_rows, "BATCH_ROWS", 7)
    data = written(pa.table({"x": list(range(1, 101))}), row_group_size=30)
    rows = parsed(data, 100, conf_of("x"))
    assert [row["line"] for row in rows] == [int(str(row["x"])) for row in rows] == list(range(1, 101))


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"x": [f"{number:0100}" for number in range(2000)]}),  # large by its metadata
        pa.table({"x": pa.nulls(200_000, pa.int64())}),  # rows in no bytes
        pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["a" * 1000])}),
        pa.table({"x": ["a" * 1000] * 5000}),  # long texts in few bytes
    ],
)
def test_an_archive_bomb_stops_at_the_cap(table: pa.Table) -> None:
    """What it says of itself is believed first; what it writes out is counted before it is written out."""
    fault = refused(parsed(written(table), table.num_rows, conf_of("x"), limit=100_000))
    assert fault == "size: more than 100000 bytes when unpacked"
    assert len(parsed(written(table), table.num_rows, conf_of("x"))) == table.num_rows


def test_what_is_too_large_by_its_metadata_is_not_read() -> None:
    """Its broken page is never come to."""
    assert refused(parsed(numbers(True), 1000, conf_of("x"), limit=4000)) == "size: more than 4000 bytes when unpacked"


def test_a_long_text_that_stands_many_times_is_counted_before_it_is_written_out() -> None:
    """A gigabyte in a few kilobytes takes a few megabytes."""
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["a" * 100_000])
    data = written(pa.table({"x": many}), store_schema=False)  # the file speaks of plain texts
    former, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert refused(parsed(data, 10_000, conf_of("x"), limit=100 << 20)).startswith("size: more than")
    finally:
        pa.set_memory_pool(former)
    assert 0 < pool.max_memory() < 20 << 20


def test_N1_a_file_cut_anywhere_is_refused() -> None:
    """Not one of its beginnings is a file, nor can its rows be counted."""
    data = written(pa.table({"x": [1, 2]}))
    for size in range(1, len(data), 7):
        assert refused(parsed(data[:size], 2, conf_of("x"))).startswith("parquet: ")
    assert count_rows(data, "x", conf_of("x")) == 2
