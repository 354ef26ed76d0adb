"""Exact totals of hourly tiles over windows as of an hour, as numpy on plain arrays.

This file knows no frame, no Arrow and no Spark; `kernel.py` brings rows here and names the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class TileVersions(NamedTuple):
    """Versions of hourly tiles, in any order: (key, hour, known, pub) is unique.

    All int64, n rows: `key` 0..k-1, `hour` the tile's hour (hours since the epoch), `known` the first whole hour at
    which the version may be read, `pub` its publication; `values` of shape (n, m) holds whole values, not changes.
    """

    key: Ints
    hour: Ints
    known: Ints
    pub: Ints
    values: Ints


def window_totals(tiles: TileVersions, cell_key: Ints, cell_hour: Ints, windows_hours: Sequence[int]) -> Ints:
    """Totals of the tiles in [t - W, t) in their newest version with known <= t, for every cell and window.

    A version is stored as its change against the version before it. A change of tile hour e that can be read from k on
    counts for the cells with k <= t <= e + W. Among the changes with k <= e + W those are the changes with k <= t
    less the changes with e < t - W: two prefix sums and two binary searches, whatever number of versions is late.

    Args:
        tiles: n versions, see TileVersions.
        cell_key: int64, shape (c,): key of each cell; keys without tiles are fine.
        cell_hour: int64, shape (c,): its t in hours since the epoch.
        windows_hours: window lengths W in hours, each at least 1.

    Returns:
        int64, shape (windows, c, m). Sums wrap modulo 2**64, so that only a total itself has to fit; `parts.py` sees to it.
    """
    cells, measures = len(cell_key), tiles.values.shape[1]
    totals = np.zeros((len(windows_hours), cells, measures), dtype=np.int64)
    if not cells or not len(tiles.key):
        return totals
    readable = np.maximum(tiles.known, tiles.hour + 1)  # no cell that contains tile e has t <= e
    low = min(int(cell_hour.min()) - max(windows_hours), int(tiles.hour.min()))
    span = max(int(cell_hour.max()), int(readable.max())) - low + 1
    order = np.lexsort((tiles.pub, tiles.known, tiles.key * span + (tiles.hour - low)))
    hour_code = (tiles.key * span + (tiles.hour - low))[order]
    read_code = (tiles.key * span + (readable - low))[order]
    changes = _changes(hour_code, tiles.values[order])
    wait = read_code - hour_code
    until = cell_key * span + (cell_hour - low)
    for index, window in enumerate(windows_hours):
        inside = wait <= window
        if inside.all():
            totals[index] = _between(hour_code, read_code, changes, until, window)
        else:
            totals[index] = _between(hour_code[inside], read_code[inside], changes[inside], until, window)
    return totals


def _changes(hour_code: Ints, values: Ints) -> Ints:
    """Each version less the version before it in the same tile; rows sorted by tile, then by version."""
    changes = values.copy()
    follows = np.flatnonzero(hour_code[1:] == hour_code[:-1]) + 1
    changes[follows] -= values[follows - 1]
    return changes


def _between(hour_code: Ints, read_code: Ints, changes: Ints, until: Ints, window: int) -> Ints:
    """Sum of the changes readable at `until`, less those whose hour lies before the window; shape (cells, m)."""
    by_read = np.argsort(read_code, kind="stable")
    readable = np.searchsorted(read_code[by_read], until, side="right")
    left = np.searchsorted(hour_code, until - window, side="left")
    return np.asarray(_prefix(changes[by_read])[readable] - _prefix(changes)[left], dtype=np.int64)


def _prefix(changes: Ints) -> Ints:
    """Sums of the first 0, 1, … n rows, shape (n + 1, m)."""
    sums = np.zeros((len(changes) + 1, changes.shape[1]), dtype=np.int64)
    np.cumsum(changes, axis=0, out=sums[1:])
    return sums
