"""Reads an hour of a source and lands it as a drop, whatever its kind; the tasks after it see no difference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dag_builder.partition import environment_name, invocation
from spark_jobs.errors import RetryError, TidegateError
from spark_jobs.values import printable

if TYPE_CHECKING:
    from spark_jobs.config.sources import SourceConf

LOOK_EVERY = timedelta(minutes=1)  # between two looks for files that are not complete yet


class FetchDrop(BaseOperator):
    """Lands the drop of one source of kind http or database, or of files on another file system. No Spark, no JVM.

    Whether the hour is late is decided by `drops_ready` alone, which runs whatever became of this task.
    """

    ui_color = "#e3eefb"

    def __init__(self, *, pipeline: str, source: str, **kwargs: Any) -> None:  # Airflow's own
        super().__init__(**kwargs)
        self.pipeline, self.source = pipeline, source

    def execute(self, context: Context) -> None:
        """Fetch the run's hour. A database is not read again once the hour has its drop: `tidegate fetch` does that.

        Raises:
            AirflowException: the source cannot be reached, is too slow or not complete yet; Airflow tries again.
            AirflowFailException: what it delivers, or conf/, is wrong; a retry does not help.
        """
        from spark_jobs.config.load import load_environment, load_pipeline
        from spark_jobs.connectors.fetch import fetch_source
        from spark_jobs.sources.drops import find_drops

        call, now = invocation(context, self.pipeline, "fetch"), datetime.now(UTC)
        _, places = load_environment(environment_name())
        pipeline = load_pipeline(self.pipeline)
        source, landing = pipeline.sources.sources[self.source], places.landing / self.pipeline
        try:
            if source.kind == "database" and find_drops(pipeline.sources, landing, self.source, [call.start]):
                self.log.info("%s: the drop of this hour is there already", self.source)
                return
            done = fetch_source(pipeline, places, self.source, call.start, call.end, now)
        except RetryError as error:
            raise AirflowException(str(error)) from None
        except TidegateError as error:
            raise AirflowFailException(str(error)) from None
        for drop in done.drops:
            new = "new" if drop.written else "as delivered before"
            self.log.info("%s: %s rows in %s, %s", self.source, drop.rows, printable(str(drop.manifest)), new)
        for why in done.missing.values():
            if now < call.end + source.grace:
                raise AirflowException(printable(f"{self.source}: waiting: {why}"))
            self.log.warning("%s: %s, and the grace is over", self.source, printable(why))


def look_options(source: SourceConf, retries: int) -> dict[str, Any]:
    """Retries by which a task looks for files of another file system until their grace is over: no sensor looks there."""
    if source.remote is None:
        return {}
    looks = retries + -(-source.grace // LOOK_EVERY)
    return {"retries": looks, "retry_delay": LOOK_EVERY, "retry_exponential_backoff": False}
