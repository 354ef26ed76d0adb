"""The gate's cost: CPU seconds of 25 rules over 3.4 million rows of 20 columns, beside one scan and plain Great Expectations.

`make bench` prints a table; ratios count, not seconds. The JVM's start, imports and a first pass are not counted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from measure import Rows, measured, table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.config.suites import Rule
from spark_jobs.lake.session import local_session
from spark_jobs.quality import decide, measures, suites
from spark_jobs.quality.split import split_rows
from spark_jobs.verdict import Outcome

ROWS, SEED = 3_400_000, 1
HOUR = datetime(2013, 11, 1, 12, tzinfo=UTC)


def written(spark: SparkSession, folder: Path, rows: int) -> DataFrame:
    """Grain: number. 20 columns of seeded values: 4 ints, 8 doubles with nulls, 6 codes with nulls, an instant, the hour."""
    if not (folder / "_SUCCESS").exists():
        ids = spark.range(rows, numPartitions=8)
        ints = [(F.rand(SEED + i) * 10**i).cast("int").alias(f"i{i}") for i in range(1, 4)]
        doubles = [F.when(F.rand(20 + i) > 0.01 * i, F.randn(40 + i) * 10 + 50).alias(f"d{i}") for i in range(8)]
        codes = [
            F.when(F.rand(60 + i) > 0.01, F.concat(F.lit("C"), (F.rand(80 + i) * 90 + 10).cast("int"))).alias(f"c{i}")
            for i in range(6)
        ]
        instant = F.timestamp_add("SECOND", (F.rand(99) * 3600).cast("int"), F.lit(HOUR)).alias("at")
        ids.select(
            F.col("id").alias("number"), *ints, *doubles, *codes, instant, F.lit(HOUR).alias("hour")
        ).write.parquet(str(folder))
    return spark.read.parquet(str(folder))


def rules(unique: bool) -> list[Rule]:
    """25 rules that the rows obey, on every column: 17 of rows, 8 of the hour; with `unique` one of them is a unique key."""
    made: list[tuple[str, dict[str, object], str]] = []
    made += [("expect_column_values_to_be_between", {"min_value": -200, "max_value": 200}, f"d{i}") for i in range(8)]
    made += [("expect_column_values_to_match_regex", {"regex": "^C[0-9]{2}$"}, f"c{i}") for i in range(5)]
    made += [("expect_column_values_to_be_between", {"min_value": 0, "max_value": 10**i}, f"i{i}") for i in (1, 2, 3)]
    made += [("expect_column_values_to_not_be_null", {}, "at")]
    hourly: list[tuple[str, dict[str, object], str]] = [
        *(("expect_column_mean_to_be_between", {"min_value": 40, "max_value": 60}, f"d{i}") for i in range(3)),
        *(("expect_column_max_to_be_between", {"max_value": 200}, f"d{i}") for i in range(3)),
        ("expect_column_stdev_to_be_between", {"min_value": 5, "max_value": 20}, "d3"),
        ("expect_column_proportion_of_non_null_values_to_be_between", {"min_value": 0.9}, "c5"),
    ]
    if unique:
        made[-1] = ("expect_column_values_to_be_unique", {}, "number")
    row = [
        Rule(id=f"r{n}", type=t, args=a, column=c, scope="row", budget=0, why="bench")
        for n, (t, a, c) in enumerate(made)
    ]  # type: ignore[arg-type]
    hour = [Rule(id=f"h{n}", type=t, args=a, column=c, scope="hour", why="bench") for n, (t, a, c) in enumerate(hourly)]  # type: ignore[arg-type]
    return [*row, *hour]


def scan(frame: DataFrame, _: list[Rule]) -> int:
    """Every value of every column read once."""
    return int(frame.agg(F.count("*"), F.sum(F.xxhash64(*frame.columns) % 1000)).first()[0])  # type: ignore[index]


def ours(frame: DataFrame, wanted: list[Rule]) -> int:
    """Split, counts and hour measures in one pass, then the decision: what a backfill does with each table."""
    row = [rule for rule in wanted if rule.scope == "row"]
    tests, errors = suites.row_tests(frame, row, "hour")
    split = split_rows(frame, {rule: test.broken for rule, test in tests.items()})
    hourly = [rule for rule in wanted if rule.scope == "hour"]
    tallies = measures.read_tallies(measures.hour_measures(split, list(tests), hourly), list(tests), hourly)
    results = [*decide.row_results(row, tallies), *decide.hour_results(hourly, tallies, [HOUR]), *errors]
    assert [result.outcome for result in results] == [Outcome.PASS] * len(wanted), results
    return tallies[0].rows


def our_gx(frame: DataFrame, wanted: list[Rule]) -> int:
    """All rules judged by Great Expectations as our gate asks it: nothing cached, BOOLEAN_ONLY."""
    results = suites.validate(frame, wanted, ROWS)
    assert [result.outcome for result in results] == [Outcome.PASS] * len(wanted), results
    return ROWS


def plain_gx(frame: DataFrame, wanted: list[Rule]) -> int:
    """Great Expectations with its own defaults: the batch cached, every rule's unexpected values collected."""
    import great_expectations as gx

    batch = (
        suites._context().data_sources.add_or_update_spark("plain").add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    )  # fmt: skip
    answer = batch.validate(gx.ExpectationSuite("plain", expectations=[suites._expectation(rule) for rule in wanted]))
    assert answer.success, answer
    frame.sparkSession.catalog.clearCache()
    return ROWS


def main() -> None:
    """Write the rows, measure, print."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, default=Path("var/bench"))
    words.add_argument("--rows", type=int, default=ROWS)
    asked = words.parse_args()
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    suites.warm_up().join()
    spark = local_session(jvm="bulk", memory_mb=4096, partitions=2)
    frame = written(spark, asked.data.resolve() / f"gate-{asked.rows}", asked.rows)
    rows: Rows = []
    ways: dict[str, Callable[[DataFrame, list[Rule]], int]] = {
        "one scan of every value": scan, "ours: split, counted, measured": ours,
        "Great Expectations as our gate asks it": our_gx, "Great Expectations with its defaults": plain_gx,
    }  # fmt: skip
    jobs: list[int] = []
    for unique in (False, True):
        wanted = rules(unique)
        for what, way in ways.items():
            if unique and way is scan:
                continue
            way(frame, wanted)  # JIT, class loading
            group = f"{what} {unique}"
            spark.sparkContext.setJobGroup(group, what)
            with measured(rows, what + (", one key unique" if unique else "")) as count:
                count.append(way(frame, wanted))
            jobs.append(len(spark.sparkContext.statusTracker().getJobIdsForGroup(group)))
    table(rows, {0: range(len(rows))}, "of a scan", {"Spark jobs": jobs})


if __name__ == "__main__":
    main()
