"""After every heal all cells equal plain SQL over the rows of silver that readers see, whatever happened between two heals."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.invocation import HOUR
from spark_jobs.lake.healing import plan_heal
from tests.spark.conftest import NOW, PAST, Site
from tests.spark.test_oracle import WEATHER

HOURS_OF = {"3h": 3, "24h": 24, "7d": 168, "28d": 672}
COLUMNS = {
    "departures": "count(r.event_at) FILTER ({w})",
    "mean_delay_min": "avg(r.departure_delay_min) FILTER ({w})",
    "share_late": "avg((r.departure_delay_min >= 15)::INT) FILTER ({w})",
}
WANTED = {
    f"{name}_{label}": sql.format(w=f"WHERE r.event_at >= c.as_of - INTERVAL {hours} HOURS")
    for name, sql in COLUMNS.items()
    for label, hours in HOURS_OF.items()
}
WINDOWS = f"""
WITH rows AS (
    SELECT e.entity, e.key, d.event_at, d.departure_delay_min FROM silver_departures d, LATERAL (
        VALUES ('carrier', d.carrier), ('origin', d.origin), ('plane', d.tail_number)) AS e(entity, key))
SELECT c.entity, c.key, c.as_of, {", ".join(WANTED.values())}
FROM features_departures c LEFT JOIN rows r ON r.entity = c.entity AND r.key = c.key AND r.event_at < c.as_of
    AND r.event_at >= c.as_of - INTERVAL 672 HOURS
GROUP BY ALL"""
AS_OF = f"""
SELECT c.entity, c.key, c.as_of, {
    ", ".join(f"CASE WHEN w.observed_at >= c.as_of - INTERVAL 6 HOURS THEN w.{name} END" for name in WEATHER)
}
FROM features_weather c ASOF LEFT JOIN silver_weather w ON w.origin = c.key AND w.observed_at < c.as_of"""
LOOK_UPS = """
SELECT c.entity, c.key, c.as_of, p.built_year, p.engines, p.seats
FROM features_planes c ASOF LEFT JOIN silver_planes p ON p.tail_number = c.key AND p.changed_at <= c.as_of"""
GROUPS = {
    "departures": (list(WANTED), WINDOWS),
    "weather": (list(WEATHER), AS_OF),
    "planes": (["built_year", "engines", "seats"], LOOK_UPS),
}
Cell = tuple[str, str, datetime]


def wrong_cells(site: Site) -> dict[str, list[Cell]]:
    """Of every group the cells that readers see and that plain SQL over silver computes otherwise."""
    wrong: dict[str, list[Cell]] = {}
    with site.reader() as connection:
        for group, (columns, sql) in GROUPS.items():
            seen = connection.execute(
                f"SELECT entity, key, as_of, {', '.join(columns)} FROM features_{group}"
            ).fetchall()
            expected = {row[:3]: row[3:] for row in connection.execute(sql).fetchall()}
            assert len(seen) == len(expected) > 100
            assert set(Counter(row[:3] for row in seen).values()) == {1}
            wrong[group] = sorted(row[:3] for row in seen if not _same(row[3:], expected[row[:3]]))
    return {group: cells for group, cells in wrong.items() if cells}


def _same(seen: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    return all(
        a == b or (None not in (a, b) and math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9))
        for a, b in zip(seen, expected, strict=True)
    )


def heal(site: Site) -> int:
    """What `tidegate heal` does; number of restated cells. Afterwards every cell is right, and nothing is left to do."""
    stale = plan_heal(site.pipeline, site.root, site.ledger).stale
    assert stale, "nothing to heal"
    result = site.run("heal", stale[0], (stale[1] - stale[0]) // HOUR, f"heal {site.ledger.line()[-1].release}")
    assert result.exit_code == 0, result.why
    assert wrong_cells(site) == {}
    assert plan_heal(site.pipeline, site.root, site.ledger).stale is None
    return sum(result.rows.values())


@pytest.fixture
def site(past: Site, tmp_path: Path) -> Site:
    """Three days as one publication, with three more hours delivered."""
    return past.copy(tmp_path / "data")


def test_every_cell_is_right_after_each_heal_whatever_was_published_between(site):
    """Corrections known after the as_of of hours that are published later, late registers, rollbacks, single hours."""
    assert wrong_cells(site).keys() == {"planes"}  # the register of the 30th hour was known an hour after it held
    heal(site)

    # a correction arrives two hours after the newest hour: the hours published after it are as of an earlier time
    corrected = NOW - 10 * HOUR
    head, *lines = gzip.decompress(site.file_of("departures", corrected).read_bytes()).splitlines(keepends=True)
    kept = [line for number, line in enumerate(lines) if number % 7]
    site.hand_in("departures", corrected, gzip.compress(head + b"".join(kept), mtime=0), len(kept), minutes=681)
    site.publish(corrected, dag_run="corrected")
    assert max(as_of for _, _, as_of in wrong_cells(site)["departures"]) == NOW  # cells of the newest hour, too
    heal(site)
    site.publish(NOW)
    assert {as_of for _, _, as_of in wrong_cells(site)["departures"]} == {NOW + HOUR}
    heal(site)
    assert plan_heal(site.pipeline, site.root, site.ledger).stale is None

    # a register for the past, an hour healed alone, and an hour published between two heals
    site.register(PAST + 50 * HOUR, every=2, more_seats=11)
    site.publish(PAST + 50 * HOUR, dag_run="register")
    assert site.run("heal", PAST + 60 * HOUR).exit_code == 0
    site.publish(NOW + HOUR)
    before_last = site.ledger.line()[-1].release
    assert heal(site) > 100

    # a rollback takes the heal away, and its undoing brings it back
    healed = site.ledger.line()[-1].release
    site.ledger.rollback("nycflights13", before_last, "test")
    assert wrong_cells(site)
    site.ledger.rollback("nycflights13", healed, "undo")
    assert plan_heal(site.pipeline, site.root, site.ledger).stale is None
    assert wrong_cells(site) == {}
