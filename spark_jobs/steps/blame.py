"""The line of a drop that a transform does not survive, found by halving once the step has failed."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.stages import silver
from spark_jobs.steps.context import Work


def line_at_fault(work: Work) -> str:
    """`line 46 of <file>`: the first line that fails alone; empty where none does, or no drop was read yet.

    A few small jobs, each over half of the lines of the one before, with the transforms of silver and nothing else.
    """
    for name, table in work.pipeline.silver.items():
        source = f"bronze/{table.source}"
        if source in work.lake.staged:
            bronze = work.lake.staged_rows(source)
            instants = silver.instants(work, name, bronze)
            if _survives(instants, F.lit(True)):
                continue
            if not _survives(instants, F.col("line") < 0):
                return ""  # without a row, too: the machine is at fault
            return _first(bronze, instants)
    return ""


def _first(bronze: DataFrame, instants: DataFrame) -> str:
    files = sorted(row["file"] for row in bronze.select("file").distinct().collect())
    file = files[_halved(len(files), lambda low, high: _survives(instants, F.col("file").isin(files[low:high])))]
    one = F.col("file") == F.lit(file)
    last = bronze.where(one).agg(F.max("line").alias("line")).collect()[0]["line"]
    line = _halved(last, lambda low, high: _survives(instants, one & F.col("line").between(low + 1, high))) + 1
    return "" if _survives(instants, one & (F.col("line") == line)) else f"line {line} of {file}"


def _halved(count: int, survives: Callable[[int, int], bool]) -> int:
    """Of `count` places the first that does not survive, if any place fails whenever a range with it does."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if survives(low, middle) else (low, middle)
    return low


def _survives(instants: DataFrame, part: Column) -> bool:
    try:
        instants.where(part).agg(F.max("event_at")).collect()
    except Exception:  # whatever ends a worker
        return False
    return True
