"""Rewrite the files of a published table under a changed definition: rows, publications and instants stay as they are.

One commit to the table's log names the new files and the new schema. Whoever reads goes on with the former files until vacuum
takes them, two days later; whoever publishes meanwhile loses the race for the log, or makes this command begin again.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pyarrow as pa

from spark_jobs.errors import RetryError, UsageError
from spark_jobs.failpoints import failpoint
from spark_jobs.lake.changes import Rewrite
from spark_jobs.ledger import Ledger
from spark_jobs.storage import StagedFile, Storage
from spark_jobs.storage.evolution import RENAMED_FROM, fields_of, former_names, schema_of

_TRIES = 20
_KEPT = timedelta(days=1)  # files of an attempt that was cut short; vacuum takes them after two


def rewrite_table(ledger: Ledger, rewrite: Rewrite) -> int:
    """Rewrite every file of one table; how many. Running it again after a crash continues.

    Raises:
        UsageError: a value cannot be cast without loss.
        RetryError: other writers won every one of many tries.
    """
    storage, table = ledger.storage, rewrite.table
    for _ in range(_TRIES):
        opened = storage.file_table(table)
        if opened is None:
            return 0
        schema = changed_schema(opened.schema(), rewrite)
        paths = sorted(opened.sizes())
        failpoint("migration.before")
        files = [_rewritten(storage, rewrite, path, schema) for path in paths]
        failpoint("migration.rewritten")
        if opened.replace(files, schema):
            failpoint("migration.committed")
            return len(files)
    raise RetryError(table, f"{_TRIES} commits lost against other writers", todo="run the command again")


def changed_schema(logged: str, rewrite: Rewrite) -> str:
    """The log's schema with columns renamed, types changed, columns added; a renamed one keeps its former names as metadata."""
    fields = []
    for one in fields_of(logged):
        name = rewrite.renames.get(one["name"], one["name"])
        former = {RENAMED_FROM: json.dumps([*former_names(one), one["name"]])} if name != one["name"] else {}
        kind = rewrite.casts.get(name, one["type"])
        fields.append({**one, "name": name, "type": kind, "metadata": {**one["metadata"], **former}})
    return schema_of([*fields, *rewrite.added])


def _rewritten(storage: Storage, rewrite: Rewrite, path: str, schema: str) -> StagedFile:
    """The new file for `path`, in the folder of its publication: readers and publishing tell by it whose rows it holds."""
    folder, _, rest = path.partition("/")
    name = hashlib.sha256(f"{path}\n{schema}\n{dict(rewrite.fills)}".encode()).hexdigest()[:16]
    day = next(part for part in rest.split("/") if part.startswith("day="))
    target = f"{folder}/rewritten-{name}/{day}/part.parquet"
    try:
        return storage.rewrite_file(
            rewrite.table, path, target, schema, storage.now() - _KEPT, renames=rewrite.renames, fills=rewrite.fills
        )
    except (pa.ArrowInvalid, ValueError) as error:
        raise UsageError(
            f"{rewrite.table}/{path}",
            f"a value cannot be cast without loss: {error}"[:300],
            "values that the new type holds",
            "restore the former type in tables.yaml, or use a new column name",
        ) from error
