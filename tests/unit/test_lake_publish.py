"""Publishing by reference: what was audited is what is committed, and one ledger row makes several tables readable."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable
from lake_rows import KINDS, SCHEMA, SILVER, TILES, at, publication, stage, things

from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.failpoints import VARIABLE
from spark_jobs.lake import staging
from spark_jobs.lake.publish import publish
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger
from spark_jobs.storage.delta import DeltaStorage

CHECKOUT = Path(__file__).parents[2]
OLD, NEW = {"old": 1}, {"old": 1, "new": 2}

# Publication 2 in a process of its own, which the environment may tell to die on the way.
SECOND = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/unit")
from lake_rows import publication
from spark_jobs.lake.publish import publish
from spark_jobs.ledger import Ledger
root = Path(sys.argv[1])
ledger = Ledger.open(root)
publish(ledger, publication(root, ledger, 2, (2, 3), ("new", 2)))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "pipeline"


@pytest.fixture
def ledger(root: Path) -> Ledger:
    """A ledger in which publication 1 (hour 1, one row) is released."""
    ledger = Ledger.open(root)
    publish(ledger, publication(root, ledger, 1, (1, 2), ("old", 1)))
    return ledger


def _seen(root: Path, table: str) -> dict[str, int]:
    """thing -> amount, as readers of the newest release see the table."""
    rows = read_current(root, table, KINDS[table], Ledger.open(root).line())
    assert len({row["thing"] for row in rows}) == len(rows)
    return {row["thing"]: row["amount"] for row in rows}


def _die_at(root: Path, failpoint: str) -> None:
    """Publication 2, killed at `failpoint`."""
    ended = subprocess.run(
        [sys.executable, "-c", SECOND, str(root)], cwd=CHECKOUT, env={**os.environ, VARIABLE: failpoint}, check=False
    )
    assert ended.returncode == -signal.SIGKILL


def test_the_audited_files_are_the_published_files(root, ledger):
    """Commit by reference: no second copy, the log names the very paths that were staged."""
    publication_2 = publication(root, ledger, 2, (2, 3), ("new", 2))
    before = {path: path.stat().st_ino for path in root.rglob("pub-2/**/*.parquet")}
    release = publish(ledger, publication_2)
    assert {path: path.stat().st_ino for path in root.rglob("*.parquet") if "pub-2" in path.parts} == before
    named = DeltaTable(root / SILVER).get_add_actions(flatten=True)["path"].to_pylist()
    assert {file.path for file in publication_2.staged[SILVER].files} < set(named)
    assert (release.release, release.pub, release.rows) == (2, 2, {SILVER: 1, TILES: 1})
    assert _seen(root, SILVER) == _seen(root, TILES) == NEW


def test_a_commit_says_which_publication_made_it(root, ledger):
    assert DeltaTable(root / SILVER).history(1)[0]["pub"] == "1"


def test_statistics_of_a_staged_file_are_exact(root):
    """Readers skip files by them: a wrong bound would hide rows."""
    (file,) = stage(root, SILVER, 4, things(("a", 1, 1, 2, 4), ("b", 2, 3, 9, 4))).files
    assert file.rows == 2
    assert file.day == "2013-11-01"
    for expected in ('"hour": "2013-11-01T01:00:00.000Z"', '"known_at": "2013-11-01T09:00:00.000Z"', '"numRecords": 2'):
        assert expected in file.stats


def test_staged_files_of_a_publication_without_release_are_invisible(root, ledger):
    publication(root, ledger, 2, (2, 3), ("new", 2))
    assert _seen(root, SILVER) == _seen(root, TILES) == OLD


@pytest.mark.parametrize("position", [0, 40, -1])
def test_the_digest_of_staged_files_changes_with_any_byte(root, position):
    staged = stage(root, SILVER, 1, things(("a", 1, 1, 2, 1)))
    path = root / SILVER / staged.files[0].path
    content = bytearray(path.read_bytes())
    assert staging.changed_files(DeltaStorage(root), staged) == []
    content[position] ^= 1
    path.write_bytes(content)
    assert staging.changed_files(DeltaStorage(root), staged) == [staged.files[0].path]


def test_the_digest_is_of_path_and_content_and_of_nothing_else(root):
    """Staged twice from equal rows: equal; one value more, or the same bytes under another path: not."""
    once, again = (stage(root / n, SILVER, 1, things(("a", 1, 1, 2, 1))).digest for n in "xy")
    assert once == again
    other = stage(root / "z", SILVER, 1, things(("a", 2, 1, 2, 1)))
    moved = replace(other, files=(replace(other.files[0], path="pub-2/part.parquet"),))
    assert len({once, other.digest, moved.digest, replace(other, files=()).digest}) == 4


def test_a_manifest_of_staged_files_comes_back_as_it_was_saved(root):
    tables = {table: stage(root, table, 3, things(("a", 1, 1, 2, 3))) for table in KINDS}
    staging.save_manifest(DeltaStorage(root), 3, tables.values())
    assert staging.load_manifest(DeltaStorage(root), 3) == tables
    staging.drop_manifest(DeltaStorage(root), 3)
    assert staging.load_manifest(DeltaStorage(root), 3) is None


def _flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("fault", [_flip, Path.unlink])
def test_G7_a_file_that_changed_after_its_audit_is_refused_and_no_table_is_touched(root, ledger, fault):
    draft = publication(root, ledger, 2, (2, 3), ("new", 2))
    fault(root / TILES / draft.staged[TILES].files[0].path)
    with pytest.raises(RefusedError, match="changed after the audit"):
        publish(ledger, draft)
    assert DeltaTable(root / SILVER).version() == 1
    assert len(ledger.releases()) == 1


def test_a_log_that_names_other_files_than_were_staged_is_a_retry_and_no_release(root, ledger):
    """Read-back: of two staged files only one stands in the log, put there under the same publication."""
    draft = publication(root, ledger, 2, (2, 3), ("new", 2))
    both = stage(root, SILVER, 2, things(("new", 2, 2, 3, 2), ("more", 3, 26, 27, 2)))
    one = replace(both, files=both.files[:1])
    assert DeltaStorage(root).make_file_table(SILVER, SCHEMA).commit(one.files, [], 2)
    with pytest.raises(RetryError, match="the log names 1 file\\(s\\), 2 were staged"):
        publish(ledger, replace(draft, staged={SILVER: both}))
    assert len(ledger.releases()) == 1


def test_a_stale_base_is_a_retry_and_its_rows_stay_invisible(root, ledger):
    late, first = (publication(root, ledger, pub, (2, 3), (name, pub)) for pub, name in ((2, "late"), (3, "first")))
    publish(ledger, first)
    with pytest.raises(RetryError, match="came first and touched what was read") as caught:
        publish(ledger, late)
    assert caught.value.exit_code == 75
    assert _seen(root, SILVER) == _seen(root, TILES) == {"old": 1, "first": 3}


def test_P9_a_publication_without_rows_empties_the_hours_that_it_covers(root, ledger):
    draft = publication(root, ledger, 2, (1, 2))
    empty = {SILVER: staging.staged_files(root, SILVER, 2, SCHEMA)}
    publish(ledger, replace(draft, staged=empty, covers={SILVER: (at(1), at(2))}))
    assert _seen(root, SILVER) == {}
    assert _seen(root, TILES) == OLD  # not covered, not emptied


def test_an_older_release_shows_what_it_showed(root, ledger):
    publish(ledger, publication(root, ledger, 2, (1, 2), ("new", 2)))
    first = ledger.line(1)
    assert [row["thing"] for row in read_current(root, SILVER, KINDS[SILVER], first)] == ["old"]
    assert _seen(root, SILVER) == {"new": 2}


@pytest.mark.parametrize(
    "failpoint",
    ["publish.before_append", f"publish.appended.{SILVER}", "publish.after_append", "publish.before_release"],
)
def test_P1_killed_before_the_release_readers_see_the_old_release_in_every_table(root, ledger, failpoint):
    """And P12: the next publication shows nothing of the dead one, though its rows lie in the tables."""
    _die_at(root, failpoint)
    assert _seen(root, SILVER) == _seen(root, TILES) == OLD
    publish(ledger, publication(root, ledger, 3, (3, 4), ("next", 3)))
    assert _seen(root, SILVER) == _seen(root, TILES) == {"old": 1, "next": 3}


def test_control_a_reader_of_the_bare_table_would_see_the_dead_publication(root, ledger):
    """Read head instead of the release."""
    _die_at(root, "publish.after_append")
    assert sorted(DeltaTable(root / SILVER).to_pyarrow_table()["thing"].to_pylist()) == ["new", "old"]


def test_P1_killed_after_the_release_readers_see_the_new_release_in_every_table(root, ledger):
    _die_at(root, "publish.after_release")
    assert _seen(root, SILVER) == _seen(root, TILES) == NEW


@pytest.mark.parametrize("failpoint", [f"publish.appended.{SILVER}", "publish.after_append", "publish.after_release"])
def test_P2_what_landed_though_its_answer_was_lost_is_not_written_twice(root, ledger, failpoint):
    """The same publication again: one commit a table, one release, one row a key."""
    base = ledger.releases()[-1].release
    _die_at(root, failpoint)
    tables = {table: staging.staged_files(root, table, 2, SCHEMA) for table in KINDS}
    draft = replace(publication(root, ledger, 9, (9, 10)), pub=2, staged=tables, base=base)
    publish(ledger, replace(draft, covers=dict.fromkeys(KINDS, (at(2), at(3)))))
    assert [DeltaTable(root / table).version() for table in KINDS] == [2, 2]
    assert [release.pub for release in ledger.releases()] == [1, 2]
    assert _seen(root, SILVER) == _seen(root, TILES) == NEW


def test_P7_an_older_hour_published_after_newer_ones_replaces_its_own_rows_only(root, ledger):
    """Hour 1 again, after hours 2 and 3: its old row is gone, theirs stay, and so in a reader that knew less."""
    publish(ledger, publication(root, ledger, 2, (2, 3), ("second", 2)))
    publish(ledger, publication(root, ledger, 3, (3, 4), ("third", 3)))
    publish(ledger, publication(root, ledger, 4, (1, 2), ("again", 4)))
    assert _seen(root, SILVER) == {"again": 4, "second": 2, "third": 3}
    before = read_current(root, SILVER, KINDS[SILVER], Ledger.open(root).line(3))
    assert {row["thing"]: row["amount"] for row in before} == {"old": 1, "second": 2, "third": 3}
