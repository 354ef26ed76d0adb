"""The jars that Spark lacks: what jars.lock names, whether the cache holds exactly that, and how Spark's Ivy fetches them once.

A run never resolves anything: it is handed the cached files, whose sha256 was checked when they came in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from spark_jobs.errors import UsageError
from spark_jobs.runtime import places
from spark_jobs.values import Lines

_SHIPPED_BY_SPARK = (
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.scala-lang:scala-library",
    "com.fasterxml.jackson.core:jackson-annotations",
    "com.fasterxml.jackson.core:jackson-core",
    "com.fasterxml.jackson.core:jackson-databind",
    "com.fasterxml.jackson.datatype:jackson-datatype-jdk8",
    "com.fasterxml.jackson.datatype:jackson-datatype-jsr310",
    "org.apache.parquet:parquet-hadoop",
    "org.slf4j:slf4j-api",
    "org.roaringbitmap:RoaringBitmap",
    "org.locationtech.jts:jts-core",
    "org.apache.logging.log4j:log4j-api",
    "org.apache.logging.log4j:log4j-core",
    "org.apache.logging.log4j:log4j-1.2-api",
    "org.apache.logging.log4j:log4j-slf4j2-impl",
)
# One resolver: with Spark's default settings a half-filled ~/.m2 makes the resolution fail ("local-m2-cache: tried").
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""
_SYSTEM_TRUST_STORE = Path("/etc/ssl/certs/java/cacerts")


@dataclass(frozen=True)
class LockedJar:
    """One line of jars.lock."""

    coordinate: str
    sha256: str
    asked: bool = False  # by us; the others are what those need

    @property
    def file_name(self) -> str:
        """`artifact-version.jar`, its name in the cache."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def read_lock(lock: Path) -> list[LockedJar]:
    """The locked jars in class-path order.

    Raises:
        UsageError: the file is missing, or a line is not `group:artifact:version sha256 [asked]`.
    """
    if not lock.is_file():
        raise UsageError(
            str(lock), "no such file", "one line a jar: group:artifact:version sha256", f"git checkout {lock}"
        )
    jars = []
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[2:] not in ([], ["asked"]) or words[0].count(":") != 2 or len(words[1:2] and words[1]) != 64:
            allowed = "group:artifact:version sha256 [asked]"
            raise UsageError(f"{lock}:{number}", f"'{line}'", allowed, f"git checkout {lock}")
        jars.append(LockedJar(words[0], words[1], len(words) == 3))
    return jars


def sha256_of(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def jar_paths() -> list[Path]:
    """The cached jars in class-path order, by name only: their content was checked at set-up.

    Raises:
        UsageError: a locked jar is not in the cache.
    """
    folder = places.cache_dir() / "jars"
    paths = [folder / jar.file_name for jar in read_lock(places.JARS_LOCK)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UsageError(str(folder), f"missing {', '.join(missing)}", "the jars of jars.lock", "make setup")
    return paths


def faults(folder: Path, locked: list[LockedJar]) -> list[str]:
    """One sentence for each locked jar that `folder` lacks or holds with another sha256; empty when all is well."""
    found = []
    for jar in locked:
        path = folder / jar.file_name
        if not path.is_file():
            found.append(f"{jar.file_name} is missing")
        elif (actual := sha256_of(path)) != jar.sha256:
            found.append(f"{jar.file_name} has sha256 {actual}, jars.lock says {jar.sha256}")
    return found


def resolve(locked: list[LockedJar], folder: Path, environment: dict[str, str]) -> None:
    """Fetch the locked jars with Spark's own Ivy, check them, and only then put them into `folder`.

    Args:
        locked: what must come; those marked so are asked for, the others are what they need.
        folder: gets `artifact-version.jar` files, each by rename, so that a half-copied one never has its name.
        environment: of the spark-submit process (JAVA_HOME, PYSPARK_PYTHON …).

    Raises:
        UsageError: the resolution failed, or what came is not what jars.lock names; `folder` is unchanged then.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-ivy-") as scratch:
        fetched = _fetch(locked, Path(scratch), environment)
        wrong = faults(fetched, locked)
        extra = sorted({path.name for path in fetched.iterdir()} - {jar.file_name for jar in locked})
        wrong += [f"{name} is needed by one of them, but jars.lock does not name it" for name in extra]
        if wrong:
            todo = (
                "do not run with these jars; if the lock is out of date, correct it: coordinate sha256 (sha256sum FILE)"
            )
            raise UsageError("jars.lock", "; ".join(wrong), "exactly the locked jars with their sha256", todo)
        folder.mkdir(parents=True, exist_ok=True)
        for jar in locked:
            part = folder / f"{jar.file_name}.part"
            shutil.copyfile(fetched / jar.file_name, part)
            part.replace(folder / jar.file_name)


def _fetch(locked: list[LockedJar], scratch: Path, environment: dict[str, str]) -> Path:
    settings = scratch / "ivysettings.xml"
    settings.write_text(_IVY_SETTINGS, encoding="utf-8")
    nothing = scratch / "nothing.py"
    nothing.write_text("", encoding="utf-8")
    command = [str(places.spark_home() / "bin" / "spark-submit"), "--master", "local[1]"]
    # Only those: named by itself, a jar that Delta needs brings what Delta's own pom excludes.
    command += ["--packages", ",".join(jar.coordinate for jar in locked if jar.asked)]
    command += ["--exclude-packages", ",".join(_SHIPPED_BY_SPARK)]
    command += ["--conf", f"spark.jars.ivySettings={os.environ.get('TIDEGATE_IVY_SETTINGS') or settings}"]
    command += ["--conf", f"spark.jars.ivy={scratch / 'ivy'}", str(nothing)]
    # Behind a proxy that inspects TLS only the system's store knows its certificate.
    trust = f"-Djavax.net.ssl.trustStore={_SYSTEM_TRUST_STORE}" if _SYSTEM_TRUST_STORE.is_file() else ""
    options = " ".join(part for part in (environment.get("SPARK_SUBMIT_OPTS", ""), trust) if part)
    done = subprocess.run(
        command, env={**environment, "SPARK_SUBMIT_OPTS": options}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-8:]
        todo = "check the way to Maven Central (proxy: SPARK_SUBMIT_OPTS=-Dhttps.proxyHost=…), or name a mirror's Ivy "
        todo += "settings in TIDEGATE_IVY_SETTINGS, then: make setup"
        raise UsageError(
            "jars.lock", Lines.of(["Ivy could not fetch the jars:", *last]), "Maven Central or a mirror", todo
        )
    fetched = scratch / "jars"
    fetched.mkdir()
    for path in (scratch / "ivy" / "jars").glob("*.jar"):  # Ivy names them group_artifact-version.jar
        shutil.move(path, fetched / path.name.partition("_")[2])
    return fetched
