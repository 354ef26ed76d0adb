"""What readers of one release see that readers of another do not, on lakes of a few rows and on many made by chance."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from delta_files import ACCOUNTS, KINDS, LINES, publish, release
from lake_rows import SILVER, TILES, at, things

from spark_jobs.errors import RetryError
from spark_jobs.lake.differences import CoverChange, TableDifference, cover_changes, differences
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Release, Segment

# Hours 1 and 2; hour 1 again with a corrected and b gone; then that correction withdrawn.
ROWS = things(("a", 1, 1, 2, 1), ("b", 1, 1, 2, 1), ("c", 1, 2, 3, 2), ("a", 9, 1, 5, 3))
LINE = [release(1, 1, 1, 2), release(2, 2, 2, 3), release(3, 3, 1, 2), release(4, 4, 0, 0, 3)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    publish(tmp_path / "lake", LINE[:3], ROWS)
    return tmp_path / "lake"


def _between(root: Path, a: int, b: int, line: list[Release] = LINE) -> dict[str, TableDifference]:
    return {found.table: found for found in differences(root, KINDS, line[:a], line[:b])}


def test_a_new_hour_adds_its_rows(root):
    hours = (CoverChange(at(2), at(3), None, 2),)
    assert _between(root, 1, 2) == {
        LINES: TableDifference(LINES, 1, 0, None, {}, hours),
        SILVER: TableDifference(SILVER, 1, 0, 0, {}, hours),
        ACCOUNTS: TableDifference(ACCOUNTS, 1, 0, None, {}, hours),
        TILES: TableDifference(TILES, 1, 0, 0),
    }


def test_a_correction_changes_and_removes_and_says_in_which_columns(root):
    """Without a key a changed row is one less and one more; a tile that nothing replaced stays."""
    found, hours = _between(root, 2, 3), (CoverChange(at(1), at(2), 1, 3),)
    assert found[SILVER] == TableDifference(SILVER, 0, 1, 1, {"amount": 1, "known_at": 1}, hours)
    assert found[LINES] == TableDifference(LINES, 1, 2, None, {}, hours)
    assert found[TILES] == TableDifference(TILES, 0, 0, 1, {"amount": 1, "known_at": 1})


def test_a_withdrawn_correction_is_the_correction_the_other_way(root):
    found = _between(root, 3, 4)
    assert (found[SILVER].added, found[SILVER].removed, found[SILVER].changed) == (1, 0, 1)
    assert found[SILVER].hours == (CoverChange(at(1), at(2), 3, 1),)
    assert not any(one.any for one in _between(root, 2, 4).values())


def test_the_same_rows_published_again_are_no_difference_in_rows(root):
    """Only the publication that covers the hour is another."""
    again = release(4, 4, 2, 3)
    publish(root, [again], things(("c", 1, 2, 3, 4)))
    found = _between(root, 3, 4, [*LINE[:3], again])
    assert {one: (d.added, d.removed, d.changed or 0) for one, d in found.items()} == dict.fromkeys(KINDS, (0, 0, 0))
    assert found[SILVER].hours == (CoverChange(at(2), at(3), 2, 4),)
    assert found[SILVER].any
    assert not found[TILES].any


def test_of_two_equal_lines_without_a_key_one_less_is_one_less(root):
    """The hour came again with a line once that it had had twice."""
    more = [*LINE[:3], release(4, 5, 3, 4), release(5, 6, 3, 4)]
    publish(root, more[3:], things(("c", 7, 3, 4, 5), ("c", 7, 3, 4, 5), ("c", 7, 3, 4, 6)))
    assert (_between(root, 4, 5, more)[LINES].added, _between(root, 4, 5, more)[LINES].removed) == (0, 1)


def test_a_row_that_another_hour_had_corrected_shows_again(root):
    """c comes again with hour 3; with hour 3 withdrawn it shows as hour 2, whose publication is the same, had it."""
    more = [*LINE[:3], release(4, 5, 3, 4), release(5, 6, 0, 0, 5)]
    publish(root, more[3:4], things(("c", 7, 3, 4, 5)))
    found = _between(root, 4, 5, more)
    assert found[SILVER] == TableDifference(
        SILVER, 0, 0, 1, {"amount": 1, "hour": 1, "known_at": 1}, (CoverChange(at(3), at(4), 5, None),)
    )


def test_only_files_of_publications_that_differ_are_read_where_no_key_crosses_hours(root):
    """The others are gone from the disk. A table with a key looks for other versions of its touched keys in them."""
    for table in (LINES, ACCOUNTS, SILVER):
        shutil.rmtree(root / table / "pub-1")
    few = {table: KINDS[table] for table in (LINES, ACCOUNTS)}
    assert [found.added for found in differences(root, few, LINE[:1], LINE[:2])] == [1, 1]
    with pytest.raises(RetryError, match="pub-1"):
        differences(root, {SILVER: KINDS[SILVER]}, LINE[:1], LINE[:2])
    assert not any(found.any for found in differences(root, KINDS, LINE[:1], LINE[:1]))


def test_hours_with_the_same_two_publications_are_one_range():
    """Of an edge that only one side has, too; hours that no one covers are none."""
    before = [Segment(at(1), at(3), 1), Segment(at(3), at(6), 2)]
    after = [Segment(at(2), at(4), 3), Segment(at(4), at(6), 2), Segment(at(8), at(9), 4)]
    assert cover_changes(before, after) == [
        CoverChange(at(1), at(2), 1, None),
        CoverChange(at(2), at(3), 1, 3),
        CoverChange(at(3), at(4), 2, 3),
        CoverChange(at(8), at(9), None, 4),
    ]
    gap = [Segment(at(1), at(2), 1), Segment(at(3), at(4), 1)]
    assert cover_changes(gap, []) == [CoverChange(at(1), at(2), 1, None), CoverChange(at(3), at(4), 1, None)]
    split = [Segment(at(1), at(2), 1), Segment(at(2), at(3), 1)]
    assert cover_changes(split, [Segment(at(1), at(3), 5)]) == [CoverChange(at(1), at(3), 1, 5)]


def _seen(root: Path, table: str, line: list[Release]) -> list[dict[str, Any]]:
    rows = read_current(root, table, KINDS[table], line, limit=1000)
    return [{name: value for name, value in row.items() if name != "pub"} for row in rows]


def _by_hand(table: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> tuple[int, int, int | None]:
    """Added, removed and changed, of all the rows that each side sees."""
    if not KINDS[table].key:
        a, b = (Counter(str(sorted(row.items())) for row in rows) for rows in (before, after))
        return (b - a).total(), (a - b).total(), None
    old, new = ({row["thing"]: row for row in rows} for rows in (before, after))
    both = old.keys() & new.keys()
    return len(new) - len(both), len(old) - len(both), sum(old[key] != new[key] for key in both)


@pytest.mark.parametrize("seed", range(6))
def test_any_two_releases_differ_by_what_their_readers_see(tmp_path: Path, seed: int):
    """Publications over one to three of six hours with keys that come again, some withdrawn later."""
    chance = random.Random(seed)
    line, rows, dead = [], [], set[int]()
    for pub in range(1, 9):
        start = chance.randrange(6)
        end = start + chance.randint(1, 3)
        dead |= {chance.randrange(1, pub)} if pub > 1 and chance.random() < 0.3 else set()
        line.append(release(pub, pub, start, end, *dead))
        for name in {chance.choice("abcdef") for _ in range(4)}:
            hour = chance.randrange(start, end)
            rows.append((name, chance.randint(1, 2), hour, max(hour + 1, end + chance.randint(0, 3)), pub))
    publish(tmp_path, line, things(*rows))
    a, b = sorted(chance.sample(range(1, 9), 2))
    for table, found in _between(tmp_path, a, b, line).items():
        expected = _by_hand(table, _seen(tmp_path, table, line[:a]), _seen(tmp_path, table, line[:b]))
        assert (found.added, found.removed, found.changed) == expected, table
