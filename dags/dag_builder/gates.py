"""The tasks around the Spark steps: are the drops there, did the audit pass, is the week complete, what happened.

They read the landing folder and the ledger without a JVM and go red on their own; spark_jobs is imported inside tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseSensorOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from dag_builder.alerting import not_ready, ready_after_all
from dag_builder.partition import environment_name, invocation
from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.invocation import HOUR, format_hour, hours_between
from spark_jobs.steps.plan import first_step
from spark_jobs.values import Lines, printable

if TYPE_CHECKING:
    from spark_jobs.config.sources import SourceConf
    from spark_jobs.invocation import Invocation
    from spark_jobs.ledger import Ledger
    from spark_jobs.verdict import Verdict

MAX_LINES = 12  # of a red gate's message
MAX_WARNINGS = 10  # that a gate logs


def open_ledger(pipeline: str, by: str) -> Ledger:
    """The ledger of `pipeline` in this Airflow's environment."""
    from spark_jobs.config.load import load_environment
    from spark_jobs.ledger import Ledger

    _, places = load_environment(environment_name())
    return Ledger.open(places.lake / pipeline, by)


class DropsReady(BaseSensorOperator):
    """Waits until each source's drop of the hour has landed and is what its manifest says; no slot is held meanwhile."""

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:  # Airflow's own
        super().__init__(mode="reschedule", **kwargs)
        self.pipeline = pipeline

    def poke(self, context: Context) -> bool:
        """Whether all drops are there and whole.

        Raises:
            AirflowFailException: a drop is late or broken; a new delivery helps, a retry does not.
        """
        from spark_jobs.config.load import load_environment, load_pipeline
        from spark_jobs.sources.drops import check_drop, find_drops, require_drops

        call = invocation(context, self.pipeline, "drops_ready")
        _, places = load_environment(environment_name())
        sources, folder = load_pipeline(self.pipeline).sources, places.landing / self.pipeline
        now, notes = datetime.now(UTC), dict[datetime, str]()
        try:
            for name, source in sources.sources.items():
                hours = list(hours_between(call.start, call.end))
                notes = not_whole(name, source, folder, hours, now)
                found = find_drops(sources, folder, name, hours)
                found = {hour: drop for hour, drop in found.items() if hour not in notes}
                require_drops(found, source, name, hours, now)
                for drop in found.values():
                    check_drop(drop)
                    self.log.info("%s: %s rows in %s", name, drop.rows, printable(str(drop.file)))
        except RetryError as error:
            told = Lines.of([Lines(error), *notes.values()])
            if not error.found.startswith("late"):
                self.log.info("%s", told)
                return False
            not_ready(call, open_ledger(self.pipeline, "drops_ready"), "late", told)
            raise AirflowFailException(told) from None
        except RefusedError as error:
            not_ready(call, open_ledger(self.pipeline, "drops_ready"), "refused", str(error))
            raise AirflowFailException(str(error)) from None
        return True


def not_whole(
    name: str, source: SourceConf, landing: Path, hours: Iterable[datetime], now: datetime
) -> dict[datetime, str]:
    """Make drops of the files that are whole at `now`, where the upstream writes no manifests; why the others are not.

    Raises:
        RefusedError: a file cannot be a drop.
    """
    if source.complete.by == "manifest":
        return {}
    from spark_jobs.sources.adopt import adopt_drop

    notes = {}
    for hour in hours:
        try:
            adopt_drop(name, source, landing, hour, now)
        except RetryError as error:
            notes[hour] = f"{error.where}: {error.found}"
    return notes


class Gate(BaseOperator):
    """Green when every verdict of `scope` on what `step` staged in this run passes, red when one blocks or none is there.

    Args:
        pipeline: name of the pipeline.
        step: the step that was audited.
        scope: silver, features or training_set.
    """

    ui_color = "#fdf1d8"

    def __init__(
        self,
        *,
        pipeline: str,
        step: str,
        scope: str,
        width: timedelta = HOUR,
        **kwargs: Any,  # Airflow's own
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline, self.step, self.scope, self.width = pipeline, step, scope, width

    def execute(self, context: Context) -> None:
        """Read the verdicts of this run's newest publication and decide.

        Raises:
            AirflowFailException: a verdict blocks, or nothing was audited; never retried.
        """
        call = invocation(context, self.pipeline, self.step, self.width)
        ledger = open_ledger(self.pipeline, self.task_id)
        row = ledger.step_row(call.dag_run, self.step)
        where = f"{self.pipeline} {format_hour(call.start)} {self.task_id}"
        first = first_step(self.step)
        again = f"deliver a corrected drop, then clear {first} with downstream; or: {call.with_step(first).command()}"
        if row is None:
            raise AirflowFailException(f"{where}: {self.step} left no row in the ledger for this run\n  do: {again}")
        verdicts = ledger.verdicts(row["pub"]) if row["pub"] is not None else []
        mine = [verdict for verdict in verdicts if verdict.scope == self.scope]
        if not mine:
            raise AirflowFailException(f"{where}: no verdict on publication {row['pub']}\n  do: {again}")
        for verdict in mine:
            self.log.info("%s: %s, %s rules, %s not passed", verdict.table, verdict.outcome.value,
                          len(verdict.rules), len(verdict.broken()))  # fmt: skip
        log_warnings(self.log, mine, call)
        blocking = [verdict for verdict in mine if verdict.outcome.blocks]
        if blocking:
            line = ledger.line()
            release = line[-1].release if line else "none"
            raise AirflowFailException(Lines.of(red_lines(call, blocking, release, again)))


def log_warnings(log: Any, verdicts: Iterable[Verdict], call: Invocation) -> None:
    """Log the rules that broke and do not block, at most ten: a green gate is not silent about them."""
    warnings = [(v.table, rule) for v in verdicts for rule in v.rules if rule.outcome == "WARN"]
    for table, rule in warnings[:MAX_WARNINGS]:
        text = f"WARN {table}, rule {rule.rule}: {rule.observed}; allowed: {rule.allowed}"
        log.warning("%s", printable(text))
    if warnings[MAX_WARNINGS:]:
        log.warning("%s more warnings: %s", len(warnings) - MAX_WARNINGS, call.look())


def red_lines(call: Invocation, blocking: list[Verdict], release: int | str, todo: str) -> list[str]:
    """A red gate in at most 12 lines: the first blocking verdict in full, the other tables by name, what to do."""
    from spark_jobs.quality.message import message, others_line

    others = [others_line(blocking[1:], call)] if blocking[1:] else []
    first = message(blocking[0], call, release, MAX_LINES - 1 - len(others)).splitlines()
    return [*first, *others, f"do: {todo}"]


class WeekReady(BaseSensorOperator):
    """Waits until enough hours of the week were published; at the deadline it fails and says which are missing."""

    def __init__(
        self, *, pipeline: str, width: timedelta, min_hours: int, deadline: timedelta, **kwargs: Any
    ) -> None:  # Airflow's own
        super().__init__(mode="reschedule", **kwargs)
        self.pipeline, self.width, self.min_hours, self.deadline = pipeline, width, min_hours, deadline

    def poke(self, context: Context) -> bool:
        """Whether at least `min_hours` hours of the week are covered by live publications in every silver table.

        Raises:
            AirflowFailException: the deadline, counted from the end of the week, has passed.
        """
        from spark_jobs.config.load import load_pipeline

        call = invocation(context, self.pipeline, "week_ready", self.width)
        tables = [f"silver/{name}" for name in load_pipeline(self.pipeline).silver]
        missing = missing_hours(open_ledger(self.pipeline, "week_ready"), tables, call.start, call.end)
        ready = call.hours - len(missing)
        self.log.info("%s of %s hours published, %s wanted", ready, call.hours, self.min_hours)
        if ready >= self.min_hours:
            return True
        if datetime.now(UTC) < call.end + self.deadline:
            return False
        shown = ", ".join(format_hour(hour) for hour in missing[:5]) + (
            f" and {len(missing) - 5} more" if missing[5:] else ""
        )
        raise AirflowFailException(
            f"{self.pipeline} week {format_hour(call.start)}: {ready} of {call.hours} hours published by the deadline\n"
            f"  allowed: at least {self.min_hours}\n"
            f"  do: run the {len(missing)} missing hours ({shown}), then clear this task;"
            f" see why: tidegate status {self.pipeline} --hour {format_hour(missing[0])}"
        )


def missing_hours(ledger: Ledger, tables: Iterable[str], start: datetime, end: datetime) -> list[datetime]:
    """Hours of [start, end) that no live publication covers in one of `tables`, oldest first."""
    from spark_jobs.ledger import folds

    line = ledger.line()
    covered = {hour: True for hour in hours_between(start, end)}
    for table in tables:
        segments = folds.cover(line, table)
        for hour in covered:
            covered[hour] &= any(segment.start <= hour < segment.end for segment in segments)
    return [hour for hour, whole in covered.items() if not whole]


class Announce(BaseOperator):
    """Tells that the run's data are readable: the asset event with its key, a summary, recovered incidents."""

    def __init__(self, *, pipeline: str, step: str, width: timedelta = HOUR, **kwargs: Any) -> None:  # Airflow's own
        super().__init__(**kwargs)
        self.pipeline, self.step, self.width = pipeline, step, width

    def execute(self, context: Context) -> None:
        """Print what was published, and attach the key to the event where the run itself has none.

        Raises:
            AirflowFailException: the ledger does not say that `step` finished: nothing may be announced.
        """
        call = invocation(context, self.pipeline, self.step, self.width)
        ledger = open_ledger(self.pipeline, self.task_id)
        row = ledger.step_row(call.dag_run, self.step)
        if row is None or row["state"] not in ("published", "empty"):
            state = row["state"] if row else "absent"
            found = f"the ledger says '{state}', not published"
            raise AirflowFailException(f"{self.pipeline}.{self.step}: {found}\n  do: {call.command()}")
        key = format_hour(call.start)
        for asset in self.outlets:
            event = context["outlet_events"][asset]
            event.extra = {"pub": row["pub"], "dag_run": call.dag_run}
            if context["dag_run"].partition_key is None:
                event.add_partitions(key)
        line = ledger.line()
        self.log.info("%s %s: %s, release %s, rows %s", self.pipeline, key, row["state"],
                      line[-1].release if line else "none", row["rows"])  # fmt: skip
        ready_after_all(call, ledger)
