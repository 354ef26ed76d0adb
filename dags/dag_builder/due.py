"""Tasks whose hours are found when they run: heal, predictions after a training, maintenance. None starts a JVM for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow.sdk import BaseOperator, Context

from dag_builder.partition import environment_name, invocation
from dag_builder.spark_step import SparkStep
from spark_jobs.invocation import Invocation


class HealDue(SparkStep):
    """Step `heal` over all stale hours."""

    def call_of(self, context: Context) -> Invocation | None:
        """The stale hours, whatever day the run is about."""
        from spark_jobs.steps.due_hours import heal_due
        from spark_jobs.steps.request import Request

        call = invocation(context, self.pipeline, self.step, self.width)
        stale = heal_due(Request.of(call))
        return replace(call, start=stale[0], end=stale[1]) if stale else None


class ScoreDue(SparkStep):
    """Step `score` over the hours that were published since the interval of the run ended."""

    def call_of(self, context: Context) -> Invocation | None:
        """The hours since the training data ended; step `score` leaves those that have predictions alone."""
        from spark_jobs.steps.due_hours import hours_since
        from spark_jobs.steps.request import Request

        call = invocation(context, self.pipeline, self.step, self.width)
        since = hours_since(Request.of(call))
        return replace(call, start=since[0], end=since[1]) if since else None


class Maintain(BaseOperator):
    """Removes what pipeline.yaml keeps no longer, as `tidegate maintain`."""

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:  # Airflow's own
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def execute(self, context: Context) -> None:
        """Sweep once; log how many of what went."""
        from spark_jobs.config.load import load_environment, load_pipeline
        from spark_jobs.ledger import Ledger
        from spark_jobs.maintenance.sweep import maintain

        _, places = load_environment(environment_name())
        ledger = Ledger.open(places.lake / self.pipeline, by=context["dag_run"].run_id)
        for what, count in maintain(load_pipeline(self.pipeline), places, ledger).items():
            self.log.info("%s: %s", what, count)
