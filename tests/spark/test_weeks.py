"""A training set, a model in the registry and scored hours, by the real steps on three days and a few hours.

The bars are low because the days are few; whether models are good is measured elsewhere. One hour's weather comes two
hours late, so that its cells were not there when they were needed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import functions as F

from spark_jobs import failpoints
from spark_jobs.alerts.incidents import open_incidents
from spark_jobs.features import spine
from spark_jobs.invocation import HOUR, Invocation, format_hour, parse_hour
from spark_jobs.lake.tables import UndeclaredTableError
from spark_jobs.learning import tracking
from spark_jobs.learning.tracking import Tracking
from spark_jobs.result import Result
from spark_jobs.stages import score
from spark_jobs.steps import context, plan
from spark_jobs.steps.without_spark import conclude_without_spark
from spark_jobs.verdict import Outcome

CHECKOUT = Path(__file__).resolve().parents[2]
NAME, MODEL = "nycflights13", "late_departure"
PAST, NOW = parse_hour("2013-06-11T09:00:00"), parse_hour("2013-06-14T09:00:00")
LATE = NOW + 3 * HOUR  # of this hour's weather
END = NOW + 7 * HOUR
WEEK = {"start": PAST, "hours": int((END - PAST) / HOUR)}


@pytest.fixture(scope="module")
def project(new_project: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped project with a small model."""
    folder = new_project(tmp_path_factory.mktemp("project"))
    path = folder / "conf/pipelines" / NAME / "model.yaml"
    conf = yaml.safe_load(path.read_text())
    model = conf["models"][MODEL]
    model["label"]["maturity"], model["evaluate"] = "1h", "24h"
    model["rows"] = {"from": "2013-06-11T09:00:00Z"}
    model["estimator"]["options"] |= {"rounds": 5, "max_depth": 3}
    model["baselines"] = {"origin_share_late_3h": {"column": "origin_share_late_3h"}}
    model["register"] = {"auc_at_least": 0.3, "auc_below": 0.99, "beat": [], "min_rows": 100}
    path.write_text(yaml.safe_dump(conf))
    return folder


@pytest.fixture(scope="module")
def published(morning: Any, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The morning and four hours after it in one run, the weather of the first two hours late."""
    site = morning.site.copy(tmp_path_factory.mktemp("weeks") / "data", project)
    site.deliver(LATE, 4, only=["schedules", "departures", "planes"])
    site.deliver(LATE, only=["weather"], arrived_minutes=119)
    site.deliver(LATE + HOUR, 3, only=["weather"])
    site.publish(LATE, 4, "later")
    return site


@pytest.fixture(scope="module")
def trained(published: Any) -> tuple[Any, Result, Result]:
    """The week's training set and model."""
    made, model = (published.run(step, **WEEK, dag_run="week") for step in ("training_set", "train"))
    return published, made, model


def manifest(site: Any, pub: int | None) -> dict[str, Any]:
    return json.loads((site.root / "training_sets" / MODEL / str(pub) / "manifest.json").read_text())


def registry(site: Any) -> Tracking:
    return Tracking(f"sqlite:///{site.data}/mlflow/mlflow.db", site.data / "mlflow" / "artifacts")


def test_rows_without_a_cell_in_time_are_dropped_and_counted(trained: Any) -> None:
    site, made, _ = trained
    assert made.exit_code == 0, made.why
    facts = manifest(site, made.pub)
    path = f"{site.root}/training_sets/{MODEL}/pub-{made.pub}/*/*.parquet"
    rows, late, first, last, label_first = site.ask(
        f"""SELECT count(*), count(*) FILTER (as_of = '{LATE + HOUR}'), min(as_of), max(as_of),
                   min(label_known_at - as_of) FROM read_parquet('{path}')"""
    )[0]
    lost = site.ask(
        f"""SELECT count(*) FROM silver_schedules s JOIN silver_departures d USING (scheduled_at, carrier, flight, origin)
            WHERE d.departure_delay_min IS NOT NULL AND s.scheduled_at - INTERVAL 2 HOURS >= '{LATE + HOUR}'
              AND s.scheduled_at - INTERVAL 2 HOURS < '{LATE + 2 * HOUR}'"""
    )[0][0]
    assert facts["dropped_without_cells"] == lost > 5
    assert late == 0
    assert facts["rows"] == rows == facts["spine_rows"] - facts["dropped_without_label"] - lost > 1000
    assert (first, last) == (PAST + 22 * HOUR, END - 2 * HOUR)
    assert label_first > HOUR  # an outcome is known after its prediction


def test_tiles_of_an_hour_that_waited_for_a_drop_are_known_when_it_was_published(published: Any) -> None:
    """Otherwise a bulk run would show cells what the hourly run could not have had."""
    known = published.ask(f"SELECT DISTINCT known_at FROM tiles_departures WHERE event_hour = '{LATE}'")
    assert known == [(LATE + 3 * HOUR,)]


def test_negative_control_cells_taken_whenever_known_are_a_leak_that_the_gate_refuses(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong variant: features are joined without asking whether they were known at as_of."""
    honest = spine.with_cells
    monkeypatch.setattr(spine, "with_cells", lambda *args, as_known: honest(*args, as_known=False))
    result = published.run("training_set", **WEEK, dag_run="leak")
    assert result.exit_code == 65
    assert "rule no_future" in result.why
    verdict = published.ledger.verdicts(result.pub)[0]
    assert [rule.rule for rule in verdict.rules if rule.outcome is Outcome.FAIL] == ["no_future"]
    assert published.run("train", **WEEK, dag_run="leak").exit_code == 65  # no set that passed, no model
    assert published.run("train", **WEEK, dag_run="no set").exit_code == 75


def test_a_training_set_is_judged_by_its_suite_and_sealed_like_an_hour(trained: Any) -> None:
    site, made, _ = trained
    table, row = f"training_sets/{MODEL}", site.ledger.step_row("week", "training_set")
    [verdict] = site.ledger.verdicts(made.pub)
    suite = site.pipeline.suites[table]
    assert (verdict.table, verdict.scope, verdict.suite_hash) == (table, "training_set", suite.digest)
    found = {rule.rule: rule.outcome for rule in verdict.rules}
    assert {*found.values()} == {Outcome.PASS}
    assert {"no_future", "cells_present", "key_unique", "key_null", *(rule.id for rule in suite.rules)} <= {*found}
    assert (row["state"], json.loads(row["staged"])) == ("staged", {table: verdict.staged_digest})


def test_a_training_set_that_breaks_its_suite_trains_nothing(published: Any, tmp_path: Path) -> None:
    """One rule on the whole set blocks; one on rows has left those out that break it."""
    shutil.copytree(published.project, tmp_path / "project")
    path = tmp_path / "project/expectations" / NAME / f"training_sets_{MODEL}.yaml"
    suite = yaml.safe_load(path.read_text())
    suite["rules"][0]["args"] = {"min_value": 1_000_000}
    suite["rules"].append(
        {"id": "near", "type": "expect_column_values_to_be_between", "column": "distance_mi", "scope": "row", "budget": 1,
         "args": {"max_value": 1000}, "why": "test"}
    )  # fmt: skip
    path.write_text(yaml.safe_dump(suite))
    site = published.copy(tmp_path / "data", tmp_path / "project")
    promotions = site.ledger.promotions()  # other tests may have trained on this lake
    result = site.run("training_set", **WEEK, dag_run="few")
    assert (result.exit_code, result.state, result.refused) == (65, "refused", [])
    assert f"FAIL training_sets/{MODEL}, rule rows: " in result.why
    assert "--leave-out-refused" not in result.why
    [verdict] = site.ledger.verdicts(result.pub)
    assert [rule.rule for rule in verdict.rules if rule.outcome is Outcome.FAIL] == ["rows"]
    facts = result.models[MODEL]
    assert facts["dropped_by_rules"] == next(rule.bad for rule in verdict.rules if rule.rule == "near") > 0
    assert facts["rows"]["kept"] == facts["spine_rows"] - sum(
        n for what, n in facts.items() if what.startswith("dropped")
    )
    incident = [row for row in site.ledger.incidents() if row["event"] in ("opened", "signal")][-1]
    assert "rule rows" in incident["body"]
    assert incident["incident"] in open_incidents(site.ledger.incidents())
    assert site.run("train", **WEEK, dag_run="few").exit_code == 65
    assert site.ledger.promotions() == promotions
    shutil.copy(published.project / path.relative_to(tmp_path / "project"), path)
    assert site.run("training_set", **WEEK, dag_run="again").state == "staged"
    assert incident["incident"] not in open_incidents(site.ledger.incidents())


def test_rules_of_scope_hour_judge_every_hour_of_a_training_set(published: Any, tmp_path: Path) -> None:
    """A set begins with the first row of the model, long before the week of the call."""
    shutil.copytree(published.project, tmp_path / "project")
    path = tmp_path / "project/expectations" / NAME / f"training_sets_{MODEL}.yaml"
    suite = yaml.safe_load(path.read_text())
    suite["rules"].append(
        {"id": "near", "type": "expect_column_max_to_be_between", "column": "distance_mi", "scope": "hour",
         "severity": "warning", "args": {"max_value": 1}, "why": "test"}
    )  # fmt: skip
    path.write_text(yaml.safe_dump(suite))
    site, hours = published.copy(tmp_path / "data", tmp_path / "project"), int((END - NOW) / HOUR)
    result = site.run("training_set", NOW, hours, "short")
    [verdict] = site.ledger.verdicts(result.pub)
    [rule] = [one for one in verdict.rules if one.rule == "near"]
    assert rule.outcome is Outcome.WARN
    assert rule.bad == rule.total > hours


def test_a_set_whose_files_changed_after_its_gate_trains_nothing(trained: Any, tmp_path: Path) -> None:
    site = trained[0].copy(tmp_path / "data")
    path = next((site.root / "training_sets" / MODEL / f"pub-{trained[1].pub}").rglob("part*.parquet"))
    data = path.read_bytes()
    path.unlink()  # the copy may share its bytes with the lake that was copied
    path.write_bytes(data[:-1] + b"?")
    result = site.run("train", **WEEK, dag_run="week")
    assert result.exit_code == 65
    assert "the staged files are not those that were recorded" in result.why


def test_a_model_is_registered_with_the_alias_champion(trained: Any) -> None:
    site, _, model = trained
    assert (model.exit_code, model.state) == (0, "published"), model.why
    assert tracking.champion(registry(site), MODEL) == 1
    assert site.ledger.champion(MODEL) == "1"
    assert tracking.load_model(registry(site), MODEL, 1, fresh=True).booster
    report = json.loads((site.root / "models" / f"{MODEL}.json").read_text())
    assert 0.3 < report["figures"]["challenger"]["auc"] < 0.99


def test_results_of_the_week_have_rows_figures_and_decision(trained: Any) -> None:
    """Not "0 rows" and no figure: what people and machines read of both steps."""
    site, made, model = trained
    facts, kept = model.models[MODEL], made.models[MODEL]
    assert kept["rows"]["kept"] == manifest(site, made.pub)["rows"] == sum(facts["rows"].values())
    assert model.rows == {f"{MODEL}/{fold}": count for fold, count in facts["rows"].items()}
    assert facts["figures"]["challenger"].keys() == {"auc", "log_loss"}
    assert len(facts["figures"]) > 1  # its baselines
    assert (facts["version"], facts["champion_before"], facts["promoted"]) == ("1", None, True)
    assert facts["failed_bars"] == []
    assert json.loads(model.to_json())["models"][MODEL]["bars"] == facts["bars"]


def test_L4_a_registry_that_was_away_costs_no_second_training(trained: Any, tmp_path: Path) -> None:
    """What was trained is kept beside its set and taken by the next try, unless it is not whole."""
    site = trained[0].copy(tmp_path / "data")
    kept = site.root / "training_sets" / MODEL / str(trained[1].pub) / "fits"
    files = {path: path.stat().st_mtime_ns for path in kept.rglob("booster.ubj")}
    assert len(files) == 1
    (site.root / "models" / f"{MODEL}.json").unlink()
    assert site.run("train", **WEEK, dag_run="week").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("booster.ubj")} == files
    [booster] = files
    before = booster.read_bytes()
    booster.write_bytes(before[:-1])
    assert site.run("train", **WEEK, dag_run="week").exit_code == 0
    assert booster.stat().st_mtime_ns > files[booster]
    assert booster.read_bytes() == before


def test_training_again_gives_the_same_version(trained: Any) -> None:
    site, _, _ = trained
    again = site.run("train", **WEEK, dag_run="week")
    assert again.exit_code == 0, again.why
    assert [row["to_version"] for row in site.ledger.promotions()] == ["1"]
    with pytest.raises(Exception, match="not found"):
        tracking.load_model(registry(site), MODEL, 2)


@pytest.fixture(scope="module")
def scored(trained: Any) -> Any:
    """The last four hours, published before there was a champion, are scored."""
    site = trained[0]
    result = site.run("score", LATE, 4, "later")
    assert (result.exit_code, result.state) == (0, "published"), result.why
    assert result.rows[f"predictions/{MODEL}"] > 0
    return site


def test_hours_are_scored_by_the_champion_from_the_newest_release(scored: Any) -> None:
    data = [release for release in scored.ledger.line() if release.kind != "score"][-1].release
    rows = scored.ask(
        f"""SELECT as_of, count(*), min(score) > 0 AND max(score) < 1, count(DISTINCT score) > 1, any_value(model_version),
                   any_value(role), min(data_release), max(data_release), bool_or(scored_late), bool_and(scored_late)
            FROM predictions_{MODEL} GROUP BY as_of ORDER BY as_of"""
    )
    asked = scored.ask(
        f"""SELECT date_trunc('hour', scheduled_at - INTERVAL 2 HOURS) AS as_of, count(*) FROM silver_schedules
            WHERE as_of BETWEEN '{LATE + HOUR}' AND '{END}' GROUP BY as_of ORDER BY as_of"""
    )
    assert [row[:2] for row in rows] == asked
    assert {row[2:8] for row in rows} == {(True, True, "1", "champion", data, data)}
    assert [row[8:] for row in rows] == [(True, True), *[(False, False)] * 3]  # the first waited for weather


def test_scores_are_a_release_of_their_own(scored: Any) -> None:
    last = scored.ledger.line()[-1]
    assert (last.kind, [table for table, _, _ in last.covers]) == ("score", [f"predictions/{MODEL}"])


def test_hours_that_are_scored_are_not_scored_again(scored: Any) -> None:
    before = scored.ledger.line()[-1]
    result = scored.run("score", LATE, 4, "later again")
    assert (result.exit_code, result.state, result.rows) == (0, "empty", {})
    assert scored.ledger.line()[-1] == before
    with scored.here():
        assert conclude_without_spark(Invocation(NAME, "score", LATE, END, "no JVM")) is not None


@pytest.fixture(scope="module")
def next_hour(scored: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The hour after those that are published is delivered. Copy it, never write to it."""
    site = scored.copy(tmp_path_factory.mktemp("next hour") / "data")
    site.deliver(END)
    return site


@pytest.fixture(scope="module")
def staged(next_hour: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That hour is staged, with the champion's predictions. Copy it, never write to it."""
    site = next_hour.copy(tmp_path_factory.mktemp("staged") / "data")
    result = site.stage(END, dag_run="next")
    assert result.exit_code == 0, result.why
    return site


def _promote(site: Any, version: str | None) -> None:
    site.ledger.add_promotion({"model": MODEL, "alias": "champion", "to_version": version})


def _without_spark(site: Any) -> Result | None:
    with site.here():
        return conclude_without_spark(Invocation(NAME, "publish", END, END + HOUR, "next"))


def _predicted(site: Any) -> list[tuple[Any, ...]]:
    columns = "* EXCLUDE (pub, data_release)"
    return site.ask(f"SELECT {columns} FROM predictions_{MODEL} WHERE hour = '{format_hour(END)}Z' ORDER BY ALL")


def _kinds(site: Any) -> list[str]:
    return [release.kind for release in site.ledger.line()]


def test_an_hour_is_published_with_its_predictions_without_spark(staged: Any, scored: Any, tmp_path: Path) -> None:
    site = staged.copy(tmp_path / "data")
    assert _predicted(site) == []
    done = _without_spark(site)
    assert done is not None
    assert (done.state, done.exit_code) == ("published", 0), done.why
    assert _kinds(site) == [*_kinds(scored), "hour", "score"]
    rows = site.ask(
        f"SELECT count(*), count(data_release), any_value(scored_late) FROM predictions_{MODEL} WHERE hour = '{format_hour(END)}Z'"
    )
    assert rows[0][0] > 0
    assert rows[0][1:] == (0, False)
    predicted = _predicted(site)
    site.ledger.rollback(NAME, scored.ledger.line()[-1].release, "predictions that were served stay")
    assert _predicted(site) == predicted


def _killed(site: Any, step: str, failpoint: str) -> None:
    """Run a step of the staged hour in a process of its own that dies by SIGKILL at `failpoint`."""
    words = [step, "--from", format_hour(END), "--to", format_hour(END + HOUR), "--dag-run", "next"]
    with site.here(), pytest.MonkeyPatch.context() as patch:
        patch.setenv(failpoints.VARIABLE, failpoint)
        done = subprocess.run(
            [sys.executable, "-m", "spark_jobs.cli", "run", NAME, *words], capture_output=True, text=True, check=False
        )
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("failpoint", "readable"),
    [
        ("publish.recorded", 0),  # the hour is released, its predictions are not
        (f"publish.appended.predictions/{MODEL}", 0),
        (f"publish.read_back.predictions/{MODEL}", 0),
        ("predictions.released", 1),
    ],
)
def test_a_kill_between_an_hour_and_its_predictions_loses_none(
    staged: Any, scored: Any, failpoint: str, readable: int, tmp_path: Path
) -> None:
    site, whole = staged.copy(tmp_path / "data"), staged.copy(tmp_path / "whole")
    assert _without_spark(whole) is not None
    _killed(site, "publish", failpoint)
    assert _kinds(site) == [*_kinds(scored), "hour", *["score"] * readable]
    assert _predicted(site) == _predicted(whole)[: readable * 10**6]
    done = _without_spark(site)
    assert done is not None
    assert (done.state, done.exit_code) == ("published", 0), done.why
    assert _kinds(site) == [*_kinds(scored), "hour", "score"]
    assert _predicted(site) == _predicted(whole) != []


@pytest.mark.long
def test_a_kill_after_predictions_are_sealed_publishes_them_once(next_hour: Any, staged: Any, tmp_path: Path) -> None:
    """`predictions.sealed`: their files exist, but the hour is not sealed; the next try predicts again."""
    site, whole = next_hour.copy(tmp_path / "data"), staged.copy(tmp_path / "whole")
    assert _without_spark(whole) is not None
    assert site.run("ingest", END, dag_run="next").exit_code == 0
    _killed(site, "build_features", "predictions.sealed")
    kinds = _kinds(site)
    assert site.run("build_features", END, dag_run="next").exit_code == 0
    assert _without_spark(site) is not None
    assert _kinds(site) == [*kinds, "hour", "score"]
    assert _predicted(site) == _predicted(whole) != []


def test_staged_predictions_equal_those_of_step_score(staged: Any, next_hour: Any, tmp_path: Path) -> None:
    beside, after = staged.copy(tmp_path / "beside"), next_hour.copy(tmp_path / "after")
    assert _without_spark(beside) is not None
    _promote(after, None)
    after.publish(END, dag_run="next")
    assert _predicted(after) == []
    _promote(after, "1")
    assert after.run("score", END, dag_run="later").state == "published"
    assert _predicted(after) == _predicted(beside) != []


def test_a_champion_demoted_before_publish_predicts_nothing(staged: Any, tmp_path: Path) -> None:
    site = staged.copy(tmp_path / "data")
    _promote(site, None)
    assert _without_spark(site) is not None
    assert _kinds(site)[-1] == "hour"
    assert _predicted(site) == []


def test_a_champion_promoted_before_publish_predicts_the_hour(next_hour: Any, tmp_path: Path) -> None:
    """The hours are published at once; Spark is needed for their predictions alone."""
    site = next_hour.copy(tmp_path / "data")
    _promote(site, None)
    assert site.stage(END, dag_run="next").exit_code == 0
    _promote(site, "1")
    assert _without_spark(site) is None
    assert _kinds(site)[-1] == "hour"
    assert site.run("publish", END, dag_run="next").state == "published"
    assert _kinds(site)[-2:] == ["hour", "score"]
    assert _predicted(site) != []


def test_a_champion_that_cannot_predict_holds_no_hour_back(next_hour: Any, tmp_path: Path) -> None:
    site = next_hour.copy(tmp_path / "data")
    _promote(site, "7")  # which the registry does not have
    site.publish(END, dag_run="next")
    assert _kinds(site)[-1] == "hour"
    incident = open_incidents(site.ledger.incidents())[f"{NAME}/champion/{MODEL}"]
    assert "version 7" in incident["body"]
    assert f"tidegate score {NAME} --from {format_hour(END)}" in incident["body"]


def test_a_champion_whose_worker_dies_holds_no_hour_back(
    next_hour: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark reports it by another error than one that a Python function raises."""

    def dying(rows: Any, encoder: Any, booster: bytes) -> Any:
        def die(batches: Any) -> Any:
            os._exit(7)
            yield from batches

        scored = rows.withColumn("score", F.lit(0.5).cast("float"))
        return scored.mapInArrow(die, scored.schema)

    site = next_hour.copy(tmp_path / "data")
    monkeypatch.setattr(score, "score_frame", dying)
    site.publish(END, dag_run="next")
    assert _kinds(site)[-1] == "hour"
    assert "cannot predict" in open_incidents(site.ledger.incidents())[f"{NAME}/champion/{MODEL}"]["body"]


def test_an_undeclared_table_is_not_taken_for_a_champion_that_cannot_predict(
    staged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a fault of the code: with an incident of the model alone, hours would lack predictions until someone looks."""
    site = staged.copy(tmp_path / "data")
    monkeypatch.setattr(context, "tables_of", lambda pipeline, stage: plan.tables_of(pipeline, "tiles"))
    monkeypatch.setitem(plan.STEPS, "build_features", replace(plan.STEPS["build_features"], stages=("predictions",)))
    with pytest.raises(UndeclaredTableError, match="features/"):
        site.run("build_features", END, dag_run="next")
    assert site.ledger.step_row("next", "build_features")["state"] == "failed"
    assert f"{NAME}/champion/{MODEL}" not in open_incidents(site.ledger.incidents())


def test_a_champion_promoted_before_publish_that_cannot_predict_fails_nothing(staged: Any, tmp_path: Path) -> None:
    site = staged.copy(tmp_path / "data")
    _promote(site, "7")  # which the registry does not have
    assert _without_spark(site) is None
    result = site.run("publish", END, dag_run="next")
    assert (result.exit_code, result.state) == (0, "published"), result.why
    assert site.ledger.step_row("next", "publish")["state"] == "published"  # which `announce` asks for
    assert "version 7" in open_incidents(site.ledger.incidents())[f"{NAME}/champion/{MODEL}"]["body"]


def test_predictions_that_changed_after_they_were_sealed_are_not_released(staged: Any, tmp_path: Path) -> None:
    site = staged.copy(tmp_path / "data")
    pub = [row["pub"] for row in site.ledger.intervals() if (row["step"], row["state"]) == ("score", "staged")][-1]
    [path] = (site.root / "predictions" / MODEL / f"pub-{pub}").rglob("part*.parquet")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + b"?")
    assert _without_spark(site) is not None
    assert (_kinds(site)[-1], _predicted(site)) == ("hour", [])
    assert any("were not released" in row["body"] for row in open_incidents(site.ledger.incidents()).values())


def _redefine(features: dict[str, Any]) -> None:
    """A window more, and another meaning of both measures, of which the champion has inputs."""
    group = features["windows"]["departures"]
    group["windows"].append("6h")
    group["measures"]["late"]["options"]["threshold"] = -5
    group["measures"]["delay_min"] = {
        "use": "at_least",
        "columns": ["departure_delay_min"],
        "options": {"threshold": 0},
    }


@pytest.fixture(scope="module")
def redefined(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The lake with a champion, a project whose features are defined otherwise, and two hours more that were delivered."""
    folder = tmp_path_factory.mktemp("redefined")
    shutil.copytree(trained[0].project, folder / "project")
    path = folder / "project/conf/pipelines" / NAME / "features.yaml"
    features = yaml.safe_load(path.read_text())
    _redefine(features)
    path.write_text(yaml.safe_dump(features))
    site = trained[0].copy(folder / "data", folder / "project")
    site.deliver(END, 2)
    return site


def command(site: Any, *words: str) -> str:
    """What `tidegate` prints."""
    with site.here():
        done = subprocess.run(
            [sys.executable, "-m", "spark_jobs.cli", *words], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def scores(site: Any, as_of: datetime) -> list[tuple[Any, ...]]:
    """The predictions as of an hour, without what says which release they are made of."""
    columns = "* EXCLUDE (pub, data_release)"
    return site.ask(f"SELECT {columns} FROM predictions_{MODEL} WHERE as_of = '{as_of}' ORDER BY ALL")


def test_a_changed_feature_is_rebuilt_trained_on_and_promoted(
    redefined: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands of docs/how-to/change-definitions.md; meanwhile the champion scores with features as it was trained on."""
    control = trained[0].copy(tmp_path / "control")
    control.deliver(END)
    control.publish(END)
    expected = scores(control, END + HOUR)

    site, inputs = redefined, "carrier_mean_delay_min_24h, carrier_mean_delay_min_28d"
    planned = command(site, "plan", NAME)
    assert "added    features/departures.departures_6h" in planned
    assert f"version 1: trained on former definitions of {inputs}" in planned
    assert "they are computed from silver for its scores until a version trained on conf/ is promoted" in planned
    commands = [line.removeprefix("run      tidegate ") for line in planned.splitlines() if line.startswith("run ")]
    rebuild, *training = [words.split() for words in commands]
    assert rebuild == ["backfill", NAME, "--changed", "--env", "local"]
    assert "rebuild: published" in command(site, *rebuild)
    assert "nothing is stale" in command(site, "plan", NAME)
    assert "nothing is stale" in command(site, *rebuild)

    other = site.copy(tmp_path / "other")
    site.publish(END)
    assert scores(site, END + HOUR) == expected != []
    monkeypatch.setattr(
        score, "former_inputs", lambda *_, **__: []
    )  # the control: published cells have another meaning
    other.publish(END)
    monkeypatch.undo()
    assert scores(other, END + HOUR) != expected

    for words in training:
        command(site, *words)
    assert site.ledger.champion(MODEL) == "2"
    assert "version 2: trained on the current definitions" in command(site, "plan", NAME)
    site.publish(END + HOUR)
    assert {
        row[0] for row in site.ask(f"SELECT model_version FROM predictions_{MODEL} WHERE as_of = '{END + 2 * HOUR}'")
    } == {"2"}
