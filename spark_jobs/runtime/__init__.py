"""The machine's side of a run: which Java and jars, the start-up cache, how a step is started, doctor's checks.

Imports no pyspark, Delta, Great Expectations, MLflow or Airflow: dags/ imports this room at parse.
"""

from spark_jobs.runtime.spark import process_environment, spark_conf, step_conf, submit_command

__all__ = ["process_environment", "spark_conf", "step_conf", "submit_command"]
