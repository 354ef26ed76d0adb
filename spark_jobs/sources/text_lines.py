"""Records of text -> values, one by one: what is not a record keeps its text and the reason. For drops that are not plain.

A record of JSON lines is a line; where a record of CSV ends is the work of `csv_records.py`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.csv_records import records
from spark_jobs.sources.shape import MAX_RAW, Lines, Note, Record, differing_names, short

Split = tuple[list[str] | None, str | None]  # the values of a line, or None and the reason


def lines_of(text: bytes) -> list[bytes]:
    """The lines without their ends; what follows the last line end is one more, unless it is empty."""
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def csv_lines(body: bytes, header: Sequence[str], conf: SourceConf) -> Lines:
    """The rows below the header, each with the line on which it begins, from 2; one that is not a record of `header` has
    raw and fault.

    Raises:
        FileFault: a misplaced quote hides where records begin.
    """
    order = [header.index(name) for name in conf.columns]

    def split(record: bytes, fault: str | None) -> Split:
        values, reason = split_csv(record)
        if values is None or fault:
            return None, f"csv: {fault}" if fault else reason
        if len(values) != len(header):
            return (
                None,
                f"fields: {len(values)} found, the header has {len(header)}" if record.strip() else "blank line",
            )
        return [values[at] for at in order], None

    split_records = ((line + 2, text, split(text, fault)) for line, text, fault in records(body, 2))
    return _as_lines(split_records, conf)


def split_csv(line: bytes) -> Split:
    """The values of one record of CSV without its line end, or None and the reason."""
    text, reason = _text(line)
    if text is None:
        return None, reason
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error as error:
        known = {
            "unexpected end of data": "a quote is not closed",
            "new-line character seen": "carriage return inside the line",
        }
        return None, "csv: " + next((said for text, said in known.items() if text in str(error)), str(error))
    return (records[0] or [""], None) if len(records) == 1 else ([""], None)


def json_lines(text: bytes, conf: SourceConf) -> Lines:
    """The rows, numbered from 1; a line that is not an object with the declared names has raw and fault."""
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

    return _as_lines(((number, line, split(line)) for number, line in enumerate(lines_of(text), start=1)), conf)


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


def _as_lines(split: Iterable[tuple[int, bytes, Split]], conf: SourceConf) -> Lines:
    """One row for each (line, text, its values or the reason why there are none)."""
    nulls = {*conf.nulls, _NULL}
    rows: list[Record] = []
    notes: list[Note] = []
    for number, text, (values, reason) in split:
        if values is None:
            rows.append(None)
            raw = text.removesuffix(b"\r").decode("utf-8", "backslashreplace").replace("\0", "\\x00")
            notes.append((number, short(raw, MAX_RAW), reason))
        else:
            rows.append([None if value in nulls else value for value in values])
            notes.append((number, None, None))
    return Lines(rows, notes)
