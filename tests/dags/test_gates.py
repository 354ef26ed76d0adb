"""Gates over a real ledger: green, red, and red when nothing was judged."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from dag_builder.gates import Announce, DropsReady, Gate, missing_hours, not_whole, open_ledger
from dag_builder.partition import invocation

from spark_jobs.alerts.incidents import open_incidents
from spark_jobs.config.load import load_pipeline
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.ledger import Ledger, Release
from spark_jobs.sources.replay import replay
from spark_jobs.verdict import Outcome, RuleResult, Verdict

KEY = "2013-11-01T13:00:00"


def gate(scope: str, step: str = "ingest") -> Gate:
    return Gate(task_id=f"gate_{scope}", pipeline="nycflights13", step=step, scope=scope)


def rule(outcome: Outcome, number: int = 0) -> RuleResult:
    return RuleResult(f"rule_{number}", outcome, "delay", "max 5400", "-60 to 1440", 40, 55, ("5400", "3600"))


def record(context, state: str, *verdicts: tuple[str, Outcome]) -> Ledger:
    """The ledger after an `ingest` of this run that ended in `state` with these verdicts (scope, outcome)."""
    ledger, call = open_ledger("nycflights13", "test"), invocation(context, "nycflights13", "ingest")
    pub = ledger.start(call, "code", "config", None)
    for number, (scope, outcome) in enumerate(verdicts):
        ledger.add_verdict(call, pub, Verdict.of(f"table_{number}", scope, [rule(outcome)]))
    ledger.record(call, state, pub)
    return ledger


def test_a_gate_is_green_when_every_verdict_of_its_scope_passes_or_warns(project, run_of):
    context = run_of(KEY)
    record(context, "staged", ("silver", Outcome.PASS), ("silver", Outcome.WARN), ("features", Outcome.PASS))
    gate("silver").execute(context)
    gate("features").execute(context)


def test_a_red_gate_says_what_broke_what_readers_see_and_what_to_do_in_twelve_lines(project, run_of):
    context = run_of(KEY)
    record(context, "refused", *[("silver", Outcome.FAIL)] * 20)
    with pytest.raises(AirflowFailException) as caught:
        gate("silver").execute(context)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 12
    assert "max 5400" in str(caught.value)
    assert "readers still see release none" in str(caught.value)
    assert "clear ingest with downstream" in lines[-1]


def test_a_check_that_broke_blocks_too(project, run_of):
    context = run_of(KEY)
    record(context, "refused", ("silver", Outcome.ERROR))
    with pytest.raises(AirflowFailException):
        gate("silver").execute(context)


def test_no_verdict_at_all_is_red(project, run_of):
    context = run_of(KEY)
    record(context, "staged")
    for scope in ("silver", "features"):
        with pytest.raises(AirflowFailException, match="no verdict"):
            gate(scope).execute(context)


def test_a_step_that_left_no_trace_is_red(project, run_of):
    with pytest.raises(AirflowFailException, match="no row in the ledger"):
        gate("silver").execute(run_of(KEY))


def test_only_the_newest_try_of_a_step_counts(project, run_of):
    context = run_of(KEY)
    record(context, "refused", ("silver", Outcome.FAIL))
    record(context, "staged", ("silver", Outcome.PASS))
    gate("silver").execute(context)


def tried(context, *outcomes: Outcome):
    """The ledger after tries of `build_features` under one publication, with these outcomes of one table."""
    ledger = open_ledger("nycflights13", "test")
    call = invocation(context, "nycflights13", "ingest")
    pub = ledger.start(call, "code", "config", None)
    ledger.record(call, "staged", pub)
    for outcome in outcomes:
        ledger.add_verdict(call, pub, Verdict.of("features/delays", "features", [rule(outcome)]))
        state = "refused" if outcome.blocks else "staged"
        ledger.record(call.with_step("build_features"), state, pub)


def test_a_red_gate_of_features_names_ingest_as_the_step_to_clear(project, run_of):
    context = run_of(KEY)
    tried(context, Outcome.FAIL)
    with pytest.raises(AirflowFailException) as caught:
        gate("features", "build_features").execute(context)
    assert str(caught.value).splitlines()[-1] == (
        "do: deliver a corrected drop, then clear ingest with downstream; or: tidegate run nycflights13 ingest "
        "--from 2013-11-01T13:00:00 --to 2013-11-01T14:00:00 --env local"
    )


def test_the_newest_verdict_on_a_table_counts_when_a_step_was_retried(project, run_of):
    context = run_of(KEY)
    tried(context, Outcome.FAIL, Outcome.PASS)
    gate("features", "build_features").execute(context)
    tried(run_of(KEY), Outcome.PASS, Outcome.FAIL)
    with pytest.raises(AirflowFailException, match="max 5400"):
        gate("features", "build_features").execute(context)


def test_nothing_is_announced_that_was_not_published(project, run_of):
    context = run_of(KEY)
    record(context, "staged", ("silver", Outcome.PASS))
    announce = Announce(task_id="announce", pipeline="nycflights13", step="ingest")
    with pytest.raises(AirflowFailException, match="'staged', not published"):
        announce.execute(context)


def test_hours_missing_in_any_table_are_missing_from_the_week(project, run_of):
    ledger = record(run_of(KEY), "published")
    hours = [datetime(2013, 11, 1, hour, tzinfo=UTC) for hour in range(6)]
    covers = (("silver/a", hours[0], hours[4]), ("silver/b", hours[1], hours[3]))
    now = datetime(2013, 11, 2, tzinfo=UTC)
    ledger.release(Release(0, 0, None, "hour", covers, frozenset(), {}, "", now), None, [])
    missing = missing_hours(ledger, ["silver/a", "silver/b"], hours[0], hours[5])
    assert [format_hour(hour)[11:13] for hour in missing] == ["00", "03", "04"]


NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def unstated(project):
    """The folder of a day's departures, whose upstream writes a marker and no manifest; the other drops are there."""
    path = project / "conf/pipelines/nycflights13/sources.yaml"
    sources = yaml.safe_load(path.read_text())["sources"]
    del sources["weather"]["http"]
    sources["weather"]["kind"] = "files"
    complete = {"by": "marker", "data": "departures/{day}/{hour}.csv.gz", "marker": "departures/{day}/{hour}.done"}
    sources["departures"]["complete"] = complete
    path.write_text(yaml.safe_dump({"sources": sources}))
    landing = project / "var/landing/nycflights13"
    replay(load_pipeline("nycflights13").replay, landing, NOON, NOON + HOUR)
    (landing / "departures/2013-11-01/12.manifest.json").unlink()
    return landing / "departures/2013-11-01"


def mark(folder, at=NOON + HOUR):
    """Data and marker, last changed at `at`."""
    (folder / "12.done").touch()
    for name in ("12.csv.gz", "12.done"):
        os.utime(folder / name, (at.timestamp(), at.timestamp()))


def ready():
    return DropsReady(task_id="drops_ready", pipeline="nycflights13")


def test_a_file_with_its_marker_becomes_a_drop_at_a_look_and_stays_that_drop(unstated, run_of):
    mark(unstated)
    assert ready().poke(run_of("2013-11-01T12:00:00"))
    told = {path.name: path.read_bytes() for path in unstated.iterdir()}
    assert set(told) == {"12.csv.gz", "12.done", "12.manifest.json"}
    assert ready().poke(run_of("2013-11-01T12:00:00"))
    assert {path.name: path.read_bytes() for path in unstated.iterdir()} == told


def test_N12_a_late_file_without_its_marker_is_late_and_the_reason_is_told(unstated, run_of):
    with pytest.raises(AirflowFailException, match=r"late: no drop of 1 hour(.|\n)*waiting: no marker 12\.done"):
        ready().poke(run_of("2013-11-01T12:00:00"))
    [incident] = open_incidents(open_ledger("nycflights13", "test").incidents()).values()
    assert "no marker 12.done" in incident["body"]


def test_N12_a_drop_whose_file_is_being_written_anew_is_not_ready(unstated, run_of):
    """Its manifest speaks of the former bytes; the run must not begin with either."""
    mark(unstated)
    assert ready().poke(run_of("2013-11-01T12:00:00"))
    (unstated / "12.csv.gz").write_bytes(b"half")
    with pytest.raises(AirflowFailException, match=r"12\.done is older than the file"):
        ready().poke(run_of("2013-11-01T12:00:00"))
    rows = gzip.compress(b"scheduled_at,carrier,flight,origin,dep_delay\nx,y,1,z,2\n")
    (unstated / "12.csv.gz").write_bytes(rows)
    mark(unstated, NOON + 2 * HOUR)
    assert ready().poke(run_of("2013-11-01T12:00:00"))
    assert (unstated / "12.2.manifest.json").exists()


def test_N1_a_whole_file_that_cannot_be_unpacked_is_refused_by_its_name(unstated, run_of):
    (unstated / "12.csv.gz").write_bytes(b"random bytes")
    mark(unstated)
    with pytest.raises(AirflowFailException, match=r"12\.csv\.gz: gzip: Not a gzipped file"):
        ready().poke(run_of("2013-11-01T12:00:00"))
    [incident] = open_incidents(open_ledger("nycflights13", "test").incidents()).values()
    assert "12.csv.gz: gzip" in incident["body"]
    assert not (unstated / "12.manifest.json").exists()


def test_the_clock_of_a_look_is_handed_in_and_sources_with_manifests_are_left_alone(unstated):
    sources, landing = load_pipeline("nycflights13").sources.sources, unstated.parents[1]
    mark(unstated)
    early = not_whole("departures", sources["departures"], landing, [NOON], NOON + HOUR - timedelta(seconds=1))
    assert "which is not yet" in early[NOON]
    assert not_whole("departures", sources["departures"], landing, [NOON], NOON + HOUR) == {}
    assert not_whole("schedules", sources["schedules"], landing, [NOON + HOUR], NOON) == {}
