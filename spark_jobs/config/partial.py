"""What is left of a section without its invalid parts, so that the rest is checked against other files in the same report.

Only for reports: a pipeline with a fault never runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from spark_jobs.config.faults import written_path
from spark_jobs.config.keys import KeyFault
from spark_jobs.config.section import Section
from spark_jobs.config.yaml_file import Where

AnySection = TypeVar("AnySection", bound=Section)
_GONE = object()  # in place of an item of a list, so that the others keep their number
_WORDS = frozenset(  # names of keys that messages use as words
    {
        "type",
        "column",
        "columns",
        "table",
        "tables",
        "name",
        "of",
        "from",
        "to",
        "use",
        "in",
        "key",
        "rules",
        "id",
        "args",
        "scope",
    }
    | {"source", "sources", "options", "features", "label", "start", "end", "is", "model", "models"}
)
_ROUNDS = 100  # each removes at least one value


class Partial:
    """The data of a file from which invalid values are removed until the rest is a section; `removed` are their names."""

    def __init__(self, data: Any, wrong_keys: Iterable[KeyFault]) -> None:
        self._data = _copy(data)
        self.removed: set[str] = set()
        self._kept: dict[Where, list[int]] = {}
        for key in sorted(wrong_keys, key=lambda one: -len(one.where)):
            parent = self._at(key.where[:-1])
            value = parent.pop(key.where[-1], None) if isinstance(parent, dict) else None
            if key.meant and isinstance(parent, dict) and key.meant not in parent:
                parent[key.meant] = value  # what was meant, as the fault says

    def section(self, model: type[AnySection]) -> AnySection | None:
        """The section without what is invalid; none when what must be there is."""
        for _ in range(_ROUNDS):
            self._kept = {}
            data = self._compact(self._data, ())
            try:
                return model.model_validate(data)
            except ValidationError as error:
                places = {self._place(data, item) for item in error.errors(include_url=False)}
            if () in places:
                return None
            for place in sorted(places, key=len, reverse=True):
                self._remove(place)
        return None

    def original(self, where: Where) -> Where:
        """The key path in the file of what is at `where` in the section."""
        found: Where = ()
        for part in where:
            kept = self._kept.get(found)
            found = (*found, kept[part] if kept is not None and isinstance(part, int) and part < len(kept) else part)
        return found

    def _place(self, data: Any, item: Any) -> Where:
        """What has to go for an error: the value, or of a missing key the mapping that lacks it."""
        missing = item["type"] == "missing"
        where = written_path(data, item["loc"], missing=missing)
        return self.original(where[:-1] if missing else where)

    def _remove(self, place: Where) -> None:
        parent, last = self._at(place[:-1]), place[-1]
        if isinstance(parent, dict):
            self.removed |= {str(last), *_names(parent.pop(last, None))} - _WORDS
        elif isinstance(parent, list) and isinstance(last, int):
            self.removed |= _names(parent[last]) - _WORDS
            parent[last] = _GONE

    def _at(self, where: Where) -> Any:
        found = self._data
        for part in where:
            if isinstance(found, list) and isinstance(part, int):
                found = found[part]
            else:
                found = found.get(part) if isinstance(found, dict) else None
        return found

    def _compact(self, data: Any, where: Where) -> Any:
        if isinstance(data, dict):
            return {key: self._compact(value, (*where, key)) for key, value in data.items()}
        if isinstance(data, list):
            self._kept[where] = [index for index, item in enumerate(data) if item is not _GONE]
            return [self._compact(data[index], (*where, index)) for index in self._kept[where]]
        return data


def _copy(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copy(value) for key, value in data.items()}
    return [_copy(item) for item in data] if isinstance(data, list) else data


def _names(data: Any) -> set[str]:
    """Keys and texts in `data`, at any depth: what could be named elsewhere."""
    if isinstance(data, dict):
        return {str(key) for key in data}.union(*map(_names, data.values()))
    if isinstance(data, list):
        return set().union(*map(_names, data))
    return {data} if isinstance(data, str) else set()
