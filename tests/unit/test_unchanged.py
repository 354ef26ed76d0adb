"""An hour whose drops are delivered again with the same bytes costs no Spark application, and only such an hour."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import hour_lake
import pytest
from hour_lake import MODEL, NAME, land, publish_hour
from lake_rows import stage

from spark_jobs.alerts.incidents import incident_key, open_incidents
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.lake.predictions import close_when_predicted, seal_predictions, unscored_spans
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Ledger
from spark_jobs.stages import publish as publish_stage
from spark_jobs.steps import request
from spark_jobs.steps.request import Request
from spark_jobs.steps.without_spark import conclude_without_spark

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
SOURCES = ("departures", "schedules", "weather", "planes")
INGEST = Invocation(NAME, "ingest", NOON, NOON + HOUR, "again")
NOTHING = "nothing to score: no published hour lacks a champion's predictions"
NO_PROCESS = """
import subprocess, sys
def refuse(words, *more, **most):
    if words[0] != "git":
        raise RuntimeError("a process")
    return real(words, *more, **most)
real, subprocess.Popen = subprocess.Popen, refuse
from spark_jobs.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def root(project: Path) -> Path:
    """A lake in which two hours are published."""
    root = project / "var" / "lake" / NAME
    for hour in (NOON - HOUR, NOON):
        publish_hour(root, Ledger.open(root), hour, SOURCES)
    return root


def _champion(root: Path, version: str) -> None:
    Ledger.open(root).add_promotion({"model": MODEL, "alias": "champion", "to_version": version})


def _score(root: Path, version: str, hour: datetime = NOON) -> None:
    """Scores of an hour, without a row, by this version of the model."""
    ledger = Ledger.open(root)
    pub = ledger.start(INGEST.with_step("score"), "", "", None)
    covers = {f"predictions/{MODEL}": (hour, hour + HOUR)}
    publish(ledger, Publication(pub, "score", covers, {}, 1, frozenset(), f"{MODEL} version {version}"))


def test_the_same_drops_again_are_nothing_to_do_and_that_is_written_down(root: Path) -> None:
    """Also when they came as another version with the same bytes, and after a later hour."""
    land(root, "weather", NOON, f"{NOON} weather".encode(), version=2)
    publish_hour(root, Ledger.open(root), NOON + HOUR, SOURCES)
    done = conclude_without_spark(INGEST)
    assert done is not None
    assert (done.state, done.release, done.exit_code) == ("published", 2, 0)
    row = Ledger.open(root).step_row("again", "ingest")
    assert row is not None
    assert (row["state"], row["pub"], row["why"]) == ("published", done.pub, done.why)
    assert len(Ledger.open(root).releases()) == 3
    for step in ("build_features", "publish"):
        after = conclude_without_spark(INGEST.with_step(step))
        assert after is not None
        assert (after.state, after.pub, after.release) == ("published", done.pub, 2)


def _earlier_hour_again(root: Path) -> None:
    land(root, "weather", NOON - HOUR, b"corrected", version=2)
    ledger = Ledger.open(root)
    pub = ledger.start(Invocation(NAME, "ingest", NOON - HOUR, NOON, "late"), "", "", None)
    covers = {"silver/weather": (NOON - HOUR, NOON)}
    publish(ledger, Publication(pub, "hour", covers, {}, 2, frozenset()))


def _edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root.parents[2] / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return edit


@pytest.mark.parametrize(
    "change",
    [
        lambda root: land(root, "weather", NOON, b"corrected", version=2),
        lambda root: (root.parents[1] / f"landing/{NAME}/weather/2013-11-01/12.manifest.json").unlink(),
        lambda root: (root.parents[1] / f"landing/{NAME}/weather/2013-11-01/12.manifest.json").write_text("{"),
        _edit(f"conf/pipelines/{NAME}/tables.yaml", "lateness: 48h", "lateness: 47h"),
        _edit(f"expectations/{NAME}/departures.yaml", "1440", "1441"),
        _earlier_hour_again,
        lambda root: Ledger.open(root).rollback(NAME, 1, "a test"),
    ],
    ids=[
        "other bytes",
        "no drop",
        "a broken manifest",
        "another configuration",
        "another rule",
        "an earlier hour since",
        "a rollback since",
    ],
)
def test_whatever_a_run_could_see_is_something_to_do(root: Path, change: Callable[[Path], object]) -> None:
    assert conclude_without_spark(replace(INGEST, dag_run="before")) is not None
    change(root)
    assert conclude_without_spark(INGEST) is None
    assert Ledger.open(root).step_row("again", "ingest") is None


def test_other_code_is_something_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "code_version", lambda project: "another")
    assert conclude_without_spark(INGEST) is None


@pytest.mark.parametrize(("code", "spared"), [("a1b2", True), ("a1b2-dirty", False)])
def test_code_that_differs_from_its_commit_is_something_to_do(
    code: str, spared: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two states of one checkout bear the same name."""
    for module in (request, hour_lake):
        monkeypatch.setattr(module, "code_version", lambda project: code)
    root = project / "var" / "lake" / NAME
    publish_hour(root, Ledger.open(root), NOON, SOURCES)
    assert (conclude_without_spark(INGEST) is not None) == spared


def test_a_rollback_that_was_undone_is_something_to_do(root: Path) -> None:
    """Not needed, but never wrong: only what is seen at once is taken for unchanged."""
    for to in (1, 2):
        Ledger.open(root).rollback(NAME, to, "a test")
    assert conclude_without_spark(INGEST) is None


def test_steps_wait_for_an_ingest_that_found_nothing_to_do(root: Path) -> None:
    building = INGEST.with_step("build_features")
    assert conclude_without_spark(building) is None
    assert conclude_without_spark(INGEST) is not None
    assert conclude_without_spark(building) is not None


def test_score_starts_spark_only_for_hours_that_lack_the_champions_predictions(root: Path) -> None:
    scoring = replace(INGEST.with_step("score"), start=NOON - HOUR)
    assert (done := conclude_without_spark(scoring)) is not None
    assert (done.state, done.why) == ("empty", NOTHING)
    _champion(root, "1")
    assert conclude_without_spark(scoring) is None
    _score(root, "1")
    assert conclude_without_spark(scoring) is None  # the hour before lacks them
    assert conclude_without_spark(replace(scoring, start=NOON)) is not None
    assert conclude_without_spark(replace(scoring, start=NOON, model="another")) is not None
    _champion(root, "2")
    assert conclude_without_spark(replace(scoring, start=NOON)) is None


def _request() -> Request:
    return Request.of(INGEST.with_step("publish"))


def test_the_incident_of_a_champion_closes_when_no_hour_lacks_its_predictions(root: Path) -> None:
    """Not with the next hour that is predicted: the hour that opened it has no predictions yet."""
    _champion(root, "1")
    publish_hour(root, Ledger.open(root), NOON, SOURCES)
    desk, call = _request().desk, INGEST.with_step("publish")
    desk.unscored(call, MODEL, "a worker died")
    later = replace(call, start=NOON + HOUR, end=NOON + 2 * HOUR)
    publish_hour(root, Ledger.open(root), NOON + HOUR, SOURCES)
    _score(root, "1", NOON + HOUR)
    close_when_predicted(desk, later, MODEL, "1")
    assert desk.open_since(MODEL) is not None
    _score(root, "1")
    close_when_predicted(desk, call, MODEL, "1")
    assert desk.open_since(MODEL) is None


@pytest.mark.parametrize(("promoted", "due"), [("before", False), ("meanwhile", True)])
def test_a_first_champion_promoted_while_features_were_built_has_to_predict(
    root: Path, promoted: str, due: bool
) -> None:
    """The step read the champions when it began: what counts is its start, not the time at which it sealed the hour."""
    ledger, call = Ledger.open(root), replace(INGEST, step="build_features", dag_run="build")
    hours = ledger.line()[-1]
    if promoted == "before":
        _champion(root, "1")
    ledger.record(call, "started", hours.pub)
    if promoted == "meanwhile":
        _champion(root, "1")
    ledger.record(call, "staged", hours.pub, staged={})
    done = publish_stage.run(replace(_request(), call=call.with_step("publish")))
    assert (done.release, done.to_score) == (hours, (MODEL,) if due else ())


def test_an_unforeseen_error_of_publishing_is_recorded_and_told(root: Path) -> None:
    """No step of Spark runs, which would do it."""
    ledger, publishing = Ledger.open(root), replace(INGEST, step="publish", dag_run="broken")
    pub = ledger.start(publishing.with_step("ingest"), "", "", 2)
    ledger.record(publishing.with_step("build_features"), "staged", pub, staged={}, base=2)
    (root / "staging" / f"{pub}.json").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        conclude_without_spark(publishing)
    row = ledger.step_row("broken", "publish")
    assert row is not None
    assert (row["state"], "IsADirectoryError" in row["why"]) == ("failed", True)
    assert incident_key(publishing) in open_incidents(ledger.incidents())


def test_a_retry_after_a_rollback_does_not_announce_the_withdrawn_hour(root: Path) -> None:
    """The release landed, the process died, an operator withdrew the hour, and then the scheduler tries again."""
    ledger, retried = Ledger.open(root), replace(INGEST, step="publish", dag_run="killed")
    ledger.record(retried.with_step("build_features"), "staged", ledger.line()[-1].pub, staged={})
    ledger.rollback(NAME, 1, "the hour is wrong")
    before = ledger.releases()
    done = conclude_without_spark(retried)
    assert done is not None
    assert (done.exit_code, "release 2 of publication" in done.why, "withdrawn" in done.why) == (64, True, True)
    assert "do: tidegate run nycflights13 ingest --from" in done.why
    assert Ledger.open(root).releases() == before
    assert [row["state"] for row in ledger.store.rows("intervals", where={"step": "publish"})] == ["failed"]


def _leave_predictions(root: Path, version: str) -> Staged:
    """Predictions that were sealed with the hour by a run that a kill ended before it released them."""
    ledger, killed = Ledger.open(root), replace(INGEST, dag_run="killed")
    hours, pub = ledger.line()[-1], ledger.start(killed.with_step("score"), "", "", 1)
    row = {"thing": "a", "amount": 1, "hour": NOON, "known_at": NOON + HOUR, "pub": pub}
    files = stage(root, f"predictions/{MODEL}", pub, [row])
    seal_predictions(ledger, killed, files, f"{MODEL} version {version}")
    ledger.record(killed.with_step("build_features"), "staged", hours.pub, staged={files.table: files.digest})
    return files


@pytest.mark.parametrize(("by", "released"), [("1", True), ("2", False)], ids=["the champion", "another version"])
def test_a_run_again_releases_predictions_that_a_kill_left(root: Path, by: str, released: bool) -> None:
    """Once, and only those of the champion: the steps before find nothing to do, so no step stages them again."""
    _champion(root, "1")
    files = _leave_predictions(root, by)
    for step in ("ingest", "build_features", "publish") * 2:
        done = conclude_without_spark(INGEST.with_step(step))
        assert done is not None
        assert (done.state, done.release) == ("published", 2)
    found = [(one.kind, one.pub, one.covers) for one in Ledger.open(root).releases()[2:]]
    assert found == ([("score", files.pub, ((files.table, NOON, NOON + HOUR),))] if released else [])


def test_an_hour_published_again_lacks_predictions_and_one_never_published_does_not(root: Path) -> None:
    _champion(root, "1")
    _score(root, "1")
    publish_hour(root, Ledger.open(root), NOON, SOURCES)
    line = Ledger.open(root).line()
    assert unscored_spans(line, MODEL, "1", NOON, NOON + 2 * HOUR) == [(NOON, NOON + HOUR)]
    _score(root, "1")
    assert unscored_spans(Ledger.open(root).line(), MODEL, "1", NOON, NOON + 2 * HOUR) == []


def test_other_steps_and_wider_intervals_run(root: Path) -> None:
    assert conclude_without_spark(INGEST.with_step("training_set")) is None
    assert conclude_without_spark(replace(INGEST, start=NOON - HOUR)) is None  # two publications behind it
    assert conclude_without_spark(replace(INGEST, end=NOON + 2 * HOUR)) is None  # an hour was never published


def test_the_command_starts_no_process_and_ends_with_0(root: Path) -> None:
    words = ["backfill", NAME, "--from", format_hour(NOON), "--to", format_hour(NOON + HOUR), "--json"]
    done = subprocess.run([sys.executable, "-c", NO_PROCESS, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("nothing to do: release 2")) == (0, 3), done.stderr
    assert done.stderr.count("; since the last run") == 1  # before ingest
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["published"] * 3
    land(root, "weather", NOON, b"corrected", version=2)
    again = subprocess.run([sys.executable, "-c", NO_PROCESS, *words], capture_output=True, text=True, check=False)
    assert "a process" in again.stderr  # the control: it would have been noticed
