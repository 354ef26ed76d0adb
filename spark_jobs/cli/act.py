"""Commands that do something: run a step by spark-submit, replay a history, maintain a lake."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from spark_jobs.cli.output import note, say, show_json
from spark_jobs.cli.planning import checks_line
from spark_jobs.cli.results import show_result
from spark_jobs.config import load_environment, load_pipeline, project_folder
from spark_jobs.config.interval import check_interval
from spark_jobs.config.load import check_channels
from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import EXIT_BUG, EXIT_OK, UsageError
from spark_jobs.invocation import Invocation, format_hour, parse_hour
from spark_jobs.steps import plan
from spark_jobs.values import printable

if TYPE_CHECKING:
    from spark_jobs.sources.faults import Faults

LAST_LINES = 12


def run_step(pipeline: str, step: str, start: str, end: str, dag_run: str, env: str, *, as_json: bool) -> int:
    """Run one step; its exit code. The result line goes to stdout, progress to stderr."""
    call = step_call(pipeline, step, start, end, dag_run, env)
    if "bronze" in plan.step(step).stages:
        note(checks_line(pipeline, env))
    code, result = submit(call)
    show_result(result, as_json=as_json, env=env)
    return code


def step_call(pipeline: str, step: str, start: str, end: str, dag_run: str, env: str) -> Invocation:
    """The call of a step in an environment; its run id names the interval where none is given."""
    load_environment(env)
    plan.step(step)
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, step, low, high, dag_run or f"manual__{format_hour(low)}__{format_hour(high)}", env)
    check_interval(load_pipeline(pipeline), call)
    return call


def submit(call: Invocation, *, again: bool = False) -> tuple[int, dict[str, object]]:
    """Run `call` by spark-submit in a process group of its own; returns exit code and result line.

    The driver's stderr goes to a log file; its stage lines are shown as progress. Ctrl-C and TERM end the whole group.
    `again`: also when what it would do is there already.
    """
    from spark_jobs.lake.changes import require_publishable
    from spark_jobs.runtime import step_conf, submit_command
    from spark_jobs.steps.without_spark import conclude_without_spark

    load_pipeline(call.pipeline)
    check_channels(call.pipeline, call.env)  # all faults of conf/ before any Spark starts
    environment, places = load_environment(call.env)
    require_publishable(load_pipeline(call.pipeline), places.lake / call.pipeline, call.env)
    done = conclude_without_spark(call, again=again)
    if done:
        note(f"  {done.why}")
        return done.exit_code, asdict(done)
    profile, conf = step_conf(environment, places, call.step, call.hours)
    name = f"{call.pipeline} {call.step} {format_hour(call.start)}"
    command = submit_command(
        call.argv(), master=environment.spark.master, memory_mb=profile.memory_mb, conf=conf, name=name
    )
    log = places.data / "logs" / f"{call.pipeline}-{call.step}-{call.start:%Y%m%dT%H}-{call.end:%Y%m%dT%H}.log"
    code, last, result = submitted(command, log)
    if code != EXIT_OK:
        explain(last, code, log, f"{call.command()} --dag-run {shlex.quote(call.dag_run)}")
    return code, result


def submitted(command: list[str], log: Path) -> tuple[int, deque[str], dict[str, object]]:
    """Run a command of spark-submit to its end, its output in `log`: exit code, last lines, result line."""
    from spark_jobs.runtime import process_environment
    from spark_jobs.runtime.parent import die_with_parent

    log.parent.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, **process_environment(), "TIDEGATE_PROJECT": str(project_folder())}
    with log.open("w") as sink:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        with _ends_with_us(process):
            last, result = _follow(process, sink)
    return process.returncode if process.returncode >= 0 else EXIT_BUG, last, result


def _follow(process: subprocess.Popen[str], sink: TextIO) -> tuple[deque[str], dict[str, object]]:
    """Show progress while the process runs; its last lines and its result line.

    spark-submit sends what the Python driver says on stderr to stdout, too; stderr itself has the JVM's lines.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    result: dict[str, object] = {}
    began = time.monotonic()

    def read(stream: TextIO) -> None:
        for line in stream:
            if line.startswith('{"pipeline"'):
                result.update(json.loads(line))
                continue
            shown = printable(line.rstrip("\n").expandtabs(4))  # Java indents by tabs; values of rows may be in it
            sink.write(f"{shown}\n")
            sink.flush()
            if "event='stage ended'" in line:
                note(f"  {time.monotonic() - began:6.1f} s  {_stage_ended(line)}")
            elif not line.startswith(("{", "WARNING:", "\tat ", "event=")):
                last.append(shown.rstrip())

    streams = [stream for stream in (process.stdout, process.stderr) if stream]
    readers = [threading.Thread(target=read, args=[stream], daemon=True) for stream in streams]
    for reader in readers:
        reader.start()
    process.wait()
    for reader in readers:
        reader.join(timeout=5)
    return last, result


def _stage_ended(line: str) -> str:
    words = dict(part.split("=", 1) for part in line.split() if "=" in part)
    return f"{words.get('stage', '?').strip(chr(39)):<13} {words.get('seconds')} s"


@contextmanager
def _ends_with_us(process: subprocess.Popen[str]) -> Iterator[None]:
    """While in force, Ctrl-C and TERM end the process's whole group."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def explain(last: deque[str], code: int, log: Path, again: str) -> None:
    """Say on stderr how a submitted command ended, and the command that repeats it."""
    for line in last:
        note(line)
    note(f"exit {code}; the whole log: {log}")
    note(f"to repeat it: {again}")


def replay_history(
    pipeline: str, start: str, end: str, only: list[str], scale: list[str], correction: bool, faults: Faults, env: str,
    *, as_json: bool,
) -> None:  # fmt: skip
    """Deliver drops for [start, end), badly as `faults` say."""
    from spark_jobs.sources.database import databases
    from spark_jobs.sources.replay import replay

    whole = load_pipeline(pipeline)
    _, places = load_environment(env)
    history = _history_of(whole)
    factors = dict(_factor(text) for text in scale)
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    faults.check(history)
    tables = databases(whole.sources.sources, places.data)
    names = _replayed(whole, only or list(history.sources), tables, asked=bool(only))
    faults.require_replayed(names, low, high)
    faults.require_files(tables)
    report = replay(
        history, places.landing / pipeline, low, high, only=names, scale=factors, correction=correction,
        faults=faults, databases=tables, progress=_progress() if sys.stderr.isatty() else None,
    )  # fmt: skip
    if as_json:
        show_json(asdict(report))
    else:
        say(f"{report.drops} drops of {report.hours} hours, {report.rows} rows, {report.written} written new")
        if report.outside:
            counts = ", ".join(f"{count} of {name}" for name, count in report.outside.items())
            span = f"{format_hour(history.start)} to {format_hour(history.end)}"
            say(f"never delivered: rows of the history outside of {span} (from and to of replay.yaml): {counts}")


def _replayed(whole: Pipeline, names: list[str], tables: Collection[str], *, asked: bool) -> list[str]:
    """`names` without the tables of a server, which somebody else fills."""
    served = [name for name in names if name in whole.sources.of_kind("database") and name not in tables]
    if served and asked:
        found = f"{', '.join(served)}: a table of a server, which a replay does not fill"
        raise UsageError("--source", found, "a source of kind files or http, or of a SQLite file", "leave it out")
    return [name for name in names if name not in served]


def _factor(text: str) -> tuple[str, float]:
    column, _, factor = text.partition("=")
    try:
        if math.isfinite(number := float(factor)):
            return column, number
    except ValueError:
        pass
    raise UsageError("--scale", f"'{text}'", "source.column=factor", "--scale orders.amount=100")


def _progress() -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if done % 1000 == 0 or done == total:
            print(f"\r  {done} of {total} drops", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def maintain_pipeline(pipeline: str, env: str, *, as_json: bool) -> None:
    """One sweep over the pipeline's folders; says what went."""
    from spark_jobs.ledger import Ledger
    from spark_jobs.maintenance.sweep import maintain

    whole = load_pipeline(pipeline)
    _, places = load_environment(env)
    done = maintain(whole, places, Ledger.open(places.lake / pipeline))
    if as_json:
        show_json({"pipeline": pipeline, "removed": done})
        return
    for what, count in done.items():
        say(f"{count:>8}  {what}")
    if not done:
        say(f"{pipeline}: nothing to maintain, it never ran")


def _history_of(whole: Pipeline) -> ReplayConf:
    if whole.replay is None:
        raise UsageError(whole.name, "has no replay.yaml", "a pipeline with one, such as the shipped example",
                         f"add conf/pipelines/{whole.name}/replay.yaml")  # fmt: skip
    return whole.replay


def serve_history(pipeline: str, port: int | None, host: str) -> None:
    """Answer as the upstreams of the pipeline's sources of kind http, from its packaged history, until a signal.

    Raises:
        UsageError: no replay.yaml, no source of kind http in it, or the port cannot be had.
    """
    from spark_jobs.sources.serve import HistoryServer, local_port

    whole = load_pipeline(pipeline)
    history = _history_of(whole)
    served = {n: s for n, s in whole.sources.sources.items() if s.http and n in history.sources}
    with HistoryServer(history, list(served), local_port(served) if port is None else port, host) as server:
        names = ", ".join(f"http://{host}:{server.server_port}/{name}" for name in served)
        note(f"serving {names} until Ctrl-C")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
