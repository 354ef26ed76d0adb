"""One incident an interval, one message an event, one close; a dead channel is recorded and fails nothing."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from spark_jobs.alerts.channels import channel
from spark_jobs.alerts.incidents import Desk, incident_key, open_incidents
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger, Release

PIPELINE = "nycflights13"
SIX, SEVEN, EIGHT = (datetime(2013, 11, 1, hour, tzinfo=UTC) for hour in (6, 7, 8))
PREPARE = Invocation(PIPELINE, "ingest", SIX, SEVEN, "run")
PUBLISH = PREPARE.with_step("publish")


@pytest.fixture
def desk(project):
    """One channel, a file."""
    settings = project / "conf" / "pipelines" / PIPELINE / "pipeline.yaml"
    settings.write_text(settings.read_text().replace("[data_team, data_team_chat]", "[data_team]"))
    environment, places = load_environment("local", project)
    return Desk(load_pipeline(PIPELINE, project), environment, places, Ledger.open(places.lake / PIPELINE))


def _events(desk):
    return [row["event"] for row in desk.ledger.incidents()]


def _messages(desk):
    path = desk.places.data / desk.environment.channels["data_team"].path
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_a_blocked_interval_opens_one_incident_and_tells_it_once(desk):
    desk.blocked(PREPARE, "rule x: 3 of 4 rows")
    assert _events(desk) == ["opened", "sent"]
    (message,) = _messages(desk)
    assert (message["event"], message["owner"]) == ("opened", "data-team")
    assert message["body"].startswith("rule x: 3 of 4 rows\n")
    assert list(open_incidents(desk.ledger.incidents())) == [incident_key(PREPARE)]


def test_repeated_signals_are_noted_and_told_no_more(desk):
    for _ in range(3):
        desk.blocked(PREPARE, "still bad")
    assert _events(desk) == ["opened", "sent", "signal", "signal"]
    assert len(_messages(desk)) == 1


def test_signals_at_the_same_time_open_one_incident(desk):
    """I5: whether it is open already is decided by the very commit that opens it."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: desk.blocked(PREPARE, f"signal {n}"), range(6)))
    assert sorted(_events(desk)) == ["opened", "sent", *["signal"] * 5]
    assert len(_messages(desk)) == 1


def test_another_interval_is_another_incident(desk):
    desk.blocked(PREPARE, "bad")
    desk.blocked(Invocation(PIPELINE, "ingest", SEVEN, EIGHT, "run"), "bad as well")
    assert len(_messages(desk)) == len(open_incidents(desk.ledger.incidents())) == 2


def test_recovery_closes_the_incident_and_tells_it_once(desk):
    desk.blocked(PREPARE, "bad")
    for _ in range(2):
        desk.published(PUBLISH, 4)
    assert _events(desk) == ["opened", "sent", "recovered", "sent"]
    assert [message["event"] for message in _messages(desk)] == ["opened", "recovered"]
    assert open_incidents(desk.ledger.incidents()) == {}


def test_a_longer_interval_has_recovered_when_the_last_of_its_hours_is_readable(desk):
    """As after a backfill around refused hours, which are corrected one by one."""
    nine = EIGHT + HOUR
    desk.blocked(Invocation(PIPELINE, "ingest", SIX, nine, "bulk"), "two hours are bad")
    for number, (low, high) in enumerate([(SEVEN, EIGHT), (SIX, SEVEN), (EIGHT, nine)], 1):
        assert len(open_incidents(desk.ledger.incidents())) == 1
        draft = Release(0, number, None, "hour", (("silver/schedules", low, high),), frozenset(), {}, "", low)
        desk.ledger.release(draft, None, [])
        desk.published(Invocation(PIPELINE, "publish", low, high, "run"), number)
    assert open_incidents(desk.ledger.incidents()) == {}
    assert _messages(desk)[-1]["subject"].endswith("recovered: 2013-11-01T06:00:00 to 2013-11-01T09:00:00")
    assert _events(desk) == ["opened", "sent", "recovered", "sent"]


def test_an_hour_has_recovered_when_a_longer_interval_is_published(desk):
    desk.blocked(PREPARE, "bad")
    draft = Release(0, 1, None, "hour", (("silver/schedules", SIX, EIGHT),), frozenset(), {}, "", SIX)
    desk.ledger.release(draft, None, [])
    desk.published(Invocation(PIPELINE, "publish", SIX, EIGHT, "run"), 1)
    assert open_incidents(desk.ledger.incidents()) == {}


@pytest.mark.parametrize(
    ("blocked", "healed", "is_open"),
    [((SIX, SEVEN), (SIX, EIGHT), False), ((SIX, EIGHT), (SIX, SEVEN), True), ((SIX, EIGHT), (SEVEN, EIGHT), True)],
    ids=["more hours", "the first hour", "the last hour"],
)
def test_a_heal_closes_incidents_of_heals_whose_hours_it_examined(desk, blocked, healed, is_open):
    """The hours that a heal is due for grow from day to day, and readers see them whatever became of it."""
    draft = Release(0, 1, None, "hour", (("silver/schedules", SIX, EIGHT),), frozenset(), {}, "", SIX)
    desk.ledger.release(draft, None, [])
    desk.blocked(Invocation(PIPELINE, "heal", *blocked, "day 1"), "a rule on rows")
    desk.published(Invocation(PIPELINE, "heal", *healed, "day 2"), 1)
    assert bool(open_incidents(desk.ledger.incidents())) == is_open


def test_an_hour_beside_a_blocked_interval_closes_nothing(desk):
    desk.blocked(PREPARE, "bad")
    desk.published(Invocation(PIPELINE, "publish", SEVEN, EIGHT, "run"), 1)
    desk.published(Invocation(PIPELINE, "publish", SIX, EIGHT, "run"), 1)
    assert len(open_incidents(desk.ledger.incidents())) == 1


def test_publishing_an_interval_that_was_never_blocked_tells_nothing(desk):
    desk.published(PUBLISH, 4)
    assert desk.ledger.incidents() == _messages(desk) == []


def test_an_interval_blocked_again_after_its_recovery_is_told_again(desk):
    desk.blocked(PREPARE, "bad")
    desk.published(PUBLISH, 4)
    desk.blocked(PREPARE, "bad again")
    assert [message["event"] for message in _messages(desk)] == ["opened", "recovered", "opened"]


def test_an_alert_about_a_champion_names_the_model_and_blocks_no_hour(desk):
    """Its hour is published: running the step again, as after a blocked hour, would end with 64."""
    why = f"model late_departure version 3 cannot predict: a worker died\n  do: {PUBLISH.score()}"
    desk.unscored(PUBLISH, "late_departure", why)
    desk.scored(PUBLISH, "late_departure", "3")
    opened, closed = _messages(desk)
    assert opened["subject"] == f"[{PIPELINE}] model late_departure does not predict: 2013-11-01T06:00:00"
    assert "hours are published without its predictions" in opened["body"]
    assert f"tidegate score {PIPELINE} --from 2013-11-01T06:00:00" in opened["body"]
    assert "blocked" not in str(opened)
    assert "tidegate run" not in opened["body"]
    assert closed["subject"] == f"[{PIPELINE}] recovered: model late_departure predicts"


def test_A1_a_dead_channel_is_recorded_and_raises_nothing(desk):
    (desk.places.data / desk.environment.channels["data_team"].path).mkdir(parents=True)
    desk.blocked(PREPARE, "bad")
    assert _events(desk) == ["opened", "send_failed"]
    failed = desk.ledger.incidents()[-1]
    assert (failed["channel"], "directory" in failed["body"].lower()) == ("data_team", True)


def test_a_channel_that_the_environment_does_not_have_is_recorded_and_raises_nothing(desk):
    """Another environment may lack it; the refusal of the data must not end as a bug."""
    without = Desk(desk.pipeline, desk.environment.model_copy(update={"channels": {}}), desk.places, desk.ledger)
    without.blocked(PREPARE, "bad")
    assert _events(desk) == ["opened", "send_failed"]


def test_A5_no_message_and_no_row_holds_anything_of_the_process_environment(desk, monkeypatch):
    """Secrets live in files and environment; an alert is made of the call and the gate's words alone."""
    monkeypatch.setenv("TIDEGATE_CANARY_TOKEN", "canary-7f3a")
    desk.blocked(PREPARE, "bad")
    desk.published(PUBLISH, 4)
    assert "canary-7f3a" not in json.dumps([_messages(desk), desk.ledger.incidents()], default=str)
    assert set(_messages(desk)[0]) == {"incident", "event", "subject", "owner", "body"}


def test_a_kind_of_channel_is_registered_once():
    with pytest.raises(ValueError, match="channel kind 'file' is registered twice"):
        channel("file")(lambda settings, places, message: None)
