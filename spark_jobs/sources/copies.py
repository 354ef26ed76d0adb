"""One source's files on another file system beside those in the landing folder: what differs, and how one becomes the other.

A copy appears whole, by a rename, with the time at which its original was last changed; by both a later look knows it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath

from spark_jobs.errors import RefusedError
from spark_jobs.sources.drops import must_lie_below
from spark_jobs.sources.hadoop import RemoteFile, RemoteFiles


class Copies:
    """What was listed there, once a folder, and how many files were copied; paths are below the root and `landing`."""

    def __init__(self, upstream: RemoteFiles, landing: Path) -> None:
        self.upstream, self._root = upstream, Path(os.path.realpath(landing))
        self.copied = 0
        self._listings: dict[str, dict[str, RemoteFile]] = {}

    def url(self, path: str) -> str:
        """Where `path` is there, for people."""
        return f"{self.upstream.root}/{path}"

    def beside(self, path: str) -> dict[str, RemoteFile]:
        """The files there in the folder of `path`, by name."""
        folder = path.rpartition("/")[0]
        if folder not in self._listings:
            self._listings[folder] = self.upstream.listed(folder)
        return self._listings[folder]

    def forget(self, path: str) -> None:
        """List the folder of `path` anew when it is asked for again."""
        self._listings.pop(path.rpartition("/")[0], None)

    def there(self, path: str) -> RemoteFile | None:
        """The file at `path` there, none when nothing lies there."""
        return self.beside(path).get(PurePosixPath(path).name)

    def folder(self, path: str) -> Path:
        """The folder of `path` here, made if need be.

        Raises:
            RefusedError: it leads out of the landing folder.
        """
        folder = (self._root / path).parent
        must_lie_below(folder, self._root)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fetch(self, file: RemoteFile, here: Path, most: int) -> Path:
        """A copy of `file` beside `here`, not yet under its name.

        Raises:
            RefusedError: it has more than `most` bytes.
            RetryError, UsageError: see `RemoteFiles.copy`.
        """
        if file.bytes > most:
            todo = "have it delivered in a smaller file"
            raise RefusedError(file.url, f"size: {file.bytes} bytes", f"at most {most} bytes", todo)
        part = _part(here)
        self.upstream.copy(file, part)
        return part

    def put(self, data: bytes, here: Path, changed_ms: int) -> None:
        """`data` at `here`, whole."""
        part = _part(here)
        part.unlink(missing_ok=True)  # never through a link
        part.write_bytes(data)
        self.settle(part, here, changed_ms)

    def settle(self, part: Path, here: Path, changed_ms: int) -> None:
        """The copy `part` under its name, instead of what lies there."""
        os.utime(part, ns=(changed_ms * 1_000_000, changed_ms * 1_000_000))
        os.replace(part, here)
        self.copied += 1


def _part(here: Path) -> Path:
    return here.with_name(f".{here.name}.tmp")


def size_of(here: Path) -> int | None:
    """Bytes of the file at `here`; none when no file of its own lies there."""
    seen = _look(here)
    return None if seen is None else seen.st_size


def is_copy(here: Path, size: int, changed_ms: int) -> bool:
    """Whether a file of this size and time of change lies at `here`."""
    seen = _look(here)
    return seen is not None and (seen.st_size, seen.st_mtime_ns // 1_000_000) == (size, changed_ms)


def sha256_of(here: Path) -> str:
    """The hash of the bytes of a file."""
    with open(here, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _look(here: Path) -> os.stat_result | None:
    try:
        seen = here.lstat()
    except FileNotFoundError:
        return None
    return seen if stat.S_ISREG(seen.st_mode) else None
