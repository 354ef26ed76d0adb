"""Files of another file system through the JVM's Hadoop: what lies in a folder, and a copy of one of them on this disk.

Settings go onto a copy of Hadoop's configuration, so that a secret enters neither Spark's settings nor an argument nor an
event log. Each call ends in time, whatever the file system does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyspark.sql import SparkSession

from spark_jobs.config.hadoop_source import HadoopConf
from spark_jobs.errors import RetryError, TidegateError
from spark_jobs.sources.hadoop_answers import Answers

# Few tries and short waits instead of Hadoop's, which go on for half an hour; options of sources.yaml win.
_BOUNDS: Final = {
    "ipc.client.connect.max.retries": "2",
    "ipc.client.connect.max.retries.on.timeouts": "2",
    "ipc.client.connect.timeout": "20000",
    "ipc.client.rpc-timeout.ms": "60000",
    "dfs.client.failover.max.attempts": "3",
    "dfs.client.socket-timeout": "60000",
    "dfs.webhdfs.socket.connect-timeout": "20s",
    "dfs.webhdfs.socket.read-timeout": "60s",
    "fs.s3a.attempts.maximum": "3",
    "fs.s3a.retry.limit": "3",
    "fs.s3a.connection.establish.timeout": "20s",
    "fs.s3a.connection.timeout": "60s",
    "fs.azure.io.retry.max.retries": "3",
    "fs.gs.http.max.retry": "3",
    "fs.ftp.data.connection.mode": "PASSIVE_LOCAL_DATA_CONNECTION_MODE",  # else the server connects to us
}


@dataclass(frozen=True)
class RemoteFile:
    """A file as its folder lists it; `changed_ms` since 1970, `path` is the JVM's."""

    name: str
    url: str
    bytes: int
    changed_ms: int
    path: Any = field(compare=False)


@contextmanager
def remote_files(spark: SparkSession, where: str, conf: HadoopConf) -> Iterator[RemoteFiles]:
    """The file system of `conf`, open while in force; `where` stands in its errors.

    Raises:
        UsageError: a variable is not set, the scheme is unknown, a jar is missing or an option is wrong.
        RetryError: it cannot be reached.
    """
    root, secrets = conf.address(), conf.secrets(where)
    jvm: Any = spark._jvm
    base: Any = spark._jsc
    settings = jvm.org.apache.hadoop.conf.Configuration(base.hadoopConfiguration())
    for name, value in (_BOUNDS | conf.open_options() | secrets).items():
        settings.set(name, value)
    files = RemoteFiles(jvm, where, root.rstrip("/"), Answers(where, root, conf.timeout_s, tuple(secrets.values())))
    files.open(settings)
    try:
        yield files
    finally:
        files.close()


class RemoteFiles:
    """One file system below one root; made by `remote_files`."""

    def __init__(self, jvm: Any, where: str, root: str, answers: Answers) -> None:
        self._jvm, self._where, self.root, self._answers = jvm, where, root, answers
        self._system: Any = None

    def open(self, settings: Any) -> None:
        """Connect, by an instance of our own: Hadoop's cache would hand out one with the settings of another caller."""
        scheme, _, rest = self.root.partition("://")
        uri = self._jvm.java.net.URI(f"{scheme}://{rest.partition('/')[0]}/")
        try:
            self._system = self._answers.in_time(
                lambda: self._jvm.org.apache.hadoop.fs.FileSystem.newInstance(uri, settings)
            )
        except FileNotFoundError as error:
            raise self._answers.wrong(str(error)) from None

    def close(self) -> None:
        """Hang up; what the other side says to that is of no interest any more."""
        with suppress(TidegateError):
            self._answers.in_time(self._system.close)

    def listed(self, folder: str) -> dict[str, RemoteFile]:
        """The files of a folder below the root by name; none when there is no such folder.

        Raises:
            UsageError, RetryError: see `remote_files`.
        """

        def look() -> dict[str, RemoteFile]:
            found = self._system.listStatus(self._jvm.org.apache.hadoop.fs.Path(f"{self.root}/{folder}".rstrip("/")))
            return {file.name: file for file in map(self._file, found) if file}

        with suppress(FileNotFoundError):
            return self._answers.in_time(look)
        return {}

    def again(self, file: RemoteFile) -> RemoteFile | None:
        """The file as it is now; none when it is gone."""
        with suppress(FileNotFoundError):
            return self._answers.in_time(lambda: self._file(self._system.getFileStatus(file.path)))
        return None

    def copy(self, file: RemoteFile, target: Path) -> None:
        """The bytes of `file` in the new file `target`, one more than listed at most.

        Raises:
            RetryError: also when they are more or fewer than listed, or gone.
        """

        def read() -> None:
            stream = self._system.open(file.path)
            try:
                sink = self._jvm.java.io.FileOutputStream(str(target)).getChannel()
                try:
                    sink.transferFrom(self._jvm.java.nio.channels.Channels.newChannel(stream), 0, file.bytes + 1)
                finally:
                    sink.close()
            finally:
                stream.close()

        target.unlink(missing_ok=True)  # of an attempt that hung and may wake; never through a link
        with suppress(FileNotFoundError):
            self._answers.in_time(read)
        size = target.stat().st_size if target.exists() else None
        if size != file.bytes:
            target.unlink(missing_ok=True)
            found = f"{file.url}: {'it is gone' if size is None else f'{size} bytes came'}, {file.bytes} are listed"
            raise RetryError(self._where, found, "the whole file", "the same command reads it again")

    def _file(self, status: Any) -> RemoteFile | None:
        if not status.isFile():
            return None
        path = status.getPath()
        name = str(path.getName())
        return RemoteFile(name, str(path.toString()), status.getLen(), status.getModificationTime(), path)
