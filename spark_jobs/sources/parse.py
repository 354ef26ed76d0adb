"""The bytes of one drop -> one row a delivered line, as text, with what is wrong with it; runs in Spark's workers.

A record is one line: a line break inside quotes is a fault of its line. Whether a value makes sense is judged later;
here no row is lost, invented or moved into another column.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pa_csv

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.parquet_rows import parquet_count, parquet_rows
from spark_jobs.sources.shape import (
    MAX_RAW,
    MAX_UNPACKED,
    FileFault,
    check_names,
    check_rows,
    differing_names,
    drop_schema,
    drop_table,
    file_fault,
    short,
)

SMALL_BODY = 1 << 14  # bytes: up to here starting Arrow's reader costs more than splitting line by line
_BOM = b"\xef\xbb\xbf"
Split = tuple[list[str] | None, str | None]  # the values of a line, or None and the reason


def parse_file(
    path: str, file: str, rows: int, size: int, sha256: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED
) -> pa.Table:
    """As `parse_drop`, of the bytes at `path`; a file that is gone is a drop that is not what it should be."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(size + 1)  # one more than stated shows that it has grown
    except FileNotFoundError:
        return file_fault("file: not there any more", conf)
    return parse_drop(data, file, rows, size, sha256, conf, max_unpacked)


def parse_drop(
    data: bytes, file: str, rows: int, size: int, sha256: str, conf: SourceConf, max_unpacked: int = MAX_UNPACKED
) -> pa.Table:
    """The rows of a drop, as `drop_schema` says; `rows`, `size` (bytes) and `sha256` are the manifest's.

    line: number in the file, from 1 (a header is line 1). A line that is not a record: its text in `raw`, the reason in
    `fault`, columns null. A drop that is not what it should be: one row, line 0, the reason in `fault`, and nothing
    else.
    """
    try:
        if len(data) != size:
            raise FileFault(f"bytes: {len(data)} found, the manifest says {size}")
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise FileFault(f"sha256: {found} found, the manifest says {sha256}")
        if not data and rows == 0:
            return drop_table([], [], conf)
        if conf.format == "parquet":
            return parquet_rows(data, rows, conf, max_unpacked)
        text = _drop_text(data, file, max_unpacked)
        return _csv_rows(text, rows, conf) if conf.format == "csv" else _json_rows(text, rows, conf)
    except FileFault as fault:
        return file_fault(str(fault), conf)


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


def _lines(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _count_lines(body: bytes) -> int:
    return body.count(b"\n") + (bool(body) and not body.endswith(b"\n"))


def _csv_rows(text: bytes, rows: int, conf: SourceConf) -> pa.Table:
    if not text and rows == 0:
        return drop_table([], [], conf)
    head, _, body = text.partition(b"\n")
    header = _header(head, conf)
    found = _count_lines(body)
    check_rows(found, rows)
    table = plain_rows(body, header, found, conf) if len(body) > SMALL_BODY else None
    return exact_rows(body, header, conf) if table is None else table


def _header(line: bytes, conf: SourceConf) -> list[str]:
    """Names in the file's order; the same names as declared, in any order."""
    if not line:
        raise FileFault("header: the file has none")
    names, reason = _split_csv(line)
    if names is None:
        raise FileFault(f"header: {reason}")
    check_names("header", names, conf)
    return names


def plain_rows(body: bytes, header: list[str], found: int, conf: SourceConf) -> pa.Table | None:
    """The rows when every line is a plain record, else None. Quotes, NUL, lone carriage returns and blank lines are
    left to `exact_rows`: Arrow joins lines in quotes, ends one at a carriage return, reads a blank one as nulls."""
    if not body:
        return drop_table([], [], conf)
    if b'"' in body or b"\0" in body or body.count(b"\r") != body.count(b"\r\n"):
        return None
    if body.startswith((b"\n", b"\r\n")) or b"\n\n" in body or b"\n\r\n" in body:
        return None
    read = pa_csv.ReadOptions(column_names=header, use_threads=False, block_size=min(len(body) + 64, (1 << 31) - 1))
    parse = pa_csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), null_values=conf.nulls, strings_can_be_null=True
    )
    try:
        table = pa_csv.read_csv(io.BytesIO(body), read, parse, convert)
    except pa.ArrowInvalid:
        return None
    longest = max((pc.max(pc.binary_length(column)).as_py() or 0 for column in table.columns), default=0)
    if table.num_rows != found or longest > csv.field_size_limit():
        return None
    empty = pa.nulls(found, pa.string())
    lines = pa.array(range(2, found + 2), pa.int64())
    columns = [*(table[name].combine_chunks() for name in conf.columns), lines, empty, empty]
    return pa.Table.from_arrays(columns, schema=drop_schema(conf))


def exact_rows(body: bytes, header: list[str], conf: SourceConf) -> pa.Table:
    """The rows, line by line; a line that is not a record of `header` has raw and fault."""
    order = [header.index(name) for name in conf.columns]

    def split(line: bytes) -> Split:
        values, reason = _split_csv(line)
        if values is None:
            return None, reason
        if len(values) != len(header):
            return None, f"fields: {len(values)} found, the header has {len(header)}" if line.strip() else "blank line"
        return [values[at] for at in order], None

    return _split_rows(_lines(body), 2, split, conf)


def _split_csv(line: bytes) -> Split:
    text, reason = _text(line)
    if text is None:
        return None, reason
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error as error:
        known = {"unexpected end of data": "open quote", "new-line character seen": "carriage return inside the line"}
        return None, "csv: " + next((said for text, said in known.items() if text in str(error)), str(error))
    return (records[0] or [""], None) if len(records) == 1 else ([""], None)


def _json_rows(text: bytes, rows: int, conf: SourceConf) -> pa.Table:
    lines = _lines(text)
    check_rows(len(lines), rows)
    names = frozenset(conf.columns)
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_object)

    def split(line: bytes) -> Split:
        text, reason = _text(line)
        if text is None:
            return None, reason
        try:
            found = decoder.decode(text)
        except (ValueError, RecursionError) as error:
            return None, short(f"json: {error}", 300)
        return _fields(found, names, conf)

    return _split_rows(lines, 1, split, conf)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _fields(found: object, names: frozenset[str], conf: SourceConf) -> Split:
    """Values in the declared order as text; a JSON null becomes `_NULL`."""
    if not isinstance(found, dict):
        return None, "json: not an object"
    if found.keys() != names:
        return None, short(f"keys: {differing_names(list(found), conf)}", 300)
    values = []
    for name in conf.columns:
        value = found[name]
        if isinstance(value, dict | list):
            return None, f"json: {name} is not a single value"
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= char <= "\udfff" for char in value)):
            return None, f"json: {name} holds a NUL or half a character"
        values.append(_NULL if value is None else str(value).lower() if isinstance(value, bool) else str(value))
    return values, None


_NULL = "\0"  # no text of a record can be this: NUL is a fault


def _text(line: bytes) -> tuple[str | None, str | None]:
    """The line as text without its carriage return, or None and the reason."""
    if b"\0" in line:
        return None, "NUL character"
    try:
        return line.removesuffix(b"\r").decode("utf-8"), None
    except UnicodeDecodeError as error:
        return None, f"bad UTF-8 at byte {error.start + 1}"


def _split_rows(lines: Sequence[bytes], first: int, split: Callable[[bytes], Split], conf: SourceConf) -> pa.Table:
    """One row a line, numbered from `first`."""
    nulls = {*conf.nulls, _NULL}
    records: list[list[str | None]] = []
    notes: list[tuple[int, str | None, str | None]] = []
    broken: list[str | None] = [None] * len(conf.columns)
    for number, line in enumerate(lines, start=first):
        values, reason = split(line)
        if values is None:
            records.append(broken)
            raw = line.removesuffix(b"\r").decode("utf-8", "backslashreplace").replace("\0", "\\x00")
            notes.append((number, short(raw, MAX_RAW), reason))
        else:
            records.append([None if value in nulls else value for value in values])
            notes.append((number, None, None))
    return drop_table(records, notes, conf)
