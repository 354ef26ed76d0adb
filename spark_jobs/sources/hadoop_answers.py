"""What a file system of the JVM answers, in time; and what its error means to a scheduler.

Hadoop's file systems tell the same fault by many exceptions, and some wait for ever.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from py4j.java_gateway import is_instance_of
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.util import InheritableThread

from spark_jobs.errors import RetryError, UsageError

T = TypeVar("T")

_ABSENT = "java.io.FileNotFoundException"
_WRONG = (  # no later try helps: an unknown scheme, a jar that is not there, what the file system cannot do or forbids
    "org.apache.hadoop.fs.UnsupportedFileSystemException",
    "java.lang.ClassNotFoundException",
    "java.lang.NoClassDefFoundError",
    "java.nio.file.AccessDeniedException",
    "org.apache.hadoop.security.AccessControlException",
)
_LOGIN = "Login failed"  # what Hadoop's ftp says, as a plain IOException


@dataclass(frozen=True)
class Answers:
    """Calls to the file system at `root`; `where` stands in errors, none of `secrets` does."""

    where: str
    root: str
    timeout_s: int
    secrets: tuple[str, ...]

    def in_time(self, call: Callable[[], T]) -> T:
        """What `call` returns; given up after `timeout_s` seconds.

        Raises:
            FileNotFoundError: what it asks for is not there.
            UsageError, RetryError: what its error means.
        """
        answers: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put(([call()], None))
            except BaseException as error:
                answers.put(([], error))

        InheritableThread(target=run, daemon=True).start()  # a socket without a timeout may hold it for ever
        try:
            value, error = answers.get(timeout=self.timeout_s)
        except queue.Empty:
            raise self._later(f"no answer within {self.timeout_s} s") from None
        if isinstance(error, Py4JJavaError | PySparkException):
            raise self._fault(_chain(error)) from None  # its own text may hold what stands in options_env
        if error:
            raise error
        return value[0]

    def _fault(self, chain: list[Any]) -> Exception:
        """What an error of the JVM means: no such file, a wrong conf/ (64), or nobody who answers now (75)."""
        told = [str(one.getMessage() or one.getClass().getSimpleName()) for one in chain]
        text = told[-1].partition("\n")[0]
        for secret in self.secrets:
            text = text.replace(secret, "***")
        if any(_is(one, _ABSENT) for one in chain):
            return FileNotFoundError(text[:300])
        wrong = any(_is(one, name) for one in chain for name in _WRONG) or any(_LOGIN in one for one in told)
        io = any(_is(one, "java.io.IOException") for one in chain)
        return self.wrong(text[:300]) if wrong or not io else self._later(text[:300])

    def wrong(self, found: str) -> UsageError:
        """That conf/ is at fault, or what it names."""
        return UsageError(
            self.where, f"{self.root} cannot be read: {found}",
            "hdfs, webhdfs, ftp, or a file system whose jar is on Spark's class path, and what it lets us read",
            "mend the section hadoop in sources.yaml, or the variables of its options_env",
        )  # fmt: skip

    def _later(self, found: str) -> RetryError:
        todo = "the same command goes on when it answers"
        return RetryError(self.where, f"{self.root} cannot be read: {found}", "an answer in time", todo)


def _chain(error: Any) -> list[Any]:
    """The JVM's error and its causes, the first cause last."""
    java, chain = getattr(error, "java_exception", None) or getattr(error, "_origin", None), []
    while java is not None:
        chain.append(java)
        java = java.getCause()
    return chain


def _is(java: Any, name: str) -> bool:
    return bool(is_instance_of(SparkContext._gateway, java, name))
