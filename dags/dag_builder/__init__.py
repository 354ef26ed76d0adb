"""Builds a pipeline's DAGs from conf/; every file of dags/ is one pipeline and calls this package.

Nothing here imports pyspark, delta, great_expectations or mlflow, and the ledger only inside tasks: a DAG file is
parsed again for each task.
"""
