"""Tile columns as int64 parts whose sums are exact, and totals of parts as values again. Numpy only, no Arrow, no Spark.

A sum of parts depends neither on the order of the rows nor on other keys in the same chunk, so a cell has one value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_LOW = np.int64(2**32 - 1)
_SMALLEST = -1074  # exponent of the smallest float64


@dataclass(frozen=True)
class Parts:
    """A column of n values: `values` of shape (n, width) in int64, and how a total of them is read.

    `scale`: float64 of shape (width,), values = values @ scale; none: whole numbers, in one part or in two (high and low
    32 bits) where a total may leave the range of int64.
    """

    values: Ints
    scale: Floats | None = None

    @property
    def width(self) -> int:
        """Number of parts."""
        return int(self.values.shape[1])


def whole_parts(values: Ints) -> Parts:
    """Parts of whole numbers: one where no sum of them can leave int64, else two."""
    if np.abs(values.astype(np.float64)).sum() < 2.0**62:
        return Parts(values[:, None])
    return Parts(np.stack([values >> 32, values & _LOW], axis=1))


def real_parts(values: Floats) -> Parts:
    """Parts of float64 values, as many as it takes to represent all of them exactly.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise ValueError("a value is NaN or infinite")
    bits = 62 - len(values).bit_length()  # so that no sum of n parts overflows
    top = int(np.frexp(np.abs(values).max(initial=0.0))[1])
    rest = values.astype(np.float64)
    parts: list[Ints] = []
    scales: list[float] = []
    while not parts or rest.any():
        top -= bits
        scale = float(np.ldexp(1.0, max(top, _SMALLEST)))
        whole = np.trunc(rest / scale)  # rounded up, the largest values would leave float64
        parts.append(whole.astype(np.int64))
        scales.append(scale)
        rest = rest - whole * scale
    return Parts(np.stack(parts, axis=1), np.array(scales))


def as_whole(parts: Parts, totals: Ints) -> tuple[Ints, Flags]:
    """Totals of `whole_parts`, shape (cells, width), as int64, and where they do not fit into it (0 there)."""
    if parts.width == 1:
        return totals[:, 0], np.zeros(len(totals), dtype=np.bool_)
    high = totals[:, 0] + (totals[:, 1] >> 32)
    too_large = (high < -(2**31)) | (high >= 2**31)
    return np.where(too_large, 0, (high << 32) | (totals[:, 1] & _LOW)), too_large


def as_real(parts: Parts, totals: Ints) -> tuple[Floats, Flags]:
    """Totals of either kind of parts as float64, correct to the last bit, and where they leave its range (0 there).

    Totals within a part in 2**40 of the largest float64 may count as out of range.
    """
    scale = parts.scale if parts.scale is not None else np.array([2.0**32, 1.0][-parts.width :])
    with np.errstate(over="ignore", invalid="ignore"):
        terms = [
            half.astype(np.float64) * (scale[place] * factor)
            for place in range(parts.width)
            for half, factor in ((totals[:, place] >> 32, 2.0**32), (totals[:, place] & _LOW, 1.0))
        ]
        total, is_exact = _sum(terms)
    for row in np.flatnonzero(~is_exact & np.isfinite(total)):
        total[row] = math.fsum(float(term[row]) for term in terms)
    too_large = ~np.isfinite(total)
    return np.where(too_large, 0.0, total), too_large


def _sum(terms: list[Floats]) -> tuple[Floats, Flags]:
    """The sum of the terms, largest first, and where it is certain to be rounded correctly: two float64 held it exactly."""
    high = low = np.zeros_like(terms[0])
    is_exact = np.ones(len(high), dtype=np.bool_)
    for term in terms:
        high, rest = _added(high, term)
        low, lost = _added(low, rest)
        high, low = _added(high, low)
        is_exact &= lost == 0
    return high, is_exact


def _added(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """The rounded sum and its error, both exact. Source: Knuth, TAOCP 2, 4.2.2, theorem B (TwoSum)."""
    total = one + other
    back = total - one
    return total, (one - (total - back)) + (other - back)
