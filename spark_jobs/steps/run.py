"""One step from call to exit code: open a publication, run its stages in order, write down what became of it.

The same function serves spark-submit, the command line and tests; Airflow only starts the process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, reduce
from typing import Final, TypeVar

import structlog
from pyspark.sql import DataFrame, SparkSession

from spark_jobs import transforms
from spark_jobs.config.definitions import define
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.interval import check_interval
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import RefusedError, RetryError, TidegateError, UsageError
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.lake.admission import seal
from spark_jobs.lake.changes import require_publishable
from spark_jobs.lake.staging import Staged
from spark_jobs.lake.tables import UndeclaredTableError
from spark_jobs.learning.drift import Drift, find_drift
from spark_jobs.learning.tracking import Tracking
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.ledger.staleness import Span
from spark_jobs.quality.message import messages
from spark_jobs.result import Result
from spark_jobs.runtime.places import code_version
from spark_jobs.sources.drops import Drop, drops_digest
from spark_jobs.stages import bronze, heal, publish, rebuild, score
from spark_jobs.steps import handover, plan
from spark_jobs.steps.changes import require_unmixed
from spark_jobs.steps.context import Context
from spark_jobs.steps.dispatch import STAGES
from spark_jobs.steps.failure import cause, is_caused_by_values, place
from spark_jobs.steps.progress import Progress
from spark_jobs.steps.request import Request
from spark_jobs.steps.unscored_hours import to_score
from spark_jobs.values import Lines
from spark_jobs.verdict import hours_at_fault

log = structlog.get_logger()
Done = TypeVar("Done")


class StepRun:
    """One run of one step: its settings, its ledger, its clock of stages."""

    def __init__(self, call: Invocation, open_session: Callable[[], SparkSession]) -> None:
        self.call, self._open_session, self._began = call, cache(open_session), time.monotonic()
        self.environment: Environment
        self.places: Places
        self.environment, self.places = load_environment(call.env)
        plan.step(call.step)
        self.pipeline: Pipeline = load_pipeline(call.pipeline)
        check_interval(self.pipeline, call)
        require_publishable(self.pipeline, self.places.lake / self.pipeline.name, call.env)
        transforms.load_modules(self.pipeline.settings.modules)
        self.ledger = Ledger.open(self.places.lake / self.pipeline.name, by=call.dag_run)
        self.request = Request(call, self.pipeline, self.environment, self.places, self.ledger)
        self.desk = self.request.desk
        self.drops: Mapping[str, Mapping[datetime, Drop]] = {}  # that an unforeseen error names
        self.result = Result(
            call.pipeline, call.step, format_hour(call.start), format_hour(call.end), call.dag_run, "started"
        )

    def start_publication(self, call: Invocation, line: Sequence[Release]) -> Context:
        """A publication of its own, with the number that the ledger gave it."""
        base = line[-1].release if line else None
        self.ledger.add_definitions(self.pipeline.config_hash, define(self.pipeline).to_json())
        pub = self.ledger.start(call, code_version(self.places.project), self.pipeline.config_hash, base)
        return self._context(call, pub, line)

    def _context(self, call: Invocation, pub: int, line: Sequence[Release]) -> Context:
        return Context(self.pipeline, self.environment, self.places, self.ledger, call, pub, line, self._open_session)

    def run(self) -> Result:
        """Run the step; every fault that a person can act upon becomes a state, a reason and an exit code."""
        step = plan.step(self.call.step)
        log.info("step started", step=step.name, stages=",".join(step.stages), **_names(self.call))
        try:
            require_unmixed(self.pipeline, self.ledger, self.call)
            STEPS[step.name](self)
        except TidegateError as fault:
            self._fault(fault)
        except Exception as error:
            if not self._is_refused(error):
                raise
        self.result.seconds["total"] = self._elapsed()
        log.info(
            "step ended",
            step=step.name,
            state=self.result.state,
            seconds=self.result.seconds["total"],
            **_names(self.call),
        )
        return self.result

    def _elapsed(self) -> float:
        """Seconds since this run began."""
        return round(time.monotonic() - self._began, 2)

    def _fault(self, fault: TidegateError) -> None:
        self.request.fail(self.result, fault)

    def _is_refused(self, error: Exception) -> bool:
        """Record an unforeseen error; whether a row caused it, so that the hour is refused. Else it must end the process.

        A value that a transform, a measure or a label cannot be computed of is a fault of the data or of that function: no
        retry helps, and `--leave-out-refused` can skip the hour. A worker that died may be the machine's fault.
        """
        files = [drop.file for found in self.drops.values() for drop in found.values()]
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        drops = f"; drops: {', '.join(files[:5])}{more}" if files else ""
        why = f"{cause(error, is_masked=self.pipeline.has_sensitive)}{place(error)}{drops}"
        if is_caused_by_values(error):
            rule = "values_computable: a transform, a measure or a label cannot be computed"
            self._fault(RefusedError(f"{self.call.pipeline}/{self.call.step}", f"{rule}: {why}", "values that it is defined for",
                                     "correct the row or the function, or refuse such values by a rule of scope row"))  # fmt: skip
            return True
        self.request.fail_unforeseen(self.result.pub, why)
        return False

    def _stage(self, name: str, run: Callable[[], Done]) -> Done:
        began = time.monotonic()
        failpoint(f"stage.{name}.before")
        done = run()
        failpoint(f"stage.{name}.after")
        self.result.seconds[name] = round(time.monotonic() - began, 2)
        log.info("stage ended", stage=name, seconds=self.result.seconds[name], **_names(self.call))
        return done

    def _run_stage(self, name: str, before: Progress) -> Progress:
        """Run stage `name` on the tables that plan.py declares for it, and raise what its gates decide."""
        context = before.context.for_stage(name)

        def start(call: Invocation, line: Sequence[Release]) -> Context:
            return self.start_publication(call, line).for_stage(name)

        done = self._stage(name, lambda: STAGES[name](before, context, start))
        self._refuse_if_blocked(done)
        return done

    def _run_stages(self, call: Invocation, progress: Progress) -> Progress:
        """Run the stages of a step in order; each starts from what those before it returned.

        Raises:
            RefusedError: a gate refuses.
        """
        self.result.pub = progress.context.pub
        for name in plan.step(call.step).stages:
            if name == "predictions":
                self.result.why = Lines.of(drift.text() for drift in self._registry_drifts())
            progress = self._run_stage(name, progress)
        return progress

    def _new_publication(self) -> Progress:
        return Progress(self.start_publication(self.call, self.ledger.line()))

    def stage_hour(self) -> None:
        """Stage, judge and seal the part of a publication that this step makes."""
        self._stage_hour(self.call)

    def _stage_hour(self, call: Invocation) -> None:
        before, drops = self._go_on(call) if plan.step(call.step).continues else self._begin(call)
        progress = self._run_stages(call, before)
        context = progress.context
        staged = {**context.staged, "quarantine": self._stage_quarantine(progress)}
        handover.require_newest(context)
        seal(
            self.ledger, call, context.pub, [*staged.values(), *progress.predictions],
            drops=drops or drops_digest(progress.drops), rows=progress.accounts, base=context.base,
            code_version=code_version(self.places.project), config_hash=self.pipeline.config_hash, seconds=self._elapsed(),
        )  # fmt: skip
        self.result.state = "staged"
        self.result.rows = _rows(staged)

    def _begin(self, call: Invocation) -> tuple[Progress, dict[str, str]]:
        """A publication whose drops are still to be read."""
        context = self.start_publication(call, self.ledger.line())
        self.result.pub = context.pub
        self.drops = bronze.required_drops(context)
        shared = call.step not in plan.SEALS  # by the steps that go on with it
        return Progress(replace(context, attempt=context.pub) if shared else context, self.drops), {}

    def _go_on(self, call: Invocation) -> tuple[Progress, dict[str, str]]:
        """The publication that the step before sealed, with what it staged; and the digests of its drops."""
        context = self._context(call, 0, [])
        row = handover.required_row(context)
        self.result.pub = int(row["pub"])
        return handover.take_up(context, row, code_version(self.places.project)), json.loads(row["drops"])

    def _refuse_if_blocked(self, progress: Progress) -> None:
        """Raise what the gates decided; the verdicts are in the ledger already."""
        self.result.models = dict(progress.models)
        if progress.fault:
            raise progress.fault
        blocking = [verdict for verdict in progress.verdicts if verdict.outcome.blocks]
        self.result.warn(progress.verdicts)
        if not blocking:
            return
        if progress.held:
            self._keep_held(progress)
        call, base = progress.context.call, progress.context.base
        at_fault = hours_at_fault(blocking) if self.call.step in plan.OF_HOURS else set()
        self.result.refused = [(format_hour(a), format_hour(b)) for a, b in folds.spans(at_fault)]
        others = call.hours - len(at_fault) if at_fault else 0
        todo = f"to publish the other {others} hours: {call.backfill()} --leave-out-refused" if others else ""
        tables = ", ".join(verdict.table for verdict in blocking)
        release = "none" if base is None else str(base)
        raise RefusedError(f"gate of {tables}", messages(blocking, call, release), todo=todo)

    def _stage_quarantine(self, progress: Progress) -> Staged:
        """Stage all rows that this publication holds back, of all tables."""
        return progress.context.lake.stage("quarantine", reduce(DataFrame.unionByName, progress.held))

    def _keep_held(self, progress: Progress) -> None:
        """Stage the rows that a refused publication holds back, so that people can look at them; nobody publishes them."""
        try:
            self._stage_quarantine(progress)
        except Exception as error:  # the verdicts are recorded: the hour is refused, with or without these rows
            log.warning("held rows of a refused publication were not kept", why=cause(error), **_names(self.call))

    def publish_or_stage_again(self) -> None:
        """Publish; what cannot be released as it was staged is staged again here, since no scheduler goes back to a task.

        Its gates judge again: nothing is published without a verdict that lets it through.
        """
        try:
            self._stage("publish", self._publish)
        except RetryError as fault:
            if not publish.can_stage_again(self.request, fault):
                raise
            log.warning("what was staged cannot be released; staging again", **_names(self.call))
            for step in plan.steps_before(self.call.step):
                self._stage_hour(self.call.with_step(step.name))
            self._stage("publish", self._publish)

    def _publish(self) -> None:
        """Publish, and predict with champions that were promoted after the hours were staged."""
        done = publish.run(self.request)
        release = done.release
        self.result.state, self.result.pub, self.result.release = "published", release.pub, release.release
        self.result.rows = release.rows
        todo = {model: spans for model, spans in to_score(self.request).items() if model in done.to_score}
        if todo:
            self._stage("score", lambda: self._score_published(todo))

    def _score_published(self, todo: dict[str, list[Span]]) -> None:
        """Predict for hours that are published: a model that cannot opens an incident, and the step ends well."""
        for model, spans in todo.items():
            try:
                self._run_score({model: spans})
            except UndeclaredTableError:
                raise  # a fault of the code, as in score.stage
            except Exception as fault:
                version = self.ledger.champion(model) or "none"
                why = score.why_not_predicted(self.pipeline, self.call, model, version, fault)
                self.desk.unscored(self.call, model, why)

    def score(self) -> None:
        """Predict for the published hours of the call that lack a champion's predictions."""
        self.result.why = Lines.of(drift.text() for drift in self._registry_drifts())
        released = self._stage("score", lambda: self._run_score(to_score(self.request)))
        self.result.state = "published" if released else "empty"
        if released:
            self.result.pub, self.result.release = released[-1].pub, released[-1].release
        for release in released:
            for table, count in release.rows.items():
                self.result.rows[table] = self.result.rows.get(table, 0) + count
        if line := self.ledger.line():
            self.desk.published(self.call, line[-1].release)

    def _run_score(self, todo: dict[str, list[Span]]) -> tuple[Release, ...]:
        def start(call: Invocation, line: Sequence[Release]) -> Context:
            return self.start_publication(call, line).for_stage("score")

        context = self._context(self.call, 0, self.ledger.line())
        return score.run(context.for_stage("score"), score.ScoreInput(todo, start)).released

    def _registry_drifts(self) -> list[Drift]:
        """Models on whose champion registry and ledger disagree; each has an incident, which closes when they agree.

        A registry that does not answer is no drift: scoring goes on from local copies, and training reports it.
        """
        found = []
        for model in self.pipeline.model_settings:
            try:
                drift = find_drift(Tracking.of(self.places), self.ledger, self.pipeline.name, self.call.env, model)
            except TidegateError as fault:
                log.warning("registry not compared with the ledger", model=model, why=fault.found, **_names(self.call))
                continue
            self.desk.registry(model, drift.text() if drift else "", self.call.env)
            if drift:
                log.warning("registry and ledger disagree", model=model, why=drift.found, **_names(self.call))
                found.append(drift)
        return found

    def _require_promotable(self) -> None:
        """That a version can be promoted after it is trained.

        Raises:
            UsageError: registry and ledger name different champions.
        """
        drifts = self._registry_drifts()
        if blocking := [drift for drift in drifts if drift.blocks_promotion(self.call.dag_run)]:
            where = f"{self.pipeline.name}/train {', '.join(drift.model for drift in blocking)}"
            ways = Lines.of(drift.text() for drift in blocking)
            raise UsageError(where, ways, "one champion in registry and ledger", next(iter(blocking[0].ways.values())))
        self.result.why = Lines.of(drift.text() for drift in drifts)

    def _published(self, release: Release) -> None:
        """Record that `release` was published by this step."""
        self.ledger.record(
            self.call, "published", release.pub, why=f"release {release.release}", rows=release.rows,
            seconds=self._elapsed(),
        )  # fmt: skip
        failpoint("publish.recorded")
        self.result.state, self.result.pub, self.result.release = "published", release.pub, release.release
        self.result.rows = release.rows
        self.desk.published(self.call, release.release)

    def heal(self) -> None:
        """Publish the cells that differ from what readers see."""
        healed = self._run_stages(self.call, self._new_publication())
        context, staged = healed.context, healed.context.staged
        self.result.rows = _rows(staged)
        release = heal.publish(context, staged, healed.held)
        base = context.line[-1].release  # there is one: nothing to heal otherwise
        self.result.state = "published" if release else "empty"
        self.result.release = release.release if release else None
        self.result.why = release.why if release else heal.outcome(context.call, staged, healed.held)
        self.ledger.record(
            self.call, self.result.state, context.pub, why=self.result.why, rows=self.result.rows, base=base,
            seconds=self._elapsed(),
        )  # fmt: skip
        self.desk.published(self.call, release.release if release else base)

    def rebuild(self) -> None:
        """Publish tiles and features that were computed again."""
        progress = self._run_stages(self.call, self._new_publication())
        self._published(rebuild.publish(progress.context, progress.context.staged))

    def training_set(self) -> None:
        """Seal the sets of all models."""
        progress = self._run_stages(self.call, self._new_publication())
        context, staged = progress.context, progress.context.staged
        self.result.rows = _rows(staged)
        base = context.line[-1].release  # there is one: a set is built from released rows
        seal(
            self.ledger, self.call, context.pub, staged.values(), rows=self.result.rows, base=base,
            seconds=self._elapsed(),
        )  # fmt: skip
        self.result.state = "staged"
        self.desk.published(self.call, base)

    def train(self) -> None:
        """Train, register and promote."""
        self._require_promotable()
        progress = self._run_stages(self.call, self._new_publication())
        models = progress.models
        self.result.rows = {f"{name}/{fold}": n for name, model in models.items() for fold, n in model["rows"].items()}
        self.ledger.record(self.call, "published", progress.context.pub, rows=self.result.rows, seconds=self._elapsed())
        self.result.state = "published"
        self.desk.published(self.call, progress.context.line[-1].release)


STEPS: Final[Mapping[str, Callable[[StepRun], None]]] = {
    "ingest": StepRun.stage_hour,
    "build_features": StepRun.stage_hour,
    "publish": StepRun.publish_or_stage_again,
    "score": StepRun.score,
    "heal": StepRun.heal,
    "rebuild": StepRun.rebuild,
    "training_set": StepRun.training_set,
    "train": StepRun.train,
}
"""How each step of plan.py is run and what is recorded when its stages are done."""


def _rows(staged: Mapping[str, Staged]) -> dict[str, int]:
    return {table: files.rows for table, files in staged.items()}


def _names(call: Invocation) -> dict[str, str]:
    return {"pipeline": call.pipeline, "interval": f"[{format_hour(call.start)}, {format_hour(call.end)})"}
