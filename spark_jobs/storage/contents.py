"""What a Delta log of the lake may name: files below the table's own folder, and columns that conf/ can define.

A user who can write into the lake's folder writes these names, and readers put them into SQL and into paths. `open_log` checks
them once, so that every reader, writer and maintenance refuses the same logs with the same error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from spark_jobs.errors import UsageError
from spark_jobs.storage.evolution import RENAMED_FROM
from spark_jobs.storage.restore import RESTORE_LAKE

_SEGMENT = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9_.=-]{1,200}"  # no percent sign: engines disagree on whether paths are encoded
_PATH = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,9}}")
_DAY = re.compile(r"(?!.*day=.*day=)(?:.*/)?day=\d{4}-\d\d-\d\d/.*")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # names of conf/, with the prefixes and windows that steps add
_MOST_SHOWN = 3


def check_contents(delta: DeltaTable, folder: Path) -> None:
    """Check that the log of the table in `folder` names nothing that a publication cannot have written.

    Raises:
        UsageError: a file outside the folder, a path that is absolute, encoded or a pattern, or a column that no definition has.
    """
    partitions = delta.metadata().partition_columns
    paths = delta.get_add_actions().column("path").to_pylist()
    fields = json.loads(delta.schema().to_json())["fields"]
    faults = [
        *([] if partitions in ([], ["day"]) else [f"partition columns {_shown(partitions)}"]),
        *_foreign_paths(paths, by_day=any(field["name"] == "day" for field in fields)),
        *_foreign_columns(fields),
    ]
    if faults:
        more = f" and {len(faults) - _MOST_SHOWN} more" if len(faults) > _MOST_SHOWN else ""
        raise UsageError(
            f"{folder}/_delta_log",
            f"names that no publication writes: {'; '.join(faults[:_MOST_SHOWN])}{more}",
            "paths below the table's folder such as pub-7/day=2013-11-01/part-0.parquet, columns of letters, digits and _",
            f"find out who wrote to the lake's folder, then {RESTORE_LAKE}",
        )


def _foreign_paths(paths: Iterable[str], *, by_day: bool) -> Iterator[str]:
    for path in paths:
        if not _PATH.fullmatch(path) or (by_day and not _DAY.fullmatch(path)):
            yield f"file {_shown(path)}"


def _foreign_columns(fields: list[dict[str, Any]]) -> Iterator[str]:
    for field in fields:
        name = field["name"]
        if not _COLUMN.fullmatch(name) or not _is_legal_type(field["type"]):
            yield f"column {_shown(name)}"
        elif not _are_names(field["metadata"].get(RENAMED_FROM, "[]")):
            yield f"former names of column {name}"


def _is_legal_type(kind: Any) -> bool:
    """Whether steps write the type: a plain one, or a list or map of plain ones. The names inside a struct are not checked."""
    inner = (
        [kind[part] for part in ("elementType", "keyType", "valueType") if part in kind]
        if isinstance(kind, dict)
        else []
    )
    return isinstance(kind, str) or (bool(inner) and all(isinstance(one, str) for one in inner))


def _are_names(text: Any) -> bool:
    try:
        names = json.loads(text)
    except (ValueError, TypeError):
        return False
    return isinstance(names, list) and all(isinstance(one, str) and _COLUMN.fullmatch(one) for one in names)


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 100 else f"{text[:100]} …"
