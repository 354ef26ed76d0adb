"""Files are old or new, never partial; locks exclude other processes and end with theirs."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spark_jobs.storage.files import adopt_whole, exclusive, whole_file, write_whole

CODE = Path(__file__).resolve().parents[2] / "spark_jobs"


def test_size_and_sha256_are_those_of_the_written_bytes(tmp_path: Path) -> None:
    """No second pass over the file is needed."""
    with whole_file(tmp_path / "new" / "a.bin") as file:
        file.write(b"one")
        file.write(b"two")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"onetwo"
    assert (file.size, file.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())


def test_an_error_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    """A full disk, for example."""
    write_whole(tmp_path / "a.txt", "old")

    def fail() -> None:
        with whole_file(tmp_path / "a.txt") as file:
            file.write(b"ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_killed_writer_leaves_the_former_file(tmp_path: Path) -> None:
    """What is left besides begins with a dot, so no reader of a landing folder takes it."""
    write_whole(tmp_path / "a.txt", "old")
    writer = f"""
import os, signal, sys
from pathlib import Path
from spark_jobs.storage.files import whole_file
with whole_file(Path({str(tmp_path / "a.txt")!r})) as file:
    file.write(b"n" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", writer], check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"
    assert all(path.name.startswith(".") for path in tmp_path.iterdir() if path.name != "a.txt")


def test_bytes_reach_the_disk_before_the_name_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut may leave an empty file under the new name."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(handle: int) -> None:
        calls.append("sync folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "sync file")
        fsync(handle)

    def record_replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    write_whole(tmp_path / "a.txt", "new")
    (tmp_path / "b.part").write_text("new")
    adopt_whole(tmp_path / "b.part", tmp_path / "b.txt")
    assert calls == ["sync file", "rename", "sync folder"] * 2


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    """Who may write into a landing folder must not choose another file."""
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "a.txt", "new")
    assert (tmp_path / "elsewhere").read_text() == "keep"
    assert not (tmp_path / "a.txt").is_symlink()


@pytest.mark.parametrize("name", ["folder", "folder/model.lock"])
def test_a_lock_excludes_another_process_and_ends_when_it_is_killed(tmp_path: Path, name: str) -> None:
    """On a folder that exists, and on a file that the lock creates."""
    (tmp_path / "folder").mkdir()
    holder = f"""
import time
from pathlib import Path
from spark_jobs.storage.files import exclusive
with exclusive(Path({str(tmp_path / name)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        attempt = f"import fcntl, os; fcntl.flock(os.open({str(tmp_path / name)!r}, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert (
            "BlockingIOError"
            in subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False).stderr
        )
        process.kill()
    with exclusive(tmp_path / name):
        pass


def test_only_storage_and_set_up_write_files_by_hand() -> None:
    """Set-up writes what it can fetch again; everything else goes through `storage/`."""
    by_hand = re.compile(r"\.write_text\(|\.write_bytes\(|os\.replace\(|\.rename\(|fcntl\.flock|mkstemp")
    allowed = {"runtime/java.py", "runtime/install.py", "runtime/jars.py", "config/docs.py"}
    # a temporary folder whose files MLflow copies; the seam's own call of `Storage.write_text`
    allowed |= {"learning/tracking.py", "lake/staging.py"}
    files = {path.relative_to(CODE).as_posix(): path.read_text() for path in CODE.rglob("*.py")}
    assert {name for name, text in files.items() if by_hand.search(text) and name != "storage/files.py"} <= allowed
