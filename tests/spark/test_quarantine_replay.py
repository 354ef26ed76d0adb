"""Hours that hold rows run again after a rule changed: what comes free is readable, the rest stays, every row is accounted for."""

from __future__ import annotations

import gzip
import json
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.cli.quarantine_replay import replay_held
from spark_jobs.cli.quarantine_rows import Chosen, discard_held
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.ledger import folds
from spark_jobs.quality.accounts import settled_accounts
from spark_jobs.steps.run import StepRun
from spark_jobs.verdict import Outcome
from tests.spark.conftest import NAME, NOW, Site

WEATHER = "silver/weather"
FREED, REFUSED, MIXED = (NOW + n * HOUR for n in range(3))  # three hours, published as one
COUNTS = ("silver", "quarantined", "duplicates", "discarded")


def _replay(site: Site) -> tuple[int, Any]:
    """Exit code and JSON of `tidegate quarantine replay`, its steps in this process instead of one by spark-submit each."""

    def run(call: Invocation) -> tuple[int, dict[str, object]]:
        result = StepRun(call, lambda: site.spark).run()
        return result.exit_code, asdict(result)

    with site.here(), redirect_stdout(StringIO()) as told:
        code = replay_held(NAME, WEATHER, (None, None), "local", as_json=True, run=run)
    return code, json.loads(told.getvalue().splitlines()[-1])  # the steps of this process log before it


def _accounts(site: Site) -> list[tuple[int, ...]]:
    """Rows of the weather's three hours by where they went, the oldest hour first; manifest rows are their sum."""
    with site.here():
        rows = settled_accounts(site.pipeline, site.root, site.ledger, NOW, NOW + 3 * HOUR)
    assert all(row["manifest"] == sum(row[name] for name in COUNTS) for row in rows)
    weather = sorted((row for row in rows if row["table"] == "weather"), key=lambda row: str(row["hour"]))
    return [tuple(row[name] for name in COUNTS) for row in weather]


def _hand_in(site: Site, hour: Any, *changes: dict[str, Any]) -> None:
    """The hour's weather again, the first rows changed, all else plain: three rows, of which a rule may hold one."""
    lines = gzip.decompress(site.file_of("weather", hour).read_bytes()).decode().splitlines()
    rows = [json.loads(line) | {"humid": 50.0, "wind_speed": 10.0, "wind_gust": None, "temp": 60.0} for line in lines]
    changed = [row | change for row, change in zip(rows, (*changes, {}, {}), strict=False)]
    text = "".join(json.dumps(row) + "\n" for row in changed)
    site.hand_in("weather", hour, gzip.compress(text.encode(), mtime=0), len(changed))


def _set_rules(project: Path) -> None:
    """The wind may be a gale that never was; the air may not be as moist as in the second hour."""
    path = project / "expectations" / NAME / "weather.yaml"
    text = path.read_text()
    for before, after in (
        (
            "wind_speed_mph\n    args: {min_value: 0, max_value: 100}",
            "wind_speed_mph\n    args: {min_value: 0, max_value: 300}",
        ),
        (
            "humidity_pct\n    args: {min_value: 5, max_value: 100}",
            "humidity_pct\n    args: {min_value: 5, max_value: 95}",
        ),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    path.write_text(text)


@pytest.fixture(scope="module")
def site(past: Site, new_project: Any, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Each hour holds a row for its wind, the third one more for its temperature, which is discarded."""
    project = new_project(tmp_path_factory.mktemp("project"))
    site = past.copy(tmp_path_factory.mktemp("held") / "data", project)
    _hand_in(site, FREED, {"wind_speed": 200.0})
    _hand_in(site, REFUSED, {"wind_speed": 200.0, "humid": 99.0}, {"humid": 99.0})
    _hand_in(site, MIXED, {"wind_speed": 200.0}, {"temp": 500.0})
    site.publish(NOW, 3, "three hours")
    with site.here(), redirect_stdout(StringIO()):
        discard_held(NAME, Chosen(WEATHER, "temperature"), "a broken thermometer", "local", as_json=True)
    return site


@pytest.fixture(scope="module")
def replayed(site: Site) -> tuple[Site, int, Any]:
    """After two rules changed: the site, exit code and answer of the replay."""
    assert _accounts(site) == [(2, 1, 0, 0), (2, 1, 0, 0), (1, 1, 0, 1)]
    assert len(site.ledger.line()) == 2
    _set_rules(site.project)
    return site, *_replay(site)


def test_hours_that_hold_rows_run_again_the_oldest_first_and_a_refused_one_does_not_stop_the_others(
    replayed: Any,
) -> None:
    """Exit code 65; each hour is named with its rows held before and now, the discarded one aside."""
    _, code, told = replayed
    assert code == 65
    shown = [
        (one["hour"], one["held_before"], one["held_now"], one["release"], one["exit_code"]) for one in told["hours"]
    ]
    assert shown == [
        (format_hour(FREED), 1, 0, 3, 0),
        (format_hour(REFUSED), 1, 1, None, 65),
        (format_hour(MIXED), 1, 0, 4, 0),
    ]
    assert told["left"] == []


def test_rows_that_came_free_are_readable_and_every_row_is_accounted_for(replayed: Any) -> None:
    """The discarded row, held again by the same rule, stays discarded."""
    site, _, _ = replayed
    assert _accounts(site) == [(3, 0, 0, 0), (2, 1, 0, 0), (2, 0, 0, 1)]
    seen = site.ask(
        f"SELECT hour, count(*), max(wind_speed_mph) FROM silver_weather WHERE hour >= '{NOW}' GROUP BY hour ORDER BY hour"
    )
    assert [(count, wind) for _, count, wind in seen] == [(3, 200.0), (2, 10.0), (2, 200.0)]


def test_an_hour_that_its_gate_refused_stays_as_it_was(replayed: Any) -> None:
    site, _, _ = replayed
    states = folds.hour_states(site.ledger.intervals(), site.ledger.line())
    assert {states[FREED], states[REFUSED], states[MIXED]} == {"published"}
    [refused] = [row for row in site.ledger.intervals() if row["state"] == "refused"]
    [broken] = [verdict for verdict in site.ledger.verdicts(refused["pub"]) if verdict.outcome is Outcome.FAIL]
    assert (refused["from_hour"], broken.table, [rule.rule for rule in broken.broken() if rule.outcome.blocks]) == (
        REFUSED,
        WEATHER,
        ["humidity"],
    )
    assert folds.cover(site.ledger.line(), "quarantine")[-2].pub == site.ledger.line()[1].pub


def test_each_row_that_is_held_no_more_is_recorded_as_replayed(replayed: Any) -> None:
    site, _, _ = replayed
    actions = site.ledger.quarantine_actions("replayed")
    held_by = site.ledger.line()[1].pub
    assert [(a["pub"], a["table"], a["file"], a["line"], a["why"]) for a in actions] == [
        (held_by, WEATHER, _file(site, hour), 1, f"hour published anew as release {release}")
        for hour, release in ((FREED, 3), (MIXED, 4))
    ]


def _file(site: Site, hour: Any) -> str:
    return str(site.file_of("weather", hour).relative_to(site.landing))


def test_an_hour_whose_drop_is_gone_is_not_done_and_ends_the_command(replayed: Any, tmp_path: Path) -> None:
    """The only hour that holds rows still; the code says that the same command may work later."""
    site = replayed[0].copy(tmp_path / "data")
    before = site.seen()
    for path in (site.landing / "weather" / f"{REFUSED:%F}").glob(f"{REFUSED:%H}*.manifest.json"):
        path.unlink()
    code, told = _replay(site)
    assert (code, [(one["hour"], one["exit_code"]) for one in told["hours"]]) == (75, [(format_hour(REFUSED), 75)])
    assert site.seen() == before
