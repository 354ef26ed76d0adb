"""Hours from drop to release, by the real steps: what readers see, what the account says, what people are told."""

from __future__ import annotations

import gzip
import json
import shutil
from typing import Any

import pytest

from spark_jobs.invocation import HOUR, Invocation, format_hour, parse_hour
from spark_jobs.ledger import folds
from spark_jobs.runtime.places import code_version
from spark_jobs.steps.without_spark import conclude_without_spark
from spark_jobs.verdict import Outcome
from tests.spark.conftest import NAME

KEY = "scheduled_at, carrier, flight, origin"
SPINE = "silver/schedules"


@pytest.fixture(scope="module")
def alerts(morning: Any) -> list[dict[str, str]]:
    path = morning.site.data / "alerts" / "data_team.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_of_every_hour_is_accounted_for(morning: Any) -> None:
    """Manifest rows = silver + quarantined + duplicates + discarded, for 75 hours and 4 sources, empty drops too."""
    booked = morning.site.ask(
        "SELECT source, hour, manifest, silver, quarantined + duplicates + discarded AS held FROM accounts"
    )
    assert len(booked) == 75 * 4
    assert all(manifest == silver + held for _, _, manifest, silver, held in booked)
    for source in ("schedules", "departures", "weather", "planes"):
        rows = sum(row[3] for row in booked if row[0] == source)
        assert morning.site.ask(f"SELECT count(*) FROM silver_{source}") == [(rows,)]
    delivered = sum(json.loads(path.read_text())["rows"] for path in _newest_manifests(morning.site))
    assert delivered == sum(row[2] for row in booked)


def _newest_manifests(site: Any) -> list[Any]:
    drops = {
        (path.parent.parent.name, f"{path.parent.name}T{path.name[:2]}:00:00") for path in site.landing.rglob("*.json")
    }
    return [site.manifest_of(source, parse_hour(hour)) for source, hour in drops]


def test_a_published_hour_is_readable(morning: Any) -> None:
    hour = format_hour(morning.first + 2 * HOUR)
    for table in ("silver_departures", "silver_schedules", "silver_weather", "features_departures", "features_weather"):
        assert morning.site.ask(f"SELECT count(*) > 2 FROM {table} WHERE hour = '{hour}Z'") == [(True,)]


def test_a_blocked_hour_changes_nothing_that_readers_see_on_the_retry_neither(morning: Any) -> None:
    assert [result.exit_code for result in morning.refused] == [65, 65]
    assert morning.released == [2, 2, 2]
    assert morning.seen[0] == morning.seen[1] == morning.seen[2]
    assert len(morning.seen[0]["silver/departures"]) > 2000


def test_a_blocked_hour_leaves_a_verdict_that_names_the_rule(morning: Any) -> None:
    for result in morning.refused:
        verdicts = {verdict.table: verdict for verdict in morning.site.ledger.verdicts(result.pub)}
        departures = verdicts["silver/departures"]
        assert departures.outcome is Outcome.FAIL
        assert departures.broken()[0].rule == "delay_in_minutes"
        assert {verdicts[f"silver/{name}"].outcome for name in ("schedules", "weather")} == {Outcome.PASS}
        row = [row for row in morning.site.ledger.intervals() if row["pub"] == result.pub][-1]
        assert row["state"] == "refused"


def test_the_message_of_a_blocked_hour_says_what_was_found_what_is_allowed_and_what_readers_see(morning: Any) -> None:
    why = morning.refused[0].why
    assert "silver/departures.departure_delay_min, rule delay_in_minutes" in why
    assert "allowed: column values to be between: min_value -60, max_value 1440" in why
    assert "examples: " in why
    assert "readers still see release 2" in why
    assert "tidegate quarantine list nycflights13 --refused --hour 2013-06-14T10:00:00" in why
    assert len(why.splitlines()) <= 13  # one line names the gate
    assert "Traceback" not in why


def test_a_blocked_hour_opens_one_incident_with_one_alert_and_its_correction_closes_it(
    morning: Any, alerts: list[dict[str, str]]
) -> None:
    events = [row["event"] for row in morning.site.ledger.incidents()]
    assert events == ["opened", "sent", "sent", "signal", "recovered", "sent", "sent"]  # by two channels
    assert [alert["event"] for alert in alerts] == ["opened", "recovered"]
    assert "delay_in_minutes" in alerts[0]["body"]
    assert alerts[0]["incident"] == alerts[1]["incident"]


def test_a_corrected_hour_is_published_from_the_correction(morning: Any) -> None:
    hour = format_hour(morning.first + HOUR)
    found = morning.site.ask(
        f"SELECT max(departure_delay_min), any_value(file) FROM silver_departures WHERE hour = '{hour}Z'"
    )
    assert found[0][0] < 1440
    assert found[0][1].endswith("10.3.csv.gz")


def test_a_run_twice_is_a_run_once(morning: Any, tmp_path: Any) -> None:
    """As `conclude_without_spark` says, which would have spared the second run (code that differs from its commit aside)."""
    site, last = morning.site.copy(tmp_path / "data"), morning.first + 2 * HOUR
    before = site.seen(without=("pub",))
    with site.here():
        spared = conclude_without_spark(Invocation(NAME, "ingest", last, last + HOUR, "spared"))
    assert (spared is None) == code_version(site.project).endswith("-dirty")
    site.publish(last)
    assert site.ledger.line()[-1].release == 5
    assert site.seen(without=("pub",)) == before
    again = site.run("publish", last)  # the answer of the release was lost: nothing is released again
    assert (again.exit_code, again.release) == (0, 5)
    assert site.ledger.line()[-1].release == 5


def test_an_hour_that_its_manifests_call_empty_is_published(morning: Any, tmp_path: Any) -> None:
    site, hour = morning.site.copy(tmp_path / "data"), morning.first + 3 * HOUR
    for source in ("schedules", "departures", "weather", "planes"):
        site.hand_in(source, hour, gzip.compress(_head(site, source)), 0)
    site.publish(hour)
    at = format_hour(hour)
    assert site.ask(f"SELECT count(*), sum(manifest), sum(silver) FROM accounts WHERE hour = '{at}Z'") == [(4, 0, 0)]
    assert site.ask(f"SELECT count(*) FROM silver_departures WHERE hour = '{at}Z'") == [(0,)]
    assert folds.cover(site.ledger.line(), SPINE)[-1].end == hour + HOUR
    verdicts = site.ledger.verdicts(site.ledger.line()[-1].pub)
    rows = [rule for verdict in verdicts for rule in verdict.rules if rule.rule == "row_count"]
    assert [rule.outcome for rule in rows] == [Outcome.PASS] * 4


def _head(site: Any, source: str) -> bytes:
    conf = site.pipeline.sources.sources[source]
    return b"" if conf.format == "jsonl" else (",".join(conf.columns) + "\n").encode()


def test_an_interval_in_one_run_is_the_same_as_its_hours_one_by_one(morning: Any, past: Any, tmp_path: Any) -> None:
    """Bulk = hourly, row by row: silver, tiles, features and accounts of three hours; publications aside, and the hour
    of a tile, which says what run made it."""
    site = past.copy(tmp_path / "data")
    shutil.rmtree(site.landing)
    shutil.copytree(morning.site.landing, site.landing)
    site.publish(morning.first, hours=3)
    tables = [*(f"silver/{name}" for name in site.pipeline.silver), *site.pipeline.feature_tables, "accounts"]
    bulk, hourly = (
        one.seen(*tables, without=("pub",)) | one.seen("tiles/departures", without=("pub", "hour"))
        for one in (site, morning.site)
    )
    assert {table: len(rows) for table, rows in bulk.items()} == {table: len(rows) for table, rows in hourly.items()}
    for table in bulk:
        assert [pair for pair in zip(bulk[table], hourly[table], strict=True) if pair[0] != pair[1]][:3] == []
    assert len(bulk["features/departures"]) > 2000


@pytest.fixture(scope="module", params=[1, 3], ids=["that hour again", "three hours again"])
def redelivered(
    request: pytest.FixtureRequest, morning: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, dict[str, list[str]]]:
    """The second hour's departures again, two hours late: one row gone, one corrected, one unreadable, one of an hour
    before and one that corrects a row of the hour before."""
    site, hour = morning.site.copy(tmp_path_factory.mktemp("redelivered") / "data"), morning.first + HOUR
    head, *lines = gzip.decompress(site.file_of("departures", hour).read_bytes()).decode().splitlines()
    late = gzip.decompress(site.file_of("departures", morning.first).read_bytes()).decode().splitlines()[1:]
    gone, corrected, unreadable, *same = [line.split(",") for line in lines]
    corrected[-1], unreadable[-1] = str(int(corrected[-1]) + 7), "soon"
    older = late[0].split(",")
    older[-1] = str(int(older[-1]) + 2)
    new = [late[1].split(",")[0], "ZZ", "1", "JFK", "1"]
    rows = [corrected, unreadable, older, new, *same]
    text = "\n".join([head, *map(",".join, rows), ""])
    site.hand_in("departures", hour, gzip.compress(text.encode()), len(rows), minutes=120)
    site.publish(hour if request.param == 1 else morning.first, request.param, "again")
    return site, {"gone": gone, "corrected": corrected, "unreadable": unreadable, "older": older, "new": new}


def test_N14_tiles_healed_after_a_redelivery_equal_tiles_rebuilt(redelivered: Any) -> None:
    site, _ = redelivered
    healed = site.ask(
        """SELECT entity, key, event_hour, n, n_delay_min, sum_delay_min, sum_late FROM tiles_departures WHERE n > 0 ORDER BY ALL"""
    )
    parts = [
        f"""SELECT '{entity}', {column}, date_trunc('hour', event_at), count(*), count(departure_delay_min),
              coalesce(sum(departure_delay_min), 0), count(*) FILTER (departure_delay_min >= 15)
            FROM silver_departures WHERE {column} IS NOT NULL GROUP BY ALL"""
        for entity, column in (("carrier", "carrier"), ("origin", "origin"), ("plane", "tail_number"))
    ]
    assert healed == site.ask(" UNION ALL ".join(parts) + " ORDER BY ALL")
    assert site.ask("SELECT count(*) > 0 FROM tiles_departures WHERE n = 0") == [(True,)]  # a plane that flew no more


def test_N11_N14_a_redelivery_counts_and_the_older_drop_does_not(redelivered: Any, morning: Any) -> None:
    site, rows = redelivered

    def delay(row: list[str]) -> list[tuple[Any, ...]]:
        at, carrier, flight, origin = row[:4]
        return site.ask(
            f"""SELECT departure_delay_min, known_at FROM silver_departures WHERE scheduled_at = '{at}'
                AND carrier = '{carrier}' AND flight = {flight} AND origin = '{origin}'"""
        )

    known = morning.first + 5 * HOUR  # the drop arrived at the full hour before
    assert delay(rows["gone"]) == delay(rows["unreadable"]) == []
    for name in ("corrected", "older", "new"):
        assert delay(rows[name]) == [(int(rows[name][-1]), known)]


def test_a_row_that_cannot_be_read_waits_in_quarantine_with_rule_key_and_hour(redelivered: Any, morning: Any) -> None:
    site, rows = redelivered
    at, carrier, flight, origin = rows["unreadable"][:4]
    held = site.ask('SELECT "table", business_key, rules, hour, file, line, cols FROM quarantine')
    assert len(held) == 1
    table, key, rules, hour, file, line, cols = held[0]
    assert (table, rules, hour) == ("silver/departures", ["type:departure_delay_min"], morning.first + HOUR)
    assert key == f"{at.replace('T', ' ').removesuffix('Z')}|{carrier}|{flight}|{origin}"
    assert (file, line) == ("departures/2013-06-14/10.4.csv.gz", 3)
    assert "soon" in cols.values()
    account = site.ask(
        f"SELECT manifest, silver, quarantined FROM accounts WHERE \"table\" = 'departures' AND hour = '{hour}'"
    )
    assert account == [(77, 76, 1)]
