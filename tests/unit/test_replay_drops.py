"""The replay of a packaged history: every row once, in its hour, nothing else, and the same bytes each time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.sources import SourcesConf
from spark_jobs.errors import UsageError
from spark_jobs.sources.drops import Drop, check_drop, find_drops, known_at
from spark_jobs.sources.faults import Faults, Held
from spark_jobs.sources.history import HOUR_SECONDS, data_folder, hourly_text, read_history, source_columns
from spark_jobs.sources.replay import replay

PIPELINE = Path(__file__).parents[2] / "conf" / "pipelines" / "nycflights13"
CONF = ReplayConf.model_validate(yaml.safe_load((PIPELINE / "replay.yaml").read_text()))
SOURCES = SourcesConf.model_validate(yaml.safe_load((PIPELINE / "sources.yaml").read_text()))
HOUR = timedelta(hours=1)
H12 = datetime(2013, 11, 1, 12, tzinfo=UTC)
FALL_BACK = datetime(2013, 11, 3, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def history() -> list[dict[str, str]]:
    """The package's own rows of the days from 2013-10-31 to 11-05, read by the standard library only."""
    with zipfile.ZipFile(data_folder(CONF) / "flights.csv.zip") as archive:
        rows = csv.DictReader(io.StringIO(archive.read("flights.csv").decode()))
        return [row for row in rows if "2013-10-31" <= row["time_hour"] < "2013-11-06"]


@pytest.fixture(scope="module")
def small(history: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayConf]:
    """The same replay over an installed package that holds these days only."""
    root = tmp_path_factory.mktemp("site")
    data = root / "small_history" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise ImportError('the history must not be imported')")
    text = io.StringIO()
    writer = csv.DictWriter(text, history[0].keys())
    writer.writeheader()
    writer.writerows(history)
    with zipfile.ZipFile(data / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", text.getvalue())
    for name in ("weather.csv", "planes.csv"):
        (data / name).write_bytes((data_folder(CONF) / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield CONF.model_copy(update={"package": "small_history"})


def rows_of(drop: Drop) -> list[dict[str, str]]:
    text = gzip.decompress(Path(drop.path).read_bytes()).decode()
    if drop.file.endswith(".jsonl.gz"):
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text)))


def drops_of(landing: Path, source: str, start: datetime, hours: int) -> list[Drop]:
    found = find_drops(SOURCES, landing, source, [start + at * HOUR for at in range(hours)])
    return [found[hour] for hour in sorted(found)]


def instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@pytest.mark.parametrize("name", list(CONF.sources))
def test_every_row_of_the_history_is_in_exactly_one_drop(name: str) -> None:
    """The hours of replay.yaml hold all of it: as many lines as rows, none outside, none twice."""
    source = CONF.sources[name]
    table = read_history(data_folder(CONF) / source.file, source_columns(source), source.nulls)
    text = hourly_text(table, source, {}, FALL_BACK)
    first, end = (int(at.timestamp()) // HOUR_SECONDS for at in (CONF.start, CONF.end))
    drops = [text.of_hour(hour) for hour in range(first, end)]
    lines = b"".join(data.removeprefix(text.header) for data, _ in drops)
    assert sum(rows for _, rows in drops) == len(table) == lines.count(b"\n")
    assert len(lines) == len(text.data)


def test_departures_lie_in_the_hour_in_which_they_left_and_cancelled_ones_at_their_scheduled_hour(
    tmp_path: Path, small: ReplayConf, history: list[dict[str, str]]
) -> None:
    """Two days around the change of clocks, against an oracle in plain Python over the whole history."""
    expected: Counter[tuple[str, ...]] = Counter()
    for row in history:
        scheduled = instant(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
        delay = row["dep_delay"] if row["dep_delay"] != "NA" else ""
        hour = (scheduled + timedelta(minutes=int(delay or 0))).replace(minute=0)
        if FALL_BACK <= hour < FALL_BACK + 48 * HOUR:
            key = (f"{scheduled:%Y-%m-%dT%H:%M:%SZ}", row["carrier"], row["flight"], row["origin"], delay)
            expected[(f"{hour:%d %H}", *key)] += 1
    replay(small, tmp_path, FALL_BACK, FALL_BACK + 48 * HOUR, only=["departures"])
    found: Counter[tuple[str, ...]] = Counter()
    for drop in drops_of(tmp_path, "departures", FALL_BACK, 48):
        for row in rows_of(drop):
            assert list(row) == ["scheduled_at", "carrier", "flight", "origin", "dep_delay"]
            found[(f"{drop.hour:%d %H}", *row.values())] += 1
    assert found == expected
    assert any(key[-1] == "" for key in found)


def test_T1_an_hour_that_comes_twice_on_the_wall_is_delivered_as_two_hours(tmp_path: Path, small: ReplayConf) -> None:
    """The package has three (origin, local hour) keys twice; by time_hour, which is UTC, every row is its own."""
    rows = list(csv.DictReader(io.StringIO((data_folder(CONF) / "weather.csv").read_text())))
    local = Counter(tuple(row[name] for name in ("origin", "year", "month", "day", "hour")) for row in rows)
    twice = {(place, "2013", "11", "3", "1") for place in ("EWR", "JFK", "LGA")}
    assert {key for key, count in local.items() if count > 1} == twice
    first = FALL_BACK + 5 * HOUR  # one o'clock in New York, in summer time
    replay(small, tmp_path, first, first + 2 * HOUR, only=["weather"])
    for drop in drops_of(tmp_path, "weather", first, 2):
        delivered = sorted((row["origin"], instant(row["time_hour"])) for row in rows_of(drop))
        assert delivered == [(place, drop.hour) for place in ("EWR", "JFK", "LGA")]
    assert len({(row["origin"], row["time_hour"]) for row in rows}) == len(rows)


def test_T3_a_departure_at_2400_or_past_midnight_lies_in_the_hour_of_the_next_day() -> None:
    """The day rolls: 2400 is the first minute of the next day; against dep_time and a zone of the standard library."""
    with zipfile.ZipFile(data_folder(CONF) / "flights.csv.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("flights.csv").decode())))
    source = CONF.sources["departures"]
    names = source_columns(source)
    text = hourly_text(read_history(data_folder(CONF) / source.file, names, source.nulls), source, {}, FALL_BACK)
    drops: dict[int, set[bytes]] = {}
    found = Counter({"2400": 0, "past midnight": 0})
    for row in rows:
        left, planned = row["dep_time"], int(row["sched_dep_time"])
        if left == "NA" or not (left == "2400" or (int(left) < planned - 1200 and int(row["dep_delay"]) > 0)):
            continue
        found["2400" if left == "2400" else "past midnight"] += 1
        day = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=UTC) + timedelta(days=1)
        clock = day.replace(hour=int(left) // 100 % 24, minute=int(left) % 100, tzinfo=ZoneInfo("America/New_York"))
        hour = int(clock.timestamp()) // HOUR_SECONDS
        if hour not in drops:
            drops[hour] = set(text.of_hour(hour)[0].splitlines())
        scheduled = instant(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
        line = f"{scheduled:%Y-%m-%dT%H:%M:%SZ},{row['carrier']},{row['flight']},{row['origin']},{row['dep_delay']}"
        assert line.encode() in drops[hour], (row, clock)
    assert found["2400"] == 29
    assert found["past midnight"] > 1000


def test_schedules_are_delivered_a_day_ahead_and_hold_the_local_scheduled_time(
    tmp_path: Path, small: ReplayConf, history: list[dict[str, str]]
) -> None:
    """The instant made of two columns is the scheduled wall-clock time of New York, on the day of the change too."""
    replay(small, tmp_path, FALL_BACK - 24 * HOUR, FALL_BACK, only=["schedules"])
    found = []
    for drop in drops_of(tmp_path, "schedules", FALL_BACK - 24 * HOUR, 24):
        for row in rows_of(drop):
            scheduled = instant(row["scheduled_at"])
            assert drop.hour + 24 * HOUR <= scheduled < drop.hour + 25 * HOUR
            offset = -4 if scheduled < datetime(2013, 11, 3, 6, tzinfo=UTC) else -5
            local = scheduled + offset * HOUR
            found.append((f"{local:%Y-%-m-%-d}", int(f"{local:%H%M}"), row["carrier"], row["flight"], row["origin"]))
    expected = [
        (
            f"{row['year']}-{row['month']}-{row['day']}",
            int(row["sched_dep_time"]),
            row["carrier"],
            row["flight"],
            row["origin"],
        )
        for row in history
        if FALL_BACK <= instant(row["time_hour"]) < FALL_BACK + 24 * HOUR
    ]
    assert sorted(found) == sorted(expected)


def test_no_arrival_column_is_ever_delivered() -> None:
    """The label's later facts must not leak through a source."""
    delivered = {column for source in CONF.sources.values() for column in source_columns(source)}
    assert not delivered & {"arr_time", "arr_delay", "air_time", "sched_arr_time", "dep_time"}


def test_each_hour_gets_a_checked_drop_of_each_source_also_an_empty_one(tmp_path: Path, small: ReplayConf) -> None:
    """At 08 UTC nothing leaves: a header, a manifest of 0 rows, on time."""
    report = replay(small, tmp_path, FALL_BACK, FALL_BACK + 24 * HOUR)
    assert (report.hours, report.drops, report.written) == (24, 96, 96)
    drops = [drop for name in CONF.sources for drop in drops_of(tmp_path, name, FALL_BACK, 24)]
    assert len(drops) == 96
    assert sum(drop.rows for drop in drops) == report.rows
    for drop in drops:
        check_drop(drop, sleep=lambda _: None)
        assert drop.rows == len(rows_of(drop))
        assert known_at(drop, SOURCES.sources[drop.source]) == drop.hour + HOUR
    assert any(drop.rows == 0 and drop.source == "departures" for drop in drops)


def test_weather_is_delivered_as_json_numbers_and_nulls(tmp_path: Path, small: ReplayConf) -> None:
    """A gust that was not measured is null, not "NA"."""
    replay(small, tmp_path, H12, H12 + HOUR, only=["weather"])
    (drop,) = drops_of(tmp_path, "weather", H12, 1)
    row = json.loads(gzip.decompress(Path(drop.path).read_bytes()).decode().splitlines()[0])
    assert (row["origin"], row["time_hour"]) == ("EWR", "2013-11-01T12:00:00Z")
    assert isinstance(row["temp"], float)
    assert "NA" not in row.values()


def test_a_second_replay_writes_nothing_and_two_folders_get_the_same_bytes(tmp_path: Path, small: ReplayConf) -> None:
    """Same drop, same bytes, files untouched."""
    for name in ("a", "b"):
        replay(small, tmp_path / name, H12, H12 + 3 * HOUR)
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    stamps = [path.stat().st_mtime_ns for path in files]
    assert replay(small, tmp_path / "a", H12, H12 + 3 * HOUR).written == 0
    assert [path.stat().st_mtime_ns for path in files] == stamps
    assert len(files) == 24
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_a_drop_whose_manifest_was_not_reached_is_delivered_again(tmp_path: Path, small: ReplayConf) -> None:
    """Killed between file and manifest, or the file cut after it: the next call makes it whole."""
    replay(small, tmp_path, H12, H12 + HOUR, only=["departures"])
    (drop,) = drops_of(tmp_path, "departures", H12, 1)
    whole = Path(drop.path).read_bytes()
    Path(drop.manifest).unlink()
    assert replay(small, tmp_path, H12, H12 + HOUR, only=["departures"]).written == 1
    Path(drop.path).write_bytes(whole[:100])
    assert replay(small, tmp_path, H12, H12 + HOUR, only=["departures"]).written == 1
    assert Path(drop.path).read_bytes() == whole


def test_a_change_of_unit_and_its_correction_are_two_versions_of_the_drop(tmp_path: Path, small: ReplayConf) -> None:
    """The demo's blocked hour: delays x 60, then the right ones 9 minutes later, still on time; each once only."""
    replay(small, tmp_path, H12, H12 + HOUR, scale={"departures.dep_delay": 60}, only=["departures"])
    (wrong,) = drops_of(tmp_path, "departures", H12, 1)
    for written in (1, 0):
        assert replay(small, tmp_path, H12, H12 + HOUR, correction=True, only=["departures"]).written == written
    (right,) = drops_of(tmp_path, "departures", H12, 1)
    assert (wrong.version, right.version, right.file) == (1, 2, "departures/2013-11-01/12.2.csv.gz")
    assert right.arrived_at - wrong.arrived_at == timedelta(minutes=9)
    assert known_at(right, SOURCES.sources["departures"]) == H12 + HOUR
    values = [(row["dep_delay"], bad["dep_delay"]) for row, bad in zip(rows_of(right), rows_of(wrong), strict=True)]
    assert len(values) > 20
    assert all(bad == (str(int(good) * 60) if good else "") for good, bad in values)


def test_other_bytes_never_replace_a_delivered_drop(tmp_path: Path, small: ReplayConf) -> None:
    """Without `correction` a difference is an error, and the file stays."""
    replay(small, tmp_path, H12, H12 + HOUR, only=["departures"])
    (drop,) = drops_of(tmp_path, "departures", H12, 1)
    with pytest.raises(UsageError, match="delivered with other bytes"):
        replay(small, tmp_path, H12, H12 + HOUR, scale={"departures.dep_delay": 60})
    check_drop(drop, sleep=lambda _: None)


def test_a_late_arrival_is_declared_in_minutes_after_the_hour(tmp_path: Path, small: ReplayConf) -> None:
    """90 minutes after 13:00 is 14:30: known at 15:00."""
    replay(small, tmp_path, H12, H12 + HOUR, only=["weather"], arrived_minutes=90)
    (drop,) = drops_of(tmp_path, "weather", H12, 1)
    assert known_at(drop, SOURCES.sources[drop.source]) == H12 + 3 * HOUR


def test_progress_counts_every_drop(tmp_path: Path, small: ReplayConf) -> None:
    """The last call says that all are done."""
    seen: list[tuple[int, int]] = []
    replay(small, tmp_path, H12, H12 + 2 * HOUR, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(at, 8) for at in range(1, 9)]


def test_rows_outside_of_the_declared_hours_are_counted_by_source(
    tmp_path: Path, small: ReplayConf, history: list[dict[str, str]]
) -> None:
    """No call delivers them: rows of other hours, and late ones that are due after the last hour."""
    narrow = small.model_copy(update={"start": H12, "end": H12 + 3 * HOUR})
    report = replay(narrow, tmp_path / "a", H12, H12 + 3 * HOUR, only=["departures"])
    assert report.rows + report.outside["departures"] == len(history)
    assert replay(small, tmp_path / "b", H12, H12 + HOUR, only=["departures"]).outside == {}
    late = Faults(late_rows=Held(0.5, 1))
    held_back = replay(narrow, tmp_path / "c", H12, H12 + 3 * HOUR, only=["departures"], faults=late)
    assert held_back.rows + held_back.outside["departures"] == len(history)


def test_what_the_history_does_not_have_is_a_usage_error(tmp_path: Path, small: ReplayConf) -> None:
    """Hours, sources, columns, files and packages by name."""
    end = H12 + HOUR
    with pytest.raises(UsageError, match="did you mean 'weather'"):
        replay(small, tmp_path, H12, end, only=["wether"])
    with pytest.raises(UsageError, match=r"did you mean 'departures\.dep_delay'"):
        replay(small, tmp_path, H12, end, scale={"departures.dep_dealy": 60})
    with pytest.raises(UsageError, match="inside 2012-12-31"):
        replay(small, tmp_path, H12, datetime(2015, 1, 1, tzinfo=UTC))
    with pytest.raises(UsageError, match="no folder 'data' of package"):
        replay(small.model_copy(update={"package": "no_such_package"}), tmp_path, H12, end)
    weather = CONF.sources["weather"]
    for change, said in (({"file": "wether.csv"}, "weather.csv"), ({"columns": {"t": "tmp"}}, "did you mean 'temp'")):
        broken = small.model_copy(update={"sources": {"weather": weather.model_copy(update=change)}})
        with pytest.raises(UsageError, match=said):
            replay(broken, tmp_path, H12, end)
    assert not list(tmp_path.iterdir())
