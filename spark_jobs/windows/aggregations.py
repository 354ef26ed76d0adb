"""What is aggregated over which window, as values: names and tile columns, without numpy or Spark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from spark_jobs.errors import UsageError, nearest

Op = Literal["count", "sum", "mean"]
Real = Literal["double", "float"]


@dataclass(frozen=True)
class Aggregation:
    """One aggregation of a measure over every window: `name` begins its columns, e.g. mean of delay_min as `delay`.

    A count is an int, the sum of whole numbers a bigint, every other value a double. `type` declares a sum or a mean
    otherwise: float rounds to float32, double lets a sum of whole numbers leave the range of bigint.
    """

    op: Op
    of: str | None
    name: str
    type: Real | None = None

    def __post_init__(self) -> None:
        if self.op not in get_args(Op):
            raise UsageError(f"aggregation '{self.name}'", f"op '{self.op}'", nearest(self.op, list(get_args(Op))))
        if self.of is None and self.op != "count":
            raise UsageError(f"aggregation '{self.name}'", f"{self.op} of nothing", "only count may omit `of`")
        if self.type is not None and self.op == "count":
            raise UsageError(f"aggregation '{self.name}'", f"type {self.type} of a count", "no type; a count is an int")

    @property
    def tile_columns(self) -> tuple[str, ...]:
        """The tile columns that it reads: the count first, then the sum if it needs one."""
        if self.of is None:
            return ("n",)
        return (f"n_{self.of}",) if self.op == "count" else (f"n_{self.of}", f"sum_{self.of}")


def window_label(hours: int) -> str:
    """The window's part of a column name: 3 -> 3h, 24 -> 24h, 168 -> 7d (whole days from 48 hours on).

    Raises:
        UsageError: less than one hour.
    """
    if hours < 1:
        raise UsageError("window", f"{hours} hours", "1 hour or more")
    return f"{hours // 24}d" if hours >= 48 and hours % 24 == 0 else f"{hours}h"
