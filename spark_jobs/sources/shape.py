"""What the rows of a drop look like, whatever its format, and the schema contract: names are compared before any value.

A missing or a new column refuses the drop, another order changes nothing; what is wrong with a value is told later.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from spark_jobs.config.sources import SourceConf

MAX_UNPACKED = 1 << 30  # bytes of text of one drop: an archive bomb stops here
MAX_RAW = 1 << 16  # characters of a broken line that are kept


class FileFault(Exception):
    """The drop as a whole is not what its manifest or its source says; the text is the reason."""


def drop_schema(conf: SourceConf) -> pa.Schema:
    """The source's columns as text in their declared order, then line (int64), raw and fault (text)."""
    own = [pa.field("line", pa.int64()), pa.field("raw", pa.string()), pa.field("fault", pa.string())]
    return pa.schema([*(pa.field(name, pa.string()) for name in conf.columns), *own])


def drop_table(
    records: Sequence[Sequence[str | None]], notes: Sequence[tuple[int, str | None, str | None]], conf: SourceConf
) -> pa.Table:
    """One row a note (line, raw, fault); `records` may be empty: all columns null."""
    schema = drop_schema(conf)
    width = len(conf.columns)
    columns = [[record[at] for record in records] or [None] * len(notes) for at in range(width)]
    own = [[note[at] for note in notes] for at in range(3)]
    return pa.Table.from_arrays(
        [pa.array(values, field.type) for values, field in zip([*columns, *own], schema, strict=True)], schema=schema
    )


def file_fault(reason: str, conf: SourceConf) -> pa.Table:
    """The one row (line 0) that stands for a drop of which nothing may be used."""
    return drop_table([], [(0, None, reason)], conf)


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
    """How `names` differ from the declared columns, such as "missing column a, b; new column c"; empty: only in order."""
    missing = [name for name in conf.columns if name not in names]
    new = [name for name in dict.fromkeys(names) if name not in conf.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    lists = (("missing", missing), ("new", new), ("repeated", twice))
    return "; ".join(f"{word} column {', '.join(which)}" for word, which in lists if which)


def short(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with its length told."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
