"""Drops that are not what their manifests or sources say: refused by name, with what is to be done, nothing published."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.invocation import HOUR, parse_hour
from spark_jobs.verdict import Outcome, Verdict

CHECKOUT = Path(__file__).resolve().parents[2]
NOW = parse_hour("2013-06-14T09:00:00")  # end of `past`


@pytest.fixture(scope="module")
def broken(past_copy: Any) -> Any:
    """Two hours with three broken drops each; the site, the results, what readers saw before and after."""
    site = past_copy
    before = (site.seen(), len(site.ledger.line()))
    results = [_broken_in_their_bytes(site, NOW), _broken_in_their_shape(site, NOW + HOUR)]
    return site, results, before, (site.seen(), len(site.ledger.line()))


def _broken_in_their_bytes(site: Any, hour: datetime) -> Any:
    _replace(site.file_of("schedules", hour), lambda data: data[:-40])
    _replace(site.file_of("departures", hour), lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    site.hand_in("weather", hour, gzip.compress(b""), rows=3)
    return site.stage(hour)


def _broken_in_their_shape(site: Any, hour: datetime) -> Any:
    for source, change in (("schedules", _without_last_column), ("departures", _with_one_more_column)):
        text = gzip.decompress(site.file_of(source, hour).read_bytes()).decode()
        lines = [change(line, at) for at, line in enumerate(text.splitlines())]
        site.hand_in(source, hour, gzip.compress("\n".join(lines).encode() + b"\n"), len(lines) - 1)
    data = site.file_of("weather", hour).read_bytes()
    manifest = json.loads(site.manifest_of("weather", hour).read_text())
    site.hand_in("weather", hour, gzip.compress(gzip.decompress(data) + b"\n"), manifest["rows"])
    return site.stage(hour)


def _without_last_column(line: str, at: int) -> str:
    return line.rpartition(",")[0]


def _with_one_more_column(line: str, at: int) -> str:
    return line + (",remark" if at == 0 else ",none")


def _replace(path: Path, change: Any) -> None:
    data = path.read_bytes()
    path.unlink()  # other copies of the site keep theirs
    path.write_bytes(change(data))


def _verdict(broken: Any, run: int, table: str) -> Verdict:
    site, results, _, _ = broken
    return {verdict.table: verdict for verdict in site.ledger.verdicts(results[run].pub)}[f"silver/{table}"]


@pytest.mark.parametrize(
    ("run", "source", "file", "found", "expected"),
    [
        (0, "schedules", "schedules/2013-06-14/09.csv.gz", "bytes: ", "the manifest says"),
        (0, "departures", "departures/2013-06-14/09.csv.gz", "sha256: ", "the manifest says"),
        (0, "weather", "weather/2013-06-14/09.2.jsonl.gz", "rows: 0 found", "the manifest says 3"),
        (1, "schedules", "schedules/2013-06-14/10.2.csv.gz", "header: missing column distance", "declared columns"),
        (1, "departures", "departures/2013-06-14/10.2.csv.gz", "header: new column remark", "declared columns"),
        (1, "weather", "weather/2013-06-14/10.2.jsonl.gz", "rows: 4 found", "the manifest says 3"),
    ],
)
def test_a_broken_drop_is_refused_by_its_name(
    broken: Any, run: int, source: str, file: str, found: str, expected: str
) -> None:
    verdict = _verdict(broken, run, source)
    rule = next(rule for rule in verdict.rules if rule.rule == "drop_readable")
    assert rule.outcome is Outcome.FAIL
    assert file in rule.observed
    assert found in rule.observed
    assert expected in f"{rule.observed} {rule.allowed}"
    why = broken[1][run].why
    assert f"{file}: {found}" in why
    assert "tidegate quarantine list nycflights13 --refused --hour" in why
    assert "deliver" in why


def test_broken_drops_end_with_65_and_nothing_that_is_published_changes(broken: Any) -> None:
    _, results, before, after = broken
    assert [result.exit_code for result in results] == [65, 65]
    assert before == after


def test_N16_a_missing_drop_is_waited_for_until_it_is_late(broken: Any) -> None:
    site, _, before, _ = broken
    waiting = site.stage(NOW + 3 * HOUR)
    assert waiting.exit_code == 75
    assert "waiting: no drop of 1 hour(s): 2013-06-14T12:00:00" in waiting.why
    late = site.stage(NOW + 3 * HOUR, hours=3)
    assert late.exit_code == 75
    assert "late: no drop of 3 hour(s)" in late.why
    assert "do: ask the upstream for it" in late.why
    assert (site.seen(), len(site.ledger.line())) == before
    assert not site.ledger.incidents()[-1]["incident"].endswith("12:00:00/2013-06-14T13:00:00")  # nobody is woken


def test_a_manifest_of_another_hour_is_refused_by_its_name(broken: Any) -> None:
    site = broken[0]
    path = site.manifest_of("weather", NOW + 2 * HOUR)
    path.write_text(path.read_text().replace("T11:00:00", "T10:00:00"))
    result = site.stage(NOW + 2 * HOUR)
    assert result.exit_code == 65
    assert str(path) in result.why
    assert "manifest speaks of weather 2013-06-14T10:00:00" in result.why
    assert "allowed: weather 2013-06-14T11:00:00" in result.why
    assert "do: have the upstream deliver the manifest again" in result.why


@pytest.fixture
def drifted(past: Any, new_project: Any, tmp_path: Path) -> Any:
    """A copy of `past` by the word of `drift`, one of whose next hour's 76 departures has a text for a number."""

    def make(drift: str) -> Any:
        folder = new_project(tmp_path / drift)
        path = folder / "conf/pipelines/nycflights13/sources.yaml"
        text = path.read_text()
        path.write_text(text.replace("  departures:\n", f"  departures:\n    drift: {drift}\n"))
        site = past.copy(tmp_path / f"data_{drift}", folder)
        lines = gzip.decompress(site.file_of("departures", NOW + HOUR).read_bytes()).decode().splitlines()
        lines[1] = lines[1].rpartition(",")[0] + ",5 minutes"
        site.hand_in("departures", NOW + HOUR, gzip.compress("\n".join([*lines, ""]).encode()), len(lines) - 1)
        return site

    return make


def test_N7_a_value_of_another_type_refuses_the_hour_where_the_source_says_so(drifted: Any) -> None:
    """One value of 76, which the budget would have let into quarantine; the refusal names column, count and value."""
    site = drifted("refuse")
    result = site.stage(NOW + HOUR)
    assert result.exit_code == 65
    verdict = {one.table: one for one in site.ledger.verdicts(result.pub)}["silver/departures"]
    [rule] = [rule for rule in verdict.rules if rule.outcome is not Outcome.PASS]
    assert (rule.rule, rule.outcome, rule.column, rule.bad) == ("type_drift", Outcome.FAIL, "departure_delay_min", 1)
    assert rule.observed == "departure_delay_min: 1 values of another type"
    assert rule.examples == ("departure_delay_min: 5 minutes",)
    for told in ("rule type_drift", "departure_delay_min: 5 minutes", "drift: refuse in sources.yaml"):
        assert told in result.why
    clean = site.stage(NOW + 2 * HOUR)
    assert clean.exit_code == 0, clean.why
    rules = {one.table: one for one in site.ledger.verdicts(clean.pub)}["silver/departures"].rules
    assert [rule.outcome for rule in rules if rule.rule == "type_drift"] == [Outcome.PASS]


def test_N7_a_value_of_another_type_is_quarantined_by_default_and_never_a_null(drifted: Any) -> None:
    site = drifted("quarantine")
    result = site.stage(NOW + HOUR)
    assert result.exit_code == 0, result.why
    verdict = {one.table: one for one in site.ledger.verdicts(result.pub)}["silver/departures"]
    counted = {rule.rule: (rule.outcome, rule.bad) for rule in verdict.rules}
    assert counted["type:departure_delay_min"] == (Outcome.PASS, 1)
    assert "type_drift" not in counted
    assert result.rows["silver/departures"] == result.rows["bronze/departures"] - 1
    assert result.rows["quarantine"] == 1
