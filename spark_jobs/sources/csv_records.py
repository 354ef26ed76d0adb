"""Where the records of a CSV body begin and end, by RFC 4180: a line break inside quotes belongs to its value.

A misplaced quote is a fault of its record. Where it also hides at which line the next record begins, the whole file is
refused: a guess would publish a row that never existed, or swallow rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spark_jobs.sources.shape import FileFault

MAX_RECORD_LINES = 1000  # a longer record is taken for a quote that nobody closed
_LF, _CR, _COMMA, _QUOTE = b'\n\r,"'
# A value that begins with a quote, perhaps after blanks; group 1: its closing quote, group 2: what follows that.
_QUOTED = re.compile(rb'[ \t]*"[^"]*+(?:""[^"]*+)*+("?)([^,\n]*)')
_UNQUOTED = re.compile(rb"[^,\n]*")


class RawRecord(NamedTuple):
    """A record as it stands in the file: `line` is where it begins, from 0; `fault` says which quote is misplaced."""

    line: int
    text: bytes
    fault: str | None


def records(body: bytes, first_line: int) -> Iterator[RawRecord]:
    """The records of `body` in order, without their line ends; `first_line`: number of its first line, for errors.

    Raises:
        FileFault: a quote is not closed, a record with a misplaced quote spans lines, or one spans too many.
    """
    place = line = 0
    while place < len(body):
        end, fault = body.find(b"\n", place), None
        end = len(body) if end < 0 else end
        if body.find(b'"', place, end) >= 0:
            end, fault = _end_of_record(body, place)
        text = body[place:end]
        breaks = text.count(b"\n")
        if fault == _OPEN or (breaks and (fault or breaks >= MAX_RECORD_LINES)):
            raise _unknown_end(first_line + line, breaks + (not text.endswith(b"\n")), fault)
        yield RawRecord(line, text, fault)
        place, line = end + 1, line + breaks + 1


_OPEN = "a quote is not closed"


def _end_of_record(body: bytes, place: int) -> tuple[int, str | None]:
    """Where the record that begins at `place` ends, and what is wrong with a quote of it."""
    fault = None
    while True:
        if value := _QUOTED.match(body, place):
            follows = body[value.end() : value.end() + 1]
            if not value[1]:
                return len(body), _OPEN
            if body[place] != _QUOTE:
                fault = "blank before a quote"
            elif value[2] and (value[2] != b"\r" or follows == b","):
                fault = "text after a closing quote"
        elif (value := _UNQUOTED.match(body, place)) and b'"' in value[0]:
            fault = "quote inside a value that does not begin with one"
        place = value.end() if value else len(body)
        if place == len(body) or body[place] == _LF:
            return place, fault
        place += 1


def _unknown_end(line: int, lines: int, fault: str | None) -> FileFault:
    found = fault or f"it would span more than {MAX_RECORD_LINES} lines, so a quote is probably not closed"
    return FileFault(f"csv: record that begins on line {line}: {found} ({lines} lines); quote values as RFC 4180 says")


def record_lines(body: bytes) -> npt.NDArray[np.int64] | None:
    """The line, from 0, on which each record of `body` begins; none where a quote is misplaced or a record too long.

    Agrees with `records`, for all records at once: the quotes of a sound body alternate between opening and closing.
    """
    data = np.frombuffer(body, np.uint8)
    quotes, breaks = np.flatnonzero(data == _QUOTE), np.flatnonzero(data == _LF)
    if len(quotes) % 2 or not _well_placed(data, quotes[::2], quotes[1::2]):
        return None
    ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    starts = np.concatenate([[0], ends + 1])
    lines = np.searchsorted(breaks, starts)
    count = len(starts) - (starts[-1] == len(data))  # what follows the last line end is a record, unless it is empty
    all_lines = np.append(lines[:count], len(breaks) + (len(data) > 0 and data[-1] != _LF))
    return None if (np.diff(all_lines) > MAX_RECORD_LINES).any() else all_lines[:-1].astype(np.int64)


def _well_placed(data: npt.NDArray[np.uint8], opening: npt.NDArray[np.int64], closing: npt.NDArray[np.int64]) -> bool:
    """Whether each quote is at the edge of its value, or beside another one: together they stand for one quote."""
    padded = np.concatenate([[_LF], data, [_LF, _LF]]).astype(np.uint8)  # data[i] is padded[i + 1]
    before, after, second = padded[opening], padded[closing + 2], padded[closing + 3]
    ends = np.isin(after, [_LF, _COMMA, _QUOTE]) | ((after == _CR) & (second == _LF))
    return bool(np.isin(before, [_LF, _COMMA, _QUOTE]).all() and ends.all())


def is_plain(body: bytes, quoted: bool) -> bool:
    """Whether Arrow reads a body as `records` splits it, provided that its quotes are well placed.

    Arrow takes a lone carriage return outside quotes for a line end, stops at a NUL, and makes nulls of a blank line.
    """
    if b"\0" in body or b"\n\n" in body or b"\n\r\n" in body or body.startswith((b"\n", b"\r\n")):
        return False  # a blank line inside quotes is legal, too, but rare: the slower way reads it
    if not quoted:
        return body.count(b"\r") == body.count(b"\r\n")
    return b"\r" not in body.replace(b"\r\n", b"")
