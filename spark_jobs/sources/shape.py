"""What the rows of a drop look like, whatever its format, and the schema contract: names are compared before any value.

A missing or a new column refuses the drop, another order changes nothing; what is wrong with a value is told later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_jobs.config.sources import SourceConf

MAX_UNPACKED = 1 << 30  # bytes of text of one drop: an archive bomb stops here
MAX_RAW = 1 << 16  # characters of a broken line that are kept


Record = Sequence[str | None] | None  # the values of a line in the declared order; None: it is no record
Note = tuple[int, str | None, str | None]  # first line, raw, fault


class Lines(NamedTuple):
    """Rows of a drop that was read record by record, each with a note."""

    records: list[Record]
    notes: list[Note]


class Body(NamedTuple):
    """Rows of a CSV drop that still have to be parsed: the text below its header, each record with its line end.

    `lines`: int64[rows], the line on which each record begins, from 2. `quoted`: the text has quotes.
    """

    header: tuple[str, ...]
    text: bytes
    lines: npt.NDArray[np.int64]
    quoted: bool


Part = pa.Table | Body | Lines  # what is left of a drop once its bytes are read


class FileFault(Exception):
    """The drop as a whole is not what its manifest or its source says; the text is the reason."""


def drop_schema(conf: SourceConf) -> pa.Schema:
    """The source's columns as text in their declared order, then line (int64), raw and fault (text)."""
    own = [pa.field("line", pa.int64()), pa.field("raw", pa.string()), pa.field("fault", pa.string())]
    return pa.schema([*(pa.field(name, pa.string()) for name in conf.columns), *own])


def drop_table(records: Sequence[Record], notes: Sequence[Note], conf: SourceConf) -> pa.Table:
    """One row a note, with the values of its record; null where that is none."""
    schema, broken = drop_schema(conf), [None] * len(conf.columns)
    columns = (
        zip(*[broken if record is None else record for record in records], strict=True)
        if records
        else [()] * len(broken)
    )
    own = zip(*notes, strict=True) if notes else [()] * 3
    arrays = [pa.array(values, field.type) for values, field in zip([*columns, *own], schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def file_fault(reason: str) -> Lines:
    """The one row (line 0) that stands for a drop of which nothing may be used."""
    return Lines([None], [(0, None, reason)])


def check_rows(found: int, rows: int) -> None:
    """Nothing, when the drop has as many rows as its manifest says.

    Raises:
        FileFault: it has more or fewer.
    """
    if found != rows:
        raise FileFault(f"rows: {found} found, the manifest says {rows}")


def check_names(where: str, names: Sequence[str], conf: SourceConf) -> None:
    """Nothing, when `names` are the declared columns, in any order.

    Raises:
        FileFault: a column is missing, new, or there twice.
    """
    if told := differing_names(names, conf):
        raise FileFault(short(f"{where}: {told}", 1000))


def differing_names(names: Sequence[str], conf: SourceConf) -> str:
    """How `names` differ from the declared columns, such as "missing column a, b; new column c"; empty: only in order.

    Where the source has sensitive columns, names that are not declared are counted: they may be values of the first row.
    """
    missing = [name for name in conf.columns if name not in names]
    new = [name for name in dict.fromkeys(names) if name not in conf.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    parts = [f"missing column {', '.join(missing)}"] if missing else []
    for word, which in (("new", new), ("repeated", twice)):
        known = [name for name in which if name in conf.columns or not conf.hides_names]
        parts += [f"{word} column {', '.join(known)}"] if known else []
        if hidden := len(which) - len(known):
            parts.append(
                f"{word}: {hidden} column(s) whose names are not shown, because the source has sensitive columns"
            )
    return "; ".join(parts)


def short(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with its length told."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
