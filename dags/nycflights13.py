"""The Airflow DAGs of the pipeline nycflights13; a fault in its conf/ breaks this file alone."""

from dag_builder.daily import daily_dag
from dag_builder.hourly import hourly_dag
from dag_builder.weekly import weekly_dag

hourly = hourly_dag("nycflights13")
daily = daily_dag("nycflights13")
weekly = weekly_dag("nycflights13")
