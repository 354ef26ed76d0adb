"""Doctor's checks: each is broken for real and names its fix."""

import shutil
import socket

from spark_jobs.runtime import checks, places


def test_on_this_machine_every_check_passes(tmp_path):
    """What `make setup` built is what doctor wants."""
    results = checks.run_checks(tmp_path / "var", [], quick=False, memory_mb=1, disk_mb=1)
    assert [result for result in results if not result.ok] == []
    assert {"java", "jars", "memory", "disk", "data folder", "pyspark", "mlflow"} <= {result.name for result in results}


def test_the_checks_leave_nothing_behind(tmp_path):
    """Looking makes no folder."""
    checks.run_checks(tmp_path / "var", [], quick=True)
    assert list(tmp_path.iterdir()) == []


def test_a_java_home_without_java_is_told_with_the_setting_that_names_it(tmp_path, monkeypatch):
    """The fix is the user's own variable."""
    monkeypatch.setenv("TIDEGATE_JAVA_HOME", str(tmp_path / "nonsense"))
    (java,) = [c for c in checks.run_checks(tmp_path, [], quick=True) if c.name == "java"]
    assert not java.ok
    assert "nonsense/bin/java" in java.found
    assert "unset it" in java.fix


def test_a_java_that_does_not_boot_is_found_only_by_starting_it(tmp_path):
    """Quick trusts the file, the full check does not."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Error occurred during initialization of boot layer' >&2\nexit 1\n")
    program.chmod(0o755)
    assert checks.check_java(tmp_path, quick=True).ok
    full = checks.check_java(tmp_path, quick=False)
    assert not full.ok
    assert "boot layer" in full.found


def test_an_unsupported_java_is_refused_by_its_release_file(tmp_path):
    """Spark 4.2 runs on 17, 21 and 25."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "release").write_text('JAVA_VERSION="11.0.2"\n')
    java = checks.check_java(tmp_path, quick=True)
    assert (java.ok, java.found) == (False, "Java 11")


def test_a_flipped_byte_in_a_jar_is_found(tmp_path):
    """A copy of the real jars with one byte changed."""
    folder = tmp_path / "jars"
    shutil.copytree(places.cache_dir() / "jars", folder)
    assert checks.check_jars(folder, places.JARS_LOCK).ok
    victim = next(folder.glob("delta-storage-*.jar"))
    body = bytearray(victim.read_bytes())
    body[1000] ^= 1
    victim.write_bytes(body)
    found = checks.check_jars(folder, places.JARS_LOCK)
    assert not found.ok
    assert victim.name in found.found
    assert found.fix == "make setup"


def test_a_taken_port_is_told_and_a_left_one_is_free():
    """Bound for real."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = checks.check_port(port)
        assert not taken.ok
        assert f":{port}" in taken.fix
    assert checks.check_port(port).ok


def test_a_data_folder_below_a_file_is_not_writable(tmp_path):
    """Even root cannot make a file there."""
    (tmp_path / "file").write_text("")
    check = checks.check_writable("data folder", tmp_path / "file" / "var")
    assert not check.ok
    assert "Not a directory" in check.found


def test_too_little_memory_or_disk_names_what_is_needed(tmp_path):
    """More than any machine has."""
    assert checks.check_memory(10**9).allowed == "at least 1000000000 MB"
    assert not checks.check_memory(10**9).ok
    assert not checks.check_disk(tmp_path, 10**12).ok


def test_a_package_of_another_version_or_none_is_told():
    """The pin comes from the project's own metadata."""
    assert checks.check_version("pyspark").ok
    missing = checks.check_version("no-such-package")
    assert (missing.ok, missing.found, missing.fix) == (False, "not installed", "make setup")
    wrong = checks.check_version("pyspark", required_by="delta-spark")
    assert not wrong.ok
