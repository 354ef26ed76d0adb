"""The window kernel on plain arrays and Arrow tables, against an oracle that looks at one cell at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.windows import kernel
from spark_jobs.windows.kernel import Aggregation, cells_of, whole_keys, window_label
from spark_jobs.windows.totals import TileVersions, fixed_point, floating, window_totals

WINDOWS = (1, 3, 24, 40)
Version = tuple[int, int, int, int, int]  # key, hour, known, pub, value
Cell = tuple[int, int]  # key, t

version = st.tuples(st.integers(0, 2), st.integers(-3, 40), st.integers(-3, 60), st.integers(0, 3), st.integers(-9, 9))
versions_of_tiles = st.lists(version, max_size=40, unique_by=lambda v: v[:4])
cells = st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 90)), max_size=20)


def naive(versions: list[Version], cell: Cell, window: int, closed_at_t: bool = False) -> int:
    """The total of one cell, read off its definition; `closed_at_t` is the fault that the tests have to notice."""
    key, t = cell
    newest: dict[int, tuple[int, int, int]] = {}
    for tile_key, hour, known, pub, value in versions:
        within = t - window <= hour < t + closed_at_t
        if tile_key == key and within and known <= t:
            newest[hour] = max(newest.get(hour, (-99, -99, 0)), (known, pub, value))
    return sum(value for _, _, value in newest.values())


def computed(versions: list[Version], wanted: list[Cell], scale: int = 1) -> list[list[int]]:
    table = np.array(versions, dtype=np.int64).reshape(-1, 5)
    asked = np.array(wanted, dtype=np.int64).reshape(-1, 2)
    tiles = TileVersions(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4:] * scale)
    totals = window_totals(tiles, asked[:, 0], asked[:, 1], WINDOWS)
    assert totals.shape == (len(WINDOWS), len(wanted), 1)
    assert totals.dtype == np.int64
    return [[int(number) for number in row] for row in totals[:, :, 0]]


def expected(versions: list[Version], wanted: list[Cell], closed_at_t: bool = False) -> list[list[int]]:
    return [[naive(versions, cell, window, closed_at_t) for cell in wanted] for window in WINDOWS]


@settings(max_examples=300, deadline=None)
@given(versions_of_tiles, cells)
@example([(0, 5, 6, 0, 1), (0, 5, 9, 1, 7), (0, 5, 9, 2, 4)], [(0, 6), (0, 8), (0, 9), (0, 29), (0, 30)])
def test_totals_equal_the_definition_with_late_versions_and_ties(versions: list[Version], wanted: list[Cell]) -> None:
    """Any versions in any order, known early, on time, late or after the window has passed."""
    assert computed(versions, wanted) == expected(versions, wanted)


def test_a_window_closed_at_t_would_be_noticed() -> None:
    """Negative control: tile hours known early are what tells [t - W, t) from [t - W, t]."""
    versions, wanted = [(0, 10, 8, 0, 1), (0, 9, 10, 0, 2)], [(0, 10)]
    assert computed(versions, wanted) == expected(versions, wanted)
    assert computed(versions, wanted) != expected(versions, wanted, closed_at_t=True)


@settings(max_examples=150, deadline=None)
@given(versions_of_tiles, versions_of_tiles, cells, st.integers(0, 60))
def test_what_becomes_known_later_never_changes_a_cell(
    past: list[Version], later: list[Version], wanted: list[Cell], now: int
) -> None:
    """Versions known after `now`, and tiles of hours from `now` on, leave every cell up to `now` as it was."""
    known = {v[:4] for v in past}
    future = [v for v in later if (v[2] > now or v[1] >= now) and v[:4] not in known]
    until_now = [cell for cell in wanted if cell[1] <= now]
    assert computed(past + future, until_now) == computed(past, until_now)


@settings(max_examples=50, deadline=None)
@given(versions_of_tiles, cells)
def test_totals_beyond_two_to_the_53_are_exact(versions: list[Version], wanted: list[Cell]) -> None:
    """float32 or float64 prefix sums would lose the last digits here."""
    large = 2**55 + 1
    wanted_totals = [[number * large for number in row] for row in expected(versions, wanted)]
    assert computed(versions, wanted, large) == wanted_totals


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1e12, 1e12), max_size=30))
def test_fixed_point_gives_floats_back(values: list[float]) -> None:
    """Nothing within 2**-90 of the largest value is lost."""
    array = np.array(values, dtype=np.float64)
    parts, scale = fixed_point(array)
    largest = float(np.abs(array).max(initial=0.0))
    assert np.all(np.abs(floating(parts, scale) - array) <= largest * 2.0**-90)


def test_fixed_point_sums_keep_a_small_value_beside_a_huge_one() -> None:
    """A float64 prefix sum over both would return 0.0 for the small one."""
    parts, scale = fixed_point(np.array([1e18, 0.001, -1e18]))
    prefix = np.cumsum(parts, axis=0)
    assert floating(prefix[1:2] - prefix[0:1], scale)[0] == 0.001
    with pytest.raises(ValueError, match="NaN or infinite"):
        fixed_point(np.array([1.0, float("nan")]))


def table_of(rows: list[dict[str, object]]) -> pa.Table:
    instant = pa.timestamp("us", tz="UTC")
    schema = {"entity": pa.string(), "key": pa.string(), "at": instant, "is_cell": pa.bool_(), "known_at": instant}
    numbers = {"pub": pa.int64(), "n": pa.int64(), "n_delay": pa.int64(), "sum_delay": pa.float64()}
    return pa.Table.from_pylist(rows, schema=pa.schema(list({**schema, **numbers}.items())))


def tile(key: str, hour: float, known: float, **numbers: float) -> dict[str, object]:
    at = {"at": int(hour * kernel.HOUR_US), "known_at": int(known * kernel.HOUR_US)}
    return {"entity": "e", "key": key, "is_cell": False, "pub": 1, **at, **numbers}


def cell(key: str, hour: float) -> dict[str, object]:
    return {"entity": "e", "key": key, "is_cell": True, "at": int(hour * kernel.HOUR_US)}


AGGREGATIONS = (Aggregation("count", None, "events"), Aggregation("mean", "delay", "delay"))


def test_a_cell_without_tiles_counts_zero_and_has_no_mean() -> None:
    """Key b has rows but no value; key c has no tile at all."""
    rows = [tile("a", 4, 5, n=2, n_delay=2, sum_delay=5.0), cell("a", 5), cell("a", 4)]
    rows += [cell("b", 5), tile("b", 4, 4.2, n=1, n_delay=0, sum_delay=0.0), cell("c", 5)]
    found = cells_of(table_of(rows), (3,), AGGREGATIONS)
    assert found["events_3h"].to_pylist() == [2, 0, 1, 0]
    assert found["delay_3h"].to_pylist() == [2.5, None, None, None]
    assert [str(found[name].type) for name in ("events_3h", "delay_3h")] == ["int32", "float"]


def test_a_version_known_within_an_hour_is_read_from_the_next_hour_on() -> None:
    """known_at 05:30 is after as_of 05:00."""
    rows = [tile("a", 4, 5.5, n=2, n_delay=2, sum_delay=5.0), cell("a", 5), cell("a", 6)]
    assert cells_of(table_of(rows), (3,), AGGREGATIONS)["events_3h"].to_pylist() == [0, 2]


@pytest.mark.parametrize(
    "row",
    [
        cell("a", 5.5),
        tile("a", 4.5, 6, n=1, n_delay=1, sum_delay=1.0),
        tile("a", 4, 5, n=1, n_delay=1, sum_delay=float("inf")),
        tile("a", 4, 5, n=1, n_delay=1, sum_delay=1.0) | {"known_at": None},
    ],
)
def test_broken_hours_values_and_times_of_knowing_are_refused(row: dict[str, object]) -> None:
    """A null known_at read as 0 would be a leak: known since 1970."""
    with pytest.raises(RefusedError):
        cells_of(table_of([row, cell("a", 9)]), (3,), AGGREGATIONS)


@given(st.lists(st.sampled_from("aaaaabc"), max_size=40), st.integers(1, 7), st.integers(1, 30))
def test_chunks_never_split_a_key_and_lose_no_row(keys: list[str], batch: int, enough: int) -> None:
    """Also when one key has more rows than a chunk."""
    rows = table_of([cell(key, hour) for hour, key in enumerate(sorted(keys))])
    chunks = list(whole_keys(iter(rows.to_batches(max_chunksize=batch)), rows=enough))
    assert [value for chunk in chunks for value in chunk["at"].to_pylist()] == rows["at"].to_pylist()
    of_key = [set(chunk["key"].to_pylist()) for chunk in chunks]
    assert all(a.isdisjoint(b) for i, a in enumerate(of_key) for b in of_key[i + 1 :])


def test_labels_name_days_from_two_days_on() -> None:
    """24 hours stay hours."""
    assert [window_label(hours) for hours in (3, 24, 48, 50, 168, 672)] == ["3h", "24h", "2d", "50h", "7d", "28d"]
    with pytest.raises(UsageError, match="1 hour or more"):
        window_label(0)


@pytest.mark.parametrize(
    "make",
    [lambda: Aggregation("men", "delay", "x"), lambda: Aggregation("mean", None, "x")],  # type: ignore[arg-type]
)
def test_an_aggregation_that_cannot_be_is_refused(make: Callable[[], Aggregation]) -> None:
    """The nearest legal name is part of the message."""
    with pytest.raises(UsageError, match=r"did you mean .mean.|only count may omit"):
        make()
