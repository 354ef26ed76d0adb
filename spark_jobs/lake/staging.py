"""Files that a step has written but nobody can read yet: Parquet in the table's own folder, known to no Delta log.

The files that a gate audits are the very files that `publish.py` commits, by reference and unchanged. `Lake.stage` writes them;
publishing needs no Spark, so neither does this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from spark_jobs.storage import StagedFile, Storage
from spark_jobs.storage.parquet import staged_file


@dataclass(frozen=True)
class Staged:
    """What one publication staged for one table."""

    table: str
    pub: int
    schema: str  # the Spark schema as JSON, which is also Delta's
    files: tuple[StagedFile, ...]

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def digest(self) -> str:
        """A hash over path and hash of every file: two equal digests are the same bytes."""
        text = "\n".join(f"{file.path} {file.sha256}" for file in sorted(self.files, key=lambda f: f.path))
        return hashlib.sha256(text.encode()).hexdigest()


def table_folder(root: Path, table: str) -> Path:
    """Folder of a lake table below the pipeline's folder `root`."""
    return root / table


def staged_folder(root: Path, table: str, pub: int, attempt: int | None) -> Path:
    """Folder of the staged files of `pub` for `table`; `attempt` as in `staged_files`."""
    return table_folder(root, table) / (f"pub-{pub}" if attempt is None else f"pub-{pub}/attempt-{attempt}")


def staged_files(root: Path, table: str, pub: int, schema: str, attempt: int | None = None) -> Staged:
    """What lies on disk as staged files of `pub` for `table`; `schema` is the Spark schema as JSON, `day` in it.

    `attempt`: number of the ledger row with which the application started, where several make one publication. The later ones
    may be tried again, and a driver that hung may wake when its successor has published: each has a folder of its own, and
    none ever touches another's files.
    """
    folder = table_folder(root, table)
    paths = sorted(staged_folder(root, table, pub, attempt).glob("day=*/*.parquet"))
    return Staged(table, pub, schema, tuple(staged_file(folder, path) for path in paths))


def changed_files(storage: Storage, staged: Staged) -> list[str]:
    """Staged files whose bytes are no longer those that were audited (gone, other size, other hash)."""
    return [file.path for file in staged.files if storage.sha256(f"{staged.table}/{file.path}") != file.sha256]


def _manifest(pub: int) -> str:
    return f"staging/{pub}.json"


def save_manifest(storage: Storage, pub: int, tables: Iterable[Staged]) -> None:
    """Keep what was staged for the step that publishes it."""
    storage.write_text(_manifest(pub), json.dumps([asdict(staged) for staged in tables]))


def load_manifest(storage: Storage, pub: int) -> dict[str, Staged] | None:
    """What `pub` staged, by table; none when nothing was staged under it, or it was published and removed.

    One that a power cut has torn is as good as gone: what it named is staged anew.
    """
    try:
        tables = json.loads(storage.read_text(_manifest(pub)) or "null")
    except ValueError:
        return None
    if tables is None:
        return None
    return {t["table"]: Staged(**{**t, "files": tuple(StagedFile(**file) for file in t["files"])}) for t in tables}


def drop_manifest(storage: Storage, pub: int) -> None:
    """Forget the manifest of a publication that was released."""
    storage.remove(_manifest(pub))
