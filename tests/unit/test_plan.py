"""The plan as data: which steps a grouping has, which goes on with which, and that both groupings do the same work."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from spark_jobs import plan
from spark_jobs.cli.act import run_step
from spark_jobs.cli.backfill import run_backfill
from spark_jobs.cli.planning import schema_changes, show_plan
from spark_jobs.config import ConfigError
from spark_jobs.config.environment import Grouping
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.config.schemas import table_schemas
from spark_jobs.errors import UsageError
from spark_jobs.storage.delta import DeltaStorage

HOUR = ["bronze", "silver", "tiles", "features", "publish", "score"]


@pytest.mark.parametrize("grouping", get_args(Grouping))
def test_every_grouping_takes_an_hour_through_the_same_stages_in_the_same_order(grouping):
    steps = plan.hour_steps(grouping)
    assert [stage for step in steps for stage in step.stages] == HOUR
    assert [scope for step in steps for scope in step.gates] == ["silver", "features"]


def test_the_groupings_are_cut_here():
    cuts = {grouping: [step.name for step in plan.hour_steps(grouping)] for grouping in get_args(Grouping)}
    assert cuts == {
        "fused": ["prepare", "publish_and_score"],
        "split": ["ingest", "build_features", "publish", "score"],
    }


@pytest.mark.parametrize("grouping", get_args(Grouping))
def test_every_grouping_reads_and_writes_the_same_tables(grouping, project):
    pipeline, stages = load_pipeline("nycflights13"), [step.stages for step in plan.hour_steps(grouping)]
    for tables in (plan.tables_read, plan.tables_written):
        parts = {table for part in stages for table in tables(pipeline, part)}
        assert parts == {*tables(pipeline, HOUR)}
    whole = [stage for step in plan.steps_before(plan.hour_steps(grouping)[-1].name) for stage in step.stages]
    assert whole == HOUR[:4]
    assert plan.tables_read(pipeline, ["publish"]) == []
    assert {"accounts", "quarantine"} <= {*plan.tables_written(pipeline, ["publish"])}


def test_a_step_goes_on_with_what_those_before_it_staged():
    before = {name: [step.name for step in plan.steps_before(name)] for name in plan.STEPS}
    assert {name: steps for name, steps in before.items() if steps} == {
        "publish_and_score": ["prepare"],
        "build_features": ["ingest"],
        "publish": ["ingest", "build_features"],
        "score": ["ingest", "build_features"],
    }
    assert [plan.first_step(name) for name in ("prepare", "publish_and_score", "score")] == [
        "prepare",
        "prepare",
        "ingest",
    ]


def test_one_step_of_a_publication_seals_it_and_some_rows_speak_of_hours():
    assert {"prepare", "build_features"} == plan.SEALS
    assert {"prepare", "ingest", "build_features"} == plan.JUDGED
    assert plan.JUDGED | {"publish_and_score", "publish"} == plan.OF_HOURS


def test_a_step_of_the_other_grouping_is_refused_with_those_that_there_are():
    assert plan.step("ingest", "split") is plan.step("ingest")
    assert plan.step("train", "split") is plan.step("train", "fused")
    with pytest.raises(UsageError) as caught:
        plan.step("prepare", "split")
    assert caught.value.found == "no step 'prepare' where spark.grouping is split"
    assert caught.value.allowed == "legal: build_features, heal, ingest, publish, rebuild, score, train, training_set"
    with pytest.raises(UsageError, match="did you mean 'ingest'"):
        plan.step("ingst", "split")


NOON = ("2013-11-01T12:00:00", "2013-11-01T13:00:00")


@pytest.fixture
def cluster(project):
    """A project with an environment `cluster` of grouping split."""
    folder = project / "conf/environments"
    text = (folder / "local.yaml").read_text()
    (folder / "cluster.yaml").write_text(text.replace("grouping: fused", "grouping: split"))
    return folder / "cluster.yaml"


def test_the_command_line_takes_the_steps_of_the_environments_grouping(cluster, capsys):
    show_plan("nycflights13", "ingest", *NOON, "cluster", as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["stages"], facts["gates"]) == (["bronze", "silver"], ["silver"])
    assert set(facts["missing_drops"]) == {"schedules", "departures", "weather", "planes"}
    for step, env in (("prepare", "cluster"), ("ingest", "local")):
        with pytest.raises(UsageError, match=f"no step '{step}' where spark.grouping is"):
            show_plan("nycflights13", step, *NOON, env, as_json=True)
        with pytest.raises(UsageError, match=f"no step '{step}' where spark.grouping is"):
            run_step("nycflights13", step, *NOON, "", env, as_json=True)
    with pytest.raises(UsageError, match="no environment 'clusters'"):
        run_backfill("nycflights13", *NOON, "", "clusters", as_json=True)


def test_a_grouping_is_one_of_two_words(cluster):
    assert load_environment("cluster")[0].spark.grouping == "split"
    cluster.write_text(cluster.read_text().replace("grouping: split", "grouping: spilt"))
    with pytest.raises(
        ConfigError, match=r"cluster\.yaml:\d+:\d+: spark\.grouping: 'spilt': Input should be 'fused' or 'split'"
    ):
        load_environment("cluster")


def test_a_lake_of_the_current_definitions_has_no_schema_changes(project, tmp_path):
    """Columns that the lake adds to those of conf/, such as the coverage of windows, are no change; a new window is."""
    pipeline = load_pipeline("nycflights13")
    storage = DeltaStorage(tmp_path)
    for table, schema in table_schemas(pipeline).items():
        storage.make_file_table(table, schema)
    assert schema_changes(tmp_path, pipeline) == {}
    features = project / "conf/pipelines/nycflights13/features.yaml"
    features.write_text(features.read_text().replace("[3h, 24h, 7d, 28d]", "[3h, 24h, 7d, 14d, 28d]"))
    changed = schema_changes(tmp_path, load_pipeline("nycflights13"))
    assert changed == {"features/departures": ["+departures_14d", "+mean_delay_min_14d", "+share_late_14d"]}
