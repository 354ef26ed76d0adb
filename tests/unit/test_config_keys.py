"""Every key of every shipped YAML, misspelt, is refused at its line with the key that was meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml

from spark_jobs.config import load
from spark_jobs.config.environment import Environment, StepName
from spark_jobs.config.faults import ConfigError, Fault
from spark_jobs.config.keys import is_model, yaml_name
from spark_jobs.config.suites import Suite
from spark_jobs.steps.plan import STEPS

CHECKOUT = Path(__file__).resolve().parents[2]
PIPELINE = "nycflights13"
FILES = sorted(
    path.relative_to(CHECKOUT).as_posix()
    for room in ("conf", "expectations")
    for path in (CHECKOUT / room).rglob("*.yaml")
)
# Names that users choose and that nothing else mentions: a change of them is a change of meaning, not a slip.
FREE = {
    ("models", "late_departure"),
    ("channels", "data_team"),  # held against pipeline.yaml by check_channels, tested below
}


def _model(file: str) -> Any:
    if file.startswith("conf/environments"):
        return Environment
    return load.FILES[Path(file).name][1] if file.startswith("conf/") else Suite


def _schema_keys(annotation: Any, where: tuple[Any, ...], data: Any) -> Iterator[tuple[Any, ...]]:
    """Paths of keys that a model (or a Literal) names; other keys of mappings are the user's."""
    if get_origin(annotation) is Annotated:
        yield from _schema_keys(get_args(annotation)[0], where, data)
    elif is_model(annotation) and isinstance(data, dict):
        for name, field in annotation.model_fields.items():
            key = yaml_name(name, field)
            if key in data:
                yield (*where, key)
                yield from _schema_keys(field.annotation, (*where, key), data[key])
    elif get_origin(annotation) is dict and isinstance(data, dict):
        for key, item in data.items():
            if get_origin(get_args(annotation)[0]) is Literal:
                yield (*where, key)
            yield from _schema_keys(get_args(annotation)[1], (*where, key), item)
    elif isinstance(data, list) and get_origin(annotation) is list:
        for index, item in enumerate(data):
            yield from _schema_keys(get_args(annotation)[0], (*where, index), item)
    elif isinstance(data, dict) and get_args(annotation):
        for part in get_args(annotation):
            yield from _schema_keys(part, where, data)


def _keys(node: yaml.Node, where: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], yaml.Mark]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*where, key.value), key.start_mark
            yield from _keys(value, (*where, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _keys(item, (*where, index))


def _faults(file: str, project: Path) -> list[Fault]:
    """Faults of the project, as loading what `file` belongs to tells them."""
    try:
        if file.startswith("conf/environments"):
            load.load_environment(Path(file).stem, project)
        else:
            load.load_pipeline(PIPELINE, project)
    except ConfigError as error:
        return error.faults
    return []


def _slips(key: str) -> list[str]:
    return [key + key[-1], key[1] + key[0] + key[2:]]


@pytest.mark.parametrize("file", FILES)
def test_every_key_misspelt_is_refused_at_its_line_with_the_key_that_was_meant(file: str, project: Path) -> None:
    """Doubled last letter and swapped first two, one key at a time; the file is loaded by itself, as cheaply as can be."""
    text = (project / file).read_text()
    known = set(_schema_keys(_model(file), (), yaml.safe_load(text)))
    assert known
    silent, wrong = [], []
    for where, mark in _keys(yaml.compose(text)):
        if where not in known:
            continue
        for slip in _slips(where[-1]):
            (project / file).write_text(text[: mark.index] + slip + text[mark.index + len(where[-1]) :])
            found: list[Fault] = []
            load._section(project / file, _model(file), project, found)
            line = f"{file}:{mark.line + 1}:{mark.column + 1}"
            told = [fault for fault in found if fault.place == line and f"unknown key '{slip}'" in fault.found]
            if not found:
                silent.append((where, slip))
            elif len(told) != 1 or f"did you mean '{where[-1]}'" not in told[0].allowed or "^" not in told[0].caret:
                wrong.append((where, slip, [str(fault) for fault in found]))
            elif f"'{where[-1]}' is missing" in str(found):
                wrong.append((where, slip, "also told as missing"))
    assert (silent, wrong) == ([], [])


@pytest.mark.parametrize("file", [file for file in FILES if "environments" not in file])
def test_a_name_that_a_user_chose_cannot_be_misspelt_silently_when_something_refers_to_it(
    file: str, project: Path
) -> None:
    """Tables, columns, entities, measures, groups, baselines, options, arguments: some other place says their name."""
    text = (project / file).read_text()
    known = set(_schema_keys(_model(file), (), yaml.safe_load(text)))
    silent, unplaced = [], []
    for where, mark in _keys(yaml.compose(text)):
        if where in known or where in FREE:
            continue
        slip = _slips(where[-1])[0]
        (project / file).write_text(text[: mark.index] + slip + text[mark.index + len(where[-1]) :])
        found = _faults(file, project)
        if not found:
            silent.append(where)
        elif not all(fault.place.count(":") == 2 and "^" in fault.caret for fault in found if fault.path):
            unplaced.append([str(fault) for fault in found])
    assert (silent, unplaced) == ([], [])


@pytest.mark.parametrize(
    ("file", "old", "slip", "place", "meant"),
    [
        (
            "expectations/nycflights13/departures.yaml",
            "min_value: -60",
            "min_vlaue: -60",
            "rules[0].args.min_vlaue",
            "min_value",
        ),
        ("conf/pipelines/nycflights13/features.yaml", "threshold: 15", "treshold: 15", "options.treshold", "threshold"),
        ("conf/pipelines/nycflights13/model.yaml", "max_depth: 6", "maxdepth: 6", "options.maxdepth", "max_depth"),
        (
            "conf/pipelines/nycflights13/replay.yaml",
            "dep_delay: dep_delay",
            "depdelay: dep_delay",
            "columns.depdelay",
            "dep_delay",
        ),
        ("conf/pipelines/nycflights13/tables.yaml", "use: itself", "use: itsef", "event_at.use", "itself"),
        ("conf/pipelines/nycflights13/model.yaml", "from: 2013", "form: 2013", "rows.form", "from"),
        ("conf/pipelines/nycflights13/model.yaml", "promote: {", "promot: {", "late_departure.promot", "promote"),
    ],
)
def test_options_arguments_and_aliases_name_the_nearest_legal_one(
    file: str, old: str, slip: str, place: str, meant: str, project: Path
) -> None:
    """The fault stands at the option itself, not at the section that holds it."""
    text = (project / file).read_text()
    (project / file).write_text(text.replace(old, slip, 1))
    line = text[: text.index(old)].count("\n") + 1
    [told] = [fault for fault in _faults(file, project) if fault.path.endswith(place)]
    assert told.place.startswith(f"{file}:{line}:")
    assert f"did you mean '{meant}'" in f"{told.found} {told.allowed}"


@pytest.mark.parametrize(
    ("file", "old", "new", "key"),
    [
        ("conf/environments/local.yaml", "lake: lake", "object_store: s3://lake\nlake: lake", "object_store"),
        ("conf/pipelines/nycflights13/model.yaml", "promote: {", "promote: {approval: someone, ", "approval"),
        (
            "conf/pipelines/nycflights13/model.yaml",
            "    label:",
            "    calibration: isotonic\n    label:",
            "calibration",
        ),
    ],
)
def test_a_key_of_a_later_release_is_unknown(file: str, old: str, new: str, key: str, project: Path) -> None:
    """conf/ has no keys that are only planned: they are refused as any other unknown key is."""
    text = (project / file).read_text()
    (project / file).write_text(text.replace(old, new, 1))
    [fault] = _faults(file, project)
    assert fault.place.startswith(f"{file}:{text[: text.index(old)].count(chr(10)) + 1}:")
    assert f"unknown key '{key}'" in fault.found
    assert "legal: " in fault.allowed
    assert "^" in fault.caret


def test_an_unknown_format_is_refused_at_its_line_with_the_legal_ones(project: Path) -> None:
    """A value of a fixed choice, not a key."""
    file = "conf/pipelines/nycflights13/sources.yaml"
    text = (project / file).read_text()
    (project / file).write_text(text.replace("format: csv", "format: avro", 1))
    [fault] = _faults(file, project)
    assert fault.place.startswith(f"{file}:{text[: text.index('format: csv')].count(chr(10)) + 1}:")
    assert fault.found == "'avro': Input should be 'csv', 'jsonl' or 'parquet'"
    assert "^" in fault.caret


HTTP = """  weather:
    kind: http
    http:
      url: https://api.example.com/{day}/{hour}
      url_env: WEATHER_URL
      plain_hosts: [upstream]
      pages: cursor
      cursor:
        field: /next
        parameter: after
      rows: /data
      token_env: WEATHER_TOKEN
      arrived: last_modified
      timeout: 5m
      max_bytes: 1000
"""


DATABASE = """  planes:
    kind: database
    database:
      url: "sqlite:///{data}/planes.db"
      url_env: PLANES_URL
      plain_hosts: [postgres]
      table: planes
      changed_at: changed_at
      arrived: changed
      partition:
        column: seats
        lower: 0
        upper: 400
        count: 2
      user_env: PLANES_USER
      password_env: PLANES_PASSWORD
      fetch_rows: 100
      timeout_s: 60
      max_rows: 10000
"""


REMOTE = """  weather:
    kind: files
    remote:
      root: sftp://upstream:2222/deliveries
      root_env: WEATHER_ROOT
      plain_hosts: [upstream]
      host_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE]
      options:
        look_for_keys: false
      options_env:
        password: WEATHER_PASSWORD
      timeout_s: 60
"""


def _with_source(project: Path, section: str, old: str = "", new: str = "") -> str:
    """The text of sources.yaml when its last source has every key of its kind, with one change among those."""
    path = project / "conf/pipelines/nycflights13/sources.yaml"
    declared = yaml.safe_load((CHECKOUT / path.relative_to(project)).read_text())["sources"]
    last = section.partition(":")[0].strip()
    others = {name: source for name, source in declared.items() if name != last}
    rest = {key: declared[last][key] for key in ("manifests", "format", "columns")}
    assert not old or section.count(old) == 1
    text = yaml.safe_dump({"sources": others}) + (section.replace(old, new) if old else section)
    path.write_text(text + indent(yaml.safe_dump(rest), "    "))
    return path.read_text()


@pytest.mark.parametrize("section", [HTTP, DATABASE, REMOTE], ids=["http", "database", "remote"])
def test_a_source_of_each_kind_is_taken(section: str, project: Path) -> None:
    """The shipped project with every key of one; what the refusals below start from."""
    _with_source(project, section)
    assert _faults("conf/pipelines/nycflights13/sources.yaml", project) == []


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, key)
        for section, keys in (
            (
                HTTP,
                "http url url_env plain_hosts pages cursor field parameter rows token_env arrived timeout max_bytes",
            ),
            (
                DATABASE,
                "database url url_env plain_hosts table changed_at arrived partition column lower upper count user_env"
                " password_env fetch_rows timeout_s max_rows",
            ),
            (REMOTE, "remote root root_env plain_hosts host_keys options options_env timeout_s"),
        )
        for key in keys.split()
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_a_misspelt_key_of_a_kind_is_refused_with_the_key_that_was_meant(section: str, key: str, project: Path) -> None:
    """No shipped file has all of them, so they are tried here."""
    for slip in _slips(key):
        text = _with_source(project, section, f" {key}:", f" {slip}:")
        line = text[: text.index(f" {slip}:")].count("\n") + 1
        told = [fault for fault in _faults("sources.yaml", project) if f"unknown key '{slip}'" in fault.found]
        assert [fault.place.split(":")[1] for fault in told] == [str(line)]
        assert f"did you mean '{key}'" in told[0].allowed


@pytest.mark.parametrize(
    ("section", "old", "new", "key", "said"),
    [
        (
            DATABASE,
            "sqlite:///{data}/planes.db",
            "mysql+pymysql://db/planes",
            "url",
            "write the driver's arguments for TLS",
        ),
        (DATABASE, "sqlite:///{data}/planes.db", "postgresql://me:word@db/planes", "url", "user_env"),
        (DATABASE, "sqlite:///{data}/planes.db", "postgresql://db/planes?sslmode=disable", "url", "without settings"),
        (
            DATABASE,
            "sqlite:///{data}/planes.db",
            "jdbc:postgresql://db/planes",
            "url",
            "instead: postgresql://db/planes",
        ),
        (DATABASE, "plain_hosts: [postgres]", "plain_hosts: ['*']", "plain_hosts", "pattern"),
        (DATABASE, "table: planes", "query: DELETE FROM planes", "query", "begin with SELECT"),
        (DATABASE, "lower: 0", "lower: 400", "partition", "not below upper"),
        (DATABASE, "kind: database", "kind: files", "database", "belongs to kind database"),
        (DATABASE, DATABASE[DATABASE.index("    database:") :], "", "kind", "needs a section database"),
        (DATABASE, "kind: database", "kind: jdbc", "kind", "jdbc was replaced by database; write kind: database"),
        (REMOTE, "sftp://upstream:2222", "file://", "root", "local drops belong in the landing folder"),
        (REMOTE, "sftp://upstream:2222", "sftp://me:word@upstream", "root", "user or password"),
        (REMOTE, "sftp://upstream:2222", "s3a://bucket", "root", "write s3://bucket/deliveries"),
        (REMOTE, "look_for_keys: false", "fs.s3a.endpoint: x", "fs.s3a.endpoint", "an option of Hadoop"),
        (REMOTE, "look_for_keys: false", "secret: word", "secret", "write it in options_env"),
        (REMOTE, "look_for_keys: false", "endpoint_url: http://elsewhere", "endpoint_url", "http has no TLS"),
        (REMOTE, "look_for_keys: false", "client_kwargs.verify: false", "client_kwargs.verify", "turns TLS or its"),
        (REMOTE, "password: WEATHER_PASSWORD", "password: word", "password", "not the name of a"),
        (REMOTE, "look_for_keys: false", "password: x", "password", "write it in options_env"),
        (REMOTE, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE", "AAAAC3NzaC1l", "host_keys", "is not a public key"),
        (
            REMOTE,
            "kind: files",
            "kind: http\n    http: {url: 'https://api.example.com/{from}'}",
            "remote",
            "belongs to kind files",
        ),
        (HTTP, "https:", "http:", "url", "write https, or name the host in plain_hosts"),
        (HTTP, "url_env: WEATHER_URL", "url_env: http://x", "url_env", "not the name of a variable"),
        (HTTP, "pages: cursor", "pages: link", "cursor", "belongs to pages cursor"),
        (HTTP, "      rows: /data\n", "", "pages", "write rows"),
        (HTTP, "kind: http", "kind: files", "http", "belongs to kind http"),
        (HTTP, "rows: /data", "rows: data", "rows", "not a JSON pointer"),
        (HTTP, HTTP[HTTP.index("    http:") :], "", "kind", "needs a section http"),
    ],
)
def test_a_fault_of_a_kind_is_told_at_its_line(
    section: str, old: str, new: str, key: str, said: str, project: Path
) -> None:
    """Also what two keys disagree about stands at one of them."""
    text = _with_source(project, section, old, new)
    [fault] = _faults("sources.yaml", project)
    lines = text.splitlines()
    line = int(fault.place.split(":")[1])
    assert lines[line - 1].strip().startswith(f"{key}:")
    assert said in fault.found
    assert "^" in fault.caret


def test_a_misspelt_key_inside_a_text_or_mapping_value_is_told_once(project: Path) -> None:
    """A replayed column is a text or a mapping; of the two branches only the one that was written is spoken of."""
    file = "conf/pipelines/nycflights13/replay.yaml"
    text = (project / file).read_text()
    (project / file).write_text(text.replace("plus_minutes: minute }", "plus_minute: minute }", 1))
    [fault] = _faults(file, project)
    assert "did you mean 'plus_minutes'" in fault.allowed


def test_steps_of_an_environment_are_those_of_the_plan() -> None:
    """config/ may not import plan.py, so the names stand twice; here they are held equal."""
    assert get_args(StepName) == tuple(STEPS)


def test_the_sound_project_has_no_fault(project: Path) -> None:
    """What all refusals above start from."""
    assert [_faults(file, project) for file in FILES] == [[] for _ in FILES]
