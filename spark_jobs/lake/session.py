"""The Spark session of a step or a test; every setting comes from `runtime`, so that both mean the same."""

from __future__ import annotations

import os
import shlex
import time
from typing import Literal

from pyspark.sql import SparkSession

from spark_jobs.config import load_environment
from spark_jobs.runtime import process_environment, spark_conf
from spark_jobs.runtime.spark import AUTH_SECRET


def submitted_session() -> SparkSession:
    """The session of a submitted application: spark-submit already carries master and settings, but for a cluster's secret.

    That comes from the environment to here, since arguments are for everybody to see.
    """
    secret = os.environ.get(AUTH_SECRET)
    builder = SparkSession.builder
    return (builder.config("spark.authenticate.secret", secret) if secret else builder).getOrCreate()


def local_session(
    *, master: str = "local[2]", jvm: Literal["hourly", "bulk"] = "hourly", memory_mb: int = 1024, partitions: int = 2
) -> SparkSession:
    """A session in this process with the settings of profile `jvm` of environment `local`; for tests and notebooks."""
    spark = load_environment("local")[0].spark
    cores = int(master.removeprefix("local[").removesuffix("]"))
    taken = {"cores": cores, "shuffle_partitions": partitions}
    conf = spark_conf({"hourly": spark.hourly, "bulk": spark.bulk}[jvm].model_copy(update=taken))
    os.environ.update(process_environment())
    starts_with = [  # what a JVM must know before it runs; a builder is too late for it
        *("--driver-memory", f"{memory_mb}m"),
        *("--driver-java-options", shlex.quote(conf.pop("spark.driver.extraJavaOptions"))),
        *("--driver-class-path", conf.pop("spark.driver.extraClassPath")),
        "pyspark-shell",
    ]
    os.environ["PYSPARK_SUBMIT_ARGS"] = " ".join(starts_with)
    time.tzset()
    builder = SparkSession.builder.master(master).appName("tidegate-local")
    for name, value in conf.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
