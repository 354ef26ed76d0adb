"""conf/ and expectations/ read once into frozen models; all faults of all files are reported together.

The only module that reads YAML. Whether sections agree with each other is `agree.py`'s work.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from spark_jobs.config.agree import Fault, disagreements
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.features import FeaturesFile
from spark_jobs.config.model import ModelFile
from spark_jobs.config.pipeline import PipelineFile
from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.section import Section
from spark_jobs.config.sources import SourcesConf
from spark_jobs.config.suites import Suite
from spark_jobs.config.tables import TablesFile
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where, YamlFault, YamlFile, read_yaml
from spark_jobs.errors import UsageError, nearest

AnySection = TypeVar("AnySection", bound=Section)


class ConfigError(UsageError):
    """Faults of conf/ and expectations/, all at once; `faults` holds them."""

    def __init__(self, where: str, faults: list[Fault]) -> None:
        self.faults = faults
        text = "\n".join(str(fault) for fault in faults)
        super().__init__(where, f"{len(faults)} fault(s)\n{text}", todo="mend the lines named, then: tidegate validate")
        self.args = (where, faults)


def project_folder() -> Path:
    """The folder with conf/ and expectations/: TIDEGATE_PROJECT, else the nearest one above, else the checkout."""
    named = os.environ.get("TIDEGATE_PROJECT")
    if named:
        return Path(named).resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "conf" / "environments").is_dir():
            return folder
    return Path(__file__).resolve().parents[2]


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
        raise UsageError("--env", f"no environment '{name}' in {path.parent}", nearest(name, legal))
    faults: list[Fault] = []
    environment = _section(path, Environment, project, faults)
    if environment is None:
        raise ConfigError(str(path.relative_to(project)), faults)
    return environment, Places.of(project, environment)


def load_pipeline(name: str, project: Path | None = None) -> Pipeline:
    """The pipeline `name`, whole and consistent.

    Raises:
        UsageError: no such pipeline.
        ConfigError: any of its files has a fault, or they contradict each other.
    """
    project = project or project_folder()
    if name not in list_pipelines(project):
        raise UsageError("pipeline", f"no pipeline '{name}'", nearest(name, list_pipelines(project)))
    folder = project / "conf/pipelines" / name
    faults: list[Fault] = []
    parts: dict[str, Any] = {
        "settings": _section(folder / "pipeline.yaml", PipelineFile, project, faults),
        "sources": _section(folder / "sources.yaml", SourcesConf, project, faults),
        "tables": _section(folder / "tables.yaml", TablesFile, project, faults),
        "features": _section(folder / "features.yaml", FeaturesFile, project, faults),
        "models": _optional(folder / "model.yaml", ModelFile, project, faults),
        "replay": _optional(folder / "replay.yaml", ReplayConf, project, faults),
    }
    suites = [
        _section(path, Suite, project, faults) for path in sorted((project / "expectations" / name).glob("*.yaml"))
    ]
    if faults:
        raise ConfigError(f"conf/pipelines/{name}", faults)
    pipeline = Pipeline(**parts, suites={suite.table: suite for suite in suites if suite}, config_hash="")
    found = disagreements(pipeline, folder.relative_to(project), name)
    if found:
        raise ConfigError(f"conf/pipelines/{name}", found)
    text = json.dumps(pipeline.model_dump(mode="json", exclude={"replay"}), sort_keys=True)
    return pipeline.model_copy(update={"config_hash": hashlib.sha256(text.encode()).hexdigest()[:16]})


def _optional(path: Path, model: type[AnySection], project: Path, faults: list[Fault]) -> AnySection | None:
    return _section(path, model, project, faults) if path.exists() else None


def _section(path: Path, model: type[AnySection], project: Path, faults: list[Fault]) -> AnySection | None:
    shown = str(path.relative_to(project))
    try:
        file = read_yaml(path)
    except YamlFault as fault:
        faults.append(Fault(f"{shown}:{fault.line}:{fault.column}", "", fault.found))
        return None
    except (OSError, UnicodeDecodeError) as error:
        faults.append(Fault(shown, "", f"cannot be read: {error}", "a readable UTF-8 file"))
        return None
    early = _not_yet(file.data, model, ())
    faults.extend(_at(file, shown, where, found, "") for where, found in early)
    try:
        return model.model_validate(file.data) if not early else None
    except ValidationError as error:
        for item in error.errors(include_url=False):
            where = tuple(part for part in item["loc"] if not str(part).startswith("function-"))
            faults.append(_pydantic_fault(file, shown, model, where, item))
        return None


def _at(file: YamlFile, shown: str, where: Where, found: str, allowed: str) -> Fault:
    line, column = file.place(where)
    return Fault(f"{shown}:{line}:{column}", _dotted(where), found, allowed, file.caret(where))


def _dotted(where: Where) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


def _pydantic_fault(file: YamlFile, shown: str, model: type[BaseModel], where: Where, item: Any) -> Fault:
    if item["type"] == "extra_forbidden":
        owner = _model_at(model, where[:-1])
        legal = [_yaml_name(owner, name) for name in owner.model_fields] if owner else []
        return _at(file, shown, where, f"unknown key '{where[-1]}'", nearest(str(where[-1]), legal))
    if item["type"] == "missing":
        return _at(file, shown, where, f"key '{where[-1]}' is missing", "")
    found = item["msg"].removeprefix("Value error, ")
    shown_value = "" if isinstance(item["input"], dict | list | BaseModel) else f"'{item['input']}': "
    return _at(file, shown, where, found if str(item["input"]) in found else f"{shown_value}{found}", "")


def _yaml_name(owner: type[BaseModel], name: str) -> str:
    return owner.model_fields[name].alias or name


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _model_at(model: type[BaseModel], where: Where) -> type[BaseModel] | None:
    """The model that stands at `where`; keys of mappings and indexes of lists are passed over."""
    owner = model
    for part in where:
        names = {_yaml_name(owner, name): name for name in owner.model_fields}
        if str(part) in names:
            inner = _models_in(owner.model_fields[names[str(part)]].annotation)
            if not inner:
                return None
            owner = inner[0]
    return owner


def _not_yet(data: Any, model: type[BaseModel], where: Where) -> list[tuple[Where, str]]:
    """Fields that are named in YAML though the room they belong to is not built."""
    if not isinstance(data, dict):
        return []
    found: list[tuple[Where, str]] = []
    for name, info in model.model_fields.items():
        key = info.alias or name
        if key not in data:
            continue
        extra = info.json_schema_extra
        if isinstance(extra, dict) and "not_yet" in extra:
            found.append(((*where, key), f"not yet: '{key}' is planned ({extra['not_yet']})"))
            continue
        for inner in _models_in(info.annotation)[:1]:
            value = data[key]
            nested = value if isinstance(value, dict) and not set(value) & set(inner.model_fields) else None
            if nested is not None:
                for child_key, child in nested.items():
                    found.extend(_not_yet(child, inner, (*where, key, child_key)))
            elif isinstance(value, list):
                for index, child in enumerate(value):
                    found.extend(_not_yet(child, inner, (*where, key, index)))
            else:
                found.extend(_not_yet(value, inner, (*where, key)))
    return found
