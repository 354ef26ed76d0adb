"""`<pipeline>_daily`: cells that late or corrected rows made wrong are healed, then the lake is maintained.

heal -> maintain -> day_done

A heal that fails does not keep the lake from being maintained; `day_done` then fails the run.
"""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from dag_builder.due import HealDue, Maintain
from dag_builder.hourly import task_defaults
from dag_builder.partition import DAY, hour_param, looks_back
from spark_jobs.config.load import load_pipeline
from spark_jobs.runtime.scheduler import spark_pool


def daily_dag(name: str) -> DAG:
    """The daily DAG of the pipeline `name`. A missed day is not caught up: each run looks at all stale hours.

    Raises:
        UsageError: conf/ has faults.
    """
    pipeline = load_pipeline(name)
    daily = pipeline.schedules.daily
    with DAG(
        dag_id=f"{name}_daily",
        description=f"one day of {name}: heal, maintenance",
        **looks_back(pipeline, daily.cron, DAY),
        catchup=False,
        max_active_runs=1,
        default_args=task_defaults(pipeline, daily.timeout),
        params=hour_param("any hour of the pipeline, when the run has no partition key"),
        tags=[name, "daily"],
        doc_md=__doc__,
    ) as dag:
        heal = HealDue(task_id="heal", pipeline=name, step="heal", pool=spark_pool(name))
        maintain = Maintain(task_id="maintain", pipeline=name, pool="default_pool", trigger_rule="all_done")
        done = EmptyOperator(task_id="day_done", pool="default_pool")  # the last task alone decides the state of a run
        heal >> maintain >> done
        heal >> done
    return dag
