"""`<pipeline>_weekly`: a week's published hours become a gated training set and a model that had to beat the champion.

week_ready -> training_set -> gate_training_set -> train -> score -> announce_model
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset

from dag_builder.due import ScoreDue
from dag_builder.gates import Announce, Gate, WeekReady
from dag_builder.hourly import hour_asset, task_defaults
from dag_builder.partition import WEEK, catches_up, hour_param, looks_back
from dag_builder.spark_step import SparkStep
from spark_jobs.config.load import load_pipeline
from spark_jobs.runtime.scheduler import spark_pool

LOOK_EVERY = timedelta(minutes=10)


def model_asset(pipeline: str) -> Asset:
    """The asset whose event says that the week of its partition key was trained and judged."""
    return Asset(name=f"{pipeline}_model", uri=f"{pipeline}://model")


def weekly_dag(name: str) -> DAG:
    """The weekly DAG of the pipeline `name`.

    It runs on a clock: a roll-up of hourly events fires as soon as its minimum is reached, and so cannot wait for a week's
    end. Its inlet names the hours' asset for people to see and does not change when it runs.

    Raises:
        UsageError: conf/ has faults.
    """
    pipeline = load_pipeline(name)
    weekly = pipeline.schedules.weekly
    with DAG(
        dag_id=f"{name}_weekly",
        description=f"one week of {name}: training set, gate, training, promotion",
        **looks_back(pipeline, weekly.cron, WEEK),
        catchup=catches_up(),
        max_active_runs=1,
        default_args=task_defaults(pipeline, weekly.timeout),
        params=hour_param("the first hour of the week, when the run has no partition key"),
        tags=[name, "weekly"],
        doc_md=__doc__,
    ) as dag:
        week_ready = WeekReady(
            task_id="week_ready", pipeline=name, width=WEEK, min_hours=weekly.min_hours, deadline=weekly.deadline,
            poke_interval=LOOK_EVERY, timeout=weekly.deadline + WEEK, pool="default_pool", inlets=[hour_asset(name)],
        )  # fmt: skip
        training_set = SparkStep(
            task_id="training_set", pipeline=name, step="training_set", width=WEEK, gated=True, pool=spark_pool(name)
        )
        gate = Gate(task_id="gate_training_set", pipeline=name, step="training_set", scope="training_set", width=WEEK)
        train = SparkStep(task_id="train", pipeline=name, step="train", width=WEEK, pool=spark_pool(name))
        score = ScoreDue(task_id="score", pipeline=name, step="score", width=WEEK, pool=spark_pool(name))
        announce = Announce(
            task_id="announce_model", pipeline=name, step="train", width=WEEK, outlets=[model_asset(name)]
        )
        week_ready >> training_set >> gate >> train >> score >> announce
    return dag
