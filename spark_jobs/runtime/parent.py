"""A step dies with what started it: no driver writes on after its submit, its task or its terminal is gone.

Linux only; elsewhere the functions do nothing and say so by their result.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent(sign: signal.Signals = signal.SIGKILL) -> bool:
    """Ask the kernel to send `sign` to this process when its parent ends; False where there is no such service.

    For a Python driver the parent is the submit JVM. Also fits `preexec_fn`. A parent that ended before the call is
    noticed too: then `sign` is raised at once. SIGKILL, because a driver that cleans up still writes.
    """
    if sys.platform != "linux":
        return False
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(sign), 0, 0, 0) != 0:
        return False
    if os.getppid() != parent:
        os.kill(os.getpid(), sign)
    return True


def die_with_submitter(poll_seconds: float = 1.0) -> bool:
    """Kill the submit JVM and this driver soon after the process that called spark-submit ended; False off Linux.

    The kernel's service reaches one generation only, and the JVM is nobody's to change: a daemon thread watches who its
    parent is. Call it after `die_with_parent` in a driver that spark-submit started, nowhere else.
    """
    if sys.platform != "linux":
        return False
    jvm = os.getppid()
    submitter = _parent_of(jvm)
    threading.Thread(target=_watch, args=(jvm, submitter, poll_seconds), name="die-with-submitter", daemon=True).start()
    return True


def _watch(jvm: int, submitter: int | None, poll_seconds: float) -> None:
    while _parent_of(jvm) == submitter:
        time.sleep(poll_seconds)
    if os.getppid() == jvm:  # else the JVM is gone and its number may be another's
        os.kill(jvm, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])  # the name before it may hold spaces and brackets
