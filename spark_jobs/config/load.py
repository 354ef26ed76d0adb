"""conf/ and expectations/ read once into frozen models; all faults of all files are reported together.

The only module that reads YAML. Whether sections agree with each other is `agree.py`'s work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from spark_jobs.config.agree import disagreements
from spark_jobs.config.channels import secret_faults
from spark_jobs.config.clash import Clash, unknown_names
from spark_jobs.config.definitions import define
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.faults import ConfigError, Fault, fault_at, section_faults
from spark_jobs.config.features import FeaturesFile
from spark_jobs.config.keys import key_faults
from spark_jobs.config.model import ModelFile
from spark_jobs.config.partial import Partial
from spark_jobs.config.pipeline import PipelineFile
from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.section import Section
from spark_jobs.config.sources import SourcesConf
from spark_jobs.config.suites import Suite
from spark_jobs.config.tables import TablesFile
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import YamlFault, YamlFile, read_yaml
from spark_jobs.errors import UsageError, nearest

__all__ = [
    "ConfigError",
    "Fault",
    "list_pipelines",
    "load_environment",
    "load_pipeline",
    "project_folder",
    "stray_files",
]

ROOT = Path(__file__).resolve().parents[2]  # the checkout
AnySection = TypeVar("AnySection", bound=Section)
FILES: dict[str, tuple[str, type[Section], bool]] = {  # file of a pipeline -> field of Pipeline, model, must be there
    "pipeline.yaml": ("settings", PipelineFile, True),
    "sources.yaml": ("sources", SourcesConf, True),
    "tables.yaml": ("tables", TablesFile, True),
    "features.yaml": ("features", FeaturesFile, True),
    "model.yaml": ("models", ModelFile, False),
    "replay.yaml": ("replay", ReplayConf, False),
}


def project_folder() -> Path:
    """The folder with conf/ and expectations/: TIDEGATE_PROJECT, else the nearest one above, else the checkout."""
    named = os.environ.get("TIDEGATE_PROJECT")
    if named:
        return Path(named).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "conf" / "environments").is_dir():
            return folder
    return ROOT


def list_pipelines(project: Path | None = None) -> list[str]:
    """Names of all pipelines under conf/pipelines, sorted."""
    return sorted(p.parent.name for p in ((project or project_folder()) / "conf/pipelines").glob("*/pipeline.yaml"))


def load_environment(name: str, project: Path | None = None) -> tuple[Environment, Places]:
    """The environment `name` and its folders.

    Raises:
        UsageError: no such environment.
        ConfigError: its file has faults.
    """
    project = project or project_folder()
    path = project / "conf/environments" / f"{name}.yaml"
    legal = sorted(p.stem for p in path.parent.glob("*.yaml"))
    if name not in legal:
        todo = f"add conf/environments/{name}.yaml, or name one of those"
        raise UsageError("--env", f"no environment '{name}' in {path.parent}", nearest(name, legal), todo)
    faults: list[Fault] = []
    environment, file = _section(path, Environment, project, faults)
    if environment is None or file is None:
        raise ConfigError(file.shown if file else str(path.relative_to(project)), faults)
    return environment, Places.of(project, environment)


def load_pipeline(name: str, project: Path | None = None) -> Pipeline:
    """The pipeline `name`, whole and consistent.

    Raises:
        UsageError: no such pipeline.
        ConfigError: any of its files has a fault, or they contradict each other.
    """
    project = project or project_folder()
    legal = list_pipelines(project)
    if name not in legal:
        todo = f"add conf/pipelines/{name}/pipeline.yaml, or name one of those"
        raise UsageError("pipeline", f"no pipeline '{name}' in {project}", nearest(name, legal), todo)
    where = f"conf/pipelines/{name}"
    faults, read = list(stray_files(project, name)), _Read(project)
    for file_name, (_, model, needed) in FILES.items():
        path = project / where / file_name
        if needed or path.exists():
            read.add(file_name, path, model, faults)
    for path in sorted((project / "expectations" / name).glob("*.yaml")):
        read.add_suite(path, faults)
    pipeline = read.pipeline()
    if pipeline is not None:
        known = {fault.line for fault in faults if fault.path == ""}
        found = [read.fault(clash, where) for clash in disagreements(pipeline, name) if read.is_certain(clash)]
        faults += [fault for fault in found if fault.line not in known]
    if faults or pipeline is None:
        raise ConfigError(where, faults)
    for table, settings in pipeline.silver.items():
        if pipeline.sensitive(f"silver/{table}"):
            pipeline.sources.sources[settings.source].hide_names()
    return pipeline.model_copy(update={"config_hash": define(pipeline).digest})


def check_channels(name: str, env: str, project: Path | None = None) -> None:
    """Every channel that pipeline `name` alerts is one of environment `env`, and this process has its secrets.

    Raises:
        ConfigError: an unknown channel, one whose variable is not set, or a fault in either file.
    """
    project = project or project_folder()
    environment, _ = load_environment(env, project)
    faults: list[Fault] = []
    _, environment_file = _section(project / f"conf/environments/{env}.yaml", Environment, project, faults)
    settings, file = _section(project / f"conf/pipelines/{name}/pipeline.yaml", PipelineFile, project, faults)
    if settings and file:
        kind = f"channel of environment {env}"
        for clash in unknown_names("", ("alerts",), settings.alerts, environment.channels, kind):
            faults.append(fault_at(file, clash.where, clash.found, clash.allowed))
    if settings and environment_file:
        for channel in filter(environment.channels.__contains__, dict.fromkeys(settings.alerts)):
            for key, found in secret_faults(environment.channels[channel]):
                allowed = f"set it in the environment of this command; or take {channel} out of alerts in pipeline.yaml"
                faults.append(fault_at(environment_file, ("channels", channel, key), found, allowed))
    if faults:
        raise ConfigError(f"conf/pipelines/{name}", faults)


def stray_files(project: Path, name: str) -> Iterator[Fault]:
    """YAML files of the pipeline `name` that no one would read, such as a misspelt model.yml."""
    for path in sorted((project / "conf/pipelines" / name).rglob("*.y*ml")):
        shown = path.relative_to(project / "conf/pipelines" / name).as_posix()
        if shown not in FILES:
            yield Fault(str(path.relative_to(project)), "", "a file that is never read", nearest(shown, list(FILES)))
    for path in sorted((project / "expectations" / name).rglob("*.y*ml")):
        if path.suffix != ".yaml" or path.parent.name != name:
            allowed = f"expectations/{name}/<file>.yaml"
            yield Fault(str(path.relative_to(project)), "", "a file that is never read", allowed)


def stray_pipelines(project: Path) -> Iterator[Fault]:
    """Folders that no one would read: of conf/pipelines without pipeline.yaml, of expectations without a pipeline."""
    legal = list_pipelines(project)
    for room, found, allowed in (
        ("conf/pipelines", "is no pipeline", "a folder with pipeline.yaml"),
        ("expectations", "rules of no pipeline", "a folder named as its pipeline"),
    ):
        for path in sorted((project / room).iterdir() if (project / room).is_dir() else []):
            if path.name not in legal and not path.name.startswith("."):
                yield Fault(f"{room}/{path.name}", "", found, allowed)


class _Read:
    """The files of one pipeline as far as they are valid, and what was removed from those that are not."""

    def __init__(self, project: Path) -> None:
        self.project, self.parts, self.suites = project, dict[str, Any](), dict[str, Suite]()
        self.files, self.partial = dict[str, YamlFile](), dict[str, Partial]()
        self.unreadable: set[str] = set()

    def add(self, key: str, path: Path, model: type[AnySection], faults: list[Fault]) -> AnySection | None:
        """The section in `path`, without what is invalid; its faults are added to `faults`."""
        section, file = _section(path, model, self.project, faults)
        if file is None:
            self.unreadable.add(key)
            return None
        self.files[key] = file
        if section is None:
            self.partial[key] = Partial(file.data, key_faults(file.data, model))
            section = self.partial[key].section(model)
        if key in FILES:
            self.parts[FILES[key][0]] = section
        return section

    def add_suite(self, path: Path, faults: list[Fault]) -> None:
        """The suite in `path` under its table."""
        suite = self.add(str(path), path, Suite, faults)
        file, partial = self.files.pop(str(path), None), self.partial.pop(str(path), None)
        named = file.data.get("table") if file and isinstance(file.data, dict) else None
        table = suite.table if suite else str(named or path)
        if file and table in self.suites:
            found = f"table '{table}' has a suite already, in {self.files[table].shown}"
            faults.append(fault_at(file, ("table",), found, "one file per table"))
        self.files |= {table: file} if file else {}
        self.partial |= {table: partial} if partial else {}
        self.suites |= {table: suite} if suite else {}

    def pipeline(self) -> Pipeline | None:
        """All parts together; none when a file that must be there has none."""
        if any(self.parts.get(field) is None for field, _, needed in FILES.values() if needed):
            return None
        return Pipeline(**self.parts, suites=self.suites, config_hash="")

    def is_certain(self, clash: Clash) -> bool:
        """Whether a contradiction is one whatever becomes of the parts that were removed."""
        if clash.file.startswith("training_sets/") and "model.yaml" in self.unreadable:
            return False  # the models are unknown
        removed = {name for partial in self.partial.values() for name in partial.removed}
        removed |= {table for table in self.files if table not in self.suites and table not in FILES}
        words = {*re.findall(r"\w+", clash.found), *map(str, clash.where)}
        parts = any(
            len(name) > 3 and name in clash.found for name in removed
        )  # origin_late_3h has the aggregation late
        unread = self.partial and not clash.where and len(self.suites) < len(self.files) - len(self.parts)
        return not (words & removed or parts or unread)

    def fault(self, clash: Clash, where: str) -> Fault:
        """The contradiction with its place in the file."""
        if clash.file not in self.files:
            return Fault(f"{where}/{clash.file}".rstrip("/"), "", clash.found, clash.allowed)
        found, partial = clash.found, self.partial.get(clash.file)
        if clash.also and clash.also[0] in self.files:
            other = self.files[clash.also[0]]
            found += f" (the other: {other.shown}:{other.place(clash.also[1])[0]})"
        at = partial.original(clash.where) if partial else clash.where
        return fault_at(self.files[clash.file], at, found, clash.allowed)


def _section(
    path: Path, model: type[AnySection], project: Path, faults: list[Fault]
) -> tuple[AnySection | None, YamlFile | None]:
    """The section in `path`, none with faults added to `faults`; and its text with the place of each key."""
    shown = str(path.relative_to(project))
    try:
        file = read_yaml(path, shown)
    except YamlFault as fault:
        faults.append(Fault(f"{shown}:{fault.line}:{fault.column}", "", fault.found, "", fault.caret))
        return None, None
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault(shown, "", f"cannot be read: {error}", "a readable UTF-8 file"))
        return None, None
    unread = [Fault(f"{shown}:{one.line}:{one.column}", "", one.found, "", one.caret) for one in file.faults]
    wrong_keys, section, invalid = list(key_faults(file.data, model)), None, None
    try:
        section = model.model_validate(file.data)
    except ValidationError as error:
        invalid = error
    known = {fault.line for fault in unread}  # of a value that cannot be read nothing else is said
    faults.extend(unread)
    faults.extend(fault for fault in section_faults(file, wrong_keys, invalid) if fault.line not in known)
    return (None if wrong_keys or unread else section), file
