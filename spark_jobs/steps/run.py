"""One step from call to exit code: open a publication, run its stages in order, write down what became of it.

The same function serves spark-submit, the command line and tests; Airflow only starts the process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import structlog
from pyspark.sql import SparkSession

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
from spark_jobs.learning.drift import Drift, find_drift
from spark_jobs.learning.tracking import Tracking
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.ledger.staleness import Span
from spark_jobs.quality.message import messages
from spark_jobs.result import Result
from spark_jobs.runtime.places import code_version
from spark_jobs.sources.drops import drops_digest
from spark_jobs.stages import bronze, features, heal, publish, rebuild, score, silver, tiles, train, training_set
from spark_jobs.steps import handover, plan
from spark_jobs.steps.changes import require_unmixed
from spark_jobs.steps.context import Work
from spark_jobs.steps.failure import cause, is_caused_by_values, place
from spark_jobs.steps.request import Request
from spark_jobs.steps.unscored_hours import to_score
from spark_jobs.values import Lines
from spark_jobs.verdict import hours_at_fault

log = structlog.get_logger()


class StepRun:
    """One run of one step: its settings, its ledger, its clock of stages."""

    def __init__(self, call: Invocation, open_session: Callable[[], SparkSession]) -> None:
        self.call, self._open_session, self._began = call, open_session, time.monotonic()
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
        self.work: Work | None = None  # of a step that reads drops, which an unforeseen error names
        self.result = Result(
            call.pipeline, call.step, format_hour(call.start), format_hour(call.end), call.dag_run, "started"
        )

    def open_work(self, call: Invocation, line: list[Release]) -> Work:
        """A publication of its own, with the number that the ledger gave it."""
        base = line[-1].release if line else None
        self.ledger.add_definitions(self.pipeline.config_hash, define(self.pipeline).to_json())
        pub = self.ledger.start(call, code_version(self.places.project), self.pipeline.config_hash, base)
        return Work(
            self.pipeline, self.environment, self.places, self.ledger, call, pub, line, self._open_session
        )  # fmt: skip

    def run(self) -> Result:
        """Run the step; every fault that a person can act upon becomes a state, a reason and an exit code."""
        step = plan.step(self.call.step)
        log.info("step started", step=step.name, stages=",".join(step.stages), **_names(self.call))
        try:
            require_unmixed(self.pipeline, self.ledger, self.call)
            {"ingest": self._stage_hour, "build_features": self._stage_hour,
             "publish": self._publish_or_stage_again, "score": self._score,
             "heal": self._heal, "rebuild": self._rebuild,
             "training_set": self._training_set, "train": self._train}[step.name]()  # fmt: skip
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
        read = self.work.drops if self.work else {}
        files = [drop.file for found in read.values() for drop in found.values()]
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

    def _stage(self, name: str, run: Callable[[], object]) -> None:
        began = time.monotonic()
        failpoint(f"stage.{name}.before")
        run()
        failpoint(f"stage.{name}.after")
        self.result.seconds[name] = round(time.monotonic() - began, 2)
        log.info("stage ended", stage=name, seconds=self.result.seconds[name], **_names(self.call))

    def _stage_hour(self, call: Invocation | None = None) -> None:
        """Stage, judge and seal: the whole publication, or the part of it that this step makes."""
        call = call or self.call
        stages = plan.step(call.step).stages
        work, drops = self._begin(call) if "bronze" in stages else self._go_on(call)
        if "bronze" in stages:
            self._stage("bronze", lambda: bronze.run(work))
            self._stage("silver", lambda: silver.run(work))
            self._refuse_if_blocked(work)
        if "features" in stages:
            self._stage("tiles", lambda: tiles.run(work))
            self._stage("features", lambda: features.run(work))
            self._refuse_if_blocked(work)
        predictions: list[Staged] = []
        if "predictions" in stages:
            self.result.why = Lines.of(drift.text() for drift in self._registry_drifts())
            self._stage("predictions", lambda: predictions.extend(score.stage(work, self.open_work)))
        work.lake.stage("quarantine", silver.quarantine(work), call.start, call.end)
        handover.require_newest(work)
        seal(
            self.ledger, call, work.pub, [*work.lake.staged.values(), *predictions], drops=drops or drops_digest(work.drops),
            rows=work.accounts, base=work.line[-1].release if work.line else None,
            code_version=code_version(self.places.project), config_hash=self.pipeline.config_hash, seconds=self._elapsed(),
        )  # fmt: skip
        self.result.state = "staged"
        self.result.rows = {table: staged.rows for table, staged in work.lake.staged.items()}

    def _begin(self, call: Invocation) -> tuple[Work, dict[str, str]]:
        """A publication whose drops are still to be read."""
        work = self.work = self.open_work(call, self.ledger.line())
        self.result.pub = work.pub
        if call.step not in plan.SEALS:
            work.attempt = work.pub
        return work, {}

    def _go_on(self, call: Invocation) -> tuple[Work, dict[str, str]]:
        """The publication that the step before sealed, with what it staged; and the digests of its drops."""
        work = Work(
            self.pipeline, self.environment, self.places, self.ledger, call, 0, [], self._open_session
        )  # fmt: skip
        row = handover.required_row(work)
        self.result.pub = work.pub = int(row["pub"])
        handover.take_up(work, row, code_version(self.places.project))
        return work, json.loads(row["drops"])

    def _refuse_if_blocked(self, work: Work) -> None:
        """Raise what the gate decided; the verdicts stand in the ledger already."""
        blocking = [verdict for verdict in work.verdicts if verdict.outcome.blocks]
        self.result.warn(work.verdicts)
        if blocking:
            if work.held:
                self._keep_held(work)
            release = str(work.line[-1].release) if work.line else "none"
            at_fault = hours_at_fault(blocking) if self.call.step in plan.OF_HOURS else set()
            self.result.refused = [(format_hour(a), format_hour(b)) for a, b in folds.spans(at_fault)]
            others = work.call.hours - len(at_fault) if at_fault else 0
            todo = f"to publish the other {others} hours: {work.call.backfill()} --leave-out-refused" if others else ""
            tables = ", ".join(verdict.table for verdict in blocking)
            raise RefusedError(f"gate of {tables}", messages(blocking, work.call, release), todo=todo)

    def _keep_held(self, work: Work) -> None:
        """Stage the rows that a refused publication holds back, so that people can look at them; nobody publishes them."""
        try:
            work.lake.stage("quarantine", silver.quarantine(work), work.call.start, work.call.end)
        except Exception as error:  # the verdicts are recorded: the hour is refused, with or without these rows
            log.warning("held rows of a refused publication were not kept", why=cause(error), **_names(work.call))

    def _publish_or_stage_again(self) -> None:
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
            except Exception as fault:
                version = self.ledger.champion(model) or "none"
                why = score.why_not_predicted(self.pipeline, self.call, model, version, fault)
                self.desk.unscored(self.call, model, why)

    def _score(self) -> None:
        """Predict for the published hours of the call that lack a champion's predictions."""
        self.result.why = Lines.of(drift.text() for drift in self._registry_drifts())
        released: list[Release] = []
        self._stage("score", lambda: released.extend(self._run_score(to_score(self.request))))
        self.result.state = "published" if released else "empty"
        if released:
            self.result.pub, self.result.release = released[-1].pub, released[-1].release
        for release in released:
            for table, count in release.rows.items():
                self.result.rows[table] = self.result.rows.get(table, 0) + count
        if line := self.ledger.line():
            self.desk.published(self.call, line[-1].release)

    def _run_score(self, todo: dict[str, list[Span]]) -> list[Release]:
        work = Work(
            self.pipeline, self.environment, self.places, self.ledger, self.call, 0, self.ledger.line(), self._open_session
        )  # fmt: skip
        return score.run(work, self.open_work, todo)

    def _registry_drifts(self) -> list[Drift]:
        """Models on whose champion registry and ledger disagree; each has an incident, which closes when they agree.

        A registry that does not answer is no drift: scoring goes on from local copies, and training reports it.
        """
        found = []
        for model in self.pipeline.models.models if self.pipeline.models else {}:
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

    def _heal(self) -> None:
        work = self.open_work(self.call, self.ledger.line())
        self.result.pub = work.pub
        self._stage("heal", lambda: heal.run(work))
        self._refuse_if_blocked(work)
        base = work.line[-1].release  # there is one: nothing to heal otherwise
        self.result.rows = {table: staged.rows for table, staged in work.lake.staged.items()}
        release = heal.publish(work)
        self.result.state = "published" if release else "empty"
        self.result.release, self.result.why = (release.release, release.why) if release else (None, heal.outcome(work))
        self.ledger.record(
            self.call, self.result.state, work.pub, why=self.result.why, rows=self.result.rows, base=base,
            seconds=self._elapsed(),
        )  # fmt: skip
        self.desk.published(self.call, release.release if release else base)

    def _rebuild(self) -> None:
        work = self.open_work(self.call, self.ledger.line())
        self.result.pub = work.pub
        self._stage("rebuild", lambda: rebuild.run(work))
        self._refuse_if_blocked(work)
        self._published(rebuild.publish(work))

    def _training_set(self) -> None:
        work = self.open_work(self.call, self.ledger.line())
        self.result.pub = work.pub
        self.result.models = work.models  # filled by the stage, also where it ends with a refusal
        self._stage("training_set", lambda: training_set.run(work))
        self._refuse_if_blocked(work)
        self.result.rows = {table: staged.rows for table, staged in work.lake.staged.items()}
        seal(
            self.ledger, self.call, work.pub, work.lake.staged.values(), rows=self.result.rows,
            base=work.line[-1].release, seconds=self._elapsed(),
        )  # fmt: skip
        self.result.state = "staged"
        self.desk.published(self.call, work.line[-1].release)

    def _train(self) -> None:
        self._require_promotable()
        work = self.open_work(self.call, self.ledger.line())
        self.result.pub = work.pub
        self.result.models = work.models
        self._stage("train", lambda: train.run(work))
        self.result.rows = {f"{name}/{fold}": n for name, one in work.models.items() for fold, n in one["rows"].items()}
        self.ledger.record(self.call, "published", work.pub, rows=self.result.rows, seconds=self._elapsed())
        self.result.state = "published"
        self.desk.published(self.call, work.line[-1].release)


def _names(call: Invocation) -> dict[str, str]:
    return {"pipeline": call.pipeline, "interval": f"[{format_hour(call.start)}, {format_hour(call.end)})"}
