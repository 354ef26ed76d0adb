"""A page of an upstream -> the records that it adds to a drop, and the cursor of the next page; no network here.

Rows are cut out of the page's own text and never written anew: a number keeps its digits, a key that stands twice stays
so, and what is wrong with a row is told of its line when the drop is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.csv_records import records
from spark_jobs.sources.shape import FileFault

_BOM = b"\xef\xbb\xbf"
_BLANK = re.compile(r"[ \t\r\n]*")
_JSON = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_NO_BREAKS = str.maketrans("\r\n", "  ")  # JSON has them between its words only


class PageError(Exception):
    """A page is not what the source says; the text is what was found, and never a part of the page."""


class DropText:
    """The text of a drop, as it grows page by page."""

    def __init__(self, conf: SourceConf) -> None:
        self._conf, self._header, self._lines = (
            conf,
            b"",
            list[bytes](),
        )  # a line of CSV: a record, which may span lines

    @property
    def media_type(self) -> str:
        """What pages to ask for."""
        return "text/csv" if self._conf.format == "csv" else "application/json"

    @property
    def expected(self) -> str:
        """What a page has to be, for people."""
        if self._conf.format == "csv":
            return "a header line and rows of CSV"
        http = self._conf.http
        cursor = f", and a cursor at {http.cursor.field}" if http and http.cursor else ""
        return f"JSON with a list at {(http.rows if http else None) or 'the top'}{cursor}"

    @property
    def rows(self) -> int:
        """Number of rows so far; a header is none."""
        return len(self._lines)

    @property
    def data(self) -> bytes:
        """The bytes of the drop; the same rows have the same bytes, however they were spread over pages."""
        head = [self._header] if self._header else []
        return b"".join(line + b"\n" for line in [*head, *self._lines])

    def add(self, body: bytes) -> str | None:
        """Take the rows of one page; the cursor of the next one, or None.

        Raises:
            PageError: the page is not JSON, has no list where its rows should be, has another header than the first, or
                a quote that hides where records begin.
        """
        body = body.removeprefix(_BOM)
        if self._conf.format == "csv":
            self._add_csv(body)
            return None
        return self._add_json(body)

    def _add_csv(self, body: bytes) -> None:
        header, _, rows = body.partition(b"\n")
        if not header.strip():
            raise PageError("no header line")
        if self._header and header.removesuffix(b"\r") != self._header.removesuffix(b"\r"):
            raise PageError("another header line than on the first page")
        self._header = self._header or header
        try:
            self._lines += [record.text for record in records(rows, 2)]
        except FileFault as fault:
            raise PageError(str(fault)) from fault

    def _add_json(self, body: bytes) -> str | None:
        http = self._conf.http
        pointer, cursor = (http.rows, http.cursor) if http else (None, None)
        try:
            text = body.decode("utf-8")
            _JSON.decode(text)  # all of it is JSON; from here on places are looked up in the text
            rows = _value_at(text, pointer)
            if rows is None or text[rows] != "[":
                raise PageError(f"no list at {pointer or 'the top'}")
            self._lines += [text[start:end].translate(_NO_BREAKS).encode() for _, start, end in _members(text, rows)]
            return None if cursor is None else _cursor(text, cursor.field)
        except UnicodeDecodeError as error:
            raise PageError(f"bad UTF-8 at byte {error.start + 1}") from error
        except json.JSONDecodeError as error:
            raise PageError(f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
        except RecursionError as error:
            raise PageError("JSON that is nested too deeply") from error


def _cursor(text: str, pointer: str) -> str | None:
    """The cursor at `pointer`; None after the last page: null, false, empty, or left out of an object that is there."""
    place = _value_at(text, pointer)
    if place is None:
        holder = pointer.rpartition("/")[0]
        found = _value_at(text, holder)
        if found is None or text[found] not in "{n":  # null says that there is none; without a word rows may be missing
            raise PageError(f"no object at {holder or 'the top'}, where the cursor stands")
        return None
    value = _JSON.raw_decode(text, place)[0]
    if value is None or value is False or value == "":
        return None
    if not isinstance(value, str):  # a number is its own text here
        raise PageError(f"a cursor at {pointer} that is neither a text nor a number")
    return value


def _value_at(text: str, pointer: str | None) -> int | None:
    """Where the value begins that `pointer` names in `text`, sound JSON; None: there is none."""
    place = _after_blanks(text, 0)
    for part in (pointer or "").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = [start for key, start, _ in _members(text, place) if key == name]
        if not found:
            return None
        if len(found) > 1:
            raise PageError(f"the key '{name}' of {pointer} twice in one object")
        place = found[0]
    return place


def _members(text: str, place: int) -> Iterator[tuple[str, int, int]]:
    """Key (in a list: its index), start and end of each value in the object or list at `place`; none in any other."""
    if text[place] not in "{[":
        return
    named, count = text[place] == "{", 0
    place = _after_blanks(text, place + 1)
    while text[place] not in "}]":
        key = str(count)
        if named:
            key, place = _JSON.raw_decode(text, place)
            place = _after_blanks(text, _after_blanks(text, place) + 1)  # past the colon
        _, end = _JSON.raw_decode(text, place)
        yield key, place, end
        place = _after_blanks(text, end)
        if text[place] == ",":
            place = _after_blanks(text, place + 1)
        count += 1


def _after_blanks(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place
