"""Frames of rows that the driver has."""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import SparkSession
from pyspark.sql.types import LongType, StructField, StructType, TimestampType

from spark_jobs.frames import local_frame

SCHEMA = StructType([StructField("hour", TimestampType()), StructField("pub", LongType(), False)])
HOUR = datetime(2024, 5, 1, 20, tzinfo=UTC)


def _jobs(spark: SparkSession) -> int:
    return int(spark._jsc.sc().dagScheduler().numTotalJobs())


def test_rows_of_a_local_frame_need_no_job(spark: SparkSession) -> None:
    for rows in ([(HOUR, 3), (None, 4)], []):
        frame, before = local_frame(spark, rows, SCHEMA), _jobs(spark)
        assert frame.schema == SCHEMA
        found = frame.selectExpr("unix_seconds(hour)", "pub").collect()
        assert [tuple(row) for row in found] == [(at and int(at.timestamp()), pub) for at, pub in rows]
        assert _jobs(spark) == before
