"""Drivers that can be killed: processes of their own that run real steps on the test session's JVM.

A driver is forked from a server that has imported everything, and attaches to the JVM that is there: an attempt costs
what its stages cost. SIGKILL and SIGSTOP really reach the process that holds the run's state, its ledger and its calls
into Spark. Left out: the death of the JVM with its driver, and files half written by it; `make test-demo-kills` kills
both.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from spark_jobs import failpoints
from spark_jobs.invocation import Invocation
from spark_jobs.logs import log_to_stderr
from spark_jobs.result import Result
from spark_jobs.runtime.parent import die_with_parent
from spark_jobs.steps.run import StepRun

LONGEST = 300.0  # seconds that a driver may take between two words
PRELOADED = ["spark_jobs.steps.run", "great_expectations", "great_expectations.expectations", "pandas", "pytest"]


@dataclass(frozen=True)
class Orders:
    """What a driver is to do: these calls, one after the other, until one of them does not end with 0."""

    calls: tuple[Invocation, ...]
    environ: dict[str, str]
    stop_at: str = ""  # failpoint at which the process stops itself, once, by SIGSTOP
    note: bool = False  # tell the names of all failpoints that are passed


class Driver:
    """A running driver, as its parent sees it."""

    def __init__(self, orders: Orders) -> None:
        context = multiprocessing.get_context("forkserver")
        self._words, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_drive, args=(orders, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.results: list[Result] = []
        self.passed: list[str] = []

    def end(self) -> Driver:
        """Wait until the process is gone; `results` are those of the calls that it ended."""
        while self._listen() is not None:
            pass
        self.process.join(LONGEST)
        return self

    def stopped(self) -> Driver:
        """Wait until the process has stopped itself.

        Raises:
            EOFError: it ended without.
        """
        while (word := self._listen()) != "stopping":
            if word is None:
                raise EOFError(f"ended with {self.process.exitcode}, {self.results}")
        state = Path(f"/proc/{self.process.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "T":
            os.sched_yield()
        return self

    def go_on(self) -> Driver:
        """Let a stopped process run again."""
        os.kill(self.process.pid or 0, signal.SIGCONT)
        return self

    @property
    def killed(self) -> bool:
        """Whether the process ended by SIGKILL."""
        return self.process.exitcode == -signal.SIGKILL

    def _listen(self) -> object:
        """The next word of the driver; None when there will be no more."""
        if not wait([self._words], LONGEST):
            self.process.kill()
            raise TimeoutError(f"no word of the driver for {LONGEST:g} s")
        try:
            word = self._words.recv()
        except EOFError:
            return None
        if isinstance(word, Result):
            self.results.append(word)
        elif word != "stopping":
            self.passed.append(word)
        return word


def start_server() -> None:
    """Start importing what drivers need (10 CPU s), beside whatever the caller does meanwhile."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


def jvm_environment(session: SparkSession) -> dict[str, str]:
    """By which a driver finds the JVM of `session`."""
    address = session.sparkContext._gateway.gateway_parameters
    return {"PYSPARK_GATEWAY_PORT": str(address.port), "PYSPARK_GATEWAY_SECRET": address.auth_token}


def attached_session() -> SparkSession:
    """A session of its own on the JVM that the environment names; frames that others kept are forgotten."""
    gateway = launch_gateway()
    inner = gateway.jvm.SparkSession.getDefaultSession().get().newSession()
    context = gateway.jvm.JavaSparkContext.fromSparkContext(inner.sparkContext())
    conf = SparkConf(_jvm=gateway.jvm, _jconf=context.getConf())
    session = SparkSession(SparkContext(gateway=gateway, jsc=context, conf=conf), inner)
    session.catalog.clearCache()
    gateway.jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    return session


def _drive(orders: Orders, words: Connection) -> None:
    """The whole life of a driver; ends like a submitted one, without the interpreter's shutdown."""
    code = 1
    try:
        die_with_parent()  # a stopped driver, too, when the server ends with the tests
        os.environ.pop(failpoints.VARIABLE, None)
        os.environ.update(orders.environ)
        time.tzset()
        log_to_stderr()
        if orders.stop_at or orders.note:
            _watch_failpoints(_listener(orders, words))
        _run(orders.calls, words)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(calls: Iterable[Invocation], words: Connection) -> None:
    opened: list[SparkSession] = []

    def session() -> SparkSession:
        opened[:] = opened or [attached_session()]
        return opened[0]

    for call in calls:
        result = StepRun(call, session).run()
        words.send(result)
        if result.exit_code:
            return


def _listener(orders: Orders, words: Connection) -> Callable[[str], None]:
    to_stop = {orders.stop_at}

    def passed(name: str) -> None:
        if orders.note:
            words.send(name)
        if name in to_stop:
            to_stop.clear()  # once: whoever stages anew passes it again
            words.send("stopping")
            os.kill(os.getpid(), signal.SIGSTOP)

    return passed


def _watch_failpoints(told: Callable[[str], None]) -> None:
    """Call `told` with the name of every failpoint that any thread enters, without a word of it in the product."""
    code = failpoints.failpoint.__code__

    def look(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code is code:
            told(frame.f_locals["name"])

    threading.setprofile(look)
    sys.setprofile(look)
