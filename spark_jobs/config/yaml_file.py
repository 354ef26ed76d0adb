"""A YAML file as plain data plus the place of every key, so that a fault can name its line.

Knows nothing of what a file means; `load.py` holds it against the models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """The data of one file and, for each path of keys, the line and column (from 1) where it stands."""

    path: Path
    data: Any
    marks: dict[Where, tuple[int, int]] = field(repr=False)
    lines: list[str] = field(repr=False)

    def place(self, where: Where) -> tuple[int, int]:
        """Line and column of `where`, or of the nearest part of it that the file has."""
        while where and where not in self.marks:
            where = where[:-1]
        return self.marks.get(where, (1, 1))

    def caret(self, where: Where) -> str:
        """The line of `where` with a caret below the key."""
        line, column = self.place(where)
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        return f"    {text}\n    {' ' * (column - 1)}^"


class YamlFault(Exception):
    """The text is not YAML, or names a key twice."""

    def __init__(self, line: int, column: int, found: str) -> None:
        self.line, self.column, self.found = line, column, found
        super().__init__(line, column, found)


def read_yaml(path: Path) -> YamlFile:
    """The file at `path`.

    Raises:
        YamlFault: not YAML, more than one document, or a key twice in one mapping.
    """
    text = path.read_text(encoding="utf-8")
    marks: dict[Where, tuple[int, int]] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = {} if node is None else _plain(node, (), marks)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlFault(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, str(error.problem)) from error
    return YamlFile(path, data, marks, text.splitlines())


def _plain(node: yaml.Node, where: Where, marks: dict[Where, tuple[int, int]]) -> Any:
    marks.setdefault(where, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line, column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            if key in found:
                raise YamlFault(line, column, f"'{key}' stands twice in one mapping")
            marks[(*where, key)] = (line, column)
            found[key] = _plain(value_node, (*where, key), marks)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*where, index), marks) for index, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()  # type: ignore[no-untyped-call]
