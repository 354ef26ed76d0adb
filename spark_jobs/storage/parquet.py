"""Parquet files of a lake table: what a Delta log says of one (rows, bounds of columns), and the rows of several as one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema

from spark_jobs.storage import StagedFile
from spark_jobs.storage.evolution import evolved
from spark_jobs.storage.files import sha256_of

STATS_COLUMNS = ("hour", "known_at", "pub", "as_of", "event_hour")  # whole hours and a number: exact as statistics


def staged_file(folder: Path, path: Path) -> StagedFile:
    """The file at `path`, below the table's `folder` in a folder day=…, as a log names it."""
    metadata = pq.read_metadata(path)
    day = unquote(path.parent.name.removeprefix("day="))
    sha256 = sha256_of(path)
    return StagedFile(
        path.relative_to(folder).as_posix(),
        path.stat().st_size,
        sha256,
        metadata.num_rows,
        day,
        json.dumps(_stats(metadata)),
    )


def _stats(metadata: Any) -> dict[str, Any]:
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            name = column.path_in_schema
            if name not in STATS_COLUMNS or column.statistics is None or not column.statistics.has_min_max:
                continue
            low, high = column.statistics.min, column.statistics.max
            lowest[name] = min(low, lowest.get(name, low))
            highest[name] = max(high, highest.get(name, high))
    return {
        "numRecords": metadata.num_rows,
        "minValues": {name: _stat(value) for name, value in lowest.items()},
        "maxValues": {name: _stat(value) for name, value in highest.items()},
    }


def _stat(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return value


def merged_rows(files: Sequence[Path], schema: str | None) -> pa.Table:
    """The rows of `files`, of one day and in their order, under `schema` (of the table's log, as JSON).

    Files may differ in nullability, columns, their order and encoding, and in types that a reader of the log widens. A column
    that no file has is left out: readers see null. A column that the log lacks stays, or its values would be lost.

    Raises:
        IncompatibleError: two files have types that no reader of one schema can read.
    """
    tables = [plain(pq.read_table(path, partitioning=None)) for path in files]
    for table in tables:
        own = json.dumps(json.loads(Schema.from_arrow(table.schema).to_json()))
        schema = own if schema is None else evolved(schema, own) or schema
    present = {name.lower() for table in tables for name in table.column_names}
    fields = [field for field in arrow_schema(schema) if field.name.lower() in present] if schema else []
    return pa.concat_tables([conformed(table, pa.schema(fields)) for table in tables])


def rewritten_rows(file: Path, renames: Mapping[str, str], fills: Mapping[str, Any], schema: str) -> pa.Table:
    """The rows of `file` with columns renamed (old -> new) and cast to those of `schema` (JSON), as far as it has them.

    `fills`: columns of `schema` that have this value in every row.

    Raises:
        ValueError: a value cannot be cast without loss.
    """
    rows = plain(pq.read_table(file, partitioning=None))
    rows = rows.rename_columns([renames.get(name, name) for name in rows.column_names])
    fields = arrow_schema(schema)
    for name, value in fills.items():
        filled = pa.repeat(pa.scalar(value, fields.field(name).type), rows.num_rows)
        rows = rows.append_column(fields.field(name), filled)
    present = {name.lower() for name in rows.column_names}
    return conformed(rows, pa.schema([field for field in fields if field.name.lower() in present]))


def arrow_schema(schema: str) -> pa.Schema:
    """A log's `schema` (JSON) as Arrow's, all nullable, without `day`, which files do not have."""
    fields = pa.schema(Schema.from_json(schema).to_arrow())
    return pa.schema([field.with_nullable(True) for field in fields if field.name != "day"])


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """`rows` with exactly the columns of `schema`, matched by name (of any case) and cast without loss; null where absent."""
    own = {name.lower(): name for name in rows.column_names}
    columns = [
        rows[own[field.name.lower()]].cast(field.type)
        if field.name.lower() in own
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def plain(rows: pa.Table) -> pa.Table:
    """`rows` without dictionary encoding, and instants in microseconds, as a log has them."""
    for place, field in enumerate(rows.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_timestamp(kind) and kind.unit != "us":
            kind = pa.timestamp("us", kind.tz)
        if kind != field.type:
            rows = rows.set_column(place, field.name, rows.column(place).cast(kind))
    return rows
