"""Asks an upstream over HTTP for the rows of an hour and lands them as a drop; the tasks after it see no difference."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dag_builder.partition import environment_name, invocation
from spark_jobs.errors import RetryError, TidegateError


class FetchDrop(BaseOperator):
    """Lands the drop of one source of kind http. A light Python task: no Spark, no JVM.

    Whether the hour is late is decided by `drops_ready` alone, which runs whatever became of this task.
    """

    ui_color = "#e3eefb"

    def __init__(self, *, pipeline: str, source: str, **kwargs: Any) -> None:  # Airflow's own
        super().__init__(**kwargs)
        self.pipeline, self.source = pipeline, source

    def execute(self, context: Context) -> None:
        """Fetch the run's hour.

        Raises:
            AirflowException: the upstream cannot be reached or is too slow; Airflow tries again.
            AirflowFailException: what it answers, or conf/, is wrong; a retry does not help.
        """
        from spark_jobs.config.load import load_environment, load_pipeline
        from spark_jobs.sources.http import fetch_drop

        call = invocation(context, self.pipeline, "fetch")
        _, places = load_environment(environment_name())
        source = load_pipeline(self.pipeline).sources.sources[self.source]
        try:
            done = fetch_drop(self.source, source, places.landing / self.pipeline, call.start)
        except RetryError as error:
            raise AirflowException(str(error)) from None
        except TidegateError as error:
            raise AirflowFailException(str(error)) from None
        new = "new" if done.written else "as delivered before"
        self.log.info("%s: %s rows from %s page(s) in %s, %s", self.source, done.rows, done.pages, done.manifest, new)
