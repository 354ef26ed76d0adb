"""The plan as data: the steps of an hour in order, which continues which, what they read and write, and who knows them."""

from __future__ import annotations

import json

import pytest

from spark_jobs.cli.act import run_step
from spark_jobs.cli.planning import schema_changes, show_plan
from spark_jobs.config import ConfigError
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.config.schemas import table_schemas
from spark_jobs.errors import UsageError
from spark_jobs.steps import plan
from spark_jobs.storage.delta import DeltaStorage

NOON = ("2013-11-01T12:00:00", "2013-11-01T13:00:00")


def test_an_hour_has_three_steps_and_two_gates():
    assert [(step.name, step.stages, step.gates) for step in plan.HOUR_STEPS] == [
        ("ingest", ("bronze", "silver"), ("silver",)),
        ("build_features", ("tiles", "features", "predictions"), ("features",)),
        ("publish", ("publish",), ()),
    ]


def test_publishing_reads_no_table_and_writes_all_that_was_staged(project):
    pipeline = load_pipeline("nycflights13")
    staged = [stage for step in plan.steps_before("publish") for stage in step.stages]
    assert staged == ["bronze", "silver", "tiles", "features", "predictions"]
    assert plan.tables_read(pipeline, ["publish"]) == []
    assert {*plan.tables_written(pipeline, ["publish"])} == {*plan.tables_written(pipeline, staged)}
    assert "predictions/late_departure" in plan.tables_written(pipeline, ["publish"])


def test_a_step_continues_what_those_before_it_staged():
    before = {name: [step.name for step in plan.steps_before(name)] for name in plan.STEPS}
    assert {name: steps for name, steps in before.items() if steps} == {
        "build_features": ["ingest"],
        "publish": ["ingest", "build_features"],
        "train": ["training_set"],
    }
    assert {plan.first_step(step.name) for step in plan.HOUR_STEPS} == {"ingest"}


def test_rows_of_former_steps_still_tell_the_state_of_an_hour():
    assert {"build_features", "prepare"} == plan.SEALS
    assert {"ingest", "build_features", "prepare"} == plan.JUDGED
    assert plan.JUDGED | {"publish", "publish_and_score"} == plan.OF_HOURS


@pytest.mark.parametrize("name", ["prepare", "publish_and_score"])
def test_a_former_step_is_refused_with_the_steps_that_there_are(name, project):
    legal = "build_features, heal, ingest, publish, rebuild, score, train, training_set"
    with pytest.raises(UsageError, match=f"no step '{name}'") as caught:
        plan.step(name)
    assert legal in caught.value.allowed
    with pytest.raises(UsageError, match=f"no step '{name}'"):
        show_plan("nycflights13", name, *NOON, "local", as_json=True)
    with pytest.raises(UsageError, match=f"no step '{name}'"):
        run_step("nycflights13", name, *NOON, "", "local", as_json=True)


def test_the_closest_step_is_suggested():
    with pytest.raises(UsageError, match="did you mean 'ingest'"):
        plan.step("ingst")


def test_an_environment_cannot_choose_other_steps(project):
    path = project / "conf/environments/local.yaml"
    path.write_text(path.read_text().replace("  master:", "  grouping: split\n  master:"))
    with pytest.raises(ConfigError, match=r"spark\.grouping"):
        load_environment("local")


def test_the_plan_of_ingest_lists_the_missing_drops(project, capsys):
    show_plan("nycflights13", "ingest", *NOON, "local", as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["stages"], facts["gates"]) == (["bronze", "silver"], ["silver"])
    assert set(facts["missing_drops"]) == {"schedules", "departures", "weather", "planes"}


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
