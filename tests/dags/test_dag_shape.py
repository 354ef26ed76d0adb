"""What the shipped DAGs look like: edges, owners, retries, pools; and that parsing them costs nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
HEAVY = ("pyspark", "delta", "deltalake", "great_expectations", "mlflow", "pandas", "pyarrow", "duckdb", "xgboost")
HOURLY = {
    "fetch_weather": {"drops_ready"},
    "fetch_planes": {"drops_ready"},
    "drops_ready": {"ingest"},
    "ingest": {"gate_silver"},
    "gate_silver": {"build_features"},
    "build_features": {"gate_features"},
    "gate_features": {"publish"},
    "publish": {"announce"},
    "announce": set(),
}
WEEKLY = {
    "week_ready": {"training_set"},
    "training_set": {"gate_training_set"},
    "gate_training_set": {"train"},
    "train": {"score"},
    "score": {"announce_model"},
    "announce_model": set(),
}
DAILY = {"heal": {"maintain", "day_done"}, "maintain": {"day_done"}, "day_done": set()}
RUN_ALWAYS = {"drops_ready", "maintain"}  # whatever became of the tasks before


@pytest.fixture(scope="module")
def dags():
    import nycflights13

    return {dag.dag_id: dag for dag in (nycflights13.hourly, nycflights13.daily, nycflights13.weekly)}


def edges(dag) -> dict[str, set[str]]:
    return {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}


def test_parsing_imports_no_heavy_library():
    code = (
        "import json, sys, nycflights13 as n;"
        f"print(json.dumps([n.hourly.dag_id, sorted(set(m.split('.')[0] for m in sys.modules) & set({HEAVY!r}))]))"
    )
    path = os.pathsep.join([str(CHECKOUT / "dags"), str(CHECKOUT)])
    environment = {**os.environ, "PYTHONPATH": path, "TIDEGATE_PROJECT": str(CHECKOUT)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.splitlines()[-1]) == ["nycflights13_hourly", []]


def test_a_broken_configuration_breaks_its_own_file_and_says_where(project):
    path = project / "conf/pipelines/nycflights13/pipeline.yaml"
    path.write_text(path.read_text().replace("owner:", "ownr:"))
    from dag_builder.hourly import hourly_dag

    from spark_jobs.errors import UsageError

    with pytest.raises(UsageError, match=r"pipeline\.yaml:\d+"):
        hourly_dag("nycflights13")


def test_hourly_tasks_run_in_this_order(dags):
    assert edges(dags["nycflights13_hourly"]) == HOURLY


def test_daily_tasks_run_in_this_order(dags):
    assert edges(dags["nycflights13_daily"]) == DAILY


def test_weekly_tasks_run_in_this_order(dags):
    assert edges(dags["nycflights13_weekly"]) == WEEKLY


def test_no_dag_has_a_cycle(dags):
    for dag in dags.values():
        dag.check_cycle()


def test_a_cycle_is_refused(dags):
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import AirflowDagCycleException
    from dag_builder.gates import Announce

    with DAG("cyclic", schedule=None) as dag:
        first = Announce(task_id="first", pipeline="p", step="s")
        second = Announce(task_id="second", pipeline="p", step="s")
        first >> second >> first
    with pytest.raises(AirflowDagCycleException, match=r"first|second"):
        dag.check_cycle()


def test_spark_tasks_are_the_steps_of_the_plan_and_gates_read_its_scopes(dags):
    from dag_builder.gates import Gate
    from dag_builder.spark_step import SparkStep

    from spark_jobs.steps import plan

    for cadence in ("hourly", "daily", "weekly"):
        tasks = dags[f"nycflights13_{cadence}"].tasks
        steps = [task for task in tasks if isinstance(task, SparkStep)]
        mine = [step for step in plan.STEPS.values() if step.cadence == cadence]
        planned = {step.name: bool(step.gates) for step in mine}
        assert {task.step: task.gated for task in steps} == planned
        gates = {(task.step, task.scope) for task in tasks if isinstance(task, Gate)}
        assert gates == {(name, scope) for name in planned for scope in plan.STEPS[name].gates}


def test_a_red_gate_stops_all_that_follows_it(dags):
    """One gate a step: nothing is skipped, so Airflow's default rule ends the run as failed."""
    for dag in dags.values():
        rules = {task.task_id: task.trigger_rule for task in dag.tasks}
        assert {name: rule for name, rule in rules.items() if rule != "all_success"} == {
            name: "all_done" for name in RUN_ALWAYS & rules.keys()
        }
        assert {task.task_id for task in dag.tasks if len(task.upstream_task_ids) > 1} <= {"drops_ready", "day_done"}


def test_a_failed_heal_fails_the_day_and_the_lake_is_maintained_all_the_same(dags):
    daily = dags["nycflights13_daily"]
    assert daily.get_task("maintain").trigger_rule == "all_done"
    [last] = [task for task in daily.tasks if not task.downstream_task_ids]
    assert (last.task_id, last.trigger_rule, last.upstream_task_ids) == (
        "day_done",
        "all_success",
        {"heal", "maintain"},
    )


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2012-12-31T00", "2013-07-01T00", ("2012-12-31T00", "2012-12-31T00"), ("2013-06-30T00", "2013-06-24T00")),
        ("2012-12-31T03", "2013-07-10T05", ("2013-01-01T00", "2013-01-07T00"), ("2013-07-09T00", "2013-07-01T00")),
    ],
    ids=["whole weeks", "parts of weeks and days"],
)
def test_the_first_and_the_last_run_of_daily_and_weekly_lie_within_the_pipeline(project, start, end, first, last):
    """The last run comes after the pipeline's end, as it looks back; no key lies before the pipeline's first hour."""
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronPartitionTimetable
    from dag_builder.daily import daily_dag
    from dag_builder.partition import KEY_FORMAT
    from dag_builder.weekly import weekly_dag
    from pendulum import instance

    path = project / "conf/pipelines/nycflights13/pipeline.yaml"
    conf = yaml.safe_load(path.read_text())
    conf |= {"start": f"{start}:00:00Z", "end": f"{end}:00:00Z"}
    path.write_text(yaml.safe_dump(conf))
    seen = []
    for dag in (daily_dag("nycflights13"), weekly_dag("nycflights13")):
        timetable = CronPartitionTimetable(
            dag.schedule.expression, timezone="UTC", run_offset=-1, key_format=KEY_FORMAT
        )
        span, keys = TimeRestriction(instance(dag.start_date), instance(dag.end_date), catchup=True), []
        info = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=span)
        while info is not None:
            keys.append(info.partition_key.removesuffix(":00:00"))
            info = timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=span)
        seen.append((keys[0], keys[-1]))
    assert list(zip(*seen, strict=True)) == [first, last]


def test_what_is_announced_is_what_was_published(dags):
    assert dags["nycflights13_hourly"].get_task("announce").step == "publish"


def test_owner_tags_retries_and_timeouts_come_from_conf(dags):
    from spark_jobs.config.load import load_pipeline

    pipeline = load_pipeline("nycflights13", CHECKOUT)
    for cadence, timeout in (
        ("hourly", pipeline.schedules.hourly.timeout),
        ("daily", pipeline.schedules.daily.timeout),
        ("weekly", pipeline.schedules.weekly.timeout),
    ):
        dag = dags[f"nycflights13_{cadence}"]
        assert dag.tags == {"nycflights13", cadence}
        assert {task.owner for task in dag.tasks} == {pipeline.owner}
        assert {task.retries for task in dag.tasks} == {pipeline.schedules.hourly.retries}
        assert {task.execution_timeout for task in dag.tasks} == {timeout}
        assert all(task.retry_exponential_backoff for task in dag.tasks)


def test_sensors_free_their_slot_between_looks(dags):
    assert dags["nycflights13_hourly"].get_task("drops_ready").mode == "reschedule"
    assert dags["nycflights13_weekly"].get_task("week_ready").mode == "reschedule"


def test_one_run_at_a_time_and_missed_hours_are_caught_up_unless_told_otherwise(dags, monkeypatch):
    from dag_builder.hourly import hourly_dag

    caught_up = {name: dag.catchup for name, dag in dags.items()}
    assert caught_up == {"nycflights13_hourly": True, "nycflights13_daily": False, "nycflights13_weekly": True}
    assert {dag.max_active_runs for dag in dags.values()} == {1}
    monkeypatch.setenv("TIDEGATE_CATCHUP", "false")
    assert hourly_dag("nycflights13").catchup is False


def test_the_first_hourly_run_is_about_the_first_hour_of_the_pipeline():
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronPartitionTimetable
    from dag_builder.hourly import hourly_dag
    from pendulum import instance

    dag = hourly_dag("nycflights13")
    timetable = CronPartitionTimetable("0 * * * *", timezone="UTC", run_offset=-1)
    assert dag.schedule.expression == "0 * * * *"
    assert dag.schedule.run_offset == -1
    span = TimeRestriction(instance(dag.start_date), instance(dag.end_date), catchup=True)
    first = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=span)
    assert first is not None
    assert first.partition_key == "2012-12-31T00:00:00"


def test_a_week_is_keyed_by_its_first_midnight_whatever_hour_the_cron_line_looks():
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronPartitionTimetable
    from dag_builder.partition import KEY_FORMAT
    from pendulum import instance

    timetable = CronPartitionTimetable("0 6 * * 1", timezone="UTC", run_offset=-1, key_format=KEY_FORMAT)
    span = TimeRestriction(instance(datetime(2013, 10, 27, tzinfo=UTC)), None, catchup=True)
    info = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=span)
    assert info is not None
    assert (info.partition_key, info.run_after.day) == ("2013-10-21T00:00:00", 28)


def test_people_see_the_hours_asset_beside_the_week_and_it_schedules_nothing(dags):
    weekly = dags["nycflights13_weekly"]
    assert [asset.name for asset in weekly.get_task("week_ready").inlets] == ["nycflights13_hour"]
    assert type(weekly.schedule).__name__ == "CronPartitionTimetable"
    assert [asset.name for asset in dags["nycflights13_hourly"].get_task("announce").outlets] == ["nycflights13_hour"]


def test_retries_wait_longer_each_time_within_bounds(dags):
    task = dags["nycflights13_hourly"].get_task("ingest")
    assert (task.retry_delay, task.max_retry_delay) == (timedelta(seconds=20), timedelta(minutes=10))


@pytest.mark.parametrize(
    ("departures", "retries"),
    [
        ({}, None),
        ({"remote": {"root": "s3://deliveries"}}, 2 + 15),
        ({"remote": {"root": "s3://deliveries"}, "grace": "16m"}, 2 + 16),
        ({"remote": {"root": "s3://deliveries"}, "grace": "0m"}, 2),
    ],
)
def test_files_of_another_file_system_are_fetched_until_their_grace_is_over(departures, retries, project):
    """Each look is a light task; what is missing after the last one makes the hour late in drops_ready."""
    from dag_builder.hourly import hourly_dag

    path = project / "conf/pipelines/nycflights13/sources.yaml"
    sources = yaml.safe_load(path.read_text())["sources"]
    sources["departures"] |= departures
    path.write_text(yaml.safe_dump({"sources": sources}))
    dag = hourly_dag("nycflights13")
    assert ("fetch_departures" in dag.task_ids) == (retries is not None)
    assert {dag.get_task(f"fetch_{name}").retries for name in ("weather", "planes")} == {2}
    if retries is not None:
        task = dag.get_task("fetch_departures")
        assert (task.retries, task.downstream_task_ids, task.pool) == (retries, {"drops_ready"}, "default_pool")
        assert (task.retry_delay, task.retry_exponential_backoff) == (timedelta(minutes=1), False)
