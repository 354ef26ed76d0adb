"""Which publications count: parent chain, live, dead, cover, and the one commit that readers follow."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_rows import at

from spark_jobs.errors import UsageError
from spark_jobs.ledger import Ledger, Release, Segment, StaleBaseError, folds

NOBODY: frozenset[int] = frozenset()


def _release(number: int, pub: int, *covers: tuple[str, int, int], dead: frozenset[int] = NOBODY, kind: str = "hour"):
    parent = number - 1 or None
    ranges = tuple((table, at(start), at(end)) for table, start, end in covers)
    return Release(number, pub, parent, kind, ranges, dead, {}, "", datetime(2026, 1, 1, tzinfo=UTC))


def _draft(pub: int, *covers: tuple[str, int, int], dead: frozenset[int] = NOBODY, kind: str = "hour"):
    return _release(1, pub, *covers, dead=dead, kind=kind)


def _covered(line: list[Release], table: str = "t") -> list[tuple[int, int, int]]:
    first = at(0)
    hour = timedelta(hours=1)
    return [((s.start - first) // hour, (s.end - first) // hour, s.pub) for s in folds.cover(line, table)]


def test_the_chain_is_a_release_and_its_ancestors_oldest_first():
    releases = [_release(1, 3), _release(2, 7), _release(3, 9)]
    assert [r.release for r in folds.chain(releases)] == [1, 2, 3]
    assert [r.release for r in folds.chain(releases, 2)] == [1, 2]
    assert folds.chain([]) == []


def test_a_chain_with_a_hole_is_an_error_and_never_a_shorter_chain():
    with pytest.raises(KeyError):
        folds.chain([_release(1, 3), _release(3, 9)])


def test_live_is_every_pub_of_the_line_less_those_that_its_last_release_lists_as_dead():
    rollback = _release(3, 9, kind="rollback", dead=frozenset({7}))
    line = [_release(1, 3), _release(2, 7), rollback]
    assert folds.live(line) == {3, 9}
    assert folds.live(line[:2]) == {3, 7}  # an older release still shows what it showed
    assert folds.live([]) == NOBODY


def test_a_rollback_can_be_undone_because_dead_is_listed_anew():
    line = [_release(1, 3), _release(2, 7), _release(3, 9, dead=frozenset({7})), _release(4, 12, dead=frozenset({9}))]
    assert folds.live(line) == {3, 7, 12}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([_release(1, 1, ("t", 0, 2)), _release(2, 2, ("t", 2, 3))], [(0, 2, 1), (2, 3, 2)]),
        ([_release(1, 1, ("t", 0, 5)), _release(2, 2, ("t", 2, 3))], [(0, 2, 1), (2, 3, 2), (3, 5, 1)]),
        ([_release(1, 1, ("t", 2, 5)), _release(2, 2, ("t", 0, 3))], [(0, 3, 2), (3, 5, 1)]),
        ([_release(1, 1, ("t", 0, 1), ("t", 3, 4))], [(0, 1, 1), (3, 4, 1)]),
        ([_release(1, 1, ("other", 0, 5)), _release(2, 2)], []),
        ([_release(1, 1, ("t", 0, 2), ("t", 1, 3))], [(0, 3, 1)]),
    ],
    ids=["side by side", "hour inside a backfill", "partial overlap", "a hole", "another table", "same pub twice"],
)
def test_an_hour_belongs_to_the_newest_live_pub_that_covers_it(line, expected):
    assert _covered(line) == expected


def test_P7_an_older_hour_that_is_published_again_leaves_later_hours_alone():
    """The new pub becomes the newest that covers that hour; other hours keep theirs."""
    line = [_release(n, n, ("t", n, n + 1)) for n in (1, 2, 3)] + [_release(4, 9, ("t", 1, 2))]
    assert _covered(line) == [(1, 2, 9), (2, 3, 2), (3, 4, 3)]


def test_hours_of_a_dead_pub_fall_back_to_what_covered_them_before_or_to_nothing():
    line = [_release(1, 1, ("t", 0, 2)), _release(2, 5, ("t", 1, 3)), _release(3, 6, dead=frozenset({5}))]
    assert _covered(line[:2]) == [(0, 1, 1), (1, 3, 5)]
    assert _covered(line) == [(0, 2, 1)]


def test_the_newest_pub_wins_even_when_an_older_one_was_released_later():
    assert _covered([_release(1, 8, ("t", 0, 1)), _release(2, 4, ("t", 0, 2))]) == [(0, 1, 8), (1, 2, 4)]


@st.composite
def _lines(draw: st.DrawFn) -> list[Release]:
    pubs = draw(st.permutations(range(1, draw(st.integers(1, 12)) + 1)))
    spans = st.lists(st.tuples(st.sampled_from("tu"), st.integers(0, 20), st.integers(1, 9)), max_size=3)
    covers = [[(table, low, low + length) for table, low, length in draw(spans)] for _ in pubs]
    dead = draw(st.frozensets(st.sampled_from(pubs)))
    return [
        _release(n, pub, *covers[n - 1], dead=dead if n == len(pubs) else NOBODY) for n, pub in enumerate(pubs, start=1)
    ]


@settings(max_examples=150, deadline=None)
@given(_lines())
def test_cover_says_for_every_hour_what_a_look_at_each_claim_says(line):
    """Against the definition, hour by hour; segments are in order, disjoint and as long as they can be."""
    alive = folds.live(line)
    naive = {}
    for hour in range(30):
        claims = [r.pub for r in line if r.pub in alive for t, a, b in r.covers if t == "t" and a <= at(hour) < b]
        if claims:
            naive[hour] = max(claims)
    segments = _covered(line)
    assert {hour: pub for low, high, pub in segments for hour in range(low, high)} == naive
    for left, right in pairwise(segments):
        assert left[1] <= right[0]
        assert (left[1], left[2]) != (right[0], right[2])


def test_the_fold_over_ten_thousand_releases_stays_flat():
    """A year has 8,760 hours: one backfill, an hour each, every tenth published again. Bound generous, 1 s of CPU."""
    first, hour = at(0), timedelta(hours=1)
    hours = [*range(9_000), *range(0, 9_000, 10)]
    line = [_release(1, 1, ("t", 0, 24))]
    for n, h in enumerate(hours, start=2):
        span = (("t", first + h * hour, first + (h + 1) * hour),)
        line.append(Release(n, n, n - 1, "hour", span, NOBODY, {}, "", first))
    began = time.process_time()
    segments = folds.cover(folds.chain(line), "t")
    spent = time.process_time() - began
    assert len(line) == 9_901
    assert len(segments) == 9_000
    assert segments[10] == Segment(at(10), at(11), 9_003)
    assert spent < 1.0


def test_a_release_gets_the_next_number_and_the_newest_release_as_its_parent(tmp_path):
    """Releases have a sequence of their own, not that of pubs."""
    ledger = Ledger.open(tmp_path)
    first = ledger.release(_draft(4, ("t", 0, 1)), None, ["t"])
    second = ledger.release(_draft(11, ("t", 1, 2)), 1, ["t"])
    assert [(r.release, r.pub, r.parent) for r in (first, second)] == [(1, 4, None), (2, 11, 1)]
    stored = ledger.releases()
    assert [(r.release, r.pub, r.parent, r.covers) for r in stored] == [
        (1, 4, None, (("t", at(0), at(1)),)),
        (2, 11, 1, (("t", at(1), at(2)),)),
    ]


def test_dead_pubs_are_handed_on_to_every_later_release(tmp_path):
    ledger = Ledger.open(tmp_path)
    for draft in (_draft(1), _draft(2), _draft(3, kind="rollback", dead=frozenset({2}))):
        ledger.release(draft, len(ledger.releases()), [])
    assert ledger.release(_draft(4, ("t", 0, 1)), 3, ["t"]).dead == {2}
    assert folds.live(ledger.line()) == {1, 3, 4}


def test_a_release_whose_base_is_stale_is_refused_and_leaves_no_row(tmp_path):
    """Another publication covered a table that this one had read: what it staged is no longer true."""
    ledger = Ledger.open(tmp_path)
    ledger.release(_draft(1, ("t", 0, 1)), None, ["t"])
    ledger.release(_draft(2, ("t", 1, 2)), 1, ["t"])
    with pytest.raises(StaleBaseError) as caught:
        ledger.release(_draft(3, ("t", 1, 2)), 1, ["t"])
    assert caught.value.releases == [2]
    assert len(ledger.releases()) == 2


def test_a_rollback_since_the_base_blocks_whatever_was_read(tmp_path):
    ledger = Ledger.open(tmp_path)
    ledger.release(_draft(1, ("t", 0, 1)), None, ["t"])
    ledger.release(_draft(2, kind="rollback", dead=frozenset({1})), 1, [])
    with pytest.raises(StaleBaseError):
        ledger.release(_draft(3, ("u", 1, 2)), 1, ["u"])


def test_a_release_of_tables_that_were_not_read_blocks_nobody(tmp_path):
    """A score in between touches predictions only."""
    ledger = Ledger.open(tmp_path)
    ledger.release(_draft(1, ("t", 0, 1)), None, ["t"])
    ledger.release(_draft(2, ("predictions/m", 0, 1), kind="score"), 1, [])
    assert ledger.release(_draft(3, ("t", 1, 2)), 1, ["t"]).release == 3


def test_P2_a_publication_is_released_once_though_its_answer_was_lost(tmp_path):
    """Asked again, after others have published, the ledger answers with the release that stands there."""
    ledger = Ledger.open(tmp_path)
    first = ledger.release(_draft(1, ("t", 0, 1)), None, ["t"])
    ledger.release(_draft(2, ("t", 1, 2)), 1, ["t"])
    again = ledger.release(_draft(1, ("t", 0, 1)), None, ["t"])
    assert (again.release, again.pub) == (first.release, 1)
    assert [r.pub for r in ledger.releases()] == [1, 2]


def test_a_release_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    ledger = Ledger.open(tmp_path)
    assert ledger.line() == []
    ledger.release(_draft(1), None, [])
    with pytest.raises(UsageError, match="no release 7"):
        ledger.line(7)
