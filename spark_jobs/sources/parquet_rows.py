"""One Parquet file -> its rows as text that `transforms/columns.py` reads back as the same values; runs in Spark's workers.

Page checksums are verified where the writer made them; size and rows are bounded by the file's own metadata before a value
is read, and by the decoded text while it is read, since a dictionary can say a long text many times in few bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.shape import MAX_RAW, FileFault, check_names, check_rows, drop_schema, drop_table, short

BATCH_ROWS = 4096  # decoded at once, so that what is too large is seen before it fills the memory
_LEGAL = "text, whole numbers, decimals, floats, booleans, dates, timestamps"


def parquet_count(data: bytes, conf: SourceConf) -> int:
    """Rows of the file, by its metadata.

    Raises:
        FileFault: it is no Parquet file.
    """
    with _told(conf):
        return int(pq.read_metadata(io.BytesIO(data)).num_rows)


def parquet_rows(data: bytes, rows: int, conf: SourceConf, max_unpacked: int) -> pa.Table:
    """The rows, as `drop_schema` says; line: number of the row, from 1. A text that is no UTF-8 or has a NUL is its row's
    fault.

    Raises:
        FileFault: no Parquet file, a broken page, other columns than declared, one that no text stands for, or too large.
    """
    with _told(conf):
        looked = pq.ParquetFile(io.BytesIO(data))
        metadata, schema = looked.metadata, looked.schema_arrow
        check_names("schema", schema.names, conf)
        for field in schema:
            if not _is_legal(field.type):
                kind = "no plain type" if conf.hides_names else f"type {field.type}"  # names of its fields are in it
                raise FileFault(f"schema: column {field.name} is of {kind}; legal: {_LEGAL}")
        check_rows(metadata.num_rows, rows)
        unpacked = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
        if max(unpacked, rows * len(schema)) > max_unpacked:
            raise FileFault(f"size: more than {max_unpacked} bytes when unpacked")
        file = pq.ParquetFile(
            io.BytesIO(data), page_checksum_verification=True, coerce_int96_timestamp_unit="us",
            read_dictionary=[field.name for field in schema if _is_text(field.type)],  # so that lengths are known first
        )  # fmt: skip
        parts = list(_parts(file, _nanoseconds(data, metadata), conf, max_unpacked))
        check_rows(sum(part.num_rows for part in parts), rows)
        return pa.concat_tables(parts).combine_chunks() if parts else drop_table([], [], conf)


@contextmanager
def _told(conf: SourceConf) -> Iterator[None]:
    """Turns whatever pyarrow reports of bytes that it cannot read into the file's fault; only its kind where names are hidden."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        found = type(error).__name__ if conf.hides_names else " ".join(str(error).split())
        raise FileFault(short(f"parquet: {found}", 300)) from error


def _is_legal(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        return _is_legal(kind.value_type)
    tests = (
        _is_text, types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_date,
        types.is_timestamp, types.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _nanoseconds(data: bytes, metadata: pq.FileMetaData) -> Iterator[pa.RecordBatch | None]:
    """Batches as of `_parts` of the columns of type INT96 with all their nanoseconds; nones when there is no such column."""
    columns = [metadata.schema.column(at) for at in range(metadata.num_columns)]
    if not (names := [column.name for column in columns if column.physical_type == "INT96"]):
        return repeat(None)
    file = pq.ParquetFile(io.BytesIO(data), coerce_int96_timestamp_unit="ns")
    return iter(file.iter_batches(BATCH_ROWS, columns=names, use_threads=False))


def _exact(column: pa.Array, nanoseconds: pa.Array) -> pa.Array:
    """Instants of INT96 as text: microseconds reach all years, nanoseconds those around ours; which do are told by division."""
    micros, nanos = column.cast(pa.int64()), nanoseconds.cast(pa.int64())
    reached = pc.and_(pc.greater(micros, -(2**63) // 1000), pc.less(micros, 2**63 // 1000))
    return pc.if_else(
        pc.and_(reached, pc.not_equal(pc.multiply(micros, 1000), nanos)), _text(nanoseconds), _text(column)
    )


def _parts(
    file: pq.ParquetFile, nanoseconds: Iterator[pa.RecordBatch | None], conf: SourceConf, max_unpacked: int
) -> Iterator[pa.Table]:
    """The rows of the file, some at a time."""
    line, left = 1, max_unpacked
    for batch, finer in zip(file.iter_batches(BATCH_ROWS, use_threads=False), nanoseconds, strict=False):
        columns = [batch.column(name) for name in conf.columns]
        left -= sum(_size(column) for column in columns)
        if left < 0:
            raise FileFault(f"size: more than {max_unpacked} bytes when unpacked")
        texts = [
            _exact(column, finer.column(name)) if finer is not None and name in finer.schema.names else _text(column)
            for name, column in zip(conf.columns, columns, strict=True)
        ]
        yield _text_rows(texts, line, conf)
        line += batch.num_rows


def _size(column: pa.Array) -> int:
    """Bytes of the column's values, before a text that stands many times is written out."""
    if not types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary.cast(pa.large_binary()))
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _text(column: pa.Array) -> pa.Array:
    """The values as text; exactly these texts are read back as these values."""
    if types.is_dictionary(column.type):
        return _text(column.dictionary_decode())
    if types.is_floating(column.type):
        wide = column.cast(pa.float64())  # a float is told as the double that it is
        return pc.case_when(
            pc.make_struct(pc.is_nan(wide), pc.equal(wide, float("inf")), pc.equal(wide, float("-inf"))),
            pa.scalar("NaN"), pa.scalar("Infinity"), pa.scalar("-Infinity"), wide.cast(pa.string()),
        )  # fmt: skip
    if types.is_date(column.type):
        return column.cast(pa.date32()).cast(pa.string())
    if types.is_timestamp(column.type):
        utc = column.cast(pa.timestamp(column.type.unit)).cast(pa.string())
        return pc.binary_join_element_wise(pc.replace_substring(utc, " ", "T"), "Z", "")
    return column.cast(pa.string(), safe=False)  # safe: would end at the first text that is no UTF-8


def _text_rows(texts: list[pa.Array], first: int, conf: SourceConf) -> pa.Table:
    """Rows numbered from `first`; one with a text that cannot be told has raw and fault, and no values."""
    count = len(texts[0])
    broken = {
        at: reason for name, column in zip(conf.columns, texts, strict=True) for at, reason in _broken(name, column)
    }
    raw = fault = pa.nulls(count, pa.string())
    if broken:
        raw = pa.array([_raw(texts, at, conf) if at in broken else None for at in range(count)], pa.string())
        fault = pa.array([broken.get(at) for at in range(count)], pa.string())
    null, nulls = pa.scalar(None, pa.string()), pa.array(conf.nulls, pa.string())
    kept = [pc.if_else(pc.or_(pc.is_in(text, nulls), pc.is_valid(fault)), null, text) for text in texts]
    lines = pa.array(range(first, first + count), pa.int64())
    return pa.Table.from_arrays([*kept, lines, raw, fault], schema=drop_schema(conf))


def _broken(name: str, column: pa.Array) -> Iterator[tuple[int, str]]:
    """(place, reason) of each text of `column` that is no text."""
    try:
        column.validate(full=True)
        if not pc.any(pc.match_substring(column, "\0")).as_py():
            return
    except pa.ArrowInvalid:
        pass  # at least one is no UTF-8
    for at, value in enumerate(column.cast(pa.binary()).to_pylist()):
        if value is not None and b"\0" in value:
            yield at, f"{name}: NUL character"
        elif value is not None:
            try:
                value.decode()
            except UnicodeDecodeError as error:
                yield at, f"{name}: bad UTF-8 at byte {error.start + 1}"


def _raw(texts: list[pa.Array], at: int, conf: SourceConf) -> str:
    """The row as one JSON object of texts, what is no text escaped."""
    values = [column.cast(pa.binary())[at].as_py() for column in texts]
    told = [
        None if value is None else value.decode("utf-8", "backslashreplace").replace("\0", "\\x00") for value in values
    ]
    return short(json.dumps(dict(zip(conf.columns, told, strict=True)), ensure_ascii=False), MAX_RAW)
