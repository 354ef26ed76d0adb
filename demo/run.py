"""`make demo`: the whole story on real data, in numbered stages; started again after a crash, it goes on where it was.

Everything is done by the commands and services that a user has; this file only calls them in order and shows progress.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "demo")]

from airflow_services import Airflow  # noqa: E402

from spark_jobs.config import load_environment, load_pipeline  # noqa: E402
from spark_jobs.config.sources import SourceKind  # noqa: E402
from spark_jobs.errors import TidegateError  # noqa: E402
from spark_jobs.invocation import HOUR, format_hour, parse_hour  # noqa: E402
from spark_jobs.ledger import Ledger, folds  # noqa: E402
from spark_jobs.runtime.parent import die_with_parent  # noqa: E402

PIPELINE = "nycflights13"
FIRST = "2012-12-31T00:00:00"
LIVE = "2013-11-01T12:00:00"  # the backfill ends where Airflow takes over: no hour is missing between them
BROKEN = "2013-11-01T13:00:00"  # in this hour delays come in seconds
LAST = "2013-11-01T15:00:00"  # scored by the champion
WEEK = "2013-10-25T00:00:00"
STAGES = 8


class StageError(TidegateError):
    """A stage of the demo failed; the message says how to repeat it."""


class Demo:
    """The run: its folders, its clock, its table of where the time went."""

    def __init__(self) -> None:
        self.pipeline = load_pipeline(PIPELINE)
        self.environment, self.places = load_environment("local")
        self.ledger = Ledger.open(self.places.lake / PIPELINE, by="demo")
        self.began, self.times, self.number = time.monotonic(), [], 0

    def stage(self, title: str, work: Callable[[], object]) -> None:
        """One numbered stage with its elapsed time."""
        self.number += 1
        print(f"\n[{self.number}/{STAGES}] {title}", flush=True)
        began = time.monotonic()
        work()
        self.times.append((title, time.monotonic() - began))
        print(f"      done in {self.times[-1][1]:.0f} s, {time.monotonic() - self.began:.0f} s in all", flush=True)

    def tidegate(self, *words: str, quiet: bool = False) -> str:
        """What a command of ours prints; its progress goes through to the terminal."""
        command = [sys.executable, "-m", "spark_jobs.cli", *words]
        found = subprocess.run(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=die_with_parent
        )
        if found.returncode:
            print(found.stdout, end="")
            raise StageError(
                "make demo",
                f"tidegate {' '.join(words)} ended with {found.returncode}",
                "0",
                f"tidegate {' '.join(words)}",
            )
        if not quiet and found.stdout.strip():
            print("      " + found.stdout.strip().replace("\n", "\n      "), flush=True)
        return found.stdout

    def published(self, start: str, end: str) -> bool:
        """Whether a live release covers the interval."""
        low, high = parse_hour(start), parse_hour(end)
        covered = folds.cover(self.ledger.line(), f"silver/{self.pipeline.features.spine.table}")
        return any(segment.start <= low and segment.end >= high for segment in covered)


def next_hour(hour: str) -> str:
    """The hour after `hour`."""
    return format_hour(parse_hour(hour) + HOUR)


def deliver(demo: Demo, start: str, end: str, *options: str) -> None:
    """Have the upstream deliver drops for [start, end)."""
    demo.tidegate("replay", PIPELINE, "--from", start, "--to", end, *options)


def only(demo: Demo, kind: SourceKind) -> list[str]:
    """Options that name the sources of one kind."""
    return [word for name in demo.pipeline.sources.of_kind(kind) for word in ("--source", name)]


def history(demo: Demo) -> None:
    """Drops of the past; what lies in a database is asked of it, once for all hours."""
    deliver(demo, FIRST, LIVE)
    demo.tidegate("fetch", PIPELINE, "--from", FIRST, "--to", LIVE, *only(demo, "database"))


def past(demo: Demo) -> None:
    """The past as one publication, by the ordinary steps."""
    if demo.published(FIRST, LIVE):
        print("      already published")
        return
    demo.tidegate("backfill", PIPELINE, "--from", FIRST, "--to", LIVE)


def run_hour(airflow: Airflow, demo: Demo, dag: str, key: str, *, expect: str) -> None:
    """One run by key: shows its tasks, checks how it ended; an interrupted run is run again."""
    prior = airflow.prior_state(dag, key)
    if prior == expect == "success":
        print("      already done")
        return
    existing = airflow.trigger(dag, key)
    if prior is not None:  # blocked before, or cut off when an earlier demo was killed: the same run, all of it again
        airflow.clear(dag, existing)
        time.sleep(2)
    shown: dict[str, str] = {}
    began = time.monotonic()

    def progress(states: dict[str, str]) -> None:
        for task, state in states.items():
            if state != shown.get(task) and state in (
                "success",
                "failed",
                "upstream_failed",
                "skipped",
                "up_for_retry",
            ):
                print(f"      {time.monotonic() - began:6.1f} s  {task:<18} {state}", flush=True)
            shown[task] = state

    state = airflow.wait(dag, existing, progress)
    if state != expect:
        for task, how in airflow.task_states(dag, existing).items():
            if how == "failed":
                print(f"      {task}, last lines of its log:")
                for line in airflow.task_log(dag, existing, task):
                    print(f"        {line}")
        raise StageError(
            f"{dag} {key}", f"ended {state}", expect, "make demo goes on from here; make airflow-ui shows the run"
        )
    demo.times.append((f"  {dag} {key}", time.monotonic() - began))


def good_hour(airflow: Airflow, demo: Demo, hour: str) -> None:
    """Drops arrive, those of kind http are fetched by the DAG, which publishes them."""
    deliver(demo, hour, next_hour(hour), *only(demo, "files"))
    run_hour(airflow, demo, f"{PIPELINE}_hourly", hour, expect="success")


def broken_hour(airflow: Airflow, demo: Demo) -> None:
    """Deliberate: delays in seconds. The gate blocks, readers keep the former release, a correction is published."""
    dag, end = f"{PIPELINE}_hourly", next_hour(BROKEN)
    if demo.published(BROKEN, end):
        print("      already blocked, corrected and published")
        return
    deliver(demo, BROKEN, end, "--source", "schedules")
    before = demo.ledger.line()[-1].release
    if BROKEN not in blocked(demo):
        print("      deliberate: this hour's departure delays are delivered in seconds instead of minutes")
        deliver(demo, BROKEN, end, "--source", "departures", "--scale", "departures.dep_delay=60")
        run_hour(airflow, demo, dag, BROKEN, expect="failed")
        for line in airflow.task_log(dag, f"by_key__{BROKEN}", "gate_silver", last=12):
            print(f"      | {line[:170]}")
    after = demo.ledger.line()[-1].release
    if after != before:
        raise StageError(
            f"{dag} {BROKEN}", f"readers moved from release {before} to {after}", "no release of a refused hour"
        )
    print(f"      readers still see release {after}; now the corrected drop arrives and the same run is repeated")
    deliver(demo, BROKEN, end, "--source", "departures", "--correction")
    run_hour(airflow, demo, dag, BROKEN, expect="success")


def blocked(demo: Demo) -> list[str]:
    """Hours that a gate refused at least once."""
    from spark_jobs.report.facts import blocked_hours

    return [format_hour(hour) for hour in blocked_hours(demo.ledger.intervals())]


def page(demo: Demo) -> Path:
    """The HTML page."""
    from spark_jobs.lake.kinds import table_kinds
    from spark_jobs.lake.reading import read_current
    from spark_jobs.quality.accounts import settled_totals
    from spark_jobs.report.page import write_page
    from spark_jobs.report.story import story

    root, kinds, line = demo.places.lake / PIPELINE, table_kinds(demo.pipeline), demo.ledger.line()
    wanted = [name for name in kinds if name.startswith(("features/", "predictions/"))]
    samples = {name: read_current(root, name, kinds[name], line, limit=6) for name in wanted}
    facts = story(root, demo.pipeline, samples, settled_totals(demo.pipeline, root, demo.ledger))
    return write_page(demo.places.data / "report" / f"{PIPELINE}.html", facts)


def summary(demo: Demo, report: Path) -> None:
    """One screen of at most 20 lines, after the table of where the time went."""
    from spark_jobs.quality.accounts import settled_totals
    from spark_jobs.report.facts import pipeline_facts

    root = demo.places.lake / PIPELINE
    facts = pipeline_facts(root, demo.pipeline, settled_totals(demo.pipeline, root, demo.ledger))
    total = {
        field: sum(a[field] for a in facts["account"].values())
        for field in ("manifest", "silver", "quarantined", "duplicates", "discarded")
    }
    model = json.loads((demo.places.lake / PIPELINE / "models" / "late_departure.json").read_text())
    alerts = demo.places.data / demo.environment.channels["data_team"].path
    print("\nwhere the time went")
    for title, seconds in demo.times:
        print(f"  {seconds:7.1f} s  {title}")
    print(f"  {time.monotonic() - demo.began:7.1f} s  in all, after set-up\n")
    states = ", ".join(f"{count:,} {state}" for state, count in facts["hours"].items())
    rules = sum(len(suite.rules) for suite in demo.pipeline.suites.values())
    held = total["quarantined"] + total["duplicates"] + total["discarded"]
    print(f"tidegate demo: {PIPELINE}, real departures of 2013")
    print(f"  rows       {total['manifest']:,} in = {total['silver']:,} published + {held:,} held back")
    print(f"  hours      {states}; blocked once, then corrected and published: {', '.join(facts['blocked_hours'])}")
    print(
        f"  release    {facts['release']['release']} ({facts['release']['kind']}), {rules} rules on {len(demo.pipeline.suites)} tables"
    )
    for name, version in facts["champions"].items():
        print(f"  model      {name} version {version}, champion; area under the ROC curve on October:")
    for name, figure in model["figures"].items():
        print(f"               {figure['auc']:.4f}  {name}")
    print(f"  alerts     {len(alerts.read_text().splitlines())} in {shown(alerts)}")
    print(f"  page       {shown(report)}")
    print("next")
    print(f"  .venv/bin/tidegate read {PIPELINE} predictions --limit 5")
    print(f"  .venv/bin/tidegate status {PIPELINE} --hour {BROKEN}")
    print("  make airflow-ui    make mlflow-ui    make test")


def shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def preflight(demo: Demo) -> None:
    """Memory, disk, ports, writable folders: said before anything starts."""
    from spark_jobs.runtime.checks import run_checks

    bad = [check for check in run_checks(demo.places.data, ports=[], quick=False) if not check.ok]
    for check in bad:
        print(f"  BAD {check.name}: {check.found}\n      allowed: {check.allowed}\n      do: {check.fix}")
    if bad:
        raise StageError(
            "make demo", f"{len(bad)} check(s) of this machine failed", "none", "mend what is named, then: make demo"
        )
    print("      machine checked")


class Upstream:
    """`tidegate serve`: the example's upstream over HTTP, until it is stopped."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "spark_jobs.cli", "serve", PIPELINE]
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True, preexec_fn=die_with_parent
        )
        said = self.process.stderr.readline() if self.process.stderr else ""
        if not said.startswith("serving"):
            raise StageError("make demo", f"tidegate serve {PIPELINE} says: {said}{self._rest()}", "serving http://…",
                             f"tidegate serve {PIPELINE}")  # fmt: skip
        print(f"      {said.strip()}")

    def _rest(self) -> str:
        return self.process.stderr.read() if self.process.stderr else ""

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


STARTED: list[Airflow | Upstream] = []  # services to stop on the way out


def ended(*_: object) -> None:
    """TERM: stop the services and leave at once; every other child dies with this process.

    It raises nothing: an exception that falls into a destructor is swallowed, and the demo would go on.
    """
    for service in STARTED:
        service.stop()
    os._exit(143)


def main() -> int:
    """All stages in order; 0 when the story was told to its end."""
    signal.signal(signal.SIGTERM, ended)
    try:
        demo = Demo()
        demo.stage("check this machine", lambda: preflight(demo))
        demo.stage("replay: the packaged history as hourly drops", lambda: history(demo))
        demo.stage("backfill: ten months as one publication, one Spark application a step", lambda: past(demo))
        airflow = Airflow(demo.places.data, CHECKOUT, port=0, environment=airflow_environment())
        STARTED.append(airflow)
        demo.stage("Airflow: api-server, scheduler, dag-processor; an upstream over HTTP", lambda: start(airflow))
        try:
            STARTED.append(Upstream())
            demo.stage(f"hour {LIVE}: drops, gates, publication", lambda: good_hour(airflow, demo, LIVE))
            demo.stage(
                f"hour {BROKEN}: a gate blocks; corrected; published. Then the next hour",
                lambda: two_hours(airflow, demo),
            )
            demo.stage("week: training set, gate, training on the executors, evaluation, registration",
                       lambda: run_hour(airflow, demo, f"{PIPELINE}_weekly", WEEK, expect="success"))  # fmt: skip
            demo.stage(f"hour {LAST}: scored by the champion", lambda: good_hour(airflow, demo, LAST))
        finally:
            for service in STARTED:
                service.stop()
        summary(demo, page(demo))
    except TidegateError as fault:
        print(f"\n{fault}", file=sys.stderr)
        return fault.exit_code
    except KeyboardInterrupt:
        print("\nstopped; make demo goes on where this was", file=sys.stderr)
        return 130
    return 0


def two_hours(airflow: Airflow, demo: Demo) -> None:
    """The broken hour and the one after it."""
    broken_hour(airflow, demo)
    good_hour(airflow, demo, next_hour(BROKEN))


def airflow_environment() -> dict[str, str]:
    """What tasks need to find this data folder; the demo asks for its hours by key."""
    return {"TIDEGATE_CATCHUP": "false", "TIDEGATE_PROJECT": str(CHECKOUT), **{
        name: os.environ[name] for name in ("TIDEGATE_DATA",) if name in os.environ}}  # fmt: skip


def start(airflow: Airflow) -> None:
    """Services, both DAGs unpaused."""
    airflow.start()
    for dag in (f"{PIPELINE}_hourly", f"{PIPELINE}_weekly"):
        airflow.unpause(dag)
    print(f"      {airflow.url}, user admin, password in {shown(airflow.password_file)}")


if __name__ == "__main__":
    sys.exit(main())
