"""`<pipeline>_hourly`: one UTC hour a run, from its drops to published, scored rows.

fetch_<source>, for each of kind http; query, for all of kind jdbc -> drops_ready -> prepare -> gate_silver, gate_features
-> publish_and_score -> announce
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronPartitionTimetable

from dag_builder.fetch import FetchDrop
from dag_builder.gates import Announce, DropsReady, Gate
from dag_builder.partition import catches_up, hour_param
from dag_builder.spark_step import SparkStep
from spark_jobs.config.load import load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import HOUR

LOOK_EVERY = timedelta(minutes=1)  # between two looks at the landing folder


def hour_asset(pipeline: str) -> Asset:
    """The asset whose event of partition key H says that hour H is published."""
    return Asset(name=f"{pipeline}_hour", uri=f"{pipeline}://hour")


def task_defaults(pipeline: Pipeline, timeout: timedelta) -> dict[str, Any]:
    """What all tasks of a pipeline share: its owner, retries with backoff for transient faults, one longest time."""
    return {
        "owner": pipeline.owner,
        "retries": pipeline.schedules.hourly.retries,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timeout,
    }


def hourly_dag(name: str) -> DAG:
    """The hourly DAG of the pipeline `name`.

    The run of hour H starts when H has ended; with catchup the missed ones come first, oldest first, one at a time.

    Raises:
        UsageError: conf/ has faults.
    """
    pipeline = load_pipeline(name)
    hourly = pipeline.schedules.hourly
    with DAG(
        dag_id=f"{name}_hourly",
        description=f"one hour of {name}: drops, gates, publication, scores",
        schedule=CronPartitionTimetable("0 * * * *", timezone="UTC", run_offset=-1),
        start_date=pipeline.start + HOUR,  # the run at this instant is about the hour before it
        end_date=pipeline.end,
        catchup=catches_up(),
        max_active_runs=1,
        default_args=task_defaults(pipeline, hourly.timeout),
        params=hour_param("the hour to run, when the run has no partition key"),
        tags=[name, "hourly"],
        doc_md=__doc__,
    ) as dag:
        fetched = [
            FetchDrop(task_id=f"fetch_{source}", pipeline=name, source=source, pool="default_pool")
            for source in pipeline.sources.of_kind("http")
        ]
        asked = []
        if pipeline.sources.of_kind("jdbc"):
            asked = [SparkStep(task_id="query", pipeline=name, step="query", pool=name)]
        drops_ready = DropsReady(
            task_id="drops_ready", pipeline=name, poke_interval=LOOK_EVERY, timeout=hourly.wait, pool="default_pool",
            trigger_rule="all_done",  # a failed fetch may have landed its drop before; what is missing makes the hour late
        )  # fmt: skip
        prepare = SparkStep(task_id="prepare", pipeline=name, step="prepare", gated=True, pool=name)
        silver = Gate(task_id="gate_silver", pipeline=name, step="prepare", scope="silver")
        features = Gate(task_id="gate_features", pipeline=name, step="prepare", scope="features", after=["silver"])
        publish = SparkStep(
            task_id="publish_and_score", pipeline=name, step="publish_and_score", pool=name,
            trigger_rule="none_failed",  # by default a gate that is skipped first would skip it, and end the run well
        )  # fmt: skip
        announce = Announce(task_id="announce", pipeline=name, step="publish_and_score", outlets=[hour_asset(name)])
        [*fetched, *asked] >> drops_ready >> prepare >> [silver, features] >> publish >> announce
    return dag
