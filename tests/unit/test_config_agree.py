"""What one file of a pipeline names, another defines; each contradiction is told at its file, line and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from spark_jobs.config import load, registered
from spark_jobs.config.faults import ConfigError, Fault
from spark_jobs.errors import UsageError

CONF = "conf/pipelines/nycflights13"
RULES = "expectations/nycflights13"


def _changed(project: Path, file: str, old: str, new: str) -> tuple[list[Fault], int]:
    """Faults after the first `old` of `file` became `new`, and the line of it."""
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as told:
        load.load_pipeline("nycflights13", project)
    return told.value.faults, text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize(
    ("file", "old", "new", "path", "said"),
    [
        ("model.yaml", "      table: departures", "      table: departure", "label.table", "did you mean 'departures'"),
        ("model.yaml", "      table: departures", "      table: weather", "label.table", "has the key"),
        ("model.yaml", "columns: [departure_delay_min]", "columns: [delay]", "label.columns[0]", "no column 'delay'"),
        ("model.yaml", "use: at_least", "use: at_most", "label.use", "no transform 'at_most'"),
        ("model.yaml", "{threshold: 15}", "{}", "label.options", "'threshold' is missing"),
        ("model.yaml", "{threshold: 15}", "{threshold: late}", "options.threshold", "not a value"),
        ("model.yaml", "numeric: [distance_mi]", "numeric: [distance]", "numeric[0]", "did you mean 'distance_mi'"),
        ("model.yaml", "numeric: [distance_mi]", "numeric: [carrier]", "numeric[0]", "is a string"),
        ("model.yaml", "ids: [carrier, origin, dest]", "ids: [carrier, origins, dest]", "ids[1]", "mean 'origin'"),
        ("model.yaml", "of: scheduled_at", "of: distance_mi", "calendar.of", "no timestamp"),
        ("model.yaml", "features: [departures, weather, planes]", "features: [departures, wether, planes]", "features[1]", "'weather'"),
        ("model.yaml", "column: origin_share_late_3h", "column: share_late_3h", "late_3h.column", "in a training set"),
        ("model.yaml", "column: origin_share_late_3h", "column: origin_share_lte_3h", "column", "'origin_share_late_3h'"),
        ("model.yaml", "use: xgboost", "use: xgbost", "estimator.use", "did you mean 'xgboost'"),
        ("model.yaml", "options: {rounds: 50,", "options: {depth: 3,", "calendar_and_ids.options.depth", "no option"),
        ("model.yaml", "rows: {from: 2013-01-01T00:00:00Z}", "rows: {min_coverage: 60d}", "rows.min_coverage", "at most 28d"),
        ("features.yaml", "event_at: scheduled_at", "event_at: scheduled", "spine.event_at", "mean 'scheduled_at'"),
        ("features.yaml", "plane: [tail_number]", "plane: [dest]", "entities[2]", "no column 'dest'"),
        ("features.yaml", "entities: [carrier, origin, plane]", "entities: [carrier, plain]", "entities[1]", "'plane'"),
        ("features.yaml", "of: late}", "of: lat}", "aggregations[2].of", "did you mean 'late'"),
        ("features.yaml", "[3h, 24h, 7d, 28d]", "[90m, 24h]", "windows[0]", "whole hours"),
        ("features.yaml", "op: count}", "op: count, type: double}", "aggregations[0].type", "of a count"),
        ("features.yaml", "op: mean, of: delay_min}", "op: mean, of: delay_min, type: int}", "aggregations[1].type", "float"),
        ("features.yaml", "      delay_min: {use: itself", "      known_at: {use: itself", "measures.known_at", "is taken"),
        ("features.yaml", "[3h, 24h, 7d, 28d]", "[24h, 1d]", "", "twice: carrier_departures_24h"),
        ("features.yaml", "    entity: origin", "    entity: carrier", "weather.entity", "no column 'carrier'"),
        ("features.yaml", "staleness: 6h", "staleness: 90m", "staleness", "whole hours"),
        ("tables.yaml", "source: departures", "source: departure", "departures.source", "did you mean 'departures'"),
        ("tables.yaml", "from: tailnum", "from: tailno", "tail_number.from", "did you mean 'tailnum'"),
        ("tables.yaml", "key: [observed_at, origin]", "key: [observed, origin]", "key[0]", "mean 'observed_at'"),
        ("tables.yaml", "use: minutes_after, columns: [scheduled_at, departure_delay_min]",
         "use: minutes_after, columns: [scheduled_at]", "event_at.columns", "1 columns for 'minutes_after'"),
        ("tables.yaml", "table: schedules, column: tail_number", "table: schedules, column: tail", "tail_number.column", "no column"),
        ("tables.yaml", "table: schedules, column: tail_number", "table: weather, column: origin", "lookups.tail_number",
         "has the key"),
        ("tables.yaml", "      dest: {type", "      hour: {type", "columns.hour", "is taken"),
        ("replay.yaml", "format: jsonl", "format: csv", "weather.format", "write jsonl"),
        ("replay.yaml", "      tailnum: tailnum\n", "", "schedules.columns", "'tailnum' of source schedules is not made"),
        ("pipeline.yaml", "modules: []", "modules: [no_such_module]", "modules[0]", "no Python module"),
        ("pipeline.yaml", "end: 2014", "end: 2011", "end", "is not after start"),
        ("pipeline.yaml", "name: nycflights13", "name: nyc", "name", "not the folder's name"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_at_its_line(
    file: str, old: str, new: str, path: str, said: str, project: Path
) -> None:
    """File, line, key path, caret, what was found and what is allowed."""
    faults, line = _changed(project, f"{CONF}/{file}", old, new)
    told = [fault for fault in faults if fault.path.endswith(path) and said in f"{fault.found}; {fault.allowed}"]
    assert told, [str(fault) for fault in faults]
    if path and new:
        assert told[0].place.startswith(f"{CONF}/{file}:")
        assert abs(int(told[0].place.split(":")[1]) - line) <= 4
    assert "^" in told[0].caret


def test_look_ups_in_a_circle_are_refused_with_the_circle(project: Path) -> None:
    """A silver table that needs itself by way of another can never be computed."""
    extra = "lookups: {delay: {table: departures, column: departure_delay_min, meaning: a circle}}"
    old = "    event_within: {lateness: 48h, ahead: 0h}"
    faults, _ = _changed(project, f"{CONF}/tables.yaml", old, f"{old}\n    {extra}")
    [told] = [fault for fault in faults if "circle" in fault.found]
    assert "departures -> schedules -> departures" in told.found or "schedules -> departures -> schedules" in told.found
    assert told.place.startswith(f"{CONF}/tables.yaml:")


def test_a_rule_on_a_column_that_the_table_does_not_have_is_refused_in_its_suite(project: Path) -> None:
    """The fault stands in the suite's own file."""
    faults, line = _changed(project, f"{RULES}/departures.yaml", "column: origin", "column: orign")
    assert faults[0].place == f"{RULES}/departures.yaml:{line}:5"
    assert "did you mean 'origin'" in faults[0].allowed


def test_an_allowance_of_a_column_that_the_table_does_not_have_is_refused(project: Path) -> None:
    """In the suite's own file, with the nearest name; one of a column that is there is legal."""
    file = project / RULES / "departures.yaml"
    text = file.read_text()
    file.write_text(text + "built_in: {allow_rows: 1, rules: {type:origin: {budget: 0.1}}}\n")
    assert load.load_pipeline("nycflights13", project).suites["departures"].built_in.allowance("type:origin") == (
        0.1,
        1,
    )
    file.write_text(text + "built_in: {rules: {type:orign: {budget: 0.1}}}\n")
    with pytest.raises(ConfigError, match=r"built_in\.rules\.type:orign.*no column 'orign'"):
        load.load_pipeline("nycflights13", project)


def test_a_rule_may_name_the_hour_of_a_silver_row_and_not_that_of_features(project: Path) -> None:
    """Rows of features are of an instant, as_of."""
    assert "[event_at, hour]" in (project / RULES / "departures.yaml").read_text()
    load.load_pipeline("nycflights13", project)
    faults, _ = _changed(project, f"{RULES}/departures.yaml", "[event_at, hour]", "[event_at, hours]")
    assert "did you mean 'hour'" in faults[0].allowed
    (project / RULES / "departures.yaml").write_text((load.ROOT / RULES / "departures.yaml").read_text())
    faults, _ = _changed(project, f"{RULES}/features_weather.yaml", "column: temperature_f", "column: hour")
    assert "no column 'hour'" in faults[0].found


def test_a_published_table_without_a_suite_and_a_table_with_two_are_refused(project: Path) -> None:
    """Lost checks are noticed, and so are checks that would silently replace each other."""
    suite = project / RULES / "weather.yaml"
    (project / RULES / "again.yaml").write_text(suite.read_text())
    with pytest.raises(ConfigError, match="has a suite already"):
        load.load_pipeline("nycflights13", project)
    (project / RULES / "again.yaml").unlink()
    suite.unlink()
    with pytest.raises(ConfigError, match="'weather' would be published without a rule"):
        load.load_pipeline("nycflights13", project)


@pytest.mark.parametrize("name", [f"{CONF}/modle.yaml", f"{CONF}/model.yml", f"{RULES}/more.yml", f"{RULES}/a/b.yaml"])
def test_a_file_that_no_one_would_read_is_refused(name: str, project: Path) -> None:
    """A misspelt file name is as silent as a misspelt key."""
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).write_text("models: {}\n")
    with pytest.raises(ConfigError, match="a file that is never read"):
        load.load_pipeline("nycflights13", project)


def test_faults_of_several_files_are_told_together(project: Path) -> None:
    """Two keys in one file, one value in another, text that is no YAML in a third: one report."""
    for file, old, new in [
        ("tables.yaml", "grain:", "grian:"),
        ("tables.yaml", "meaning: Airport.", "meanin: Airport."),
        ("sources.yaml", "grace: 15m", "grace: soon"),
        ("pipeline.yaml", "start: 2012-12-31", "start: 2012-13-31"),
        ("replay.yaml", "sources:", "sources: ["),
    ]:
        path = project / CONF / file
        path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as told:
        load.load_pipeline("nycflights13", project)
    files = [fault.place.split(":")[0].rpartition("/")[2] for fault in told.value.faults]
    assert {file: files.count(file) for file in files} == {
        "tables.yaml": 2, "sources.yaml": 1, "pipeline.yaml": 1, "replay.yaml": 1,
    }  # fmt: skip
    assert all("^" in fault.caret for fault in told.value.faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: &x [*x]\n", "contains itself"), ("a: 1\na: 2\n", "duplicate key"), ("a: \x07\n", "not YAML")],
)
def test_text_that_is_no_plain_yaml_is_a_fault_and_no_traceback(text: str, said: str, project: Path) -> None:
    """An alias of itself, a key twice, a forbidden character."""
    (project / CONF / "replay.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load.load_pipeline("nycflights13", project)


def test_a_channel_that_the_environment_does_not_have_is_refused(project: Path) -> None:
    """Otherwise the alert of a blocked gate would reach no one."""
    load.check_channels("nycflights13", "local", project)
    path = project / CONF / "pipeline.yaml"
    path.write_text(path.read_text().replace("[data_team, ", "[data_teem, "))
    with pytest.raises(ConfigError, match="did you mean 'data_team'") as told:
        load.check_channels("nycflights13", "local", project)
    assert told.value.faults[0].path == "alerts[0]"


def test_a_pipeline_or_environment_that_is_not_there_is_a_usage_error_with_the_nearest_name(project: Path) -> None:
    """Where, found, allowed, do."""
    with pytest.raises(UsageError, match="did you mean 'nycflights13'") as told:
        load.load_pipeline("nycflight13", project)
    assert told.value.todo
    with pytest.raises(UsageError, match="did you mean 'local'"):
        load.load_environment("locl", project)


def test_a_transform_of_ones_own_module_is_known_without_importing_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as a step would find it, on sys.path; its source is read, its code not run."""
    (tmp_path / "own_rooms").mkdir()
    (tmp_path / "own_rooms" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "own_rooms" / "columns.py").write_text(
        "raise SystemExit('imported')\n@transform('twice')\ndef twice(value, *, times: int = 2): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = project / CONF / "pipeline.yaml"
    path.write_text(path.read_text().replace("modules: []", "modules: [own_rooms.columns]"))
    features = project / CONF / "features.yaml"
    features.write_text(features.read_text().replace("use: itself", "use: twice"))
    assert (
        load.load_pipeline("nycflights13", project).features.windows["departures"].measures["delay_min"].use == "twice"
    )
    assert "own_rooms" not in sys.modules


def test_what_is_read_from_the_sources_is_what_they_register() -> None:
    """The only test here that imports Spark: names, columns and options of transforms and estimators."""
    import inspect

    from spark_jobs.learning import train
    from spark_jobs.transforms import registry

    for file, decorator, room in [
        (registered.TRANSFORMS, "transform", registry._REGISTERED),
        (registered.ESTIMATORS, "estimator", train._REGISTERED),
    ]:
        found = registered.registered(file, decorator)
        built_in = {name: one for name, one in room.items() if one.__module__.startswith("spark_jobs.")}  # not of tests
        assert set(found) == set(built_in)
        for name, function in built_in.items():
            parameters = inspect.signature(function).parameters.values()
            assert found[name].at_most == sum(one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters)
            assert list(found[name].options) == [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]


def test_a_sensitive_column_is_so_wherever_it_is_looked_up_joined_or_names_an_entity(project: Path) -> None:
    path = project / CONF / "tables.yaml"
    text = path.read_text()
    for column in ("tail_number: {from", "seats: {"):
        text = text.replace(column, column.replace("{", "{sensitive: true, "))
    path.write_text(text)
    whole = load.load_pipeline("nycflights13", project)
    tables = [*(f"silver/{name}" for name in whole.silver), *whole.feature_tables, "predictions/any"]
    assert {table: set(whole.sensitive(table)) for table in tables if whole.sensitive(table)} == {
        "silver/schedules": {"tail_number"}, "silver/departures": {"tail_number"},
        "silver/planes": {"tail_number", "seats"}, "features/planes": {"key", "seats"},
        "features/departures": {"key"}, "predictions/any": {"tail_number"},
    }  # fmt: skip


def test_groups_over_one_table_share_tiles_and_cannot_define_a_measure_twice(project: Path) -> None:
    """Under one name their sums would be one column of tiles/departures; equal definitions are fine."""
    path = project / CONF / "features.yaml"
    text = path.read_text()
    more = """  recent:
    table: departures
    entities: [origin]
    measures: {delay_min: {use: itself, columns: [departure_delay_min]}}
    windows: [6h]
    aggregations: [{name: recent_delay, op: sum, of: delay_min}]
"""
    added = text.replace("as_of:\n  weather", more + "as_of:\n  weather")
    suite = (project / RULES / "features_departures.yaml").read_text().partition("rules:")[0]
    rule = (
        "rules:\n  - {id: r1, type: expect_column_values_to_not_be_null, column: key, scope: row, budget: 0, why: x}\n"
    )
    (project / RULES / "features_recent.yaml").write_text(
        suite.replace("features/departures", "features/recent") + rule
    )
    path.write_text(added)
    load.load_pipeline("nycflights13", project)
    path.write_text(added.replace("{delay_min: {use: itself", "{delay_min: {use: hours_before"))
    with pytest.raises(ConfigError) as told:
        load.load_pipeline("nycflights13", project)
    assert any("whose tiles it shares" in str(fault) for fault in told.value.faults)


SET = "training_sets/late_departure"
SET_RULES = f"{RULES}/training_sets_late_departure.yaml"


def test_a_training_set_without_a_suite_is_refused_like_any_table(project: Path) -> None:
    (project / SET_RULES).unlink()
    with pytest.raises(ConfigError, match=f"table '{SET}' would be published without a rule"):
        load.load_pipeline("nycflights13", project)


def test_a_suite_of_a_model_that_does_not_exist_is_refused(project: Path) -> None:
    faults, line = _changed(project, SET_RULES, f"table: {SET}", "table: training_sets/late")
    assert faults[0].place.startswith(f"{SET_RULES}:{line}:")
    assert f"did you mean '{SET}'" in faults[0].allowed
    (project / SET_RULES).write_text((load.ROOT / SET_RULES).read_text())
    (project / CONF / "model.yaml").unlink()
    with pytest.raises(ConfigError, match=f"no published table '{SET}'"):
        load.load_pipeline("nycflights13", project)


def test_models_that_cannot_be_read_leave_their_suites_unjudged(project: Path) -> None:
    (project / CONF / "model.yaml").write_text("models: [\n")
    with pytest.raises(ConfigError) as told:
        load.load_pipeline("nycflights13", project)
    assert {fault.place.partition(":")[0] for fault in told.value.faults} == {f"{CONF}/model.yaml"}


@pytest.mark.parametrize("column", ["distance_mi", "carrier_share_late_28d", "temperature_f", "label_known_at", "hour"])
def test_a_rule_on_a_training_set_may_name_each_of_its_columns(project: Path, column: str) -> None:
    path = project / SET_RULES
    path.write_text(path.read_text().replace("column: temperature_f", f"column: {column}"))
    load.load_pipeline("nycflights13", project)


def test_a_rule_on_a_training_set_is_checked_against_its_columns(project: Path) -> None:
    faults, line = _changed(project, SET_RULES, "column: origin_departures_24h", "column: departures_24h")
    assert faults[0].place.startswith(f"{SET_RULES}:{line}:")
    assert "origin_departures_24h" in faults[0].allowed


def test_an_id_that_every_training_set_has_is_refused_there_alone(project: Path) -> None:
    faults, line = _changed(project, SET_RULES, "id: share_late", "id: no_future")
    assert faults[0].place.startswith(f"{SET_RULES}:{line}:")
    assert "every training set has" in faults[0].found
    (project / SET_RULES).write_text((load.ROOT / SET_RULES).read_text())
    path = project / RULES / "departures.yaml"
    path.write_text(path.read_text().replace("id: on_time", "id: coverage"))
    load.load_pipeline("nycflights13", project)


def test_what_can_be_judged_by_the_hour_is_judged_whole_in_a_training_set_alone(project: Path) -> None:
    """A backfill would judge a table of hours otherwise than hourly runs do."""
    assert {rule.scope for rule in load.load_pipeline("nycflights13", project).suites[SET].rules} == {"batch"}
    faults, line = _changed(project, f"{RULES}/departures.yaml", "scope: hour", "scope: batch")
    assert faults[0].place.startswith(f"{RULES}/departures.yaml:{line}:")
    assert "can be judged by the hour" in faults[0].found


def test_values_of_sensitive_columns_are_hidden_in_a_training_set(project: Path) -> None:
    """Of the spine, of joined features, and the label made of such a column."""
    assert load.load_pipeline("nycflights13", project).sensitive(SET) == frozenset()
    path = project / CONF / "tables.yaml"
    tables = yaml.safe_load(path.read_text())
    for table, column in (("schedules", "dest"), ("departures", "departure_delay_min"), ("planes", "seats")):
        tables["tables"][table]["columns"][column]["sensitive"] = True
    path.write_text(yaml.safe_dump(tables))
    assert load.load_pipeline("nycflights13", project).sensitive(SET) == {"dest", "label", "seats"}
