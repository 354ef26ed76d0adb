"""Files of another file system through fsspec: a folder's listing, and a copy of one file on this disk.

Every call ends in time, whatever the file system does. No secret enters a log or an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spark_jobs.config.remote_source import RemoteConf
from spark_jobs.connectors.files.answers import Answers
from spark_jobs.errors import RetryError, TidegateError
from spark_jobs.storage.files import HashedFile

_BLOCK = 4 << 20  # bytes of one read
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modify", "modified", "modificationTime", "created")
_TAGS = ("ETag", "etag", "md5Hash", "content_settings", "generation", "unique")


@dataclass(frozen=True)
class RemoteFile:
    """A file as its folder lists it; `changed_ms` since 1970, 0 where the listing holds no time; `tag` changes with its bytes."""

    name: str
    url: str
    path: str
    bytes: int
    changed_ms: int
    tag: str


@contextmanager
def remote_files(where: str, conf: RemoteConf) -> Iterator[RemoteFiles]:
    """The file system of `conf`, connected while in force; `where` begins its errors.

    Raises:
        UsageError: a variable is not set, the scheme is unknown, its package is missing, an option or the login is wrong.
        RetryError: it cannot be reached.
    """
    root, secrets = conf.address().rstrip("/"), conf.secrets(where)
    answers = Answers(where, root, conf.timeout_s, tuple(secrets.values()))
    files = RemoteFiles(where, root, answers)
    files.connect(conf, conf.storage_options(secrets))
    try:
        yield files
    finally:
        files.close()


class RemoteFiles:
    """One file system below one root; made by `remote_files`."""

    def __init__(self, where: str, root: str, answers: Answers) -> None:
        self._where, self.root, self._answers = where, root, answers
        self._system: Any = None
        self._folder = ""

    def connect(self, conf: RemoteConf, options: dict[str, Any]) -> None:
        """Connect, by an instance of our own: fsspec's cache would return one with the settings of another caller."""

        def connect() -> tuple[Any, str]:
            import fsspec

            if self.root.startswith("sftp:"):
                from spark_jobs.connectors.files.host_keys import KnownHost

                options["host_key_policy"] = KnownHost(conf.host_keys)
            system, folder = fsspec.url_to_fs(self.root, **options, skip_instance_cache=True)
            return system, str(folder)

        try:
            self._system, self._folder = self._answers.in_time(connect)
        except FileNotFoundError as error:
            raise self._answers.wrong(str(error)) from None

    def close(self) -> None:
        """Hang up; what the other side answers to that does not matter any more."""
        system, self._system = self._system, None
        with suppress(TidegateError, FileNotFoundError):
            for connection in (getattr(system, "ftp", None), getattr(system, "client", None)):
                if connection is not None and hasattr(connection, "close"):
                    self._answers.in_time(connection.close)

    def listed(self, folder: str) -> dict[str, RemoteFile]:
        """The files of a folder below the root by name; none when there is no such folder.

        Raises:
            UsageError, RetryError: see `remote_files`.
        """
        path = "/".join(part for part in (self._folder.rstrip("/"), folder) if part)

        def look() -> dict[str, RemoteFile]:
            self._system.invalidate_cache()
            entries = [entry for entry in self._system.ls(path, detail=True) if entry["type"] == "file"]
            return {file.name: file for file in map(self._file, entries)}

        with suppress(FileNotFoundError):
            return self._answers.in_time(look)
        return {}

    def require_unchanged(self, file: RemoteFile) -> None:
        """Nothing, when the file is still listed as it was.

        Raises:
            RetryError: it is not.
        """
        folder = file.path.removeprefix(self._folder.rstrip("/")).strip("/").rpartition("/")[0]
        now = self.listed(folder).get(file.name)
        if now != file:
            raise self._changed(file, "it has another size or time now" if now else "it is gone")

    def copy(self, file: RemoteFile, part: HashedFile) -> None:
        """Write the bytes of `file` into `part`, one block at a time.

        Raises:
            UsageError: it may not be read.
            RetryError: its bytes are more or fewer than listed, or it is gone.
        """

        def read() -> None:
            self._system.invalidate_cache()  # else it is read as long as it was when it was listed
            with self._system.open(file.path, "rb", block_size=_BLOCK) as stream:
                if hasattr(stream, "prefetch"):  # of sftp: many requests on the way at once
                    stream.prefetch(file.bytes)
                while part.size <= file.bytes and (block := stream.read(_BLOCK)):
                    part.write(block)

        try:
            self._answers.in_time(read)
        except FileNotFoundError:
            raise self._changed(file, "it is gone") from None
        if part.size != file.bytes:
            raise self._changed(file, "it is longer" if part.size > file.bytes else f"it has {part.size} bytes")

    def _changed(self, file: RemoteFile, found: str) -> RetryError:
        return RetryError(
            self._where,
            f"waiting: {file.url} changed while it was copied: {found}, {file.bytes} bytes were listed",
            "a file that nobody writes to",
            "the same command copies it again",
        )

    def _file(self, entry: dict[str, Any]) -> RemoteFile:
        path = str(entry["name"]).rstrip("/")
        name = path.rpartition("/")[2]
        below = path.removeprefix(self._folder.rstrip("/")).strip("/")
        tag = next((str(entry[key]) for key in _TAGS if entry.get(key)), "")
        return RemoteFile(name, f"{self.root}/{below}", path, int(entry["size"] or 0), _changed_ms(entry), tag)


def _changed_ms(entry: dict[str, Any]) -> int:
    """When the file was last changed, by whichever key and type its file system uses; 0 when it says nothing of it."""
    value = next((entry[key] for key in _TIMES if entry.get(key)), None)
    if isinstance(value, str) and value[:14].isdigit():  # of ftp, RFC 3659: 20131101120000.123, in UTC
        value = datetime.strptime(value[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    elif isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return 0
    if isinstance(value, datetime):
        return int(value.replace(tzinfo=value.tzinfo or UTC).timestamp() * 1000)
    if isinstance(value, int | float):
        return int(value if value > 1e11 else value * 1000)  # of webhdfs: milliseconds
    return 0
