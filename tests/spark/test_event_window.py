"""Rows whose event lies outside the window that their table declares, through the real steps of an hour."""

from __future__ import annotations

import gzip
from datetime import timedelta
from typing import Any

from spark_jobs.invocation import HOUR

# Both tables of the test allow an event 48 hours before the hour and none after its end.
SOON = timedelta(seconds=1)


def test_P8_rows_outside_the_declared_event_window_are_quarantined_counted_and_never_read(
    past: Any, tmp_path: Any
) -> None:
    """Early and ahead by the least that there is; a row at the very start of the window stays."""
    site = past.copy(tmp_path / "data")
    hour = past.ledger.line()[-1].covers[0][2] + HOUR
    first = hour - 48 * HOUR
    departures = [f"{first - SOON:%FT%TZ},ZZ,1,JFK,0", f"{first:%FT%TZ},ZZ,2,JFK,0"]
    schedules = [f"{hour + 25 * HOUR:%FT%TZ},ZZ,3,JFK,LAX,,2475"]  # planned a day ahead: its event is the hour's end
    counts = {"departures": _added(site, "departures", hour, departures)}
    counts["schedules"] = _added(site, "schedules", hour, schedules)
    site.publish(hour)
    held = site.ask("SELECT \"table\", rules, hour, split_part(business_key, '|', 3) FROM quarantine ORDER BY ALL")
    assert held == [
        ("silver/departures", ["event_within"], hour, "1"),
        ("silver/schedules", ["event_within"], hour, "3"),
    ]
    for source, rows in counts.items():
        account = f"SELECT manifest, silver, quarantined FROM accounts WHERE \"table\" = '{source}' AND hour = '{hour}'"
        assert site.ask(account) == [(rows, rows - 1, 1)]
    assert site.ask("SELECT flight FROM silver_departures WHERE carrier = 'ZZ'") == [(2,)]
    assert site.ask("SELECT flight FROM silver_schedules WHERE carrier = 'ZZ'") == []


def _added(site: Any, source: str, hour: Any, lines: list[str]) -> int:
    """Hand in the hour's drop again with `lines` at its end; the number of its rows."""
    there = gzip.decompress(site.file_of(source, hour).read_bytes()).decode().splitlines()
    site.hand_in(source, hour, gzip.compress("\n".join([*there, *lines, ""]).encode()), len(there) - 1 + len(lines))
    return len(there) - 1 + len(lines)
