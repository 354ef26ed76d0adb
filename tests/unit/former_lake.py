"""A lake that commit 92015ad wrote, before logs could change: five hours at once, four one by one, a heal; its drops beside it.

The pipeline is `harbour` of tests/spark. `expected.json` has what that commit's readers showed, at several releases and instants.
"""

from __future__ import annotations

import json
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.config import load_pipeline
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.ledger import Ledger

NAME, PROJECT = "harbour", Path(__file__).parents[1] / "spark" / "harbour"
_PACKED = Path(__file__).parents[1] / "fixtures" / "harbour_lake.tar.xz"


def unpacked(folder: Path) -> Path:
    """The data folder of a fresh copy of the lake below `folder`."""
    with tarfile.open(_PACKED) as packed:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.2 (Debian 12) has none
        packed.extractall(folder, **safe)
    return folder / "var"


def expected(data: Path) -> list[dict[str, Any]]:
    """What its readers saw: `release` and `as_known` (none: the newest), and of `tables` the columns and all rows, as text."""
    shown: list[dict[str, Any]] = json.loads((data.parent / "expected.json").read_text())
    return shown


def shown(data: Path, release: int | None, as_known: str | None) -> dict[str, dict[str, list[Any]]]:
    """What readers without a JVM see now, as in `expected`; tables and columns that came since are left out."""
    root, tables = data / "lake" / NAME, {}
    line, known_by = Ledger.open(root).line(release), datetime.fromisoformat(as_known) if as_known else None
    before = expected(data)[0]["tables"]
    with connect(root) as connection:
        for table, kind in table_kinds(load_pipeline(NAME, PROJECT)).items():
            shows = table in before and register_current(connection, root, table, kind, line, "rows", known_by=known_by)
            if shows:
                listed = ", ".join(f'"{name}"' for name in before[table]["columns"])
                rows = connection.execute(f"SELECT {listed} FROM rows ORDER BY ALL").fetchall()
                tables[table] = {"columns": before[table]["columns"], "rows": [list(map(str, row)) for row in rows]}
    return tables
