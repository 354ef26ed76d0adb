"""The locked jars against jars.lock, and the bundled Java home."""

import hashlib
import os
import subprocess
import sys

import pytest

from spark_jobs.errors import UsageError
from spark_jobs.runtime import jars, java, places

GOOD = hashlib.sha256(b"good").hexdigest()
LOCKED = [jars.LockedJar("org.example:one:1.0", GOOD, asked=True)]


def test_the_lock_lists_jars_in_class_path_order(tmp_path):
    """Comments and empty lines say nothing."""
    lock = tmp_path / "jars.lock"
    lock.write_text(f"# why\n\norg.example:one:1.0 {GOOD} asked\norg.example:two:2.0 {GOOD}\n")
    assert [(jar.file_name, jar.asked) for jar in jars.read_lock(lock)] == [
        ("one-1.0.jar", True),
        ("two-2.0.jar", False),
    ]


@pytest.mark.parametrize("rest", ["", f" {GOOD} needed", f" {GOOD} asked asked", " asked"])
def test_a_line_of_the_lock_that_says_anything_else_is_refused(tmp_path, rest):
    """The message names file and line."""
    lock = tmp_path / "jars.lock"
    lock.write_text(f"# why\norg.example:one:1.0{rest}\n")
    with pytest.raises(UsageError, match=r"jars\.lock:2: 'org\.example:one:1\.0"):
        jars.read_lock(lock)


def test_a_jar_with_another_sha256_is_told_with_both(tmp_path):
    """One flipped byte suffices."""
    (tmp_path / "one-1.0.jar").write_bytes(b"good")
    assert jars.faults(tmp_path, LOCKED) == []
    (tmp_path / "one-1.0.jar").write_bytes(b"gooe")
    (fault,) = jars.faults(tmp_path, LOCKED)
    assert GOOD in fault
    assert hashlib.sha256(b"gooe").hexdigest() in fault


def _repository(tmp_path, body):
    """A Maven repository on disk with org.example:one:1.0, and Ivy settings that look nowhere else."""
    place = tmp_path / "repository" / "org" / "example" / "one" / "1.0"
    place.mkdir(parents=True)
    (place / "one-1.0.jar").write_bytes(body)
    (place / "one-1.0.pom").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId>"
        "<artifactId>one</artifactId><version>1.0</version></project>"
    )
    settings = tmp_path / "ivysettings.xml"
    settings.write_text(
        '<ivysettings><settings defaultResolver="disk"/><resolvers>'
        f'<ibiblio name="disk" m2compatible="true" root="{(tmp_path / "repository").as_uri()}/"/>'
        "</resolvers></ivysettings>"
    )
    return settings


@pytest.mark.parametrize(("body", "accepted"), [(b"good", True), (b"evil", False)])
def test_sparks_ivy_fetches_a_locked_jar_and_a_wrong_one_never_arrives(tmp_path, monkeypatch, body, accepted):
    """The real spark-submit resolves from a mirror; what has another sha256 leaves the folder as it was."""
    monkeypatch.setenv("TIDEGATE_IVY_SETTINGS", str(_repository(tmp_path, body)))
    environment = {**os.environ, "JAVA_HOME": str(places.java_home()), "PYSPARK_PYTHON": sys.executable}
    target = tmp_path / "jars"
    if accepted:
        jars.resolve(LOCKED, target, environment)
        assert [path.name for path in target.iterdir()] == ["one-1.0.jar"]
    else:
        with pytest.raises(UsageError, match=r"one-1\.0\.jar has sha256"):
            jars.resolve(LOCKED, target, environment)
        assert not target.exists()


def test_the_bundled_java_boots_with_the_module_that_it_lacks(tmp_path, monkeypatch):
    """Spark always passes it; the second call of the set-up writes nothing."""
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "with space"))
    assert java.write_bundled_home()
    assert not java.write_bundled_home()
    program = tmp_path / "with space" / "java" / "bin" / "java"
    done = subprocess.run(
        [program, "--add-modules=jdk.incubator.vector", "-Dname=two words", "-XshowSettings:properties", "-version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "name = two words" in done.stderr
