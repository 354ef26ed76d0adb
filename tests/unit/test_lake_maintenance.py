"""Maintenance and rollback on a disk: readers of every release see the same rows, whenever the process dies."""

import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable
from lake_rows import CALLS, KINDS, SCHEMA, SILVER, TILES, at, publication, stage, things

from spark_jobs.errors import RetryError, UsageError
from spark_jobs.failpoints import VARIABLE
from spark_jobs.lake import maintenance
from spark_jobs.lake.publish import publish
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger, Release
from spark_jobs.storage.delta import DeltaStorage

CHECKOUT = Path(__file__).parents[2]
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DAY_TWO = at(24)
LATER = BEGAN + timedelta(days=3)
KEPT = date(2013, 11, 2)  # retention of this test: days before it go; also the first day that is not closed

SWEEP = """
import sys
from datetime import date, datetime
from pathlib import Path
from spark_jobs.lake import maintenance
from spark_jobs.ledger import Ledger, Release
from spark_jobs.storage.delta import DeltaStorage
now, tables = datetime.fromisoformat(sys.argv[2]), ["silver/things", "tiles/things"]
ledger = Ledger(DeltaStorage(Path(sys.argv[1]), lambda: now))
maintenance.remove_unreleased(ledger, tables)
maintenance.remove_days(ledger, "silver/things", date(2013, 11, 2))
for table in tables:
    maintenance.compact_days(ledger, table, date(2013, 11, 3))
maintenance.vacuum(ledger, tables)
maintenance.compact_ledger(ledger)
"""
BACK = """
import sys
from pathlib import Path
from spark_jobs.ledger import Ledger
Ledger.open(Path(sys.argv[1])).rollback("p", 1, "a test")
"""
MAINTENANCE_KILLS = [
    "maintenance.unreleased.before", "maintenance.unreleased.after",
    "maintenance.retention.before", "maintenance.retention.after",
    "maintenance.compact.before", "maintenance.compact.merged", "maintenance.compact.after",
    "maintenance.vacuum.before", "maintenance.vacuum.after",
    "maintenance.compact_ledger.before", "maintenance.compact_ledger.after",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five publications of 1 January: an hour of 1 November, two of the day after, one appended and never released,
    one staged and never appended."""
    root = tmp_path / "p"
    ledger = Ledger(DeltaStorage(root, lambda: BEGAN))
    assert [ledger.start(CALLS, "", "", None) for _ in range(5)] == [1, 2, 3, 4, 5]
    for pub, hour, name in ((1, 1, "old"), (2, 25, "a"), (3, 26, "b")):
        publish(ledger, publication(root, ledger, pub, (hour, hour + 1), (name, pub)))
    for staged in publication(root, ledger, 4, (27, 28), ("stray", 4)).staged.values():
        assert DeltaStorage(root).make_file_table(staged.table, SCHEMA).commit(staged.files, [], 4)
    stage(root, SILVER, 5, things(("never", 5, 27, 28, 5)))
    long_ago = BEGAN.timestamp()
    for path in root.rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    return root


def _run(script: str, root: Path, die_at: str = "") -> None:
    ended = subprocess.run(
        [sys.executable, "-c", script, str(root), LATER.isoformat()], cwd=CHECKOUT,
        env={**os.environ, VARIABLE: die_at}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == (-signal.SIGKILL if die_at else 0), ended.stderr


def _seen(root: Path, since: datetime = DAY_TWO) -> dict[tuple[int, str], dict[str, int]]:
    """What every release shows of every table, of hours since `since`."""
    ledger = Ledger.open(root)
    shown = {}
    for release in ledger.releases():
        for table in KINDS:
            rows = read_current(root, table, KINDS[table], ledger.line(release.release))
            kept = [row for row in rows if datetime.fromisoformat(str(row["hour"])) >= since]
            assert len({row["thing"] for row in kept}) == len(kept)
            shown[release.release, table] = {row["thing"]: row["amount"] for row in kept}
    return shown


def _named(root: Path, table: str) -> set[str]:
    return {path.partition("/")[0].partition("-")[0] + "-" + path.partition("-")[2][:1]
            for path in DeltaTable(root / table).get_add_actions(flatten=True)["path"].to_pylist()}  # fmt: skip


def _swept(root: Path) -> bool:
    """Whether everything was done: nothing unreleased, one file a closed day, no old silver, no stray file."""
    paths = {t: DeltaTable(root / t).get_add_actions(flatten=True)["path"].to_pylist() for t in KINDS}
    return (
        [len(found) for found in paths.values()] == [1, 2]
        and all(any(path.startswith("compacted-") for path in found) for found in paths.values())
        and not list((root / SILVER).glob("pub-5/**/*.parquet"))
    )


def test_P10_maintenance_leaves_what_every_release_shows(root):
    """Compaction, removal of dead attempts and vacuum: fewer files, the same rows; retention takes what it declares."""
    before, everything = _seen(root), _seen(root, at(0))
    assert not _swept(root)
    _run(SWEEP, root)
    assert _swept(root)
    assert _seen(root) == before
    assert before[3, SILVER] == {"a": 2, "b": 3}
    assert _seen(root, at(0)) == {
        (release, table): {k: v for k, v in rows.items() if (k, table) != ("old", SILVER)}
        for (release, table), rows in everything.items()
    }


def test_P10_maintenance_killed_anywhere_changes_nothing_that_readers_see_and_ends_the_next_time(root):
    """Killed at one place after the other; an hour is published after every third kill."""
    before, shown = _seen(root), {"a": 2, "b": 3}
    for n, failpoint in enumerate(MAINTENANCE_KILLS):
        _run(SWEEP, root, failpoint)
        if n % 3 == 2:
            ledger = Ledger.open(root)
            publish(ledger, publication(root, ledger, 90 + n, (49 + n, 50 + n), (f"next{n}", n)))
            shown |= {f"next{n}": n}
        seen = _seen(root)
        assert {key: rows for key, rows in seen.items() if key[0] < 4} == before
        newest = max(release for release, _ in seen)
        assert seen[newest, SILVER] == seen[newest, TILES] == shown
    _run(SWEEP, root)
    assert _seen(root) == seen
    assert not list((root / SILVER).glob("pub-5/**/*.parquet"))


def test_P4_a_publication_of_yesterday_can_neither_append_nor_release(root):
    """A driver that slept for days: maintenance removed its rows, and may have removed its files."""
    ledger = Ledger(DeltaStorage(root, lambda: LATER))
    draft = publication(root, ledger, 5, (30, 31), ("zombie", 5))
    with pytest.raises(RetryError, match="started more than 24 hours ago"):
        publish(ledger, draft)  # and names nothing in a log, for vacuum may have deleted the files
    assert "pub-5" not in _named(root, SILVER)
    with pytest.raises(RetryError, match="started more than 24 hours ago"):
        ledger.release(Release(0, 4, None, "hour", (), frozenset(), {}, "", LATER), 3, [])
    assert len(ledger.releases()) == 3
    young = Ledger(DeltaStorage(root, lambda: BEGAN + timedelta(hours=23)))  # control: a day has not gone
    assert publish(young, publication(root, young, 5, (30, 31), ("late", 5))).pub == 5


def test_P4_a_young_publication_is_nobodys_to_remove(root):
    """Its driver may still be at work: neither rows nor files go."""
    ledger = Ledger(DeltaStorage(root, lambda: BEGAN + timedelta(hours=47)))
    assert maintenance.remove_unreleased(ledger, KINDS) == {SILVER: 0, TILES: 0}
    assert maintenance.compact_days(ledger, SILVER, date(2013, 11, 3)) == 1
    assert "pub-4" in _named(root, SILVER)


def test_files_of_a_publication_that_is_not_released_are_not_compacted(root):
    """Released afterwards by a second try, its rows stand there once."""
    ledger = Ledger(DeltaStorage(root, lambda: BEGAN))
    maintenance.compact_days(ledger, SILVER, date(2013, 11, 3))
    again = publication(root, ledger, 9, (9, 10))
    staged = {SILVER: stage(root, SILVER, 4, things(("stray", 4, 27, 28, 4)))}
    covers = {SILVER: (at(27), at(28))}
    publish(ledger, type(again)(4, "hour", covers, staged, 3, frozenset()))
    rows = DeltaTable(root / SILVER).to_pyarrow_table(filters=[("pub", "=", 4)]).num_rows
    assert rows == 1


@pytest.mark.parametrize("failpoint", ["rollback.before_release", "rollback.after_release"])
def test_a_rollback_killed_on_the_way_shows_the_old_or_the_new_and_ends_the_next_time(root, failpoint):
    before = _seen(root, at(0))
    _run(BACK, root, failpoint)
    shown = _seen(root, at(0))
    newest = max(release for release, _ in shown)
    wanted = before[3, SILVER] if failpoint == "rollback.before_release" else before[1, SILVER]
    assert shown[newest, SILVER] == shown[newest, TILES] == wanted
    made = Ledger.open(root).rollback("p", 1, "a test")
    assert made.release.release == 4
    assert made.withdrawn == [(at(25), at(27))]
    shown = _seen(root, at(0))
    assert shown[4, SILVER] == shown[4, TILES] == {"old": 1}
    assert [shown[n, t] for n in (1, 2, 3) for t in KINDS] == [before[n, t] for n in (1, 2, 3) for t in KINDS]
    undone = Ledger.open(root).rollback("p", 3, "it was right")
    assert undone.published == [(at(25), at(27))]
    assert _seen(root, at(0))[5, SILVER] == before[3, SILVER]
    withdrawn = [row for row in Ledger.open(root).intervals() if row["state"] == "withdrawn"]
    assert [(row["from_hour"], row["to_hour"]) for row in withdrawn][-1:] == [(at(25), at(27))]


def test_a_rollback_to_what_readers_see_or_to_nothing_is_refused(root):
    ledger = Ledger.open(root)
    with pytest.raises(UsageError, match="a release that shows other rows"):
        ledger.rollback("p", 3, "no")
    with pytest.raises(UsageError, match="no release 7"):
        ledger.rollback("p", 7, "no")
    assert len(ledger.releases()) == 3


def test_a_score_survives_a_rollback(root):
    ledger = Ledger.open(root)
    scored = publication(root, ledger, 9, (26, 27), ("score", 1))
    publish(ledger, type(scored)(9, "score", {TILES: (at(26), at(27))}, {TILES: scored.staged[TILES]}, 3, frozenset()))
    ledger.rollback("p", 1, "a test")
    assert _seen(root, at(0))[5, TILES] == {"old": 1, "score": 1}


def test_a_publication_whose_base_was_rolled_back_must_be_staged_again(root):
    ledger = Ledger.open(root)
    draft = publication(root, ledger, 9, (28, 29), ("next", 9))
    ledger.rollback("p", 2, "a test")
    with pytest.raises(RetryError, match="came first"):
        publish(ledger, draft)


THREE = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/unit")
from lake_rows import CALLS, publication
from spark_jobs.errors import RetryError
from spark_jobs.lake.publish import publish
from spark_jobs.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]), by=sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    while True:
        pub = ledger.start(CALLS, "", "", None)
        try:
            publish(ledger, publication(Path(sys.argv[1]), ledger, pub, (1, 2), ("a", pub)))
            break
        except RetryError:
            pass
    print(pub, flush=True)
"""


@pytest.mark.parametrize("rounds", [5, pytest.param(20, marks=pytest.mark.long)])
def test_P3_three_writers_on_one_hour_each_release_once_and_readers_see_the_newest(tmp_path, rounds):
    """Scheduled, manual and backfill at once, again and again: each stages again until its base is the newest release."""
    root = tmp_path / "p"
    writers = [
        subprocess.Popen([sys.executable, "-c", THREE, str(root), f"writer{n}"], cwd=CHECKOUT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(3)
    ]  # fmt: skip
    assert [writer.stdout.readline().strip() for writer in writers if writer.stdout] == ["ready"] * 3
    for _ in range(rounds):
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("go\n")
            writer.stdin.flush()
        pubs = [int(writer.stdout.readline()) for writer in writers if writer.stdout]
        newest = max(pubs)
        for table in KINDS:
            assert [row["amount"] for row in read_current(root, table, KINDS[table], Ledger.open(root).line())] == [
                newest
            ]
    for writer in writers:
        writer.communicate(timeout=30)
    releases = Ledger.open(root).releases()
    assert len({release.pub for release in releases}) == len(releases) == 3 * rounds
    assert [release.parent for release in releases] == [None, *range(1, 3 * rounds)]


def test_P5_of_two_drivers_at_the_same_version_of_a_log_one_commits(root):
    """In lock-step on a local disk: both opened the same version, the second is told so and opens anew."""
    files = stage(root, SILVER, 6, things(("x", 6, 28, 29, 6))).files
    more = stage(root, SILVER, 7, things(("y", 7, 28, 29, 7))).files
    first, second = (DeltaStorage(root).file_table(SILVER) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.commit(files, [], 6)
    assert not second.commit(more, [], 7)
    assert {"pub-6"} <= _named(root, SILVER)
    assert "pub-7" not in _named(root, SILVER)


def test_P12_an_hour_between_two_tables_stays_invisible_to_the_hours_after_it(root):
    """Publication 4 stands in both logs without a release; the next hour shows nothing of it."""
    ledger = Ledger(DeltaStorage(root, lambda: BEGAN))
    publish(ledger, publication(root, ledger, 5, (29, 30), ("next", 5)))
    assert _seen(root)[4, SILVER] == _seen(root)[4, TILES] == {"a": 2, "b": 3, "next": 5}


def test_P11_a_torn_checkpoint_hides_nothing(root):
    """The pointer to the last checkpoint cut short, the checkpoint gone: the log's commits are read instead."""
    before = _seen(root)
    table = DeltaTable(root / SILVER)
    table.create_checkpoint()
    pointer = root / SILVER / "_delta_log" / "_last_checkpoint"
    pointer.write_text(pointer.read_text()[:10])
    assert _seen(root) == before
    for path in (root / SILVER / "_delta_log").glob("*.checkpoint.parquet"):
        path.unlink()
    pointer.unlink()
    assert _seen(root) == before


def test_the_ledger_is_compacted_every_hundred_rows_and_says_the_same(tmp_path):
    """4,000 uncompacted commits take 3.4 s to read; numbers go on rising over the commit that compacts."""
    ledger = Ledger.open(tmp_path)
    numbers = [ledger.add_promotion({"model": str(n)}) for n in range(205)]
    assert numbers == sorted(set(numbers))
    assert [row["model"] for row in ledger.promotions()] == [str(n) for n in range(205)]
    assert len(DeltaTable(tmp_path / "ledger" / "promotions").file_uris()) < 20
