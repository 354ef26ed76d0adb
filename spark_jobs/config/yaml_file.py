"""A YAML file as plain data plus the place of every key, so that a fault can name its line.

Scalars are read by the core schema of YAML 1.2 (`NO` is text, `true` is not, a day is text until a field says otherwise);
what YAML 1.1, 1.2 and people read differently is refused. `load.py` compares the data with the models.
Source: yaml.org/spec/1.2.2, section 10.3.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spark_jobs.config.secrets import masked, names_secret

Where = tuple[str | int, ...]
_SCALAR = re.compile(r"^(\s*[\w.\"'-]+\s*:\s*)[^\s{\[#].*")
MAX_NODES = 100_000  # of one file, aliases written out: a few lines of aliases can stand for billions of values
_STANDARD = "tag:yaml.org,2002:"
_UNTAGGED = "!untagged"
_MOST_BYTES, _MOST_LEVELS = 4 << 20, 100  # of one file: the composer of PyYAML recurses in C and would end the process
_NULLS, _BOOLEANS = ("", "~", "null", "Null", "NULL"), ("true", "True", "TRUE", "false", "False", "FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_OTHER_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*_[0-9_.]*|0b[01_]+)")  # a number in YAML 1.1, text in 1.2


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml is ten times faster
    """Composes nodes; a plain scalar without a tag has `_UNTAGGED`, so that `!!str 010` differs from `010`."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {None: [(_UNTAGGED, re.compile(""))]}  # noqa: RUF012


@dataclass(frozen=True)
class YamlFile:
    """The data of one file and, for each path of keys, the line and column (from 1) where it stands."""

    shown: str  # the path as faults name it
    data: Any
    marks: dict[Where, tuple[int, int]] = field(repr=False)
    lines: list[str] = field(repr=False)
    faults: list[YamlFault] = field(default_factory=list, repr=False)  # of single keys and values; the rest is read

    def place(self, where: Where) -> tuple[int, int]:
        """Line and column of `where`, or of the nearest part of it that the file has."""
        while where and where not in self.marks:
            where = where[:-1]
        return self.marks.get(where, (1, 1))

    def caret(self, where: Where) -> str:
        """The line of `where` with a caret below the key."""
        return _caret(self.lines, *self.place(where), names_secret(".".join(map(str, where))))


def _caret(lines: list[str], line: int, column: int, secret: bool = False) -> str:
    """At most 110 characters of a line with a caret below `column`; what may be a secret is not shown."""
    text = masked(lines[line - 1]) if line <= len(lines) else ""
    text = _SCALAR.sub(r"\1***", text) if secret else text
    cut = max(0, column - 60)
    shown = ("…" if cut else "") + text[cut : cut + 110]
    return f"    {shown}\n    {' ' * (column - 1 - cut + bool(cut))}^"


class YamlFault(Exception):
    """The text is not YAML, or a key or value of it cannot be read with certainty."""

    def __init__(self, line: int, column: int, found: str, caret: str = "") -> None:
        self.line, self.column, self.found, self.caret = line, column, found, caret
        super().__init__(line, column, found, caret)


def read_yaml(path: Path, shown: str = "") -> YamlFile:
    """The file at `path`, called `shown` in faults; its `faults` are duplicate keys, tags and ambiguous scalars.

    Raises:
        YamlFault: not YAML, or more than one document.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise YamlFault(1, 1, f"{path.stat().st_size} bytes, at most {_MOST_BYTES}")
    text = path.read_text(encoding="utf-8-sig")
    lines = text.splitlines()
    reading = _Reading(lines)
    try:
        _check_depth(text)
        node = yaml.compose(text, Loader=_Loader)
        data = {} if node is None else reading.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = _tab(lines, line) or f"not YAML: {error.problem}"
        raise YamlFault(line, column, problem, _caret(lines, line, column)) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise YamlFault(1, 1, f"not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise YamlFault(1, 1, "an alias that contains itself, or values nested too deeply") from error
    return YamlFile(shown or str(path), data, reading.marks, lines, reading.faults)


def _check_depth(text: str) -> None:
    """Check that values are nested at most 100 levels deep; parsing, unlike composing, needs no stack for them.

    Raises:
        YamlFault: they are nested deeper.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MOST_LEVELS:
                line, column = (mark.line + 1, mark.column + 1) if (mark := event.start_mark) else (1, 1)
                raise YamlFault(line, column, f"values nested more than {_MOST_LEVELS} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _tab(lines: list[str], line: int) -> str:
    """The fault when `line` is indented with a tab, which YAML does not allow."""
    text = lines[line - 1] if line <= len(lines) else ""
    return "a tab in the indentation; write blanks" if "\t" in text[: len(text) - len(text.lstrip())] else ""


class _Reading:
    """Nodes -> plain data, with the place of every key and the faults of single keys and values."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.marks, self.faults = lines, dict[Where, tuple[int, int]](), list[YamlFault]()

    def value(self, node: yaml.Node, where: Where) -> Any:
        """The data of `node`, which is at `where`.

        Raises:
            YamlFault: too many values.
        """
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.marks.setdefault(where, (line, column))
        if len(self.marks) > MAX_NODES:
            raise YamlFault(line, column, f"more than {MAX_NODES} values, aliases written out")
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, "map")
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq")
            return [self.value(item, (*where, index)) for index, item in enumerate(node.value)]
        if node.tag != _UNTAGGED:
            self._check_tag(node, "str")
            return node.value
        try:
            return _untagged(node.value)
        except ValueError as error:
            self._fault(node, str(error))
            return node.value

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        """Keys are text as written: `NO:` and `010:` are names like any other."""
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, "a list or a mapping as a key; write a name")
            elif key == "<<" and key_node.tag == _UNTAGGED:
                self._fault(key_node, "a merge key '<<', which YAML 1.2 does not have; write the keys out")
            elif key in mapping:
                first = self.marks[(*where, key)][0]
                self._fault(key_node, f"duplicate key '{key}'; the same mapping has it in line {first}")
            else:
                self.marks[(*where, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
                mapping[key] = self.value(value_node, (*where, key))
        return mapping

    def _check_tag(self, node: yaml.Node, kind: str) -> None:
        if node.tag != _STANDARD + kind:
            tag = node.tag.replace(_STANDARD, "!!")
            self._fault(node, f"the tag {tag}; values have no tags here, leave it out and put text in quotes")

    def _fault(self, node: yaml.Node, found: str) -> None:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.faults.append(YamlFault(line, column, found, _caret(self.lines, line, column)))


def _untagged(text: str) -> str | int | float | bool | None:
    """A scalar without quotes by the core schema of YAML 1.2.

    Raises:
        ValueError: readers of YAML 1.1, of YAML 1.2 and people would not agree on it; or it is not a finite number.
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return text.lower() == "true"
    if _LEADING_ZERO.fullmatch(text):
        bare = text.lstrip("+-").lstrip("0") or "0"
        raise ValueError(
            f"'{text}' is ambiguous, 8 or 10 or text; write '{text}' in quotes as text, or the number {bare}"
        )
    if _OTHER_NUMBER.fullmatch(text):
        raise ValueError(f"'{text}' is ambiguous, a number or text; write a number of digits alone, or text in quotes")
    if _INTEGER.fullmatch(text):
        if len(text) > 40:
            raise ValueError("a number of more than 40 digits; write it in quotes as text")
        return int(text, 0) if text[1:2] in ("o", "x") else int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"'{text}' is not a finite number; leave a bound out instead, or put text in quotes")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"'{text[:40]}' is beyond the largest number, 1.8e308")
        return number
    return text
