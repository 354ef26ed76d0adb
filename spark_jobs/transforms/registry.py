"""Functions on columns, by name: conf/ says `use: minutes_after` and this room knows what that is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import get_args

from pyspark.sql import Column

from spark_jobs.config.section import TransformCall
from spark_jobs.config.tables import ColumnType
from spark_jobs.errors import RefusedError, UsageError, nearest

Transform = Callable[..., Column]
_REGISTERED: dict[str, Transform] = {}
_GIVES: dict[str, str] = {}  # type of the result, where the decorator names one


def transform(name: str, *, takes: tuple[str, ...] = (), gives: str = "") -> Callable[[Transform], Transform]:
    """Register the function under `name`; columns come first, options by keyword.

    Args:
        name: what `use:` names.
        takes: type of each column, such as ("timestamp", "number"); `validate` refuses others. None: any.
        gives: type of the result, to which it is cast, or "same" as the first column. It decides the types of tiles and
            features. None: not known before the rows are read; a measure is then a double.

    Raises:
        ValueError: the name is taken, or `gives` is not a type of tables.yaml.
    """
    if gives and gives not in (legal := ["same", *get_args(ColumnType)]):
        raise ValueError(f"transform '{name}': gives '{gives}'; legal: {', '.join(legal)}")

    def register(function: Transform) -> Transform:
        if name in _REGISTERED:
            raise ValueError(f"transform '{name}' is registered twice")
        _REGISTERED[name] = function
        if gives not in ("", "same"):
            _GIVES[name] = gives
        return function

    return register


def load_modules(modules: Iterable[str]) -> None:
    """Import a pipeline's own modules, so that their transforms are registered."""
    for module in modules:
        importlib.import_module(module)


def apply(call: TransformCall, columns: dict[str, Column], where: str) -> Column:
    """The column that `call` makes of `columns` (by name).

    Raises:
        UsageError: no such transform, or it does not take these columns and options.
        RefusedError: the transform itself raised.
    """
    function = _REGISTERED.get(call.use)
    if function is None:
        raise UsageError(where, f"no transform '{call.use}'", nearest(call.use, sorted(_REGISTERED)))
    chosen = [columns[name] for name in call.columns]
    try:
        inspect.signature(function).bind(*chosen, **call.options)
    except TypeError as error:
        wanted = f"{call.use}{inspect.signature(function)}"
        raise UsageError(where, f"transform '{call.use}': {error}", wanted) from error
    try:
        result = function(*chosen, **call.options)
        return result.cast(_GIVES[call.use]) if call.use in _GIVES else result
    except Exception as error:  # whatever a pipeline's own module raises
        cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        raise RefusedError(
            where, f"transform '{call.use}' failed: {cause}", "a Column made of the given columns",
            f"correct the function registered as '{call.use}', then run the interval again",
        ) from error  # fmt: skip
