"""The rule `volume`: an hour's rows against the same hour of the weeks before, taken from the accounts that readers see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from held_lake import NAME, WEATHER, Held, publish

from spark_jobs.config import load_pipeline
from spark_jobs.config.tables import Volume
from spark_jobs.invocation import HOUR
from spark_jobs.ledger import Ledger
from spark_jobs.quality.accounts import rows_before
from spark_jobs.quality.decide import same_hours, volume_result
from spark_jobs.verdict import Outcome

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
WEEK = timedelta(weeks=1)
USUAL = dict(zip(same_hours(NOON, 4), (50, 60, 70, 400), strict=True))  # the median is 65: one odd week moves it little


@pytest.mark.parametrize(("rows", "fine"), [(32, False), (33, True), (65, True), (130, True), (131, False), (0, False)])
def test_an_hour_far_from_the_median_of_its_weeks_is_told_and_does_not_block_by_default(rows: int, fine: bool) -> None:
    told = volume_result(Volume(), {NOON: rows}, USUAL)
    assert told.outcome is (Outcome.PASS if fine else Outcome.WARN)
    shown = "1 of 1 hours judged" if fine else f"{rows} rows where 65 are usual in 2013-11-01T12:00:00, 1 of 1 hours"
    assert told.observed == shown
    assert told.allowed == "0.5 to 2 times the median of the same hour of 4 weeks"


def test_a_table_may_say_that_it_blocks() -> None:
    assert volume_result(Volume(severity="critical"), {NOON: 1}, USUAL).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    "past",
    [{}, dict.fromkeys(same_hours(NOON, 2), 60), dict.fromkeys(same_hours(NOON, 4), 19), {NOON - HOUR: 60}],
    ids=["nothing known", "two weeks known", "few rows are usual", "another hour"],
)
def test_an_hour_of_which_too_little_is_known_is_not_judged(past: dict[datetime, int]) -> None:
    told = volume_result(Volume(), {NOON: 0}, past)
    assert (told.outcome, told.observed) == (Outcome.PASS, "0 of 1 hours judged")


def test_the_same_hour_of_a_week_before_the_clocks_changed_is_that_of_the_wall_clock() -> None:
    """New York's clocks went back on 2013-11-03: seven in the morning was 11:00 UTC before and is 12:00 UTC since."""
    seven = datetime(2013, 11, 8, 12, tzinfo=UTC)
    assert [f"{at:%d %H}" for at in same_hours(seven, 2)] == ["01 12", "25 12"]
    assert [f"{at:%d %H}" for at in same_hours(seven, 2, "America/New_York")] == ["01 11", "25 11"]
    past = {seven - HOUR - n * WEEK: 60 for n in range(1, 5)}
    judged = [volume_result(Volume(zone=zone), {seven: 6}, past).outcome for zone in ("America/New_York", "UTC")]
    assert judged == [Outcome.WARN, Outcome.PASS]
    with pytest.raises(ValueError, match="not an IANA time zone"):
        Volume(zone="Mars/Base")


def test_in_a_backfill_the_weeks_inside_of_it_count_too() -> None:
    hours = {NOON + n * WEEK: 60 for n in range(4)} | {NOON + 4 * WEEK: 6}
    told = volume_result(Volume(), hours, hours)
    assert told.observed == "6 rows where 60 are usual in 2013-11-29T12:00:00, 1 of 5 hours"
    assert (told.bad, told.examples) == (1, ("2013-11-29T12:00:00",))


def test_the_rows_of_the_weeks_before_are_those_of_the_drops_that_readers_see(tmp_path: Path) -> None:
    """Held and doubled rows count as delivered; an hour published anew counts once; neighbours and later hours do not."""
    root = tmp_path / NAME
    for back in (3, 2, 1, 0):
        publish(root, NOON - back * WEEK, NOON - back * WEEK + 2 * HOUR, [])
    held = [Held(NOON - WEEK, line, ("speed",), WEATHER) for line in (4, 5)]
    publish(root, NOON - WEEK, NOON - WEEK + HOUR, held)
    line = Ledger.open(root).line()
    known = rows_before(load_pipeline(NAME), root, line, NOON, NOON + HOUR)
    assert known["weather"] == {NOON - WEEK: 5, NOON - 2 * WEEK: 3, NOON - 3 * WEEK: 3}
    assert known["planes"] == {NOON - back * WEEK: 3 for back in (1, 2, 3)}
    assert known["schedules"] == {}
    assert rows_before(load_pipeline(NAME), tmp_path / "nothing", [], NOON, NOON + HOUR)["weather"] == {}
