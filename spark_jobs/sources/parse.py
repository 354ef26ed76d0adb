"""The bytes of drops -> one row per delivered record, as text, with what is wrong with it; runs in Spark's workers.

CSV has the records of RFC 4180 (`csv_records.py`), JSON lines one per line. Whether a value makes sense is judged later;
here no row is lost, invented or moved into another column. A drop is read into a part; many parts become one table at
once, because a small file costs less to parse than to start a parser for.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pa_csv

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.csv_records import is_plain, record_lines, records
from spark_jobs.sources.parquet_rows import parquet_count, parquet_rows
from spark_jobs.sources.shape import (
    MAX_UNPACKED,
    Body,
    FileFault,
    Lines,
    Part,
    check_names,
    check_rows,
    drop_schema,
    drop_table,
    file_fault,
)
from spark_jobs.sources.text_lines import csv_lines, json_lines, split_csv

_BOM = b"\xef\xbb\xbf"


def parse_file(
    path: str, file: str, rows: int, size: int, sha256: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED
) -> pa.Table:
    """As `parse_drop`, of the bytes at `path`; a file that is gone is a drop that is not what it should be."""
    return joined([read_file(path, file, rows, size, sha256, conf, max_unpacked)], conf)[0]


def parse_drop(
    data: bytes, file: str, rows: int, size: int, sha256: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED
) -> pa.Table:
    """The rows of a drop, as `drop_schema` says; `rows`, `size` (bytes) and `sha256` are the manifest's.

    line: number of the record's first line in the file, from 1 (a header is line 1). What is not a record: its text in
    `raw`, the reason in `fault`, columns null. A drop that is not what it should be: one row, line 0, the reason in
    `fault`, and nothing else.
    """
    return joined([read_drop(data, file, rows, size, sha256, conf, max_unpacked)], conf)[0]


def read_file(
    path: str, file: str, rows: int, size: int, sha256: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED
) -> Part:
    """As `read_drop`, of the bytes at `path`."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(size + 1)  # one more than stated shows that it has grown
    except FileNotFoundError:
        return file_fault("file: not there any more")
    return read_drop(data, file, rows, size, sha256, conf, max_unpacked)


def read_drop(
    data: bytes, file: str, rows: int, size: int, sha256: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED
) -> Part:
    """A drop as a part that `joined` makes rows of; see `parse_drop`."""
    try:
        if len(data) != size:
            raise FileFault(f"bytes: {len(data)} found, the manifest says {size}")
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise FileFault(f"sha256: {found} found, the manifest says {sha256}")
        if not data and rows == 0:
            return Lines([], [])
        if conf.format == "parquet":
            return parquet_rows(data, rows, conf, max_unpacked)
        text = _drop_text(data, file, max_unpacked)
        if conf.format == "csv":
            return _csv_part(text, rows, conf)
        check_rows(_count_lines(text), rows)
        return json_lines(text, conf)
    except FileFault as fault:
        return file_fault(str(fault))


def joined(parts: Sequence[Part], conf: SourceConf) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """All rows of the parts, as `drop_schema` says, and for each row the number of its part; not in the parts' order."""
    tables, owners = [], []
    lines: list[tuple[int, Lines]] = []
    bodies: dict[tuple[tuple[str, ...], bool], list[tuple[int, Body]]] = {}
    for number, part in enumerate(parts):
        if isinstance(part, Body):
            bodies.setdefault((part.header, part.quoted), []).append((number, part))
        elif isinstance(part, Lines):
            lines.append((number, part))
        else:
            tables.append(part)
            owners.append(np.full(part.num_rows, number))
    for (header, _), some in bodies.items():
        table = plain_rows([body for _, body in some], conf)
        if table is None:  # a record of one of them is not plain: each record by itself
            lines += [(number, csv_lines(body.text, header, conf)) for number, body in some]
        else:
            tables.append(table)
            owners.append(np.repeat([number for number, _ in some], [len(body.lines) for _, body in some]))
    values = [record for _, part in lines for record in part.records]
    tables.append(drop_table(values, [note for _, part in lines for note in part.notes], conf))
    owners.append(np.repeat([number for number, _ in lines], [len(part.notes) for _, part in lines]))
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(owners).astype(np.int64)


def count_rows(data: bytes, file: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED) -> int:
    """The rows that `parse_drop` will find in the drop, for a manifest; no value is looked at.

    Raises:
        FileFault: the drop cannot be unpacked, is too large, or is no file of its format.
    """
    if conf.format == "parquet":
        return parquet_count(data, conf)
    text = _drop_text(data, file, max_unpacked)
    return count_records(text.partition(b"\n")[2], 2) if conf.format == "csv" else _count_lines(text)


def count_records(body: bytes, first_line: int) -> int:
    """Number of CSV records in `body`, whose first line has this number in its file.

    Raises:
        FileFault: a misplaced quote hides where records begin.
    """
    if b'"' not in body:
        return _count_lines(body)
    lines = record_lines(body)
    return sum(1 for _ in records(body, first_line)) if lines is None else len(lines)


def _drop_text(data: bytes, file: str, limit: int) -> bytes:
    text = _unpacked(data, limit) if file.endswith(".gz") else data
    if len(text) > limit:
        raise FileFault(f"size: more than {limit} bytes")
    return text.removeprefix(_BOM)


def _unpacked(data: bytes, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(limit + 1)
    except EOFError as error:
        raise FileFault(f"gzip: cut short ({len(data)} bytes)") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileFault(f"gzip: {error}") from error
    if not data:
        raise FileFault("gzip: the file is empty")
    if len(text) > limit:
        raise FileFault(f"size: more than {limit} bytes when unpacked")
    return text


def _count_lines(body: bytes) -> int:
    return body.count(b"\n") + (bool(body) and not body.endswith(b"\n"))


def _csv_part(text: bytes, rows: int, conf: SourceConf) -> Part:
    if not text and rows == 0:
        return Lines([], [])
    head, _, body = text.partition(b"\n")
    header, quoted = _header(head, conf), b'"' in body
    lines = record_lines(body) if quoted else np.arange(_count_lines(body))
    if lines is None or not is_plain(body, quoted):
        part = csv_lines(body, header, conf)
        _check_records(len(part.notes), body, rows)
        return part
    _check_records(len(lines), body, rows)
    return Body(header, body if not body or body.endswith(b"\n") else body + b"\n", lines + 2, quoted)


def _check_records(found: int, body: bytes, rows: int) -> None:
    if found != rows == _count_lines(body):
        raise FileFault(f"rows: {found} records in {rows} lines found, the manifest says {rows}; it must count records")
    check_rows(found, rows)


def _header(line: bytes, conf: SourceConf) -> tuple[str, ...]:
    """Names in the file's order; the same names as declared, in any order."""
    if not line:
        raise FileFault("header: the file has none")
    names, reason = split_csv(line)
    if names is None:
        raise FileFault(f"header: {reason}")
    check_names("header", names, conf)
    return tuple(names)


def plain_rows(bodies: Sequence[Body], conf: SourceConf) -> pa.Table | None:
    """The rows of bodies with the same header and with `quoted` alike, one after the other; None when Arrow reads one of
    them otherwise than record by record."""
    header, quoted = bodies[0].header, bodies[0].quoted
    lines = np.concatenate([body.lines for body in bodies])
    if not len(lines):
        return drop_table([], [], conf)
    text = b"".join(body.text for body in bodies)
    read = pa_csv.ReadOptions(column_names=header, use_threads=False, block_size=min(len(text) + 64, (1 << 31) - 1))
    parse = pa_csv.ParseOptions(quote_char=quoted and '"', newlines_in_values=quoted, ignore_empty_lines=False)
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), null_values=conf.nulls, strings_can_be_null=True
    )
    try:
        table = pa_csv.read_csv(pa.BufferReader(text), read, parse, convert)
    except pa.ArrowInvalid:
        return None
    longest = max((pc.max(pc.binary_length(column)).as_py() or 0 for column in table.columns), default=0)
    if table.num_rows != len(lines) or longest > csv.field_size_limit():
        return None
    empty = pa.nulls(len(lines), pa.string())
    columns = [*(table[name].combine_chunks() for name in conf.columns), pa.array(lines, pa.int64()), empty, empty]
    return pa.Table.from_arrays(columns, schema=drop_schema(conf))
