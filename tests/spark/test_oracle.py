"""Published features, read by DuckDB, equal a plain computation from the packaged files; a view of the future does not.

The oracle shares no code with the pipeline: joins over rows, no tiles, no publications.
"""

from __future__ import annotations

import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spark_jobs.sources.history import data_folder

WINDOWS = {"3h": 3, "24h": 24, "7d": 168, "28d": 672}
WEATHER = {
    "temperature_f": "temp",
    "dew_point_f": "dewp",
    "humidity_pct": "humid",
    "wind_direction_deg": "wind_dir",
    "wind_speed_mph": "wind_speed",
    "wind_gust_mph": "wind_gust",
    "precipitation_in": "precip",
    "pressure_hpa": "pressure",
    "visibility_mi": "visib",
}


@pytest.fixture(scope="module")
def hourly(morning: Any) -> Any:
    """Three days in one run, three hours one by one."""
    return morning.site


@pytest.fixture(scope="module")
def history(hourly: Any, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Tables plans and facts (a flight), weather (an airport and hour): what of the package was delivered."""
    folder, files = tmp_path_factory.mktemp("history"), data_folder(hourly.pipeline.replay)
    with zipfile.ZipFile(files / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    line = hourly.ledger.line()
    start, end = (pick(h for r in line for h in (r.covers[0][1:])) for pick in (min, max))
    return delivered(folder / "flights.csv", files / "weather.csv", start, end)


def delivered(flights: Path, weather: Path, start: Any, end: Any) -> duckdb.DuckDBPyConnection:
    """The package's rows whose drop lies in [start, end)."""
    c = duckdb.connect()
    c.execute("SET TimeZone = 'UTC'")
    c.execute(
        """CREATE TABLE flights AS
        SELECT time_hour::TIMESTAMPTZ + to_minutes(minute::BIGINT) AS scheduled_at, carrier, origin,
               nullif(tailnum, 'NA') AS plane, try_cast(dep_delay AS INT) AS delay
        FROM read_csv(?, all_varchar = true)""",
        [str(flights)],
    )
    c.execute(
        """CREATE TABLE plans AS SELECT * FROM flights
           WHERE scheduled_at - INTERVAL 24 HOURS >= $low AND scheduled_at - INTERVAL 24 HOURS < $high""",
        {"low": start, "high": end},
    )
    c.execute(
        """CREATE TABLE facts AS
        SELECT scheduled_at + to_minutes(coalesce(delay, 0)::BIGINT) AS event_at, delay, (delay >= 15)::INT AS late, carrier,
               origin, CASE WHEN scheduled_at - INTERVAL 24 HOURS >= $low THEN plane END AS plane
        FROM flights WHERE event_at >= $low AND event_at < $high""",
        {"low": start, "high": end},
    )
    values = ", ".join(f"try_cast({theirs} AS DOUBLE) AS {ours}" for ours, theirs in WEATHER.items())
    c.execute(
        f"""CREATE TABLE weather AS SELECT origin, time_hour::TIMESTAMPTZ AS observed_at, {values}
            FROM read_csv(?, all_varchar = true) WHERE observed_at >= ? AND observed_at < ?""",
        [str(weather), start, end],
    )
    c.execute(
        """CREATE TABLE spine AS
        SELECT DISTINCT scheduled_at - INTERVAL 2 HOURS AS prediction_at, carrier, origin, plane,
               date_trunc('hour', scheduled_at - INTERVAL 2 HOURS) AS as_of
        FROM plans WHERE as_of BETWEEN $low + INTERVAL 1 HOUR AND $high""",
        {"low": start, "high": end},
    )
    return c


def windows(history: duckdb.DuckDBPyConnection, ahead: int = 0) -> list[tuple[Any, ...]]:
    """Every cell that the spine demands; `ahead` hours of the future are seen by an oracle that is wrong."""
    columns = {
        "departures": "count(f.event_at) FILTER ({w})::INT",
        "mean_delay_min": "avg(f.delay) FILTER ({w})",
        "share_late": "avg(f.late) FILTER ({w})",
    }
    wanted = ", ".join(
        made.format(w=f"WHERE f.event_at >= s.as_of - INTERVAL {hours} HOURS") + f" AS {name}_{label}"
        for name, made in columns.items()
        for label, hours in WINDOWS.items()
    )
    parts = [
        f"""SELECT '{entity}' AS entity, s.{entity} AS key, s.as_of, {wanted}
            FROM (SELECT DISTINCT {entity}, as_of FROM spine WHERE {entity} IS NOT NULL) s
            LEFT JOIN facts f ON f.{entity} = s.{entity} AND f.event_at < s.as_of + INTERVAL {ahead} HOURS
              AND f.event_at >= s.as_of - INTERVAL 672 HOURS
            GROUP BY ALL"""
        for entity in ("carrier", "origin", "plane")
    ]
    return history.execute(" UNION ALL ".join(parts) + " ORDER BY ALL").fetchall()


def weather(history: duckdb.DuckDBPyConnection, as_of: str = "as_of") -> list[tuple[Any, ...]]:
    """The newest observation before `as_of` and at most 6 hours old, for every origin and hour of the spine."""
    found = ", ".join(f"CASE WHEN w.observed_at >= {as_of} - INTERVAL 6 HOURS THEN w.{name} END" for name in WEATHER)
    return history.execute(
        f"""SELECT DISTINCT 'origin', s.origin, s.as_of, {found}
            FROM spine s ASOF LEFT JOIN weather w ON s.origin = w.origin AND w.observed_at < {as_of}
            ORDER BY ALL"""
    ).fetchall()


def register(hourly: Any, as_of: str = "as_of") -> list[tuple[Any, ...]]:
    """What the registers that were there at `as_of` say of each aircraft of the spine; they come when their hour is over."""
    files = [str(path) for path in hourly.landing.glob("planes/*/*.jsonl.gz")]
    c = hourly.reader()
    c.execute(
        """CREATE TABLE rows AS SELECT tailnum AS key, changed_at::TIMESTAMPTZ + INTERVAL 1 HOUR AS known_at, year, engines, seats
           FROM read_json($files, format = 'newline_delimited', columns = {tailnum: 'VARCHAR', changed_at: 'VARCHAR',
                year: 'INT', engines: 'INT', seats: 'INT'})""",
        {"files": files},
    )
    return c.execute(
        f"""SELECT entity, s.key, as_of, r.year, r.engines, r.seats
            FROM (SELECT entity, key, as_of FROM features_departures WHERE entity = 'plane') s
            ASOF LEFT JOIN rows r ON s.key = r.key AND r.known_at <= {as_of} ORDER BY ALL"""
    ).fetchall()


def published_windows(hourly: Any) -> list[tuple[Any, ...]]:
    names = [f"{name}_{label}" for name in ("departures", "mean_delay_min", "share_late") for label in WINDOWS]
    return hourly.ask(f"SELECT entity, key, as_of, {', '.join(names)} FROM features_departures ORDER BY ALL")


def published_weather(hourly: Any) -> list[tuple[Any, ...]]:
    return hourly.ask(f"SELECT entity, key, as_of, {', '.join(WEATHER)} FROM features_weather ORDER BY ALL")


def test_every_published_window_equals_the_oracle(hourly: Any, history: duckdb.DuckDBPyConnection) -> None:
    found, expected = published_windows(hourly), windows(history)
    assert found == expected
    assert len(found) > 2000
    assert sum(row[3] > 0 for row in found) > 400  # the windows are not empty


def test_every_cell_records_the_published_hours_of_its_longest_window(hourly: Any) -> None:
    """All hours from the first on are published, in one run or one by one: as many as there are before as_of."""
    first = min(start for release in hourly.ledger.line() for _, start, _ in release.covers)
    found = hourly.ask("SELECT DISTINCT as_of, covered_h FROM features_departures ORDER BY 1")
    assert found == [(as_of, (as_of - first) // timedelta(hours=1)) for as_of, _ in found]
    assert len(found) > 40  # no flights leave at night


def test_every_published_weather_equals_the_oracle(hourly: Any, history: duckdb.DuckDBPyConnection) -> None:
    found = published_weather(hourly)
    assert found == weather(history)
    assert sum(row[3] is not None for row in found) > 100


def test_every_published_look_up_equals_the_oracle(hourly: Any) -> None:
    """Two changes after the first register; the last one came in an hour that was run by itself."""
    found = hourly.ask("SELECT entity, key, as_of, built_year, engines, seats FROM features_planes ORDER BY ALL")
    assert found == register(hourly)
    seats: dict[str, set[int]] = {}
    for _, key, _, _, _, number in found:
        seats.setdefault(key, set()).add(number)
    assert sum(len(numbers) > 1 for numbers in seats.values()) > 50
    assert found != register(hourly, as_of="as_of + INTERVAL 1 HOUR")  # an oracle that sees an hour of the future
    assert found != register(hourly, as_of="as_of - INTERVAL 1 HOUR")


def test_a_slowly_changing_table_shows_until_when_each_row_holds(hourly: Any) -> None:
    """An aircraft of all three registers: two rows that end where the next begins, and one that still holds."""
    asked = "SELECT changed_at, valid_to, seats FROM silver_planes WHERE tail_number = 'N10156' ORDER BY 1"
    first, second, third = hourly.ask(asked)
    assert (first[1], second[1], third[1]) == (second[0], third[0], None)
    assert (second[2] - first[2], third[2] - first[2]) == (5, 9)


def test_the_hours_run_one_by_one_are_among_the_compared(hourly: Any) -> None:
    as_ofs = {row[2] for row in published_windows(hourly)}
    last = max(r.covers[0][2] for r in hourly.ledger.line())
    assert {last - timedelta(hours=at) for at in range(3)} <= as_ofs


def test_an_oracle_that_sees_one_hour_of_the_future_differs(hourly: Any, history: duckdb.DuckDBPyConnection) -> None:
    found, wrong = published_windows(hourly), windows(history, ahead=1)
    assert [row[:3] for row in found] == [row[:3] for row in wrong]
    assert sum(a != b for a, b in zip(found, wrong, strict=True)) > 200


def test_an_oracle_that_joins_weather_at_the_prediction_time_differs(
    hourly: Any, history: duckdb.DuckDBPyConnection
) -> None:
    assert published_weather(hourly) != weather(history, as_of="prediction_at")
