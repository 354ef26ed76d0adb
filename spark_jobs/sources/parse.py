"""The bytes of drops -> one row a delivered line, as text, with what is wrong with it; runs in Spark's workers.

A record is one line: a line break inside quotes is a fault of its line. Whether a value makes sense is judged later;
here no row is lost, invented or moved into another column. A drop is read into a part; many parts become one table at
once, since a small file costs less to parse than to start a parser for.
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

    line: number in the file, from 1 (a header is line 1). A line that is not a record: its text in `raw`, the reason in
    `fault`, columns null. A drop that is not what it should be: one row, line 0, the reason in `fault`, and nothing
    else.
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
    bodies: dict[tuple[str, ...], list[tuple[int, Body]]] = {}
    for number, part in enumerate(parts):
        if isinstance(part, Body):
            bodies.setdefault(part.header, []).append((number, part))
        elif isinstance(part, Lines):
            lines.append((number, part))
        else:
            tables.append(part)
            owners.append(np.full(part.num_rows, number))
    for header, some in bodies.items():
        table = plain_rows(b"".join(body.text for _, body in some), header, [body.rows for _, body in some], conf)
        if table is None:  # a line of one of them is not plain: each line by itself
            lines += [(number, csv_lines(body.text, header, conf)) for number, body in some]
        else:
            tables.append(table)
            owners.append(np.repeat([number for number, _ in some], [body.rows for _, body in some]))
    records = [record for _, part in lines for record in part.records]
    tables.append(drop_table(records, [note for _, part in lines for note in part.notes], conf))
    owners.append(np.repeat([number for number, _ in lines], [len(part.notes) for _, part in lines]))
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(owners).astype(np.int64)


def count_rows(data: bytes, file: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED) -> int:
    """The rows that `parse_drop` will find in the drop, for a manifest; no value is looked at.

    Raises:
        FileFault: the drop cannot be unpacked, is too large, or is no file of its format.
    """
    if conf.format == "parquet":
        return parquet_count(data)
    text = _drop_text(data, file, max_unpacked)
    return _count_lines(text.partition(b"\n")[2] if conf.format == "csv" else text)


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
    header = _header(head, conf)
    found = _count_lines(body)
    check_rows(found, rows)
    if not _plain(body):
        return csv_lines(body, header, conf)
    return Body(header, body if not body or body.endswith(b"\n") else body + b"\n", found)


def _header(line: bytes, conf: SourceConf) -> tuple[str, ...]:
    """Names in the file's order; the same names as declared, in any order."""
    if not line:
        raise FileFault("header: the file has none")
    names, reason = split_csv(line)
    if names is None:
        raise FileFault(f"header: {reason}")
    check_names("header", names, conf)
    return tuple(names)


def _plain(body: bytes) -> bool:
    """Whether no line has what Arrow reads otherwise than line by line: quotes join lines, a NUL or a lone carriage return
    ends one, a blank one becomes nulls."""
    if b'"' in body or b"\0" in body or body.count(b"\r") != body.count(b"\r\n"):
        return False
    return not (body.startswith((b"\n", b"\r\n")) or b"\n\n" in body or b"\n\r\n" in body)


def plain_rows(text: bytes, header: Sequence[str], rows: Sequence[int], conf: SourceConf) -> pa.Table | None:
    """The rows of bodies that stand one after the other, of so many `rows` each; None when a line is no plain record."""
    found = sum(rows)
    if not found:
        return drop_table([], [], conf)
    read = pa_csv.ReadOptions(column_names=header, use_threads=False, block_size=min(len(text) + 64, (1 << 31) - 1))
    parse = pa_csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), null_values=conf.nulls, strings_can_be_null=True
    )
    try:
        table = pa_csv.read_csv(pa.BufferReader(text), read, parse, convert)
    except pa.ArrowInvalid:
        return None
    longest = max((pc.max(pc.binary_length(column)).as_py() or 0 for column in table.columns), default=0)
    if table.num_rows != found or longest > csv.field_size_limit():
        return None
    starts = np.repeat(np.cumsum([0, *rows[:-1]]), rows)
    lines = pa.array(np.arange(found) - starts + 2, pa.int64())  # the header is line 1 of each
    empty = pa.nulls(found, pa.string())
    columns = [*(table[name].combine_chunks() for name in conf.columns), lines, empty, empty]
    return pa.Table.from_arrays(columns, schema=drop_schema(conf))
