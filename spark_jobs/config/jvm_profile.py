"""What one Spark application may take and how its JVMs are tuned: `spark.hourly` and `spark.bulk` of an environment.

Settings on which results or security depend belong to the code (`runtime/spark.py`); a profile cannot set them.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from spark_jobs.config.secrets import names_secret
from spark_jobs.config.section import Scalar, Section

_SETTING = re.compile(r"spark\.[A-Za-z][A-Za-z0-9_.\-]*")
_JVM_OPTION = re.compile(r"-XX:(?:[+\-][A-Za-z0-9]+|[A-Za-z0-9]+=[\w.,:/%\-]+)")
# What runtime/spark.py sets or spark-submit gets by arguments; a test compares this with the settings of every step.
_SET_BY_CODE = re.compile(
    r"spark\.(?:app\.name|authenticate\b.*|cores\.max|default\.parallelism|driver\.(?:bindAddress|extra\w+|host|memory)"
    r"|eventLog\..*|executor\.(?:cores|extra\w+|memory)|executorEnv\.TZ|hadoop\.parquet\.page\.verify-checksum\.enabled"
    r"|log\.level|master\b.*|network\.crypto\..*|python\.sql\.dataFrameDebugging\.enabled"
    r"|scheduler\.m\w+RegisteredResources\w+|sql\.ansi\.enabled"
    r"|sql\.execution\.(?:arrow\.pyspark|pythonUDF\.arrow)\.enabled|sql\.parquet\.outputTimestampType"
    r"|sql\.session\.timeZone|sql\.shuffle\.partitions|sql\.sources\.parallelPartitionDiscovery\.threshold"
    r"|sql\.warehouse\.dir|ui\.(?:enabled|showConsoleProgress))"
)

# Other settings of spark.sql may change rows: caseSensitive, mapKeyDedupPolicy, files.ignoreCorruptFiles, all of legacy.
_SPEED_OF_SQL = (
    *(
        "adaptive",
        "autoBroadcastJoinThreshold",
        "broadcastTimeout",
        "cbo",
        "codegen",
        "execution.arrow.maxRecordsPerBatch",
    ),
    *("execution.sortBeforeRepartition", "files.maxPartitionBytes", "files.maxPartitionNum", "files.minPartitionNum"),
    *(
        "files.openCostInBytes",
        "inMemoryColumnarStorage",
        "join",
        "objectHashAggregate",
        "optimizer",
        "parquet.compression",
    ),
    *("sort", "statistics", "subquery"),
)


def _changes_rows(name: str) -> bool:
    of_sql = name.removeprefix("spark.sql.")
    return of_sql != name and not any(of_sql == one or of_sql.startswith(f"{one}.") for one in _SPEED_OF_SQL)


def _setting(name: str) -> str:
    if not _SETTING.fullmatch(name):
        raise ValueError(
            f"'{name}' is not a Spark setting; write its full name, for example spark.sql.adaptive.enabled"
        )
    if _SET_BY_CODE.fullmatch(name):
        raise ValueError(
            f"'{name}' is set by tidegate; remove it (memory_mb, cores and jvm_options have keys of their own)"
        )
    if _changes_rows(name):
        raise ValueError(
            f"'{name}' may change what a step computes; of spark.sql a profile may set {', '.join(_SPEED_OF_SQL)}"
        )
    if names_secret(name):
        raise ValueError(f"'{name}' may hold a secret, and settings are visible in the list of processes; remove it")
    return name


def _jvm_option(value: str) -> str:
    if not _JVM_OPTION.fullmatch(value) or value.startswith("-XX:AOT"):
        raise ValueError(f"'{value}' is not an option -XX: without AOT; write one such as -XX:+UseSerialGC")
    return value


class JvmProfile(Section):
    """What one Spark application may take, and how its JVMs are tuned."""

    memory_mb: int = Field(ge=512, description="driver heap in MiB, for example 1024")
    cores: int = Field(ge=1, description="cores of a local master, for example 2")
    shuffle_partitions: int = Field(ge=1, description="spark.sql.shuffle.partitions, for example 2")
    jvm_options: list[Annotated[str, AfterValidator(_jvm_option)]] = Field(
        default=[],
        description="options -XX: of driver and executors, none: the JVM's defaults; the start-up cache of `make setup`"
        " belongs to those of `hourly`, so run that again after a change; example: [-XX:+UseSerialGC]",
    )
    conf: dict[Annotated[str, AfterValidator(_setting)], Scalar] = Field(
        default={},
        description="other Spark settings by their full names, none: Spark's defaults; of `spark.sql` only those that make a step"
        " faster or slower, not those that change rows; Spark ignores names that it does not know;"
        " example: {spark.sql.adaptive.enabled: false}",
    )

    def settings(self) -> dict[str, str]:
        """`conf` as spark-submit takes it: every value as text."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in self.conf.items()
        }
