"""What every channel over a network needs: an end in time, and errors that say why without a secret.

Texts of other libraries and answers of servers may repeat a password or a url, so none is passed on.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable

from spark_jobs.errors import TidegateError


class ChannelError(TidegateError):
    """A channel did not take a message; the text is bounded and holds no secret."""


def within(seconds: float, send: Callable[[], None]) -> None:
    """Run `send` to its end, or leave it behind after `seconds`.

    A socket's own timeout bounds one wait, not their sum, and a look for a host's address has none at all: hence a
    thread. One that was left behind may still deliver, and ends with the process at the latest.

    Raises:
        TimeoutError: no end in time.
        Exception: what `send` raised.
    """
    failed: list[Exception] = []

    def run() -> None:
        try:
            send()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="alert", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no end within {seconds:g} s")
    if failed:
        raise failed[0]


def reason(error: BaseException) -> str:
    """Why a connection failed, in words of the system or of TLS alone."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message.partition(',')[0]}"  # after that, the host
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason}"
        if type(cause).__module__ == "socket" and isinstance(cause, OSError) and cause.strerror:
            return cause.strerror  # of the resolver
        if isinstance(cause, OSError) and cause.errno and cause.errno > 0:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
