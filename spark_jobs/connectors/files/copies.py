"""One source's files on another file system beside those in the landing folder: what differs, and how one is copied.

A copy appears whole, by a rename, with the time at which its original was last changed; by both a later look knows it.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path, PurePosixPath

from spark_jobs.connectors.files.remote import RemoteFile, RemoteFiles
from spark_jobs.errors import RefusedError
from spark_jobs.sources.drops import must_lie_below
from spark_jobs.storage.files import HashedFile, whole_file


class Copies:
    """What is listed there, each folder once, and how many files were copied; paths are below the root and `landing`."""

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
        """List the folder of `path` again when it is needed again."""
        self._listings.pop(path.rpartition("/")[0], None)

    def there(self, path: str) -> RemoteFile | None:
        """The file at `path` there, none when there is none."""
        return self.beside(path).get(PurePosixPath(path).name)

    def folder(self, path: str) -> Path:
        """The folder of `path` here, created where needed.

        Raises:
            RefusedError: it leads out of the landing folder.
        """
        folder = (self._root / path).parent
        must_lie_below(folder, self._root)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def read(self, file: RemoteFile, most: int) -> bytes:
        """The bytes of a small file.

        Raises:
            RefusedError: it has more than `most` bytes.
            RetryError, UsageError: see `RemoteFiles.copy`.
        """
        _require_size(file, most)
        content = io.BytesIO()
        self.upstream.copy(file, HashedFile(content))
        return content.getvalue()

    def copy(self, file: RemoteFile, here: Path, most: int, sha256: str | None = None) -> None:
        """Copy `file` to `here`, instead of what is there; `sha256`: what its bytes must have.

        Raises:
            RefusedError: it has more than `most` bytes, or another hash.
            RetryError, UsageError: it changed while it was copied, or see `RemoteFiles.copy`.
        """
        _require_size(file, most)
        with whole_file(here) as part:
            self.upstream.copy(file, part)
            if part.sha256 != sha256:
                self.upstream.require_unchanged(file)
            if sha256 is not None and part.sha256 != sha256:
                found, allowed = f"sha256 {part.sha256}", f"sha256 {sha256}, as its manifest states"
                raise RefusedError(file.url, found, allowed, "have it delivered again")
            part.set_time(file.changed_ms)
        self.copied += 1

    def put(self, data: bytes, here: Path, changed_ms: int) -> None:
        """Write `data` to `here`, whole."""
        with whole_file(here) as part:
            part.write(data)
            part.set_time(changed_ms)
        self.copied += 1


def _require_size(file: RemoteFile, most: int) -> None:
    if file.bytes > most:
        hint = "have it delivered in a smaller file"
        raise RefusedError(file.url, f"size: {file.bytes} bytes", f"at most {most} bytes", hint)


def size_of(here: Path) -> int | None:
    """Bytes of the file at `here`; none when there is no file of its own."""
    found = _look(here)
    return None if found is None else found.st_size


def is_copy(here: Path, file: RemoteFile) -> bool:
    """Whether `here` is a copy of `file` as it is listed; never where the listing holds no time."""
    found = _look(here)
    state = None if found is None else (found.st_size, found.st_mtime_ns // 1_000_000)
    return file.changed_ms > 0 and state == (file.bytes, file.changed_ms)


def _look(here: Path) -> os.stat_result | None:
    try:
        found = here.lstat()
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None
