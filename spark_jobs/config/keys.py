"""The keys of a YAML file against the models: unknown ones with the nearest legal key.

Knows names only; whether a value fits is pydantic's work, and both are reported together by `load.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spark_jobs.config.yaml_file import Where
from spark_jobs.errors import closest, nearest


@dataclass(frozen=True)
class KeyFault:
    """A key that is not legal where it stands; `meant` is the legal key of its mapping that it probably stands for."""

    where: Where
    found: str
    allowed: str = ""
    meant: str = ""


def key_faults(data: Any, annotation: Any, where: Where = ()) -> Iterator[KeyFault]:
    """Every fault of a key in `data`, which stands at `where` and should be an `annotation`, at any depth."""
    if get_origin(annotation) is Annotated:
        yield from key_faults(data, get_args(annotation)[0], where)
    elif get_origin(annotation) in (Union, UnionType):
        fitting = [part for part in get_args(annotation) if _fits(data, part)]
        if fitting:
            yield from key_faults(data, max(fitting, key=lambda part: _likeness(data, part)), where)
    elif get_origin(annotation) is dict and isinstance(data, dict):
        key, value = get_args(annotation)
        yield from _of_mapping(data, key, value, where)
    elif get_origin(annotation) is list and isinstance(data, list):
        for index, item in enumerate(data):
            yield from key_faults(item, get_args(annotation)[0], (*where, index))
    elif is_model(annotation) and isinstance(data, dict):
        yield from _of_model(data, annotation, where)


def is_model(annotation: Any) -> bool:
    """Whether `annotation` is a section."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def yaml_name(name: str, field: FieldInfo) -> str:
    """The field's key in YAML."""
    return field.alias or name


def marks(model: type[BaseModel]) -> dict[str, Any]:
    """Keys of which the section takes one value only, which tells it from its neighbours: `kind: email`."""
    choices = {
        yaml_name(name, field): get_args(field.annotation)
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    return {key: legal[0] for key, legal in choices.items() if len(legal) == 1}


def _fits(data: Any, annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _fits(data, get_args(annotation)[0])
    if isinstance(data, dict):
        return is_model(annotation) or get_origin(annotation) is dict
    return isinstance(data, list) and get_origin(annotation) is list


def _likeness(data: Any, annotation: Any) -> tuple[bool, int]:
    """How much `data` looks like one branch of a union: whether its kind is that branch's, how many keys are known."""
    if not (is_model(annotation) and isinstance(data, dict)):
        return True, 0
    known = {yaml_name(name, field) for name, field in annotation.model_fields.items()}
    return marks(annotation).items() <= data.items(), len(known & set(data))


def _of_mapping(data: dict[str, Any], key: Any, value: Any, where: Where) -> Iterator[KeyFault]:
    legal = [str(name) for name in get_args(key)] if get_origin(key) is Literal else None
    for name, item in data.items():
        if legal is not None and name not in legal:
            yield _unknown(name, [one for one in legal if one not in data] or legal, where)
        yield from key_faults(item, value, (*where, name))


def _of_model(data: dict[str, Any], model: type[BaseModel], where: Where) -> Iterator[KeyFault]:
    fields = {yaml_name(name, field): field for name, field in model.model_fields.items()}
    left = [name for name in fields if name not in data]
    for key, item in data.items():
        if key in fields:
            yield from key_faults(item, fields[key].annotation, (*where, key))
        else:
            yield _unknown(key, left or list(fields), where)


def _unknown(key: str, legal: list[str], where: Where) -> KeyFault:
    return KeyFault((*where, key), f"unknown key '{key}'", nearest(key, legal), closest(key, legal))
