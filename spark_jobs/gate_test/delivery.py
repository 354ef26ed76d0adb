"""One drop as the records that an upstream delivers, before anything is typed; text in, the same text out.

Mutators change these records; where a drop lands and what a gate makes of it is the stages' work.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Record = dict[str, str | None]  # text by delivered column; None: no value
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class _Bare(str):
    """A JSON number as its text."""


@dataclass(frozen=True)
class Delivery:
    """The records of one drop, in order, and how they are written.

    `null`: what CSV writes where there is no value. `bare`: columns that JSON delivers as numbers. `marks`: characters
    of the values that become other bytes when written, for what no value can hold.
    """

    form: Literal["csv", "jsonl"]
    names: tuple[str, ...]
    rows: tuple[Record, ...]
    null: str = ""
    bare: frozenset[str] = frozenset()
    marks: tuple[tuple[bytes, bytes], ...] = ()

    def text(self) -> bytes:
        """The file before it is packed."""
        written = (self._csv() if self.form == "csv" else self._json()).encode()
        for mark, instead in self.marks:
            written = written.replace(mark, instead)
        return written

    def _csv(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.names)
        writer.writerows([self.null if row[name] is None else row[name] for name in self.names] for row in self.rows)
        return stream.getvalue()

    def _json(self) -> str:
        lines = (
            ",".join(f"{json.dumps(name)}:{self._value(name, row[name])}" for name in self.names) for row in self.rows
        )
        return "".join(f"{{{line}}}\n" for line in lines)

    def _value(self, name: str, text: str | None) -> str:
        if text is None:
            return "null"
        return text if name in self.bare and _NUMBER.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def delivery(text: bytes, form: Literal["csv", "jsonl"], names: Sequence[str], nulls: Sequence[str]) -> Delivery:
    """The drop that `text`, as a history delivers it, holds; `names` and `nulls` are the source's own."""
    bare: frozenset[str] = frozenset()
    records: list[Record]
    if form == "csv":
        header, *lines = csv.reader(io.StringIO(text.decode()))
        records = [dict(zip(header, line, strict=True)) for line in lines]
    else:
        found = [json.loads(line, parse_int=_Bare, parse_float=_Bare) for line in text.splitlines()]
        header = list(found[0]) if found else list(names)
        bare = frozenset(name for one in found for name, value in one.items() if isinstance(value, _Bare))
        records = [{name: None if value is None else str(value) for name, value in one.items()} for one in found]
    rows = tuple({name: None if value in nulls else value for name, value in one.items()} for one in records)
    return Delivery(form, tuple(header), rows, null=nulls[0] if nulls else "", bare=bare)
