"""A YAML file as plain data plus the place of every key, so that a fault can name its line.

Knows nothing of what a file means; `load.py` holds it against the models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spark_jobs.config.secrets import masked

Where = tuple[str | int, ...]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML has it: ten times faster


@dataclass(frozen=True)
class YamlFile:
    """The data of one file and, for each path of keys, the line and column (from 1) where it stands."""

    shown: str  # the path as faults name it
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
        return _caret(self.lines, *self.place(where))


def _caret(lines: list[str], line: int, column: int) -> str:
    """At most 110 characters of a line with a caret below `column`; what may be a secret is not shown."""
    text = masked(lines[line - 1]) if line <= len(lines) else ""
    cut = max(0, column - 60)
    shown = ("…" if cut else "") + text[cut : cut + 110]
    return f"    {shown}\n    {' ' * (column - 1 - cut + bool(cut))}^"


class YamlFault(Exception):
    """The text is not YAML, or names a key twice."""

    def __init__(self, line: int, column: int, found: str, caret: str = "") -> None:
        self.line, self.column, self.found, self.caret = line, column, found, caret
        super().__init__(line, column, found, caret)


def read_yaml(path: Path, shown: str = "") -> YamlFile:
    """The file at `path`, called `shown` in faults.

    Raises:
        YamlFault: not YAML, more than one document, or a key twice in one mapping.
    """
    text = path.read_text(encoding="utf-8")
    marks: dict[Where, tuple[int, int]] = {}
    lines = text.splitlines()
    try:
        node = yaml.compose(text, Loader=_LOADER)
        data = {} if node is None else _plain(node, (), marks)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise YamlFault(line, column, f"not YAML: {error.problem}", _caret(lines, line, column)) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise YamlFault(1, 1, f"not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise YamlFault(1, 1, "not YAML that ends: an alias holds itself") from error
    except YamlFault as fault:
        raise YamlFault(fault.line, fault.column, fault.found, _caret(lines, fault.line, fault.column)) from fault
    return YamlFile(shown or str(path), data, marks, lines)


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
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # a date such as 2013-13-01, which YAML reads by its form alone
        raise YamlFault(node.start_mark.line + 1, node.start_mark.column + 1, f"'{node.value}': {error}") from error
    finally:
        loader.dispose()
