"""The one way in which files are written: whole under their name or not at all, also after a power cut.

A rename alone is not enough: after a power cut a renamed file may be empty, because its name reached the disk before its
bytes did. So the bytes are synced before the rename and the folder after it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class HashedFile:
    """A file that is being written: its size in bytes and the SHA-256 of what was written so far."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash, self.size = stream, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        """Append `data`."""
        self._hash.update(data)
        self.size += len(data)
        return self._stream.write(data)

    def set_time(self, changed_ms: int) -> None:
        """State when the content was last changed, in milliseconds since 1970; nothing may be written afterwards."""
        self._stream.flush()
        os.utime(self._stream.fileno(), ns=(changed_ms * 1_000_000, changed_ms * 1_000_000))

    @property
    def sha256(self) -> str:
        """Hash of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()


@contextmanager
def whole_file(path: Path, mode: int = 0o644, *, durable: bool = True) -> Iterator[HashedFile]:
    """Yield a file that takes the name `path` when the block ends; after an error `path` is what it was.

    The folder is created where needed. A link at `path` is replaced, never followed. Without `durable` nothing is synced: for
    thousands of files that a command can write again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as stream:
            yield HashedFile(stream)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if durable:
        sync(path.parent)


def write_whole(path: Path, data: bytes | str, mode: int = 0o644, *, durable: bool = True) -> None:
    """Write `data`, text as UTF-8, as the whole content of `path`; see `whole_file`."""
    with whole_file(path, mode, durable=durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def adopt_whole(part: Path, path: Path) -> None:
    """Give the complete file `part`, which another program wrote in the same folder, the name `path`."""
    sync(part)
    part.replace(path)
    sync(path.parent)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """While the block runs, no other process on this machine is in a block of the same path: a folder, or a file to create.

    The lock ends with the process.
    """
    if path.is_dir():
        handle = os.open(path, os.O_RDONLY)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
