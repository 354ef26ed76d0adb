"""`<pipeline>_hourly`: one UTC hour a run, from its drops to published, scored rows.

fetch_<source>, for each source of kind http or database and for files on another file system -> drops_ready
-> ingest -> gate_silver -> build_features -> gate_features -> publish -> announce
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, CronPartitionTimetable

from dag_builder.fetch import LOOK_EVERY, FetchDrop, look_options
from dag_builder.gates import Announce, DropsReady, Gate
from dag_builder.partition import catches_up, hour_param
from dag_builder.spark_step import SparkStep
from spark_jobs.config.load import load_pipeline
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import HOUR
from spark_jobs.runtime.scheduler import spark_pool
from spark_jobs.steps import plan


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
            FetchDrop(
                task_id=f"fetch_{source}",
                pipeline=name,
                source=source,
                pool="default_pool",
                **look_options(conf, hourly.retries),
            )
            for source, conf in pipeline.sources.fetched().items()
        ]
        drops_ready = DropsReady(
            task_id="drops_ready", pipeline=name, poke_interval=LOOK_EVERY, timeout=hourly.wait, pool="default_pool",
            trigger_rule="all_done",  # a failed fetch may have landed its drop before; what is missing makes the hour late
        )  # fmt: skip
        last = hour_tasks(name, drops_ready)
        announce = Announce(
            task_id="announce", pipeline=name, step=plan.HOUR_STEPS[-1].name, outlets=[hour_asset(name)]
        )
        fetched >> drops_ready
        last >> announce
    return dag


def hour_tasks(name: str, first: BaseOperator) -> BaseOperator:
    """The steps of an hour one after the other behind `first`, each followed by its gates; returns the last task."""
    last = first
    for step in plan.HOUR_STEPS:
        task = SparkStep(
            task_id=step.name, pipeline=name, step=step.name, gated=bool(step.gates), pool=spark_pool(name)
        )
        gates = [Gate(task_id=f"gate_{scope}", pipeline=name, step=step.name, scope=scope) for scope in step.gates]
        for following in (task, *gates):
            last >> following
            last = following
    return last
