"""How a Spark process of a run is configured and started: its settings, its environment, its command line.

Knows the machine and no table: what a step reads or writes is the stages' business.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from spark_jobs.config.environment import ClusterSection, Environment, Places
from spark_jobs.config.jvm_profile import JvmProfile
from spark_jobs.errors import UsageError
from spark_jobs.runtime import places, startup_cache
from spark_jobs.runtime.jars import jar_paths

AUTH_SECRET = "_SPARK_AUTH_SECRET"  # Spark's own name; in the environment, so in no argument and no log
STEP_SCRIPT = Path(__file__).parents[1] / "submit" / "run_step.py"
TRIAL_SCRIPT = STEP_SCRIPT.with_name("run_trial.py")
_LOG_CONFIG = Path(__file__).with_name("log4j2.properties")

_FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.pythonUDF.arrow.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # A flipped byte in a Parquet file otherwise changes a sum silently.
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    # A step names the files that it reads: looking each of them up in the driver is quicker than a job of tasks for it.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
    # PySpark otherwise asks the JVM for its session and settings whenever a column is built, to name the line of Python in
    # errors of Spark. That is half of all calls to the JVM; the step's traceback names the line too.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
    # On since Spark 4.1, and takes submissions without authentication.
    "spark.master.rest.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def spark_conf(profile: JvmProfile) -> dict[str, str]:
    """Every Spark setting of a step with `profile` on this machine, except master and memory.

    Raises:
        UsageError: a locked jar is not in the cache (`make setup`).
    """
    jars = jar_paths()
    flags = profile.jvm_options
    logging = f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}"
    start = startup_cache.flags(flags, jars)
    class_path = os.pathsep.join(str(path) for path in jars)
    return {
        **_FIXED,
        **profile.settings(),
        "spark.default.parallelism": str(profile.cores),
        "spark.sql.shuffle.partitions": str(profile.shuffle_partitions),
        # Not spark.jars: its class loader cannot use the start-up cache, and every executor would copy the jars.
        "spark.driver.extraClassPath": class_path,
        "spark.executor.extraClassPath": class_path,
        "spark.sql.warehouse.dir": str(places.cache_dir() / "warehouse"),
        "spark.driver.extraJavaOptions": " ".join([*flags, logging, "-Duser.timezone=UTC", *start]),
        "spark.executor.extraJavaOptions": " ".join([*flags, "-Duser.timezone=UTC", *start]),
    }


def step_conf(environment: Environment, where: Places, step: str, hours: int) -> tuple[JvmProfile, dict[str, str]]:
    """The profile of `step` over `hours` hours in this environment, and every Spark setting except master and memory.

    Raises:
        UsageError: a locked jar is not in the cache, or a cluster is asked for without its secret.
    """
    _, profile = environment.profile(step, hours)
    conf = spark_conf(profile)
    if environment.spark.cluster:
        conf |= _cluster_conf(environment.spark.cluster, where)
    return profile, conf


def _cluster_conf(cluster: ClusterSection, where: Places) -> dict[str, str]:
    """What differs when executors run elsewhere: they must find the driver, and both must prove who they are."""
    if not os.environ.get(AUTH_SECRET):
        raise UsageError(
            f"environment, master {AUTH_SECRET}",
            "the variable is not set",
            "the secret that master and workers have",
            "run the command in a container of `make up`, or export it",
        )
    conf = {
        "spark.driver.host": socket.gethostname(),
        "spark.driver.bindAddress": "0.0.0.0",
        "spark.executor.cores": str(cluster.cores),
        "spark.executor.memory": f"{cluster.memory_mb}m",
        "spark.executorEnv.TZ": "UTC",
        "spark.cores.max": str(cluster.executors * cluster.cores),
        "spark.default.parallelism": str(cluster.executors * cluster.cores),
        # A step's work is spread over all executors: they are there 4 to 9 s after its start, its first job after 7 to 18 s.
        # Where a worker is down, each step goes on with the others after this time.
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "15s",
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
    }
    if cluster.events:
        folder = where.data / cluster.events
        folder.mkdir(parents=True, exist_ok=True)
        conf |= {
            "spark.eventLog.enabled": "true",
            "spark.eventLog.compress": "false",
            "spark.eventLog.dir": folder.as_uri(),
        }
    return conf


def process_environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Environment variables to lay over `os.environ` before a JVM or a Python worker starts; `extra` wins.

    Names this environment's Python, Spark and Java, so that a shell's own SPARK_HOME or python3 is never taken, and
    keeps every library silent towards the network.
    """
    python = sys.executable
    return {
        "JAVA_HOME": str(places.java_home()),
        "SPARK_HOME": str(places.spark_home()),
        "PYSPARK_PYTHON": python,
        "PYSPARK_DRIVER_PYTHON": python,
        "SPARK_LOCAL_IP": "127.0.0.1",
        # The launcher is a JVM of 0.3 s that only prints the command of the real one.
        "SPARK_LAUNCHER_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "TZ": "UTC",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "SCARF_ANALYTICS": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        **(extra or {}),
    }


def startup_cache_file(profile: JvmProfile) -> Path | None:
    """Where the start-up cache of the JVMs of `profile` belongs; None for a Java that has no such cache."""
    return startup_cache.cache_file(profile.jvm_options, jar_paths())


def submit_command(words: list[str], *, master: str, memory_mb: int, conf: dict[str, str], name: str) -> list[str]:
    """The command that runs one step: spark-submit of this environment's pyspark, the step script, `words`.

    Run it with `{**os.environ, **process_environment()}`; its exit code is the step's.

    Args:
        words: the invocation's argv.
        master: `local[N]`, `spark://host:port` …
        memory_mb: heap of the driver, MiB.
        conf: from `spark_conf`, with what the caller changed.
        name: shown in Spark's own pages and logs.
    """
    return submit_script(STEP_SCRIPT, words, master=master, memory_mb=memory_mb, conf=conf, name=name)


def submit_script(
    script: Path, words: list[str], *, master: str, memory_mb: int, conf: dict[str, str], name: str
) -> list[str]:
    """As `submit_command`, for another Python script than a step's."""
    command = [str(places.spark_home() / "bin" / "spark-submit"), "--master", master, "--name", name]
    command += ["--driver-memory", f"{memory_mb}m"]
    for key in sorted(conf):
        command += ["--conf", f"{key}={conf[key]}"]
    return [*command, str(script), *words]
