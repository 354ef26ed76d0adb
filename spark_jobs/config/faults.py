"""Faults of conf/ as people read them: file:line:column, key path, the line with a caret, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from spark_jobs.config.keys import KeyFault
from spark_jobs.config.secrets import masked, names_secret
from spark_jobs.config.yaml_file import Where, YamlFile
from spark_jobs.errors import UsageError, nearest
from spark_jobs.values import Lines

_PREFIX = re.compile(r"([a-z_]+(?:\.[a-z_]+)*): (?:'([^']*)')?")


@dataclass(frozen=True)
class Fault:
    """One fault of conf/: the place (file:line:column), the key path, what was found, what is allowed."""

    place: str
    path: str
    found: str
    allowed: str = ""
    caret: str = ""

    @property
    def line(self) -> str:
        """The place without its column."""
        return self.place.rpartition(":")[0] if self.place.count(":") == 2 else self.place

    def __str__(self) -> str:
        head = f"  {self.place}: {self.path}: {self.found}" if self.path else f"  {self.place}: {self.found}"
        return Lines.of([head, *self.caret.splitlines(), *([f"    {self.allowed}"] if self.allowed else [])])


class ConfigError(UsageError):
    """Faults of conf/ and expectations/, all at once; `faults` holds them."""

    def __init__(self, where: str, faults: list[Fault]) -> None:
        self.faults = faults
        text = Lines.of([f"{len(faults)} fault(s)", *map(str, faults)])
        super().__init__(where, text, todo="mend the lines named, then: tidegate validate")
        self.args = (where, faults)


def fault_at(file: YamlFile, where: Where, found: str, allowed: str = "") -> Fault:
    """The fault at key path `where` of `file`."""
    line, column = file.place(where)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    return Fault(f"{file.shown}:{line}:{column}", dotted, found, allowed, file.caret(where))


def section_faults(file: YamlFile, wrong_keys: list[KeyFault], error: ValidationError | None) -> list[Fault]:
    """Faults of keys and of values in one list, in the order of the file; what a wrong key explains is left out."""
    told = {key.where for key in wrong_keys}
    explained = told | {(*key.where[:-1], key.meant) for key in wrong_keys}
    found: dict[Where, list[str]] = {key.where: [key.found] for key in wrong_keys}
    allowed = {key.where: key.allowed for key in wrong_keys}
    for item in error.errors(include_url=False) if error else []:
        where = written_path(file.data, item["loc"], missing=item["type"] == "missing")
        if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            where = (*where, item["ctx"]["discriminator"].strip("'"))
        if item["type"] == "extra_forbidden" or any(where[:end] in explained for end in range(len(where) + 1)):
            continue
        if item["type"].endswith("_type") and _is_whole(item["input"]) and any(_within(one, where) for one in told):
            continue  # the other branch of a union, such as text or mapping
        place, text = _value_fault(file, where, item)
        if text not in found.setdefault(place, []):
            found[place].append(text)
    faults = [
        (file.place(place), fault_at(file, place, " or: ".join(texts), allowed.get(place, "")))
        for place, texts in found.items()
    ]
    return [fault for _, fault in sorted(faults, key=lambda pair: pair[0])]


def _is_whole(value: Any) -> bool:
    return isinstance(value, dict | list)


def _within(inner: Where, outer: Where) -> bool:
    return inner[: len(outer)] == outer


def written_path(data: Any, location: Iterable[Any], *, missing: bool) -> Where:
    """A pydantic location without the names of union branches and validators: only keys and indexes of the file."""
    where: list[str | int] = []
    parts = list(location)
    for index, part in enumerate(parts):
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            data = data[part]
            where.append(part)
        elif missing and index == len(parts) - 1:
            where.append(part)
    return tuple(where)


def _value_fault(file: YamlFile, where: Where, item: Any) -> tuple[Where, str]:
    """Place and text; a text that begins with a field's name (`args: 'least' is …`) is placed at that field."""
    if item["type"] == "missing":
        return where, f"key '{where[-1]}' is missing"
    if item["type"] == "union_tag_not_found":
        return where, f"key '{where[-1]}' is missing"
    if item["type"] == "union_tag_invalid":
        tag, legal = item["ctx"]["tag"], re.findall("'([^']+)'", item["ctx"]["expected_tags"])
        return where, f"no {where[-1]} '{masked(tag)}'; {nearest(tag, legal)}"
    found = item["msg"].removeprefix("Value error, ")
    named = _PREFIX.match(found)
    if named:
        for end in ((*named[1].split("."), named[2]), tuple(named[1].split("."))):
            if (*where, *end) in file.marks:
                return (*where, *end), found[len(named[1]) + 2 :]
    bare = _is_whole(item["input"]) or str(item["input"]) in found
    if bare:
        return where, found
    shown = "***" if any(map(names_secret, where)) else masked(str(item["input"]))
    return where, f"'{shown}': {found}"
