"""The request to run one step, before any JVM starts: the call, its settings, the ledger and what readers see."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spark_jobs.alerts.incidents import Desk
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import AlreadyRefusedError, RefusedError, RetryError, SupersededError, TidegateError
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.ledger import Ledger, Release
from spark_jobs.result import Result
from spark_jobs.runtime.places import code_version


@dataclass(frozen=True)
class Request:
    """A call with what it needs; it has no publication yet."""

    call: Invocation
    pipeline: Pipeline
    environment: Environment
    places: Places
    ledger: Ledger

    @staticmethod
    def of(call: Invocation) -> Request:
        """The call with what it would find.

        Raises:
            UsageError: conf/ has faults.
        """
        pipeline = load_pipeline(call.pipeline)
        environment, places = load_environment(call.env)
        ledger = Ledger.open(places.lake / pipeline.name, by=call.dag_run)
        return Request(call, pipeline, environment, places, ledger)

    @cached_property
    def line(self) -> list[Release]:
        """The newest release and its ancestors, none when nothing is released; as it was when first read."""
        return self.ledger.line()

    @property
    def root(self) -> Path:
        """The pipeline's folder in the lake."""
        return self.places.lake / self.pipeline.name

    @property
    def landing(self) -> Path:
        """The pipeline's landing folder."""
        return self.places.landing / self.pipeline.name

    @cached_property
    def code(self) -> str:
        """Version of the code that would run."""
        return code_version(self.places.project)

    @property
    def desk(self) -> Desk:
        """Where its incidents are written down."""
        return Desk(self.pipeline, self.environment, self.places, self.ledger)

    def made_alike(self, pub: int) -> bool:
        """Whether this code and configuration made publication `pub`; never, where files differ from their commit."""
        started = self.ledger.store.rows("intervals", ["code_version", "config_hash"], {"pub": pub, "state": "started"})
        made_by = {(row["code_version"], row["config_hash"]) for row in started}
        return made_by == {(self.code, self.pipeline.config_hash)} and not self.code.endswith("-dirty")

    def champions(self) -> dict[str, str]:
        """Version of the champion by model; models without one are left out."""
        return self.ledger.champions(self.pipeline.model_settings)

    def result(
        self, state: str, pub: int | None, rows: dict[str, int], release: int | None = None, why: str = ""
    ) -> Result:
        """The answer of a call that ended well."""
        call = self.call
        return Result(
            call.pipeline,
            call.step,
            format_hour(call.start),
            format_hour(call.end),
            call.dag_run,
            state,
            pub,
            release,
            rows,
            why=why,
        )

    def fail(self, result: Result, fault: TidegateError) -> None:
        """Record what ended the call: in the ledger, in `result`, and as an incident where the data were refused."""
        refused = isinstance(fault, RefusedError)
        result.exit_code, result.why = fault.exit_code, str(fault)
        result.state = "refused" if refused else state_of(fault)
        self.ledger.record(self.call, result.state, result.pub, why=str(fault))
        if refused:
            if self.call.hours == 1:
                result.refused = [(result.start, result.end)]
            if not isinstance(fault, AlreadyRefusedError):
                self.desk.blocked(self.call, str(fault))

    def fail_unforeseen(self, pub: int | None, why: str) -> None:
        """Record an error that must end the process, and open an incident; whatever is broken, raises none of its own."""
        with suppress(Exception):
            self.ledger.record(self.call, "failed", pub, why=why)
            self.desk.blocked(self.call, why)


def state_of(fault: TidegateError) -> str:
    """`late` or `waiting` only where drops are missing, `superseded` where a race was lost; else a failure until a retry."""
    if isinstance(fault, SupersededError):
        return "superseded"
    missing = fault.found.partition(":")[0]
    return missing if isinstance(fault, RetryError) and missing in ("late", "waiting") else "failed"
