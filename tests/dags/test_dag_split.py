"""The hourly DAG of an environment whose grouping is split: its edges, its gates, and what a red gate says."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException
from dag_builder.gates import Announce, Gate, open_ledger
from dag_builder.hourly import hourly_dag
from dag_builder.partition import invocation
from dag_builder.spark_step import SparkStep

from spark_jobs import plan
from spark_jobs.errors import UsageError
from spark_jobs.verdict import Outcome, RuleResult, Verdict

KEY = "2013-11-01T13:00:00"
SPLIT = {
    "fetch_weather": {"drops_ready"},
    "fetch_planes": {"drops_ready"},
    "drops_ready": {"ingest"},
    "ingest": {"gate_silver"},
    "gate_silver": {"build_features"},
    "build_features": {"gate_features"},
    "gate_features": {"publish"},
    "publish": {"score"},
    "score": {"announce"},
    "announce": set(),
}


@pytest.fixture
def split(project, monkeypatch):
    """A project with an environment `cluster` of grouping split, in which this Airflow works."""
    folder = project / "conf/environments"
    text = (folder / "local.yaml").read_text()
    (folder / "cluster.yaml").write_text(text.replace("grouping: fused", "grouping: split"))
    monkeypatch.setenv("TIDEGATE_ENV", "cluster")
    return project


def test_hourly_tasks_of_a_split_environment_run_in_this_order(split):
    dag = hourly_dag("nycflights13")
    dag.check_cycle()
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == SPLIT


def test_control_the_same_project_in_its_fused_environment_has_other_tasks(split, monkeypatch):
    monkeypatch.setenv("TIDEGATE_ENV", "local")
    tasks = {task.task_id for task in hourly_dag("nycflights13").tasks}
    assert SPLIT.keys() - tasks == {"ingest", "build_features", "publish", "score"}


def test_split_spark_tasks_are_the_steps_of_the_plan_and_gates_read_their_scopes(split):
    tasks = hourly_dag("nycflights13").tasks
    steps = {task.step: (task.gated, task.pool) for task in tasks if isinstance(task, SparkStep)}
    planned = plan.hour_steps("split")
    assert steps == {step.name: (bool(step.gates), "default_pool") for step in planned}
    gates = {(task.task_id, task.step, task.scope) for task in tasks if isinstance(task, Gate)}
    assert gates == {("gate_silver", "ingest", "silver"), ("gate_features", "build_features", "features")}


def test_a_refused_hour_stops_all_that_follows_and_what_is_announced_is_what_was_published(split):
    """One gate a step: none is skipped, so Airflow's default rule ends the run as failed."""
    dag = hourly_dag("nycflights13")
    rules = {task.task_id: task.trigger_rule for task in dag.tasks}
    assert {rule for name, rule in rules.items() if name != "drops_ready"} == {"all_success"}
    [announce] = [task for task in dag.tasks if isinstance(task, Announce)]
    assert announce.step == "publish"


def test_an_environment_that_is_not_there_breaks_the_file(split, monkeypatch):
    monkeypatch.setenv("TIDEGATE_ENV", "clustr")
    with pytest.raises(UsageError, match="did you mean 'cluster'"):
        hourly_dag("nycflights13")


def judged(context, *outcomes: Outcome):
    """The ledger after tries of `build_features` under one publication, with these outcomes of one table."""
    ledger = open_ledger("nycflights13", "test")
    call = invocation(context, "nycflights13", "ingest")
    pub = ledger.start(call, "code", "config", None)
    ledger.record(call, "staged", pub)
    for outcome in outcomes:
        rule = RuleResult("rule", outcome, "delay", "max 5400", "-60 to 1440", 40, 55)
        ledger.add_verdict(call, pub, Verdict.of("features/delays", "features", [rule]))
        state = "refused" if outcome.blocks else "staged"
        ledger.record(call.with_step("build_features"), state, pub)


def gate_features() -> Gate:
    return Gate(task_id="gate_features", pipeline="nycflights13", step="build_features", scope="features")


def test_a_red_gate_behind_features_says_to_begin_with_ingest(split, run_of):
    context = run_of(KEY)
    judged(context, Outcome.FAIL)
    with pytest.raises(AirflowFailException) as caught:
        gate_features().execute(context)
    assert str(caught.value).splitlines()[-1] == (
        "do: deliver a corrected drop, then clear ingest with downstream; or: tidegate run nycflights13 ingest "
        "--from 2013-11-01T13:00:00 --to 2013-11-01T14:00:00 --env cluster"
    )


def test_the_newest_verdict_on_a_table_counts_when_features_were_tried_again_under_one_publication(split, run_of):
    context = run_of(KEY)
    judged(context, Outcome.FAIL, Outcome.PASS)
    gate_features().execute(context)
    judged(run_of(KEY), Outcome.PASS, Outcome.FAIL)
    with pytest.raises(AirflowFailException, match="max 5400"):
        gate_features().execute(context)
