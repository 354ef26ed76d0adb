"""Drop hours with other versions of the keys of an interval: what a read of hours near the interval would miss."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_rows import AT, CALLS, at

from spark_jobs.config.tables import EventWithin
from spark_jobs.invocation import HOUR
from spark_jobs.lake import staging
from spark_jobs.lake.hours import ALL_HOURS, at_most, complement, overlap, whole_hours
from spark_jobs.lake.moved_keys import KeyedRows, TileHours, hours_elsewhere, tile_hours
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.ledger import Ledger, folds

TABLE, KEY = "silver/things", ("thing", "from")  # a reserved word among the key columns
COLUMNS = {"thing": pa.string(), "from": pa.int32(), "hour": AT, "event_at": AT, "known_at": AT, "pub": pa.int64()}
SCHEMA = json.dumps(
    {
        "type": "struct",
        "fields": [
            {"name": name, "type": kind, "nullable": True, "metadata": {}}
            for name, kind in zip(
                [*COLUMNS, "day"], ["string", "integer", *["timestamp"] * 3, "long", "date"], strict=True
            )
        ],
    }
)
WITHIN = EventWithin(lateness=2 * HOUR, ahead=HOUR)
Row = tuple[str, int, int]  # thing, hour, hour of event_at
Lake = Callable[..., KeyedRows]


def write(root: Path, pub: int, rows: list[Row]) -> list[Path]:
    """One file per day of rows that `pub` staged."""
    paths = []
    for day, of_day in groupby(sorted(rows, key=lambda row: row[1]), key=lambda row: at(row[1]).date()):
        values = [(thing, 1, at(hour), at(event), at(hour + 1), pub) for thing, hour, event in of_day]
        path = root / TABLE / f"pub-{pub}" / f"day={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        records = [dict(zip(COLUMNS, row, strict=True)) for row in values]
        pq.write_table(pa.Table.from_pylist(records, schema=pa.schema(list(COLUMNS.items()))), path)
        paths.append(path)
    return paths


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A function that publishes rows, several lists one after the other, and returns them with staged ones."""

    def build(*published: list[Row], staged: list[Row] | None = None) -> KeyedRows:
        ledger = Ledger.open(tmp_path)
        for rows in published:
            pub = ledger.start(CALLS, "code", "conf", None)
            write(tmp_path, pub, rows)
            files = {TABLE: staging.staged_files(tmp_path, TABLE, pub, SCHEMA)}
            hours = [hour for _, hour, _ in rows]
            covers = {TABLE: (at(min(hours)), at(max(hours) + 1))}
            publish(ledger, Publication(pub, "hour", covers, files, None, frozenset()))
        paths = tuple(write(tmp_path, 99, staged)) if staged is not None else None
        return KeyedRows(tmp_path, TABLE, KEY, folds.live(ledger.line()), paths)

    return build


def hours_read(rows: KeyedRows, start: int, end: int) -> TileHours:
    return tile_hours(rows, at(start), at(end), WITHIN)


def spans(*hours: tuple[int, int]) -> tuple[tuple[object, object], ...]:
    return tuple((at(low), at(high)) for low, high in hours)


NEAR = TileHours(spans((98, 102)), spans((96, 105)))  # of hour 100


def test_keys_that_stay_near_add_no_hour(lake: Lake) -> None:
    rows = lake([("a", 98, 98), ("b", 10, 10)], [("a", 101, 101)], staged=[("a", 100, 99)])
    assert hours_read(rows, 100, 101) == NEAR


def test_a_staged_key_adds_the_tile_and_the_hours_of_its_version_far_away(lake: Lake) -> None:
    """Event hour 9 lies in drop hours 7 to 11: at most an hour ahead of the hour's end, two hours late."""
    rows = lake([("a", 10, 9), ("b", 30, 30)], [("c", 99, 99)], staged=[("a", 100, 100)])
    assert hours_read(rows, 100, 101) == TileHours(spans((9, 10), (98, 102)), spans((7, 13), (96, 105)))


def test_a_published_key_that_is_no_longer_staged_adds_the_hours_of_its_other_version(lake: Lake) -> None:
    published = [("a", 10, 9)], [("a", 100, 100)]
    expected = TileHours(spans((9, 10), (98, 102)), spans((7, 13), (96, 105)))
    assert hours_read(lake(*published, staged=[]), 100, 101) == expected


def test_a_table_that_is_not_staged_moves_no_key_but_reads_all_versions(lake: Lake) -> None:
    rows = lake([("a", 10, 9)], [("a", 100, 100)])
    assert hours_read(rows, 100, 101) == TileHours(NEAR.event_hours, spans((10, 11), (96, 105)))


def test_an_event_beyond_those_of_the_interval_is_far_though_its_drop_hour_is_near(lake: Lake) -> None:
    rows = lake([("a", 97, 95)], staged=[("a", 100, 100)])
    assert hours_read(rows, 100, 101) == TileHours(spans((95, 96), (98, 102)), spans((93, 105)))


def test_versions_of_other_keys_in_the_hours_read_are_read_too(lake: Lake) -> None:
    """`b` is near the interval, `c` near the tile that `a` leaves; only their drop hours are added, no tile."""
    rows = lake(
        [("a", 10, 9), ("c", 11, 11), ("d", 60, 60)],
        [("b", 30, 30)],
        [("c", 50, 50)],
        [("b", 99, 99)],
        staged=[("a", 100, 100)],
    )
    assert hours_read(rows, 100, 101) == TileHours(
        spans((9, 10), (98, 102)), spans((7, 13), (30, 31), (50, 51), (96, 105))
    )


def test_rows_of_a_publication_that_is_not_live_are_ignored(lake: Lake) -> None:
    rows = lake([("a", 10, 9)], [("z", 100, 100)], staged=[("a", 100, 100)])
    dead = KeyedRows(rows.root, rows.table, rows.key, frozenset(sorted(rows.pubs)[1:]), rows.staged)
    assert hours_read(rows, 100, 101) != NEAR
    assert hours_read(dead, 100, 101) == NEAR


def test_nothing_is_queried_where_the_key_decides_the_event_or_no_other_hour_has_rows(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = lake([("a", 100, 100)], [("a", 10, 9)], staged=[("a", 100, 100)])
    monkeypatch.setattr("spark_jobs.lake.moved_keys.connect", None)
    assert tile_hours(rows, at(100), at(101), WITHIN, key_decides_event=True) == NEAR
    assert hours_read(rows, 10, 101) == TileHours(spans((8, 102)), spans((6, 105)))
    with pytest.raises(TypeError):
        hours_read(rows, 100, 101)


def test_a_file_without_a_possible_key_is_not_read(lake: Lake) -> None:
    """Its pages are destroyed: only the statistics in its footer can be read. Control: a key within its range."""
    rows = lake([("m", 10, 9), ("p", 10, 9)], [("z", 99, 99)], staged=[("z", 100, 100)])
    [old] = (rows.root / TABLE).glob(f"pub-{min(rows.pubs)}/*/*.parquet")
    size, footer = old.stat().st_size, pq.read_metadata(old).serialized_size + 8
    old.write_bytes(b"PAR1" + b"\xff" * (size - footer - 4) + old.read_bytes()[-footer:])
    assert hours_read(rows, 100, 101) == NEAR
    with pytest.raises(duckdb.Error):
        hours_elsewhere(rows, ALL_HOURS, ALL_HOURS)


def test_hours_before_a_bound_with_versions_of_keys_after_it(lake: Lake) -> None:
    rows = lake([("a", 10, 9), ("b", 20, 20)], [("a", 50, 50), ("c", 60, 60)])
    assert hours_elsewhere(rows, [(at(40), None)], [(None, at(40))]) == list(spans((10, 11)))
    assert hours_elsewhere(rows, [(at(55), None)], [(None, at(55))]) == []


def test_ranges_of_hours() -> None:
    half = timedelta(minutes=30)
    assert whole_hours(at(3) + half, at(5)) == (at(3), at(5))
    assert whole_hours(at(3), at(5) + half) == (at(3), at(6))
    assert at_most(spans((1, 2), (4, 5), (6, 7), (20, 21)), 2) == list(spans((1, 7), (20, 21)))
    assert complement(spans((1, 2), (4, 5))) == [(None, at(1)), (at(2), at(4)), (at(5), None)]
    assert overlap(at(2), at(3), complement(spans((1, 3))))
    assert not overlap(at(1), at(2), complement(spans((1, 3))))
    assert overlap(None, None, [(at(1), at(2))])
