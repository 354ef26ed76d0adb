"""current and as_known as SQL, run by DuckDB on rows written by hand: which of several versions of a row counts."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from lake_rows import AT, KINDS, SILVER, TILES, arrow, at, things

from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.lake.reading import connect
from spark_jobs.lake.versions import TableKind, covering_rows, current_sql, known_cover_sql
from spark_jobs.ledger import Release, folds

Rows = list[dict[str, Any]]


def _line(*releases: tuple[int, int, int] | tuple[int, int, int, set[int]]) -> list[Release]:
    """Releases written as (pub, from, to) or (pub, from, to, dead); all cover both tables."""
    return [
        Release(
            n,
            r[0],
            n - 1 or None,
            "hour",
            tuple((t, at(r[1]), at(r[2])) for t in KINDS),
            frozenset(r[3] if len(r) == 4 else ()),
            {},
            "",
            datetime(2026, 1, 1, tzinfo=UTC),
        )
        for n, r in enumerate(releases, start=1)
    ]


def _chosen(table: str, line: list[Release]) -> pa.Table:
    if KINDS[table].covered:
        pairs = covering_rows(folds.cover(line, table))
        hours = pa.array([hour for hour, _ in pairs], AT)
        return pa.table({"hour": hours, "pub": pa.array([pub for _, pub in pairs], pa.int64())})
    return pa.table({"pub": pa.array(sorted(folds.live(line)), pa.int64())})


def _current(
    table: str, rows: Rows, line: list[Release], *, known_by: int = 99, wrong: tuple[str, str] = ("", "")
) -> list[tuple[str, int]]:
    """(thing, amount) of the rows that count; `wrong` replaces a piece of the SQL for a negative control."""
    kind, asked = KINDS[table], at(known_by)
    with connect() as connection:
        frame = arrow(rows)
        connection.register("the_rows", frame.append_column("_known_by", pa.array([asked] * frame.num_rows, AT)))
        if kind.covered and known_by < 99:
            accounts = [  # one row an hour and live publication, known when its rows were
                {"hour": hour, "pub": r.pub, "known_at": _known_at(rows, r.pub, hour)}
                for r in line
                if r.pub in folds.live(line)
                for t, low, high in r.covers
                if t == table
                for hour in hours_between(low, high)
            ]
            connection.register("the_accounts", pa.Table.from_pylist(accounts))
            connection.execute(f"CREATE VIEW the_chosen AS {known_cover_sql().format(accounts='the_accounts')}")
        else:
            connection.register("the_chosen", _chosen(table, line))
        text = current_sql(kind, list(rows[0]), as_known=known_by < 99)
        sql = text.replace(*wrong).format(rows="the_rows", chosen="the_chosen")
        return connection.execute(f"SELECT thing, amount FROM ({sql}) ORDER BY thing, amount").fetchall()


def _known_at(rows: Rows, pub: int, hour: datetime) -> datetime:
    return max((row["known_at"] for row in rows if row["pub"] == pub), default=hour + HOUR)


def test_N14_a_late_row_inside_a_later_drop_stands_beside_the_rows_of_its_own_hour():
    rows = things(("a", 1, 1, 2, 1), ("late", 5, 3, 4, 2))
    line = _line((1, 1, 2), (2, 3, 4))
    assert _current(SILVER, rows, line) == [("a", 1), ("late", 5)]
    assert _current(SILVER, rows, line, known_by=3) == [("a", 1)]


def test_a_row_that_comes_again_in_a_later_hour_corrects_the_first():
    rows = things(("a", 1, 1, 2, 1), ("a", 7, 3, 4, 2))
    line = _line((1, 1, 2), (2, 3, 4))
    assert _current(SILVER, rows, line) == [("a", 7)]
    assert _current(SILVER, rows, line, known_by=3) == [("a", 1)]


def test_a_corrected_key_leaves_nothing_under_the_old_key():
    """The hour's drop came again with the row under another key: the new pub covers the hour."""
    rows = things(("wrong", 1, 1, 2, 1), ("b", 2, 1, 2, 1), ("right", 1, 1, 5, 2), ("b", 2, 1, 5, 2))
    assert _current(SILVER, rows, _line((1, 1, 2), (2, 1, 2))) == [("b", 2), ("right", 1)]


def test_control_without_the_cover_the_old_key_would_stay():
    rows = things(("wrong", 1, 1, 2, 1), ("right", 1, 1, 5, 2))
    join = ("r.hour = c.hour AND r.pub = c.pub", "r.hour = c.hour")
    assert _current(SILVER, rows, _line((1, 1, 2), (2, 1, 2)), wrong=join) == [("right", 1), ("wrong", 1)]


def test_a_tombstone_takes_the_place_of_the_tile_of_an_old_key():
    """Tiles are chosen by key, so that an empty tile (n = 0) must be written where rows have gone."""
    rows = things(("wrong", 3, 1, 2, 1), ("wrong", 0, 1, 5, 2), ("right", 3, 1, 5, 2))
    line = _line((1, 1, 2), (2, 1, 2))
    assert _current(TILES, rows, line) == [("right", 3), ("wrong", 0)]
    assert _current(TILES, rows[:1] + rows[2:], line) == [("right", 3), ("wrong", 3)]  # control: none was written


def test_N11_a_drop_that_is_delivered_again_counts_once():
    rows = things(("a", 1, 1, 2, 1), ("b", 2, 1, 2, 1), ("a", 1, 1, 3, 2), ("b", 2, 1, 3, 2))
    line = _line((1, 1, 2), (2, 1, 2))
    assert _current(SILVER, rows, line) == [("a", 1), ("b", 2)]
    assert _current(TILES, rows, line) == [("a", 1), ("b", 2)]


def test_P9_an_empty_drop_for_a_once_full_hour_empties_it():
    rows = things(("a", 1, 1, 2, 1), ("b", 2, 2, 3, 2))
    assert _current(SILVER, rows, _line((1, 1, 2), (2, 2, 3), (3, 1, 2))) == [("b", 2)]


def test_a_withdrawn_publication_gives_its_hours_back_to_the_one_before():
    rows = things(("a", 1, 1, 2, 1), ("a", 9, 1, 5, 2), ("b", 9, 1, 5, 2))
    line = _line((1, 1, 2), (2, 1, 2), (3, 0, 0, {2}))
    assert _current(SILVER, rows, line[:2]) == [("a", 9), ("b", 9)]
    assert _current(SILVER, rows, line) == _current(TILES, rows, line) == [("a", 1)]


def test_an_hour_whose_only_publication_is_withdrawn_has_no_rows():
    rows = things(("a", 1, 1, 2, 1), ("b", 2, 2, 3, 2))
    line = _line((1, 1, 2), (2, 2, 3), (3, 0, 0, {1}))
    assert _current(SILVER, rows, line) == _current(TILES, rows, line) == [("b", 2)]


@pytest.mark.parametrize("table", [SILVER, TILES])
def test_of_two_corrections_within_one_hour_the_later_publication_counts(table):
    """Both are known at the same hour: pub breaks the tie."""
    rows = things(("a", 1, 1, 2, 1), ("a", 3, 1, 5, 3), ("a", 2, 1, 5, 2))
    line = _line((1, 1, 2), (2, 1, 2), (3, 1, 2))
    assert _current(table, rows, line) == [("a", 3)]


@pytest.mark.parametrize("table", [SILVER, TILES])
def test_versions_are_ordered_by_what_was_known_later_and_never_by_hour(table):
    """Hour 1 is delivered again at 6, after hour 3 had corrected the row: what became known last counts."""
    rows = things(("a", 1, 1, 2, 1), ("a", 3, 3, 4, 2), ("a", 7, 1, 6, 3))
    line = _line((1, 1, 2), (2, 3, 4), (3, 1, 2))
    assert _current(table, rows, line) == [("a", 7)]
    by_hour = ("ORDER BY known_at DESC,", "ORDER BY hour DESC,")
    assert _current(table, rows, line, wrong=by_hour) == [("a", 3)]  # control


@pytest.mark.parametrize("pubs", [(2, 3), (3, 2), (2, 2)], ids=["in_order", "out_of_order", "bulk"])
def test_of_two_hours_known_at_once_the_later_hour_counts_in_whatever_order_they_were_run(pubs):
    """A bulk run has one publication for both; tiles are whole, so that of the newest publication counts there."""
    rows = things(("a", 2, 1, 5, pubs[0]), ("a", 3, 3, 5, pubs[1]))
    line = _line(*sorted({(pubs[0], 1, 2), (pubs[1], 3, 4)} if pubs[0] != pubs[1] else {(2, 1, 4)}))
    for known_by in (5, 99):
        assert _current(SILVER, rows, line, known_by=known_by) == [("a", 3)]
    by_pub = ("known_at DESC, hour DESC", "known_at DESC, pub DESC, hour")
    assert _current(SILVER, rows, line, wrong=by_pub) == [("a", 3 if pubs == (2, 3) else 2)]  # control


def test_control_without_pub_in_the_order_the_tie_of_two_corrections_is_open():
    """Ties broken by hour pick the earlier publication here."""
    rows = things(("a", 2, 3, 5, 2), ("a", 3, 1, 5, 3))
    line = _line((2, 3, 4), (3, 1, 2))
    assert _current(TILES, rows, line) == [("a", 3)]
    assert _current(TILES, rows, line, wrong=("pub DESC", "hour DESC")) == [("a", 2)]


def test_rows_of_a_publication_that_no_release_names_are_never_chosen():
    rows = things(("a", 1, 1, 2, 1), ("stray", 9, 1, 2, 2), ("a", 9, 1, 9, 2))
    assert _current(SILVER, rows, _line((1, 1, 2))) == _current(TILES, rows, _line((1, 1, 2))) == [("a", 1)]


def test_without_a_key_every_row_of_the_covering_publication_stays():
    """Bronze and quarantine: two equal lines of one file are two rows."""
    rows = arrow(things(("a", 1, 1, 2, 1), ("a", 1, 1, 2, 1), ("a", 1, 1, 2, 2)))
    with connect() as connection:
        connection.register("the_rows", rows)
        connection.register("the_chosen", _chosen(SILVER, _line((1, 1, 2))))
        sql = current_sql(TableKind((), covered=True), ["thing"]).format(rows="the_rows", chosen="the_chosen")
        assert connection.execute(sql).fetchall() == [("a",), ("a",)]


@pytest.mark.parametrize("known_by", [3, 4])
def test_N11_a_delivered_again_hour_still_shows_its_old_rows_as_known_before(known_by):
    """docs/design/data-model.md, P9: the rows of the replaced drop are gone from current, still there as known before."""
    rows = things(("a", 1, 1, 2, 1), ("a", 9, 1, 5, 2))
    assert _current(SILVER, rows, _line((1, 1, 2), (2, 1, 2)), known_by=known_by) == [("a", 1)]


def test_tiles_of_a_delivered_again_hour_show_their_old_value_as_known_before():
    rows = things(("a", 1, 1, 2, 1), ("a", 9, 1, 5, 2))
    assert _current(TILES, rows, _line((1, 1, 2), (2, 1, 2)), known_by=4) == [("a", 1)]


def test_ranges_that_begin_within_an_hour_choose_the_whole_hours_of_them() -> None:
    """Of each range the hours that begin in it: a bound such as 90 minutes of lateness is not a whole hour."""
    segments = folds.cover(_line((1, 2, 9)), SILVER)
    half = HOUR / 2
    pairs = covering_rows(segments, [(None, at(3)), (at(5) - half, at(6) + half), (at(8), None)])
    assert [hour for hour, _ in pairs] == [at(2), at(5), at(6), at(8)]
