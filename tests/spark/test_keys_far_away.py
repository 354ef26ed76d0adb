"""Keys that move far: tiles, cells and as-of joins of a table whose key does not decide its event equal plain SQL.

The table allows events of the drop's hour and of the hour before, so that versions of a key more than a few hours apart are
outside of the hours that a publication reads without looking for them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs.config import load_pipeline
from spark_jobs.features import silver_hours
from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.lake.healing import plan_heal
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from tests.spark.readings import FIRST, NAME, Readings

SENSORS = ("a", "b")
IDS = 30
SEED = 20240501
_PLANS = """  plans:
    source: plans
    grain: one row per prediction
    key: [sensor, due]
    event_at: {use: hours_before, columns: [due], options: {hours: 2}}
    event_within: {lateness: 1h, ahead: 1h}
    columns:
      sensor: {type: string, required: true, meaning: Sensor.}
      due: {type: timestamp, required: true, meaning: Instant that is predicted.}
"""
_SOURCE = """  plans:
    kind: files
    manifests: plans/{day}/{hour}.manifest.json
    format: csv
    columns: [sensor, due]
"""
_FEATURES = """spine:
  table: plans
  event_at: due
  predict_before: 1h
  entities: {sensor: [sensor]}
  missed: {severity: warning}
windows:
  recent:
    table: readings
    entities: [sensor]
    measures:
      i: {use: itself, columns: [i]}
    windows: [3h, 24h]
    aggregations:
      - {name: readings, op: count}
      - {name: sum_i, op: sum, of: i}
as_of:
  last:
    table: readings
    entity: sensor
    staleness: 4h
    columns: [i]
"""
_SUITE = """table: {}
rules:
  - {{id: present, type: expect_column_values_to_not_be_null, column: {}, scope: row, budget: 1, why: tests}}
"""
TILES = """
SELECT key, event_hour, n, sum_i FROM "tiles/readings" WHERE n > 0"""
ROWS = """
SELECT sensor, date_trunc('hour', "at"), count(*), sum(i)::BIGINT FROM "silver/readings" GROUP BY ALL"""
RECENT = 'SELECT key, as_of, readings_3h, readings_24h, sum_i_3h, sum_i_24h FROM "features/recent"'
RECENT_BY_SQL = """
SELECT c.key, c.as_of, count(r.id) FILTER (r."at" >= c.as_of - INTERVAL 3 HOURS), count(r.id),
       sum(r.i) FILTER (r."at" >= c.as_of - INTERVAL 3 HOURS)::BIGINT, sum(r.i)::BIGINT
FROM "features/recent" c LEFT JOIN "silver/readings" r
    ON r.sensor = c.key AND r."at" < c.as_of AND r."at" >= c.as_of - INTERVAL 24 HOURS
GROUP BY ALL"""
LAST = 'SELECT key, as_of, i FROM "features/last"'
LAST_BY_SQL = """
SELECT c.key, c.as_of, CASE WHEN r."at" >= c.as_of - INTERVAL 4 HOURS THEN r.i END
FROM "features/last" c ASOF LEFT JOIN "silver/readings" r ON r.sensor = c.key AND r."at" < c.as_of"""


class Lake(Readings):
    """The readings, keyed by id, with an hourly prediction for each sensor as the spine."""

    def write(self, **changes: Any) -> Lake:
        """Write conf/ and expectations/."""
        super().write(**changes)
        conf, rules = self.project / f"conf/pipelines/{NAME}", self.project / f"expectations/{NAME}"
        tables = conf / "tables.yaml"
        tables.write_text(tables.read_text().replace("lateness: 24h", "lateness: 1h") + _PLANS)
        sources = conf / "sources.yaml"
        sources.write_text(sources.read_text() + _SOURCE)
        (conf / "features.yaml").write_text(_FEATURES)
        for table, column in (("plans", "sensor"), ("features/recent", "key"), ("features/last", "key")):
            (rules / f"{table.replace('/', '_')}.yaml").write_text(_SUITE.format(table, column))
        return self

    def plan(self, hour: datetime, *more: tuple[str, datetime], arrived: timedelta = HOUR) -> None:
        """The drop of the spine: a prediction as of the hour's end for each sensor, and `more` (sensor, due)."""
        stream, rows = io.StringIO(newline=""), [*((sensor, hour + 2.5 * HOUR) for sensor in SENSORS), *more]
        csv.writer(stream).writerows([("sensor", "due"), *((sensor, f"{due:%FT%TZ}") for sensor, due in rows)])
        data = stream.getvalue().encode()
        folder = self.data / "landing" / NAME / "plans" / f"{hour:%F}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{hour:%H}.csv").write_bytes(data)
        facts = {"schema_version": 1, "source": "plans", "hour": f"{hour:%FT%T}", "file": f"{hour:%H}.csv",
                 "rows": len(rows), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                 "arrived_at": f"{hour + arrived:%FT%T}Z"}  # fmt: skip
        (folder / f"{hour:%H}.manifest.json").write_text(json.dumps(facts))

    def differences(self, *queries: tuple[str, str], known_by: datetime | None = None) -> list[Any]:
        """Rows of which only one query of a pair has some, for readers of the newest release, or as known."""
        pipeline, line = load_pipeline(NAME, self.project), self.ledger.line()
        with connect(self.root) as connection:
            for table, kind in table_kinds(pipeline).items():
                register_current(connection, self.root, table, kind, line, table, known_by=known_by)
            found = []
            for pair in queries:
                left, right = (set(connection.execute(sql).fetchall()) for sql in pair)
                found.extend(sorted(left ^ right, key=repr))
        return found

    def wrong_cells(self, as_of: datetime, known_by: datetime | None = None) -> list[Any]:
        """Cells as of an instant that plain SQL over silver computes otherwise."""
        where = f" WHERE as_of = TIMESTAMPTZ '{as_of.isoformat()}'"
        pairs = ((RECENT, RECENT_BY_SQL), (LAST, LAST_BY_SQL))
        return self.differences(
            *[tuple(f"FROM ({sql}) {where}" for sql in pair) for pair in pairs], known_by=known_by
        )  # fmt: skip


@dataclass
class Upstream:
    """Delivers readings, repeats hours with other rows, and remembers what it delivered."""

    lake: Lake
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    drops: dict[datetime, dict[str, dict[str, str]]] = field(default_factory=dict)
    versions: dict[datetime, int] = field(default_factory=dict)

    def deliver(self, hour: datetime, now: datetime, ids: list[str] | None = None) -> None:
        """The hour's drop, which arrives in the hour `now`; given no ids, some of the last version and some random ones."""
        before = self.drops.get(hour, {})
        if ids is None:
            kept = [key for key in before if self.chance.random() < 0.6]
            ids = [*kept, *self.chance.sample([str(n) for n in range(IDS) if str(n) not in kept], 4 - len(kept) // 2)]
        self.drops[hour] = {key: self._row(hour, before.get(key)) for key in ids}
        self.versions[hour] = self.versions.get(hour, 0) + 1
        rows = [{"id": key, **row} for key, row in self.drops[hour].items()]
        arrived = now - hour + (timedelta(minutes=30) if now > hour else HOUR)
        self.lake.deliver(hour, rows, version=self.versions[hour], arrived=arrived)

    def _row(self, hour: datetime, before: dict[str, str] | None) -> dict[str, str]:
        if before and self.chance.random() < 0.5:
            return before
        at = hour - HOUR + timedelta(microseconds=self.chance.randrange(7200 * 10**6))
        return {"at": f"{at:%FT%T.%fZ}", "sensor": self.chance.choice(SENSORS), "i": str(self.chance.randrange(1000))}


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """An empty lake."""
    lake = Lake(tmp_path / "project", tmp_path / "data", spark).write()
    for hour in hours_between(FIRST, FIRST + 30 * HOUR):
        lake.plan(hour)
    return lake


@pytest.mark.long
def test_windows_equal_sql_while_keys_move_far(lake: Lake) -> None:
    """Random moves, repeated hours, hours out of order and two bulk runs; at the end all is healed."""
    upstream = Upstream(lake)
    late, early = FIRST + 5 * HOUR, FIRST + 7 * HOUR  # one arrives late; one arrives in time and is published late
    for hour in hours_between(FIRST, FIRST + 11 * HOUR):
        if hour != late:
            upstream.deliver(hour, hour)
        if hour == FIRST + 9 * HOUR:
            upstream.deliver(late, hour)
            _publish(lake, early)
            _publish(lake, late)
        elif hour in (FIRST + 4 * HOUR, FIRST + 6 * HOUR, FIRST + 8 * HOUR, FIRST + 10 * HOUR):
            again = FIRST + upstream.chance.randrange((hour - FIRST) // HOUR - 3) * HOUR
            upstream.deliver(again, hour)
            _publish(lake, again)
        if hour not in (late, early):
            _publish(lake, hour)
            assert lake.wrong_cells(hour + HOUR) == []
    now = FIRST + 14 * HOUR
    for hour in hours_between(FIRST + 11 * HOUR, now):
        upstream.deliver(hour, hour)
    _publish(lake, FIRST + 11 * HOUR, 3)
    for hour in hours_between(FIRST + HOUR, FIRST + 4 * HOUR):
        taken = next(key for key in upstream.drops[now - 2 * HOUR] if key not in upstream.drops[hour])
        upstream.deliver(hour, now, [*list(upstream.drops[hour])[1:], taken])
    _publish(lake, FIRST + HOUR, 3)
    upstream.deliver(now, now)
    _publish(lake, now)
    assert lake.wrong_cells(now + HOUR) == []

    # an hour that is published late changes a tile no earlier than later hours did: docs/design/adr/0005
    for known_by in {*hours_between(FIRST + HOUR, now + 2 * HOUR)} - {FIRST + 8 * HOUR}:
        assert lake.differences((TILES, ROWS), known_by=known_by) == [], known_by
    for as_of in {*hours_between(FIRST + HOUR, now + HOUR)} - {FIRST + 8 * HOUR, FIRST + 9 * HOUR}:
        assert lake.wrong_cells(as_of, known_by=as_of) == [], as_of
    stale = plan_heal(load_pipeline(NAME, lake.project), lake.root, lake.ledger).stale
    assert stale
    assert lake.run("heal", stale[0], (stale[1] - stale[0]) // HOUR).exit_code == 0
    assert lake.differences((RECENT, RECENT_BY_SQL), (LAST, LAST_BY_SQL)) == []


def _publish(lake: Lake, start: datetime, hours: int = 1) -> None:
    """Publish the hours; afterwards the tiles equal plain SQL."""
    lake.publish(start, hours)
    assert lake.differences((TILES, ROWS)) == []


def test_a_key_leaves_a_tile_far_away_and_returns_to_it(lake: Lake) -> None:
    assert list(_far_moves(lake)) == [[]] * 5


def test_control_publications_that_read_near_hours_only_are_wrong(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row counts twice, and a value stays in an as-of join that an older hour has taken over.

    In between the tiles are right by chance: the row that was not taken out of its former tile counts there again.
    """
    monkeypatch.setattr(silver_hours, "key_decides_event", lambda work, name: True)
    first, ahead, _, taken, cells = _far_moves(lake)
    assert first == []
    assert ahead
    assert taken
    assert {len(row) for row in cells} == {3, 6}  # of both groups


def _far_moves(lake: Lake) -> Iterator[list[Any]]:
    """What differs from plain SQL after each publication: four times tiles, then cells.

    Key 1 moves nine hours ahead; its new hour comes again without it; then the first hour takes key 2 over from there.
    """
    upstream = Upstream(lake)
    first, ahead, newest = FIRST, FIRST + 9 * HOUR, FIRST + 11 * HOUR
    for hour, now, ids in (
        (first, first, ["1", "4"]), (ahead, ahead, ["1", "2"]), (ahead, ahead + HOUR, ["2"]),
        (first, newest, ["1", "2", "4"]), (newest, newest, []),
    ):  # fmt: skip
        upstream.deliver(hour, now, ids)
        lake.publish(hour)
        yield lake.wrong_cells(newest + HOUR) if hour == newest else lake.differences((TILES, ROWS))


def test_a_spine_row_repeated_in_too_old_an_hour_is_predicted_for_in_a_backfill(lake: Lake) -> None:
    """Looked for from two hours before its as_of on: the later version is not, so that it does not replace the earlier one."""
    for file, old, new in (
        ("features.yaml", "predict_before: 1h", "predict_before: 1h\n  announced_within: 3h"),
        ("tables.yaml", "ahead: 1h", "ahead: 4h"),
    ):
        path = lake.project / f"conf/pipelines/{NAME}" / file
        path.write_text(path.read_text().replace(old, new))
    upstream, row = Upstream(lake), ("c", FIRST + 6.5 * HOUR)
    for hour in hours_between(FIRST, FIRST + 5 * HOUR):
        upstream.deliver(hour, hour)
    lake.plan(FIRST + 2 * HOUR, row)
    lake.plan(FIRST, row, arrived=3.5 * HOUR)
    lake.publish(FIRST, 5)
    found = lake.ask("SELECT sensor, hour, known_at FROM silver_plans WHERE sensor = 'c'")
    assert found == [("c", FIRST, FIRST + 4 * HOUR)]
    assert lake.ask("SELECT as_of FROM features_recent WHERE key = 'c'") == [(FIRST + 5 * HOUR,)]


def test_a_tile_that_a_moved_key_empties_in_a_backfill_is_empty_at_once(lake: Lake) -> None:
    """Not only once the backfill's last hour is known: cells of its earlier hours would count the key where it left."""
    moved, last = FIRST + HOUR, FIRST + 2 * HOUR
    lake.deliver(FIRST, [{"id": "1", "at": f"{FIRST:%FT%H}:10:00Z", "sensor": "a"}], arrived=1.5 * HOUR)
    lake.publish(FIRST)
    lake.deliver(moved, [{"id": "1", "at": f"{moved:%FT%H}:20:00Z", "sensor": "b"}])
    lake.deliver(last, [])
    lake.publish(moved, 2)
    assert lake.differences((TILES, ROWS)) == []
    for as_of in (moved + HOUR, last + HOUR):
        assert lake.wrong_cells(as_of) == [], as_of
        assert lake.differences((TILES, ROWS), known_by=as_of) == [], as_of
