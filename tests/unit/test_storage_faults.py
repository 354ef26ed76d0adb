"""Faults of the disk below a publication: no space, failing calls, torn logs, files that go while they are read."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from lake_rows import KINDS, SILVER, TILES, publication, stage, things

from spark_jobs.errors import EXIT_USAGE, UsageError
from spark_jobs.lake import maintenance, staging
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.lake.reading import connect, read_current, register_current, with_fresh_log
from spark_jobs.ledger import Ledger
from spark_jobs.storage.delta import DeltaStorage
from spark_jobs.storage.restore import RESTORE_FILE, RESTORE_LAKE

CHECKOUT = Path(__file__).parents[2]
RELEASES = "ledger/releases"
NO_COMMIT = '{"commitInfo":{"timestamp":0}}'  # a commit without actions
NEXT_DAYS = date(2013, 11, 3)  # days before it are closed
FULL = (OSError, DeltaError)  # what delta-rs and pyarrow say of a disk without space

SECOND = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/unit")
from lake_rows import publication
from spark_jobs.lake.publish import publish
from spark_jobs.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
publish(ledger, publication(Path(sys.argv[1]), ledger, 2, (2, 3), ("new", 2)))
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 4 MB and 600 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=600", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True) if shutil.which("mount") else None
    if mounted is None or mounted.returncode:
        pytest.skip(f"needs a tmpfs of its own: {mounted.stderr.strip() if mounted else 'no mount here'}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def _nearly_full(disk: Path, what: str, left: int) -> Iterator[None]:
    """`disk` with `left` pages, or with `left` files and links, still to be had."""
    fill = disk / "fill"
    fill.mkdir()
    state = os.statvfs(disk)
    if what == "pages":
        (fill / "one").write_bytes(bytes((state.f_bavail - left) * state.f_bsize))
    else:
        for number in range(state.f_ffree - left):
            (fill / str(number)).touch()
    yield
    shutil.rmtree(fill)


def _fault_of(call: Callable[[], object]) -> str:
    """What a full disk made of `call`; nothing when it came to its end."""
    try:
        call()
    except FULL as error:
        return str(error)
    return ""


def _seen(root: Path) -> dict[str, int]:
    """thing -> amount, as readers of the newest release see it, in both tables alike."""
    line = Ledger.open(root).line()
    shown = [
        [(row["thing"], row["amount"]) for row in read_current(root, table, KINDS[table], line)] for table in KINDS
    ]
    assert sorted(shown[0]) == sorted(shown[1])
    assert len(shown[0]) == len(dict(shown[0]))
    return dict(shown[0])


@pytest.fixture(scope="module")
def three_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three publications, each released, each of one row. Copy it, never write to it."""
    root = tmp_path_factory.mktemp("three_hours") / "p"
    ledger = Ledger.open(root)
    for pub in (1, 2, 3):
        publish(ledger, publication(root, ledger, pub, (pub, pub + 1), (f"t{pub}", pub)))
    return root


@pytest.fixture
def root(three_hours: Path, tmp_path: Path) -> Path:
    """A copy of `three_hours`."""
    return Path(shutil.copytree(three_hours, tmp_path / "p"))


def _say_nothing(root: Path, table: str, first: int, last: int) -> None:
    """Commits without content of the versions `first` to `last`."""
    for number in range(first, last + 1):
        (_log(root, table) / f"{number:020}.json").write_text(NO_COMMIT)


def _log(root: Path, table: str) -> Path:
    return root / table / "_delta_log"


def _named(root: Path, pub: int) -> int:
    """How many of the two tables' logs name a file of `pub`."""
    storage = DeltaStorage(root)
    opened = [storage.file_table(table) for table in KINDS]
    return sum(any(path.startswith(f"pub-{pub}/") for path in table.sizes()) for table in opened if table)


@pytest.mark.parametrize("what", ["pages", "files"])
def test_P6_a_full_disk_at_any_place_of_a_publication_shows_the_old_rows_and_heals(disk, what):
    """One page, or one file, more at each try, until a publication fits.

    After an odd failure the same call follows, after an even one another hour: that one shows nothing of the dead.
    """
    root = disk / "p"
    ledger = Ledger.open(root)
    publish(ledger, publication(root, ledger, 1, (1, 2), ("t1", 1)))
    shown, reached = {"t1": 1}, set()
    for pub in range(2, 20):
        draft = publication(root, ledger, pub, (pub, pub + 1), (f"t{pub}", pub))
        with _nearly_full(disk, what, pub - 2):
            fault = _fault_of(lambda: publish(ledger, draft))  # noqa: B023 - called here and now
            assert _seen(root) == shown | ({} if fault else {f"t{pub}": pub})
        if not fault:
            break
        assert "No space left on device" in fault
        reached.add(_named(root, pub))
        if pub % 2:
            shown[f"t{pub}"] = publish(ledger, draft).pub
        assert _seen(root) == shown
    assert {0, 2} <= reached  # in a lake's log, and with both logs done in `releases`
    assert [release.release for release in ledger.releases()] == list(range(1, len(shown) + 2))


def test_P6_a_checkpoint_that_finds_no_space_after_its_commit_landed_is_one_commit(disk):
    """delta-rs makes one at every hundredth commit and answers for the commit with the checkpoint's fault."""
    root, before = disk / "p", disk / "before"
    ledger = Ledger.open(before)
    publish(ledger, publication(before, ledger, 1, (1, 2), ("t1", 1)))
    _say_nothing(before, SILVER, 2, 98)
    landed = 0
    for left in (2, 4):
        shutil.copytree(before, root)
        ledger = Ledger.open(root)
        draft = publication(root, ledger, 2, (2, 3), ("t2", 2))
        with _nearly_full(disk, "pages", left), pytest.raises(FULL):
            publish(ledger, draft)
        landed += (_log(root, SILVER) / f"{99:020}.json").exists()
        assert _seen(root) == {"t1": 1}
        publish(ledger, draft)
        assert _seen(root) == {"t1": 1, "t2": 2}
        assert not (_log(root, SILVER) / f"{100:020}.json").exists()
        shutil.rmtree(root)
    assert landed


def test_P6_a_ledger_row_that_landed_is_a_success_though_its_tidying_finds_no_space(disk):
    """At every hundredth row the ledger is compacted: the row landed, so that the caller must not write it again."""
    root, before = disk / "p", disk / "before"
    ledger = Ledger.open(before)
    for model in "ab":
        ledger.add_promotion({"model": model})
    _say_nothing(before, "ledger/promotions", 3, 99)
    answers = []
    for left in (1, 3, 5, 7):
        shutil.copytree(before, root)
        with _nearly_full(disk, "files", left):
            answers.append(_fault_of(lambda: Ledger.open(root).add_promotion({"model": "c"})))
        assert [row["model"] for row in Ledger.open(root).promotions()] == [*"ab", *([] if answers[-1] else "c")]
        shutil.rmtree(root)
    assert [bool(answer) for answer in answers] == [True, False, False, False]


def test_P6_a_manifest_that_finds_no_space_is_none_or_the_one_before(disk):
    root = disk / "p"
    old, new = ({SILVER: stage(root, SILVER, 4, things(("a", n, 1, 2, 4)))} for n in (1, 2))
    storage = DeltaStorage(root)
    for saved in (None, old):
        if saved:
            staging.save_manifest(storage, 4, saved.values())
        with _nearly_full(disk, "pages", 0), pytest.raises(OSError, match="No space left"):
            staging.save_manifest(storage, 4, new.values())
        assert staging.load_manifest(storage, 4) == saved
    staging.save_manifest(storage, 4, new.values())
    assert staging.load_manifest(storage, 4) == new
    assert [path for path, _ in storage.files("staging")] == ["staging/4.json"]


@pytest.mark.parametrize(("what", "left"), [("pages", 0), ("pages", 1), ("files", 2), ("files", 4)])
def test_P6_a_compaction_that_finds_no_space_leaves_the_rows_and_ends_the_next_time(disk, three_hours, what, left):
    """For the folder, for the merged file and for the commit that names it."""
    root = shutil.copytree(three_hours, disk / "p")
    ledger = Ledger.open(root)
    with _nearly_full(disk, what, left):
        with pytest.raises(OSError, match="No space left"):
            maintenance.compact_days(ledger, SILVER, NEXT_DAYS)
        assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3}
    assert maintenance.compact_days(ledger, SILVER, NEXT_DAYS) == 2
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3}
    assert not list(root.rglob("*.part"))


@pytest.mark.parametrize("table", [SILVER, RELEASES])
def test_P6_a_link_that_fails_puts_no_commit_under_its_name(tmp_path, table):
    """No copy takes its place: a commit stands there whole or not at all."""
    root = tmp_path / "p"
    ledger = Ledger.open(root)
    publish(ledger, publication(root, ledger, 1, (1, 2), ("old", 1)))
    ended = _with_fault(root, "linkat", _log(root, table) / f"{2:020}.json#1")
    assert (ended.returncode, "Input/output error" in ended.stderr) == (1, True)
    assert sorted(path.name for path in _log(root, table).iterdir()) == [f"{n:020}.json" for n in (0, 1)]
    assert _seen(root) == {"old": 1}
    publish(ledger, publication(root, ledger, 3, (2, 3), ("next", 3)))
    assert _seen(root) == {"old": 1, "next": 3}


def test_P6_what_is_left_beside_a_commit_that_landed_is_no_commit(tmp_path):
    """The name that it was written under cannot be removed: it is released all the same, once."""
    root = tmp_path / "p"
    ledger = Ledger.open(root)
    publish(ledger, publication(root, ledger, 1, (1, 2), ("old", 1)))
    ended = _with_fault(root, "unlink", _log(root, RELEASES) / f"{2:020}.json#1")
    assert ended.returncode == 0, ended.stderr
    assert (_log(root, RELEASES) / f"{2:020}.json#1").exists()
    publish(ledger, publication(root, ledger, 3, (3, 4), ("next", 3)))
    assert _seen(root) == {"old": 1, "new": 2, "next": 3}
    assert [release.pub for release in ledger.releases()] == [1, 2, 3]


def _with_fault(root: Path, call: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Publication 2 in a process of its own, in which the first `call` on `path` fails."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null"]
    if not shutil.which("strace") or subprocess.run([*strace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs strace, and leave to trace a process")
    fault = ["-P", str(path), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when=1"]
    command = [*strace, *fault, sys.executable, "-c", SECOND, str(root)]
    return subprocess.run(command, cwd=CHECKOUT, check=False, capture_output=True, text=True)


def _cut(length: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:length])


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


TEARS = {"emptied": _cut(0), "cut short": _cut(-3), "zeros": _zeros}


def _told(root: Path) -> UsageError:
    """What readers and writers of the damaged lake are told, both the same."""
    told = []
    for ask in (lambda: _seen(root), lambda: _fourth(root)):
        with pytest.raises(UsageError) as caught:
            ask()
        told.append(caught.value)
    assert str(told[0]) == str(told[1])
    assert told[0].exit_code == EXIT_USAGE
    assert told[0].todo == RESTORE_FILE
    return told[0]


def _fourth(root: Path, hours: tuple[int, int] = (4, 5), name: str = "t4") -> int:
    ledger = Ledger.open(root)
    draft: Publication = publication(root, ledger, 4, hours, (name, int(name[1:])))
    return publish(ledger, draft).release


@pytest.mark.parametrize("tear", TEARS)
def test_P11_a_torn_manifest_is_as_one_that_is_gone(root, tear):
    """So that the step that would publish it says that nothing is staged, and is run again."""
    storage, staged = DeltaStorage(root), stage(root, SILVER, 4, things(("t4", 4, 4, 5, 4)))
    staging.save_manifest(storage, 4, [staged])
    assert staging.load_manifest(storage, 4) == {SILVER: staged}
    TEARS[tear](root / "staging/4.json")
    assert staging.load_manifest(storage, 4) is None


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("table", [SILVER, RELEASES])
def test_P11_a_torn_last_commit_is_named_and_its_restored_file_repairs(root, table, tear):
    """A copy of the file from a backup is enough, as commits never change."""
    commit = _log(root, table) / f"{3:020}.json"
    text = commit.read_text()
    TEARS[tear](commit)
    told = _told(root)
    assert told.where == str(commit)
    assert told.found == ("the commit is empty" if tear == "emptied" else "the commit is torn")
    commit.write_text(text)
    assert _fourth(root) == 4
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3, "t4": 4}


@pytest.mark.parametrize("tear", ["emptied", "cut short", "gone"])
@pytest.mark.parametrize(("table", "number"), [(SILVER, 0), (SILVER, 2), (RELEASES, 2)])
def test_P11_an_older_commit_that_is_torn_or_gone_is_told(root, table, number, tear):
    """The first one has the columns."""
    commit = _log(root, table) / f"{number:020}.json"
    text = commit.read_text()
    {**TEARS, "gone": Path.unlink}[tear](commit)
    told = _told(root)
    assert told.where == str(commit)
    state = {"emptied": "empty", "cut short": "torn", "gone": "gone"}[tear]
    assert told.found == f"the commit is {state}"
    commit.write_text(text)
    assert _fourth(root) == 4
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3, "t4": 4}


def test_P11_a_restored_backup_of_the_whole_lake_takes_the_next_hours_again(root, tmp_path):
    """No backup has the torn commit: everything since the backup is published again."""
    backup = shutil.copytree(root, tmp_path / "backup")
    _fourth(root)
    _cut(0)(_log(root, SILVER) / f"{4:020}.json")
    _told(root)
    shutil.rmtree(root)
    shutil.copytree(backup, root)
    assert _fourth(root) == 4
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3, "t4": 4}


def test_no_hint_about_a_damaged_log_advises_to_change_its_files():
    """A log repaired by hand can agree with itself and lack rows that the ledger counts."""
    for hint in (RESTORE_FILE, RESTORE_LAKE):
        assert "make restore FROM=" in hint
        assert not re.search(r"\b(delete|remove|write|edit|rename)\b", hint)


def _checkpoint(root: Path, table: str) -> tuple[Path, Path]:
    """A checkpoint of version 2, one commit behind it; its path and that of the pointer."""
    from deltalake import DeltaTable

    DeltaTable(root / table, version=2).create_checkpoint()
    return _log(root, table) / f"{2:020}.checkpoint.parquet", _log(root, table) / "_last_checkpoint"


@pytest.mark.parametrize("tear", ["emptied", "cut short", "gone"])
@pytest.mark.parametrize("table", [SILVER, RELEASES])
def test_P11_a_torn_checkpoint_is_named_and_its_restored_file_repairs(root, table, tear):
    """With the commits that it sums up or without them, the hint is the same."""
    checkpoint, _ = _checkpoint(root, table)
    content = checkpoint.read_bytes()
    {**TEARS, "gone": Path.unlink}[tear](checkpoint)
    assert _told(root).where == str(checkpoint)
    (_log(root, table) / f"{0:020}.json").unlink()
    assert _told(root).where == str(checkpoint)
    checkpoint.write_bytes(content)
    assert _fourth(root) == 4
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3, "t4": 4}


@pytest.mark.parametrize("tear", [_cut(0), _cut(10), _zeros], ids=["emptied", "cut short", "zeros"])
def test_P11_a_torn_pointer_hides_nothing_when_the_commits_before_its_checkpoint_have_gone(root, tear):
    """With all commits there: test_lake_maintenance. An emptied commit that a checkpoint sums up harms no one."""
    for table in (SILVER, RELEASES):
        tear(_checkpoint(root, table)[1])
        for number in (0, 1):
            (_log(root, table) / f"{number:020}.json").unlink()
        _cut(0)(_log(root, table) / f"{2:020}.json")
    assert _fourth(root) == 4
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3, "t4": 4}


def test_P11_a_missing_commit_behind_a_checkpoint_is_named(root):
    """The commits that it sums up have gone, as delta-rs removes them after thirty days; its pointer is torn as well."""
    pointer = _checkpoint(root, SILVER)[1]
    pointer.write_text("{")
    for number in range(3):
        (_log(root, SILVER) / f"{number:020}.json").unlink()
    gone = (_log(root, SILVER) / f"{3:020}.json").rename(_log(root, SILVER) / f"{4:020}.json")
    told = _told(root)
    assert (told.where, told.found) == (str(gone.with_name(f"{3:020}.json")), "the commit is gone")


@pytest.mark.parametrize("table", [SILVER, RELEASES])
def test_a_table_whose_files_alone_no_longer_say_its_rows_is_refused(root, table):
    """Another tool switched deletion vectors on: a file may hold rows that are deleted."""
    DeltaTable(root / table).alter.set_table_properties({"delta.enableDeletionVectors": "true"})
    with pytest.raises(UsageError, match=r"version 3 understand \(.*deletionVectors") as caught:
        _seen(root)
    assert caught.value.where == str(_log(root, table))
    assert caught.value.todo.endswith(RESTORE_LAKE)


def test_P11_a_log_of_which_no_file_is_known_to_be_at_fault_is_told_in_the_words_of_delta_rs(root):
    (_log(root, SILVER) / f"{0:020}.json").write_text(NO_COMMIT)
    with pytest.raises(UsageError, match="No table metadata") as caught:
        _seen(root)
    assert caught.value.where == f"{_log(root, SILVER)}/"
    assert caught.value.todo == RESTORE_LAKE


def test_P10_a_reader_whose_files_compaction_and_vacuum_take_gets_all_its_rows_at_the_second_look(root):
    """By maintenance itself, on files that are old enough for it, between a reader's look at the log and at the files."""
    ledger = Ledger.open(root)
    looks = []

    def ask() -> list[tuple[str, int]]:
        with connect(root) as connection:
            assert register_current(connection, root, SILVER, KINDS[SILVER], ledger.line(), "things_then")
            looks.append(1)
            if len(looks) == 1:
                _compact_and_vacuum(root, ledger)
            return connection.execute("SELECT thing, amount FROM things_then ORDER BY ALL").fetchall()

    assert with_fresh_log(f"p/{SILVER}", ask) == [("t1", 1), ("t2", 2), ("t3", 3)]
    assert len(looks) == 2
    assert _seen(root) == {"t1": 1, "t2": 2, "t3": 3}


def _compact_and_vacuum(root: Path, ledger: Ledger) -> None:
    """What maintenance does to closed days, three days of which go by between the one and the other."""
    assert maintenance.compact_days(ledger, SILVER, NEXT_DAYS) == 2
    long_ago = time.time() - 3 * 86_400
    newest = max(_log(root, SILVER).glob("*.json"))
    newest.write_text(
        re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{int(long_ago * 1000)}', newest.read_text())
    )
    for path in (root / SILVER).rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    assert maintenance.vacuum(ledger, [SILVER, TILES]) == {SILVER: 3, TILES: 0}
    assert not list((root / SILVER).glob("pub-*/**/*.parquet"))
