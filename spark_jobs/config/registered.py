"""What `use:` may name, read from the source of the modules that register it, so that `validate` imports no Spark.

Only decorators with a literal name count, as in `@transform("itself")`; a test compares this with the registries.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from spark_jobs.config.section import Scalar
from spark_jobs.errors import nearest

ROOT = Path(__file__).resolve().parents[2]
TRANSFORMS = ROOT / "spark_jobs/transforms/columns.py"
ESTIMATORS = ROOT / "spark_jobs/learning/train.py"
_KINDS: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


@dataclass(frozen=True)
class Signature:
    """A registered function: how many columns it takes (at most None: any number), its options with their types."""

    at_least: int
    at_most: int | None
    options: Mapping[str, str]
    needed: tuple[str, ...]
    about: str = ""
    takes: tuple[str, ...] = ()  # types of the columns, as the decorator names them; empty: any
    gives: str = ""  # type of the result, or same; empty: not known

    def faults(self, options: Mapping[str, Scalar]) -> Iterator[tuple[str, str, str]]:
        """(option, what is wrong, what is allowed) for each option that it does not take, or takes otherwise."""
        for name, value in options.items():
            if name not in self.options:
                left = [one for one in self.options if one not in options]
                yield name, f"no option '{name}'", nearest(name, left or list(self.options))
                continue
            kinds = _KINDS.get(self.options[name])
            if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
                yield name, f"'{value}' is not a value of '{name}'", f"legal: {self.options[name]}"
        for name in self.needed:
            if name not in options:
                yield "", f"option '{name}' is missing", f"write options: {{{name}: …}}"


@cache
def registered(file: Path, decorator: str) -> dict[str, Signature]:
    """Functions under `@decorator("name")` in `file`, by name.

    Raises:
        SyntaxError, OSError: `file` is not Python, or cannot be read.
    """
    found: dict[str, Signature] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            about = (ast.get_docstring(node) or "").partition("\n")[0]
            types = _types(node, decorator)
            found |= {name: replace(_signature(node.args, about), **types) for name in _names(node, decorator)}
    return found


def _names(function: ast.FunctionDef, decorator: str) -> Iterator[str]:
    for call in function.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == decorator:
            yield from (arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def _types(function: ast.FunctionDef, decorator: str) -> dict[str, Any]:
    """The literal arguments `takes` and `gives` of the decorator, where it has them."""
    return {
        word.arg: ast.literal_eval(word.value)
        for call in function.decorator_list
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == decorator
        for word in call.keywords
        if word.arg in ("takes", "gives") and isinstance(word.value, ast.Constant | ast.Tuple)
    }


def _signature(args: ast.arguments, about: str) -> Signature:
    columns = [*args.posonlyargs, *args.args]
    pairs = list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
    return Signature(
        len(columns) - len(args.defaults),
        None if args.vararg else len(columns),
        {arg.arg: ast.unparse(arg.annotation) if arg.annotation else "" for arg, _ in pairs},
        tuple(arg.arg for arg, default in pairs if default is None),
        about,
    )


def transforms(modules: Iterable[str]) -> dict[str, Signature]:
    """The built-in transforms and those of the importable ones among `modules`."""
    files = [TRANSFORMS, *(file for file in map(module_file, modules) if file and not syntax_fault(file))]
    return {name: one for file in files for name, one in registered(file, "transform").items()}


def syntax_fault(file: Path) -> str:
    """Why `file` is not Python; empty when it is."""
    try:
        ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        return f"line {getattr(error, 'lineno', 1)}: {getattr(error, 'msg', error)}"
    return ""


def module_file(name: str) -> Path | None:
    """The source of module `name` as a step would import it (the checkout comes first); nothing is imported."""
    paths: list[str] | None = [str(ROOT), *sys.path]
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), paths) if paths is not None else None
        if spec is None:
            return None
        paths = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def function_sources(modules: Iterable[str]) -> dict[str, str]:
    """For every transform of the importable ones among `modules` a hash of its source, by name.

    What the function calls in its own module counts, too; comments, blanks and docstrings do not.
    """
    found: dict[str, str] = {}
    for file in filter(None, map(module_file, modules)):
        found |= _sources(file.read_text(encoding="utf-8"))
    return found


@cache
def _sources(text: str) -> dict[str, str]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}  # a step that imports it fails and says where
    top = {name: node for node in tree.body for name in _defined(node)}
    return {
        name: hashlib.sha256("\n".join(_reachable(node, top)).encode()).hexdigest()[:16]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for name in _names(node, "transform")
    }


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _reachable(node: ast.stmt, top: Mapping[str, ast.stmt]) -> list[str]:
    """The code of `node` and of every definition of its module that it uses, directly or not."""
    waiting, seen = [node], list[ast.stmt]()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.append(one)
            used = {name.id for name in ast.walk(one) if isinstance(name, ast.Name)}
            waiting += [top[name] for name in sorted(used & top.keys())]
    return [ast.dump(_without_docstrings(one)) for one in seen]


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    copied = ast.parse(ast.unparse(node)).body[0]
    for one in ast.walk(copied):
        if isinstance(one, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(one, clean=False) is not None:
            one.body = one.body[1:] or [ast.Pass()]
    return copied
