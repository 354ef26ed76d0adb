"""Named places at which a test may kill this process; in production nothing but one look at the environment."""

from __future__ import annotations

import os
import signal

VARIABLE = "TIDEGATE_FAILPOINT"  # name of the failpoint at which this process is to die


def failpoint(name: str) -> None:
    """Die by SIGKILL when the environment asks for it here."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
