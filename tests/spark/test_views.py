"""Views on a Spark session show the rows that readers without a JVM see: at any release, and as known at any hour."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql.types import StructType

from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.lake.tables import Lake
from spark_jobs.lake.views import register_views, view_name
from tests.spark.conftest import NAME, NOW, Site
from tests.spark.delta_reader import seen_by_delta

COLUMNS = "SELECT column_name, column_type FROM (DESCRIBE {}) ORDER BY column_name"


@pytest.fixture(scope="module")
def views(morning: Any) -> Any:
    """Rows of every view of the morning's lake by its name; each question is asked of Spark once."""

    @cache
    def rows(release: int | None = None, known_by: datetime | None = None) -> dict[str, pa.Table]:
        spark = morning.site.spark
        with morning.site.here():
            made = register_views(spark, NAME, release, known_by)
        seen = {name: spark.table(name).toArrow() for name in made}  # three days: a few thousand rows
        for name in made:  # the session serves other tests
            spark.catalog.dropTempView(name)
        return seen

    return rows


def _different(site: Site, seen: dict[str, pa.Table], release: int | None, known_by: datetime | None) -> dict[str, int]:
    """Rows of each table, by any column, that one engine shows and the other does not."""
    found, line = {}, site.ledger.line(release)
    with connect(site.root) as connection:
        for table, kind in table_kinds(site.pipeline).items():
            name = view_name(table)
            there = register_current(connection, site.root, table, kind, line, name, known_by=known_by)
            assert there == (name in seen), table
            if there:
                connection.register("on_spark", seen[name])
                columns = connection.execute(COLUMNS.format(name)).fetchall()
                assert connection.execute(COLUMNS.format("on_spark")).fetchall() == columns
                listed = ", ".join(f'"{column}"' for column, _ in columns)
                counts = [
                    connection.execute(
                        f"SELECT count(*) FROM (SELECT {listed} FROM {a} EXCEPT ALL SELECT {listed} FROM {b})"
                    ).fetchall()[0][0]
                    for a, b in (("on_spark", name), (name, "on_spark"))
                ]
                found |= {name: sum(counts)} if sum(counts) else {}
    return found


@pytest.mark.parametrize(
    ("release", "known_by"),
    [(None, None), (1, None), (3, None), (None, NOW - 24 * HOUR), (3, NOW + HOUR), (None, NOW + 99 * HOUR)],
    ids=["newest", "first", "older", "as_known", "older_as_known", "as_known_at_last"],
)
def test_every_view_on_spark_shows_what_readers_without_a_jvm_see(morning, views, release, known_by):
    """Every table of the pipeline, every column."""
    seen = views(release, known_by)
    assert seen.keys() >= {"silver_departures", "tiles_departures", "features_departures", "accounts"}
    assert _different(morning.site, seen, release, known_by) == {}
    assert seen["silver_departures"].num_rows > 1000


def test_deltas_own_reader_on_spark_sees_the_rows_that_a_step_reads(morning):
    """A step reads the files that the log names, without Delta's reader: to the tables' other users they are Delta tables."""
    site, tables = morning.site, ["silver/departures", "tiles/departures", "features/departures", "accounts"]
    lake = Lake(site.spark, site.root, site.pipeline, site.ledger.line())
    for table, told in zip(tables, seen_by_delta(*[site.root / table for table in tables]), strict=True):
        frame = lake.versions(table)
        assert StructType.fromJson(json.loads(told["schema"])).simpleString() == frame.schema.simpleString()
        assert told["rows"] == sorted(frame.toJSON().collect())
        assert len(told["rows"]) > 100


def test_an_older_release_and_an_earlier_hour_show_fewer_rows(morning, views):
    """A control of the test above: the arguments are heard."""
    rows = [views(*asked)["silver_departures"].num_rows for asked in ((), (3,), (1,), (None, NOW - 24 * HOUR))]
    assert rows == sorted(set(rows), reverse=True)
    newest = views()
    assert _different(morning.site, newest, 1, None).keys() >= {"silver_departures", "tiles_departures", "accounts"}
    assert "silver_departures" in _different(morning.site, newest, None, NOW - 24 * HOUR)


def test_as_known_at_last_is_what_is_current(morning, views):
    current, known = views(), views(None, NOW + 99 * HOUR)
    assert {name: rows.num_rows for name, rows in known.items()} == {
        name: rows.num_rows for name, rows in current.items()
    }


def test_the_data_folder_may_be_named(morning, monkeypatch):
    """A notebook elsewhere; the environment's own folder has no release."""
    monkeypatch.setenv("TIDEGATE_DATA", "/nowhere")
    with pytest.raises(UsageError, match="nothing is released yet"):
        register_views(morning.site.spark, NAME)
    assert "silver_departures" in register_views(morning.site.spark, NAME, data=morning.site.data)


def test_what_cannot_be_shown_is_refused(morning):
    """No such release; an instant that could be meant in any time zone; no such pipeline."""
    with morning.site.here():
        with pytest.raises(UsageError, match="no release 99"):
            register_views(morning.site.spark, NAME, 99)
        with pytest.raises(UsageError, match="has no time zone"):
            register_views(morning.site.spark, NAME, known_by=NOW.replace(tzinfo=None))
        with pytest.raises(UsageError, match="no pipeline"):
            register_views(morning.site.spark, "nycflight13")


def test_a_damaged_log_is_told_and_not_read_as_a_shorter_one(morning, tmp_path):
    """Spark takes a commit without a byte, as a power failure leaves it, for a commit of nothing."""
    site = morning.site.copy(tmp_path / "data")
    commit = max((site.root / "silver/departures/_delta_log").glob("*.json"))
    commit.unlink()  # the copy may share its bytes with the lake of other tests
    commit.touch()
    with site.here(), pytest.raises(UsageError, match="the commit is empty"):
        register_views(site.spark, NAME)
