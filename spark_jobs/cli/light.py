"""Keeps pandas out of commands that only look: pyarrow imports it when it is there, for 1.4 s, and they never use it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoPandas:
    """An import finder to which pandas is not installed; pyarrow takes that for an answer."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Nothing of its own; refuses pandas.

        Raises:
            ModuleNotFoundError: pandas is asked for.
        """
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of the command line", name=name)
        return None


def keep_pandas_out() -> None:
    """From now on this process has no pandas."""
    sys.meta_path.insert(0, _NoPandas)
