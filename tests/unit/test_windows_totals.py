"""The window kernel on plain arrays and Arrow tables, against an oracle that looks at one cell at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.windows import kernel
from spark_jobs.windows.kernel import Aggregation, cells_of, whole_keys, window_label
from spark_jobs.windows.parts import as_real, as_whole, real_parts, whole_parts
from spark_jobs.windows.totals import TileVersions, window_totals

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


finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=200, deadline=None)
@given(st.lists(finite, max_size=30), st.lists(finite, max_size=5))
def test_sums_of_doubles_are_correctly_rounded_whatever_is_beside_them(
    values: list[float], others: list[float]
) -> None:
    """The oracle adds fractions; values of another key or window, however large, change nothing."""
    parts = real_parts(np.array([*values, *others], dtype=np.float64))
    total, too_large = as_real(parts, parts.values[: len(values)].sum(axis=0, keepdims=True))
    exact = sum(map(Fraction, values), Fraction())
    if abs(exact) < Fraction(sys.float_info.max) * (1 - Fraction(2) ** -40):
        assert (total[0], too_large[0]) == (float(exact), False)
    elif abs(exact) >= 2**1024:
        assert too_large[0]


@settings(max_examples=200, deadline=None)
@given(st.lists(whole, max_size=12))
def test_sums_of_bigints_are_exact_or_reported_as_too_large(values: list[int]) -> None:
    """Never wrapped; the mean of what is too large for a bigint is still right."""
    parts = whole_parts(np.array(values, dtype=np.int64))
    totals = parts.values.sum(axis=0, keepdims=True)
    found, too_large = as_whole(parts, totals)
    fits = -(2**63) <= sum(values) < 2**63
    assert (int(found[0]), bool(too_large[0])) == ((sum(values), False) if fits else (0, True))
    assert as_real(parts, totals)[0][0] == float(sum(values))


def test_sums_keep_a_small_value_beside_a_huge_one() -> None:
    """A float64 prefix sum over both would return 0.0 for the small one, three parts of fixed width for the second."""
    for huge in (1e18, 1e300):
        parts = real_parts(np.array([huge, 0.001, -huge]))
        prefix = np.cumsum(parts.values, axis=0)
        assert as_real(parts, prefix[1:2] - prefix[0:1])[0][0] == 0.001
    with pytest.raises(ValueError, match="NaN or infinite"):
        real_parts(np.array([1.0, float("nan")]))


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
    assert [str(found[name].type) for name in ("events_3h", "delay_3h")] == ["int32", "double"]
    assert found[kernel.OVERFLOWED].null_count == 4


def test_sums_have_the_type_of_their_measure_unless_declared() -> None:
    """500,000,005 is no float32; a float is given only where it is declared."""
    rows = [tile("a", 4, 5, n=2, n_delay=2, sum_delay=500_000_005), cell("a", 5)]
    wanted = (("sum", None), ("mean", None), ("sum", "double"), ("sum", "float"))
    aggregations = [Aggregation(op, "delay", f"v{i}", kind) for i, (op, kind) in enumerate(wanted)]  # type: ignore[arg-type]
    table = table_of(rows)
    whole_sums = table.set_column(
        table.schema.get_field_index("sum_delay"), "sum_delay", table["sum_delay"].cast("int64")
    )
    found = cells_of(whole_sums, (3,), aggregations)
    columns = [found[f"v{i}_3h"] for i in range(4)]
    assert [str(column.type) for column in columns] == ["int64", "double", "double", "float"]
    assert [column[0].as_py() for column in columns] == [500_000_005, 250_000_002.5, 500_000_005.0, 500_000_000.0]


def test_values_out_of_range_are_null_and_named() -> None:
    """Two tiles of 2^62 are too much for a bigint sum, and not for a mean; a tile's own overflow is a null sum."""
    rows = [tile("a", hour, hour + 1, n=1, n_delay=1, sum_delay=0) for hour in (3, 4)] + [cell("a", 4), cell("a", 5)]
    rows += [tile("b", 4, 5, n=1, n_delay=1, sum_delay=0), cell("b", 5), cell("b", 9)]
    table = table_of(sorted(rows, key=lambda row: str(row["key"])))
    sums = pa.array(
        [
            2**62 if k == "a" and not c else None
            for k, c in zip(table["key"].to_pylist(), table["is_cell"].to_pylist(), strict=True)
        ]
    )
    table = table.set_column(table.schema.get_field_index("sum_delay"), "sum_delay", sums)
    found = cells_of(table, (3,), (Aggregation("sum", "delay", "sum"), Aggregation("mean", "delay", "mean")))
    assert found["sum_3h"].to_pylist() == [2**62, None, None, None]
    assert found["mean_3h"].to_pylist() == [2.0**62, 2.0**62, None, None]
    assert found[kernel.OVERFLOWED].to_pylist() == [None, "sum_3h", "sum_3h, mean_3h", None]


def test_tiles_older_than_a_measure_leave_its_values_null() -> None:
    """They were written without its columns, which read as null: the total over them is not known."""
    rows = [tile("a", 3, 4, n=1), tile("a", 4, 5, n=1, n_delay=1, sum_delay=2.0), cell("a", 5)]
    found = cells_of(table_of(rows), (1, 3), AGGREGATIONS)
    assert (found["events_3h"].to_pylist(), found["delay_1h"].to_pylist()) == ([2], [2.0])
    assert found["delay_3h"].to_pylist() == [None]
    assert found[kernel.OVERFLOWED].to_pylist() == [None]


def test_a_version_known_within_an_hour_is_read_from_the_next_hour_on() -> None:
    """known_at 05:30 is after as_of 05:00."""
    rows = [tile("a", 4, 5.5, n=2, n_delay=2, sum_delay=5.0), cell("a", 5), cell("a", 6)]
    assert cells_of(table_of(rows), (3,), AGGREGATIONS)["events_3h"].to_pylist() == [0, 2]


@pytest.mark.parametrize(
    "row",
    [
        cell("a", 5.5),
        tile("a", 4.5, 6, n=1, n_delay=1, sum_delay=1.0),
        tile("a", 4, 5, n=1, n_delay=1, sum_delay=1.0) | {"known_at": None},
    ],
)
def test_broken_hours_and_times_of_knowing_are_refused(row: dict[str, object]) -> None:
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
