"""The small real job whose loaded classes fill the start-up cache: what an ordinary step touches, on a handful of rows.

Handed to spark-submit by `make setup` only. No package, so that nothing of spark_jobs imports pyspark through it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F


def rows(spark: SparkSession) -> DataFrame:
    """Ten keys over two days, one row an hour: key string, event_at timestamp, amount double, day date."""
    hours = spark.range(480).select(
        F.concat(F.lit("k"), (F.col("id") % 10).cast("string")).alias("key"),
        F.timestamp_seconds(F.col("id") * 360 + F.lit(1_356_998_400)).alias("event_at"),
        F.try_divide(F.col("id"), F.lit(7)).alias("amount"),
    )
    return hours.withColumn("day", F.to_date("event_at"))


def same_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Every batch as it came: what matters is the way to the Python worker and back."""
    yield from batches


def main(folder: Path) -> None:
    """Run the job once below `folder`."""
    spark = SparkSession.builder.getOrCreate()
    staged, table = str(folder / "staged"), str(folder / "table")
    events = rows(spark)
    events.write.partitionBy("day").parquet(staged)
    latest = Window.partitionBy("key").orderBy(F.col("event_at").desc())
    running = Window.partitionBy("key").orderBy("event_at").rowsBetween(-3, 0)
    typed = spark.read.schema(events.schema).parquet(staged).mapInArrow(same_batches, events.schema)
    ranked = typed.withColumn("rank", F.row_number().over(latest)).withColumn("total", F.sum("amount").over(running))
    ranked.coalesce(1).write.mode("overwrite").partitionBy("day").parquet(table)
    stored = spark.read.schema(ranked.schema).option("basePath", table).parquet(table)
    daily = stored.groupBy("key", "day").agg(
        F.count("*").alias("n"), F.avg("amount").alias("mean"), F.max("total").alias("most")
    )
    joined = stored.join(F.broadcast(daily), ["key", "day"], "left").where(F.col("rank") <= 5)
    joined.orderBy("key", "event_at").limit(20).collect()
    joined.select("key", "mean").toPandas()
    stored.where("day = DATE'2013-01-01'").agg(F.count_if(F.col("amount") > 1), F.countDistinct("key")).collect()
    spark.createDataFrame([("k1", 1)], "key string, times int").join(daily, "key").write.json(str(folder / "json"))
    spark.stop()


main(Path(sys.argv[1]))
