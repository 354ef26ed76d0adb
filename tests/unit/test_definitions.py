"""What a change of conf/ changes: the configuration hash of an hour, and the hash of each definition."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import create_model

from spark_jobs.config.definitions import (
    Definitions,
    define,
    input_hashes,
    is_narrowed,
    model_digest,
    table_of,
)
from spark_jobs.config.load import FILES, load_pipeline
from spark_jobs.config.section import Section
from spark_jobs.ledger import Ledger

NAME = "nycflights13"
Edit = Callable[[dict[str, Any]], object]


def _edit(project: Path, file: str, edit: Edit) -> None:
    """Change one file of conf/ or expectations/."""
    folder = project / ("expectations" if file.startswith("expectations/") else "conf/pipelines") / NAME
    path = folder / file.removeprefix("expectations/")
    data = yaml.safe_load(path.read_text())
    edit(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def _defined(project: Path, *edits: tuple[str, Edit]) -> Definitions:
    for file, edit in edits:
        _edit(project, file, edit)
    return define(load_pipeline(NAME, project))


def _changed(project: Path, *edits: tuple[str, Edit]) -> tuple[set[str], set[str], set[str]]:
    """Ids of the definitions whose hash changed, and of those that were added and removed, after `edits`."""
    before, after = _defined(project).by_id, _defined(project, *edits).by_id
    changed = {name for name in before.keys() & after.keys() if before[name].hash != after[name].hash}
    return changed, {*after} - {*before}, {*before} - {*after}


def _table(name: str, **fields: Any) -> tuple[str, Edit]:
    return "tables.yaml", lambda data: data["tables"][name].update(fields)


def _column(table: str, column: str, **fields: Any) -> tuple[str, Edit]:
    return "tables.yaml", lambda data: data["tables"][table]["columns"][column].update(fields)


def _windows(edit: Edit) -> tuple[str, Edit]:
    return "features.yaml", lambda data: edit(data["windows"]["departures"])


def _source(name: str, **fields: Any) -> tuple[str, Edit]:
    return "sources.yaml", lambda data: data["sources"][name].update(fields)


IRRELEVANT = {
    "owner": ("pipeline.yaml", lambda data: data.update(owner="somebody else")),
    "schedules": ("pipeline.yaml", lambda data: data["schedules"]["hourly"].update(timeout="55m")),
    "alerts": ("pipeline.yaml", lambda data: data.update(alerts=[])),
    "retention": ("pipeline.yaml", lambda data: data.update(retention={"history": "90d"})),
    "end": ("pipeline.yaml", lambda data: data.update(end="2014-02-01T00:00:00Z")),
    "model": ("model.yaml", lambda data: data["models"]["late_departure"].update(evaluate="20d")),
    "suite of a training set": (
        "expectations/training_sets_late_departure.yaml",
        lambda data: data["rules"][0]["args"].update(min_value=1),
    ),
    "replay": ("replay.yaml", lambda data: data["trial"].update(zone="UTC")),
    "meaning": _column("departures", "origin", meaning="Where it starts."),
    "grain": _table("departures", grain="one departure"),
    "sensitive": _column("departures", "origin", sensitive=True),
    "why": ("expectations/departures.yaml", lambda data: data["rules"][0].update(why="Because.")),
    "a default written down": _table("weather", volume={"weeks": 4, "at_most": 2.0}),
    "order of a source's columns": ("sources.yaml", lambda data: data["sources"]["weather"]["columns"].reverse()),
    "order of rules": ("expectations/departures.yaml", lambda data: data["rules"].reverse()),
    "how drops arrive": _source("schedules", manifests="plan/{day}/{hour}.manifest.json"),
}
RELEVANT = {
    "type": _column("departures", "departure_delay_min", type="bigint"),
    "unit": _column("departures", "departure_delay_min", unit="s"),
    "from": _column("schedules", "tail_number", **{"from": "dest"}),
    "required": _column("schedules", "tail_number", required=True),
    "key": _table("weather", key=["observed_at"]),
    "event_at": _table("departures", event_at={"use": "itself", "columns": ["scheduled_at"]}),
    "event_within": _table("departures", event_within={"lateness": "47h"}),
    "volume": _table("departures", volume={"at_least": 0.2}),
    "look-up": ("tables.yaml", lambda data: data["tables"]["departures"]["lookups"]["tail_number"].update(within="2d")),
    "nulls": _source("departures", nulls=["", "NA", "-"]),
    "grace": _source("departures", grace="20m"),
    "drift": _source("departures", drift="refuse"),
    "delivered columns": ("sources.yaml", lambda data: data["sources"]["weather"]["columns"].append("cloud")),
    "rule": ("expectations/departures.yaml", lambda data: data["rules"][0]["args"].update(max_value=1441)),
    "severity": ("expectations/departures.yaml", lambda data: data["rules"][0].update(severity="warning")),
    "budget": ("expectations/departures.yaml", lambda data: data["rules"][0].update(budget=0.5)),
    "threshold": _windows(lambda group: group["measures"]["late"]["options"].update(threshold=30)),
    "window": _windows(lambda group: group["windows"].append("14d")),
    "aggregation": _windows(lambda group: group["aggregations"].append({"name": "total", "op": "sum", "of": "late"})),
    "entity": ("features.yaml", lambda data: data["spine"]["entities"].update(carrier=["carrier", "flight"])),
    "spine": ("features.yaml", lambda data: data["spine"].update(predict_before="3h")),
    "staleness": ("features.yaml", lambda data: data["as_of"]["weather"].update(staleness="7h")),
}


@pytest.mark.parametrize("edit", IRRELEVANT.values(), ids=IRRELEVANT)
def test_an_edit_that_no_row_depends_on_keeps_the_configuration_hash(project: Path, edit: tuple[str, Edit]) -> None:
    before = load_pipeline(NAME, project).config_hash
    _edit(project, *edit)
    assert load_pipeline(NAME, project).config_hash == before


@pytest.mark.parametrize("edit", RELEVANT.values(), ids=RELEVANT)
def test_an_edit_that_rows_or_gates_depend_on_changes_the_configuration_hash(
    project: Path, edit: tuple[str, Edit]
) -> None:
    before = load_pipeline(NAME, project).config_hash
    (project / f"conf/pipelines/{NAME}/replay.yaml").unlink()  # it must name every column of a source
    _edit(project, *edit)
    assert load_pipeline(NAME, project).config_hash != before


def _sections(section: Any) -> list[Any]:
    """All sections inside of `section`."""
    inside = [getattr(section, name) for name in type(section).model_fields] if isinstance(section, Section) else []
    inside += list(section.values()) if isinstance(section, dict) else section if isinstance(section, list) else []
    own = [section] if isinstance(section, Section) else []
    return own + [found for one in inside for found in _sections(one)]


def test_a_new_optional_field_of_any_section_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a later version of the code: every section dumps one more field with its default."""
    pipeline = load_pipeline(NAME)
    before, models = define(pipeline), model_digest(pipeline, "late_departure")
    parts = [getattr(pipeline, field) for field, _, _ in FILES.values()] + [pipeline.suites]
    kinds = {type(section) for part in parts for section in _sections(part)}
    assert len(kinds) > 20
    for kind in kinds:
        later = create_model(f"Later{kind.__name__}", __base__=kind, a_new_field=(str, "none"))
        dump = later.model_dump

        def dumped(self: Any, dump: Any = dump, later: Any = later, **how: Any) -> Any:
            return dump(
                later.model_construct(**{n: getattr(self, n) for n in type(self).model_fields}, a_new_field="none"),
                **how,
            )

        monkeypatch.setattr(kind, "model_dump", dumped)
    assert define(pipeline) == before
    assert model_digest(pipeline, "late_departure") == models


def test_definitions_read_back_as_they_were_written() -> None:
    definitions = define(load_pipeline(NAME))
    read = Definitions.from_json(definitions.to_json())
    assert (read, read.features) == (definitions, definitions.features)
    assert Definitions.from_json(definitions.to_json()).digest == definitions.digest
    assert {table_of(name).partition("/")[0] for name in definitions.by_id} == {
        "bronze",
        "silver",
        "tiles",
        "features",
        "entities",
    }


def test_a_threshold_changes_its_measure_and_the_features_made_of_it(project: Path) -> None:
    changed, added, removed = _changed(project, RELEVANT["threshold"])
    features = {f"features/departures.share_late_{window}" for window in ("3h", "24h", "7d", "28d")}
    rules = {name for name in changed if ":" in name}
    assert (changed - rules, added, removed) == ({"tiles/departures.late", *features}, set(), set())
    assert all("share_late" in rule for rule in rules)


def test_a_window_adds_features_and_changes_none(project: Path) -> None:
    changed, added, removed = _changed(project, RELEVANT["window"])
    named = {f"features/departures.{name}_14d" for name in ("departures", "mean_delay_min", "share_late")}
    assert (changed, added, removed) == (set(), named, set())


def test_a_column_changes_all_that_is_made_of_it_across_tables(project: Path) -> None:
    """The aircraft of a schedule is looked up by departures, is an entity, and names aircraft in the register."""
    changed, added, removed = _changed(project, RELEVANT["from"])
    assert (added, removed) == (set(), set())
    expected = {
        "silver/schedules.tail_number",
        "silver/departures.tail_number",
        "tiles/departures[plane]",
        "entities/plane",
    }
    assert expected | {"features/departures[plane]", "features/planes[plane]"} <= changed
    assert not {"tiles/departures[origin]", "tiles/departures.late", "silver/departures.event_at"} & changed


def test_a_wider_type_changes_no_meaning_and_a_narrower_one_is_known(project: Path) -> None:
    before = _defined(project).by_id
    for type_, narrowed in (("bigint", False), ("double", False), ("int", False)):
        now = _defined(project, _column("departures", "departure_delay_min", type=type_)).by_id
        assert {name for name in before if before[name].hash != now[name].hash} == set()
        column = "silver/departures.departure_delay_min"
        assert is_narrowed(before[column], now[column]) is narrowed
        assert is_narrowed(now[column], before[column]) is (type_ != "int")


def test_another_type_is_another_meaning(project: Path) -> None:
    changed, _, _ = _changed(project, _column("planes", "manufacturer", type="date"))
    assert "silver/planes.manufacturer" in changed


def test_a_renamed_column_keeps_its_meaning_and_that_of_all_that_uses_it(project: Path) -> None:
    def rename(data: dict[str, Any]) -> None:
        columns = data["tables"]["departures"]["columns"]
        columns["delay_min"] = columns.pop("departure_delay_min")
        data["tables"]["departures"]["event_at"]["columns"][1] = "delay_min"

    def follow(data: dict[str, Any]) -> None:
        for call in data["windows"]["departures"]["measures"].values():
            call["columns"] = ["delay_min"]

    def rules(data: dict[str, Any]) -> None:
        for rule in data["rules"]:
            if rule.get("column") == "departure_delay_min":
                rule["column"] = "delay_min"

    def label(data: dict[str, Any]) -> None:
        data["models"]["late_departure"]["label"]["columns"] = ["delay_min"]

    edits = [
        ("tables.yaml", rename),
        ("features.yaml", follow),
        ("expectations/departures.yaml", rules),
        ("model.yaml", label),
    ]
    changed, added, removed = _changed(project, *edits)
    assert changed == set()
    assert (added, removed) == ({"silver/departures.delay_min"}, {"silver/departures.departure_delay_min"})


def test_training_columns_carry_the_hashes_of_feature_and_entity(project: Path) -> None:
    before = input_hashes(load_pipeline(NAME, project), _defined(project))
    now = _defined(
        project, ("features.yaml", lambda data: data["spine"]["entities"].update(carrier=["carrier", "flight"]))
    )
    after = input_hashes(load_pipeline(NAME, project), now)
    assert before.keys() == after.keys()
    assert {"carrier_share_late_28d", "temperature_f", "seats", "distance_mi"} <= before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.startswith("carrier_")}


def test_a_model_digest_follows_model_yaml_and_nothing_else(project: Path) -> None:
    def digest() -> str:
        return model_digest(load_pipeline(NAME, project), "late_departure")

    before = digest()
    _edit(project, *RELEVANT["threshold"])
    assert digest() == before
    _edit(project, *IRRELEVANT["model"])
    assert digest() != before


def test_the_source_of_an_own_transform_is_part_of_what_uses_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read, not imported; comments, docstrings and other functions do not count, what the function calls does."""
    code = '''
from spark_jobs.transforms import transform
LIMIT = 15
@transform("own_late")
def own_late(value):
    """Late."""
    return _over(value)
def _over(value):
    return value > LIMIT
@transform("another")
def another(value):
    return value
'''
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def defined(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        _edit(project, "pipeline.yaml", lambda data: data.update(modules=[name]))
        use = {"use": "own_late", "columns": ["departure_delay_min"]}
        _edit(project, *_windows(lambda group: group["measures"].update(late=use)))
        return _defined(project).by_id["tiles/departures.late"].hash

    before = defined("own_one", code)
    assert defined("own_two", code.replace("Late.", "More.") + "# a comment\n") == before
    assert defined("own_three", code.replace("return value\n", "return -value\n")) == before
    assert (
        len({before, defined("own_four", code.replace("15", "16")), defined("own_five", code.replace(">", ">="))}) == 3
    )
    assert not {f"own_{n}" for n in ("one", "two", "three", "four", "five")} & sys.modules.keys()


def test_definitions_are_recorded_once_and_read_back(tmp_path: Path) -> None:
    ledger, definitions = Ledger.open(tmp_path / NAME), define(load_pipeline(NAME))
    for _ in range(2):
        ledger.add_definitions(definitions.digest, definitions.to_json())
        ledger.add_model_definitions("m", "1", '{"a": "1"}')
    assert ledger.definitions() == {definitions.digest: definitions}
    assert len(ledger.store.rows("definitions")) == 2
    assert ledger.model_definitions("m", "1") == {"a": "1"}
    assert ledger.model_definitions("m", "2") is None
