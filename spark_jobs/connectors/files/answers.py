"""Calls to a file system, each with a time limit; and what its errors mean to a scheduler.

The libraries of file systems report the same fault by many exceptions, and some wait for ever.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spark_jobs.errors import RetryError, TidegateError, UsageError

T = TypeVar("T")

# No later try helps. Names, because the libraries are installed only where a source needs them.
_PERMANENT = (
    "PermissionError", "AuthenticationException", "BadHostKeyException", "HostKeyError", "NoCredentialsError",
    "PartialCredentialsError", "ImportError", "ModuleNotFoundError", "TypeError", "ValueError", "NotADirectoryError",
    "ParamValidationError", "InvalidRegionError", "SSLCertVerificationError", "ClientConnectorCertificateError",
)  # fmt: skip
_NO_LOGIN = "530"  # of ftp, whose errors are told apart by their number
_NO_BUCKET = ("bucket does not exist", "NoSuchBucket", "ContainerNotFound")


@dataclass(frozen=True)
class Answers:
    """Calls to the file system at `root`; `where` begins every error, none shows one of `secrets`."""

    where: str
    root: str
    timeout_s: int
    secrets: tuple[str, ...]

    def in_time(self, call: Callable[[], T]) -> T:
        """What `call` returns; given up after `timeout_s` seconds.

        Raises:
            FileNotFoundError: what it is about does not exist.
            UsageError, RetryError: what its error means.
        """
        answers: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put(([call()], None))
            except BaseException as error:
                answers.put(([], error))

        threading.Thread(target=run, daemon=True).start()  # a socket without a timeout may hold it for ever
        try:
            value, error = answers.get(timeout=self.timeout_s)
        except queue.Empty:
            raise self.later(f"no answer within {self.timeout_s} s") from None
        if isinstance(error, Exception) and not isinstance(error, TidegateError):
            raise self._fault(error) from None  # its own text may hold what options_env say
        if error:
            raise error
        return value[0]

    def _fault(self, error: Exception) -> Exception:
        """What an error means: no such file, a wrong conf/ (64), or nobody who answers now (75)."""
        chain = _chain(error)
        texts = [str(one) or type(one).__name__ for one in chain]
        text = texts[0].partition("\n")[0][:1000]
        for secret in self.secrets:
            text = text.replace(secret, "***")
        if any(word in one for one in texts for word in _NO_BUCKET):
            return self.wrong(text)
        if any(isinstance(one, FileNotFoundError) for one in chain):
            return FileNotFoundError(text)
        permanent = any(base.__name__ in _PERMANENT for one in chain for base in type(one).__mro__)
        no_login = type(error).__name__ == "error_perm" and texts[0].startswith(_NO_LOGIN)
        return self.wrong(text) if permanent or no_login else self.later(text)

    def wrong(self, found: str) -> UsageError:
        """An error of conf/, or of what it names."""
        return UsageError(
            self.where, f"{self.root} cannot be read: {found}",
            "a root that exists, options that its file system knows, and a login with the right to list and read",
            "correct the section remote in sources.yaml, the variables of its options_env or the rights at the other side;"
            " pip install 'tidegate[s3]', 'tidegate[sftp]' or the package of fsspec for its scheme",
        )  # fmt: skip

    def later(self, found: str) -> RetryError:
        """A file system that does not answer now."""
        hint = "the same command goes on when it answers"
        return RetryError(self.where, f"{self.root} cannot be read: {found}", "an answer in time", hint)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes, the first cause last."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain
