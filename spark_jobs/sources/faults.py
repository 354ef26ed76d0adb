"""What a bad upstream does to the drops of a replay, repeatably: for tests, demos and exercises, never for production.

Each choice is a hash of seed, source, hour and row, so that it does not depend on the interval or the order asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from hashlib import blake2b

from spark_jobs.config.replay import ReplayConf
from spark_jobs.errors import UsageError, nearest
from spark_jobs.invocation import format_hour, parse_hour
from spark_jobs.sources.csv_records import records
from spark_jobs.sources.history import HOUR_SECONDS, HourlyText

DROP_FAULTS = ("skip", "reorder", "cut", "flip", "redeliver")
DropName = tuple[str, datetime]  # source and hour
_SHARE = r"\d*\.?\d+"


@dataclass(frozen=True)
class Held:
    """A share of rows, above 0 and up to 1, that comes so many whole hours later."""

    share: float
    hours: int

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and self.hours >= 1):
            found = f"a share of {self.share:g} for {self.hours} hours"
            raise UsageError("replay: rows", found, "a share above 0 and up to 1, for 1 hour or more", "write 0.1:5h")


@dataclass(frozen=True)
class Faults:
    """Faults of rows concern every replayed source, faults of drops the named ones; all are off by default.

    late_rows: these come in a later hour's drop instead. repeat_rows: this share stands twice in its drop.
    correct_rows: by source, a column and which rows: they come again later than they first came, the column one higher;
    rows without a value are left out. What is due after the history's last hour never comes.
    skip: no drop, and nothing is removed. reorder: columns in reverse order. cut, flip: half of the file, a changed
    byte; the manifest speaks of the whole file. redeliver: the same bytes again as the next version, 9 minutes later.
    """

    seed: int = 1
    late_rows: Held | None = None
    repeat_rows: float = 0.0
    correct_rows: Mapping[str, tuple[str, Held]] = field(default_factory=dict)
    skip: frozenset[DropName] = frozenset()
    reorder: frozenset[DropName] = frozenset()
    cut: frozenset[DropName] = frozenset()
    flip: frozenset[DropName] = frozenset()
    redeliver: frozenset[DropName] = frozenset()

    def __post_init__(self) -> None:
        if not 0 <= self.repeat_rows <= 1:
            raise UsageError("--repeat-rows", f"a share of {self.repeat_rows:g}", "0 to 1", "--repeat-rows 0.02")

    def _named(self) -> Iterator[tuple[str, str, datetime | None]]:
        """(fault, source, hour) of each fault that names a source; no hour for a fault of rows."""
        for fault in DROP_FAULTS:
            yield from ((fault, source, hour) for source, hour in sorted(getattr(self, fault)))
        yield from (("correct-rows", source, None) for source in self.correct_rows)

    def check(self, conf: ReplayConf) -> None:
        """Nothing, when every named source and column is one of replay.yaml.

        Raises:
            UsageError: one is not.
        """
        for fault, source, _ in self._named():
            if source not in conf.sources:
                raise UsageError(f"--{fault}", f"no source '{source}'", nearest(source, list(conf.sources)))
        for source, (column, _) in self.correct_rows.items():
            if column not in (legal := conf.sources[source].columns):
                raise UsageError("--correct-rows", f"{source} has no column '{column}'", nearest(column, list(legal)))

    def require_replayed(self, sources: list[str], start: datetime, end: datetime) -> None:
        """Nothing, when each fault that names a drop or a source has one of `sources` and of [start, end) to spoil.

        Raises:
            UsageError: one has not, so that the call would silently be a clean one.
        """
        allowed = f"{', '.join(sources)}; hours of {format_hour(start)} to {format_hour(end)}"
        for fault, source, hour in self._named():
            if source not in sources or (hour and not start <= hour < end):
                found = f"{source}@{format_hour(hour)}" if hour else source
                raise UsageError(f"--{fault}", f"{found} is not replayed by this call", allowed)

    def require_files(self, tables: Collection[str]) -> None:
        """Nothing, when no fault of a drop names one of `tables`, sources whose rows go into a database.

        Raises:
            UsageError: one does.
        """
        for fault, source, hour in self._named():
            if hour and source in tables:
                raise UsageError(
                    f"--{fault}",
                    f"{source} is a table of a database",
                    "a source of kind files",
                    f"--late-rows, --repeat-rows and --correct-rows concern {source}, too",
                )

    def spoilt(self, source: str, hour: datetime, data: bytes) -> bytes:
        """What lies on the disk of a file that should hold `data`."""
        if (source, hour) in self.flip and data:
            at = _hash(self.seed, "flip", source, _number(hour), 0) % len(data)
            data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        return data[: len(data) // 2] if (source, hour) in self.cut else data


class FaultyText:
    """The drops of one source under the faults.

    `make(higher, backwards)` gives all its lines, with 1 added to the column `higher`, or with the columns in reverse.
    `stamp`: a column more, with the start of the hour in whose drop a line comes.
    """

    def __init__(
        self, source: str, faults: Faults, make: Callable[[str | None, bool], HourlyText], stamp: str | None = None
    ) -> None:
        self._source, self._faults, self._text, self._stamp = source, faults, cache(make), stamp
        self._again = faults.correct_rows.get(source)
        self._lines = lru_cache(maxsize=16)(self._lines_of_hour)
        for higher in (None, self._again[0]) if self._again else (None,):
            self._text(higher, False)  # what is wrong with a column is told before anything is delivered

    def of_hour(self, hour: datetime) -> tuple[bytes, int]:
        """Bytes of the hour's drop, header included, and its number of rows."""
        header, lines, count = self._drop(hour)
        return (stamped(header, lines, self._stamp, hour) if self._stamp else header + lines), count

    def rows_outside(self, start: datetime, end: datetime) -> int:
        """Rows of the history that no drop of the hours [start, end) holds: those of other hours, and late ones due after."""
        clean, late = self._text(None, False), self._faults.late_rows
        outside = len(clean.hours) - clean.rows_in(start, end)
        if late is None:
            return outside
        first, last = _number(start), _number(end)
        return (
            outside + self._late_rows(last - late.hours, last, late) - self._late_rows(first - late.hours, first, late)
        )

    def _late_rows(self, start: int, end: int, late: Held) -> int:
        return sum(
            self._chosen("late", origin, row, late.share)
            for origin in range(start, end)
            for row in range(len(self._lines(origin, None, False)))
        )

    def _drop(self, hour: datetime) -> tuple[bytes, bytes, int]:
        """Header, lines and number of lines of the hour's drop."""
        backwards = (self._source, hour) in self._faults.reorder
        text, again = self._text(None, backwards), self._again
        if not (self._faults.late_rows or self._faults.repeat_rows or again):
            return text.header, *text.of_hour(_number(hour))
        lines: list[bytes] = []
        for origin, row in self._first_come(_number(hour)):
            twice = self._chosen("repeat", origin, row, self._faults.repeat_rows)
            lines += [self._lines(origin, None, backwards)[row]] * (2 if twice else 1)
        if again:
            lines += self._corrections(_number(hour) - again[1].hours, *again, backwards)
        return text.header, b"".join(lines), len(lines)

    def _lines_of_hour(self, hour: int, higher: str | None, backwards: bool) -> list[bytes]:
        return self._text(higher, backwards).lines_of_hour(hour)

    def _first_come(self, hour: int) -> Iterator[tuple[int, int]]:
        """(hour of the history, row in that hour) of the rows that come in the drop of `hour` for the first time."""
        late = self._faults.late_rows
        for origin in (hour, hour - late.hours) if late else (hour,):
            for row in range(len(self._lines(origin, None, False))):
                held_back = late is not None and self._chosen("late", origin, row, late.share)
                if held_back == (origin != hour):
                    yield origin, row

    def _corrections(self, hour: int, column: str, held: Held, backwards: bool) -> Iterator[bytes]:
        for origin, row in self._first_come(hour):
            before, after = (self._lines(origin, higher, backwards)[row] for higher in (None, column))
            if after != before and self._chosen("correct", origin, row, held.share):  # equal where there is no value
                yield after

    def _chosen(self, fault: str, hour: int, row: int, share: float) -> bool:
        return share > 0 and _hash(self._faults.seed, fault, self._source, hour, row) < share * 2**64


def stamped(header: bytes, lines: bytes, column: str, hour: datetime) -> bytes:
    """The drop with one column more, the same instant in every record: CSV when it has a header, JSON lines when not."""
    instant = f"{format_hour(hour)}Z"
    if header:
        added = f",{instant}\n".encode()
        stamped_lines = b"".join(record.text + added for record in records(lines, 2))
        return header.replace(b"\n", f",{column}\n".encode()) + stamped_lines
    return lines.replace(b"}\n", f',"{column}":"{instant}"}}\n'.encode())


def parse_faults(seed: int, late: str, repeat: str, correct: list[str], drops: Mapping[str, list[str]]) -> Faults:
    """The faults that words of the command line stand for, "" for no late rows; `drops`: words "source@hour" by fault.

    Raises:
        UsageError: a word has not its shape, or a share is not one.
    """
    again = dict(_correction(word) for word in correct)
    if len(again) < len(correct):
        raise UsageError("--correct-rows", f"{' and '.join(correct)}", "one column a source", "name each source once")
    if not re.fullmatch(_SHARE, repeat):
        raise UsageError("--repeat-rows", f"'{repeat}' is no share of rows", "0 to 1", "--repeat-rows 0.02")
    held = _held("--late-rows", late) if late else None
    named = {fault: frozenset(_drop_name(f"--{fault}", word) for word in words) for fault, words in drops.items()}
    return Faults(seed=seed, late_rows=held, repeat_rows=float(repeat), correct_rows=again, **named)


def _correction(word: str) -> tuple[str, tuple[str, Held]]:
    key, _, rest = word.partition("=")
    source, _, column = key.partition(".")
    if not (source and column and rest):
        example = "--correct-rows orders.amount=0.1:5h"
        raise UsageError("--correct-rows", f"'{word}'", "source.column=share:hours", example)
    return source, (column, _held("--correct-rows", rest))


def _held(option: str, text: str) -> Held:
    match = re.fullmatch(rf"({_SHARE}):(\d{{1,5}})h", text)
    if not match:
        raise UsageError(option, f"'{text}'", "share:hours", "write 0.1:5h for a tenth of the rows, 5 hours later")
    return Held(float(match[1]), int(match[2]))


def _drop_name(option: str, word: str) -> DropName:
    source, at, hour = word.partition("@")
    if not (source and at):
        raise UsageError(option, f"'{word}'", "source@hour", f"{option} orders@2013-11-01T12")
    return source, parse_hour(hour, option)


def _number(hour: datetime) -> int:
    return int(hour.timestamp()) // HOUR_SECONDS


def _hash(seed: int, fault: str, source: str, hour: int, row: int) -> int:
    """64 bits that any machine and any version of Python makes of the same facts."""
    return int.from_bytes(blake2b(f"{seed} {fault} {source} {hour} {row}".encode(), digest_size=8).digest())
