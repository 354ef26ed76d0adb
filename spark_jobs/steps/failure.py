"""An unforeseen error of a step as people read it: its cause, the function, the table, and whether values caused it.

Everything is read from the error itself. No Spark job searches for the row after a failure.
"""

from __future__ import annotations

import builtins
import re
from pathlib import PurePath

from pyspark.errors import PythonException

from spark_jobs.values import printable
from spark_jobs.verdict import MASKED

# Spark's names of errors that a value causes (spark.sql.ansi.enabled), in the text of the error that ends the job
_OF_A_VALUE = re.compile(
    r"\[(DIVIDE_BY_ZERO|REMAINDER_BY_ZERO|ARITHMETIC_OVERFLOW|CAST_INVALID_INPUT|CAST_OVERFLOW|DATETIME_OVERFLOW"
    r"|INTERVAL_ARITHMETIC_OVERFLOW|INVALID_ARRAY_INDEX|USER_RAISED_EXCEPTION|CANNOT_PARSE_TIMESTAMP|NUMERIC_VALUE_OUT_OF_RANGE)"
)
_OF_THE_MACHINE = (ImportError, OSError, SystemError)  # raised by a Python function, whatever the values are
_TRAINING = "xgboost."  # raises when another worker of a training is lost; no transform calls it
_RAISED = re.compile(r"(?m)^Traceback .*\n(?: .*\n)+([\w.]+)")
# The classes of an error, and Spark's name of its condition: what comes after them may hold values.
_KIND = re.compile(r"(?:(?:[\w$]+\.)*[\w$]*(?:Error|Exception): )*(?:\[[A-Z][A-Z_.]*\] )?")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')


def cause(error: Exception, *, is_masked: bool = False) -> str:
    """The line of an error that names its cause, at most 300 characters: Spark's own first line seldom does.

    `is_masked`: the pipeline has sensitive columns, so that of an error that a value causes only the kind is shown.
    """
    named = re.findall(r"(?m)^(?:: |Caused by: )?((?:[\w$]+\.)*[\w$]*(?:Error|Exception): .+)$", str(error))
    told = named[-1] if named else str(error).strip().partition("\n")[0]
    if is_masked and is_caused_by_values(error):
        kind = _KIND.match(told)
        told = f"{kind[0] if kind else ''}{MASKED}"
    return printable(f"{type(error).__name__}: {told}"[:300])


def place(error: Exception) -> str:
    """The Python function and line that the error names, and its notes: `; in share (shop.py:12); while computing orders`."""
    frames = _FRAME.findall(str(error))[-1:]
    parts = [f"in {function} ({PurePath(path).name}:{line})" for path, line, function in frames]
    parts += getattr(error, "__notes__", [])
    return "".join(f"; {printable(part)[:200]}" for part in parts)


def is_caused_by_values(error: Exception) -> bool:
    """Whether a transform, a measure or a label cannot be computed of a value, so that no retry helps.

    A Python function that raises counts, unless what it raises is about memory, files or missing modules. A worker that
    dies raises nothing: the machine may be the cause.
    """
    if _OF_A_VALUE.search(str(error)):
        return True
    raised = _RAISED.findall(str(error)) if isinstance(error, PythonException) else []
    if not raised or raised[-1].endswith("MemoryError") or raised[-1].startswith(_TRAINING):
        return False
    kind = getattr(builtins, raised[-1], Exception)
    return not issubclass(kind, _OF_THE_MACHINE)
