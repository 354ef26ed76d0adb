"""Doctor's checks: can this machine run a step, and if not, what exactly mends it.

Each check looks and changes nothing that stays; a fault is a result, never an exception.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from spark_jobs.errors import UsageError
from spark_jobs.runtime import jars, java, places

NEEDED_MEMORY_MB = 6144  # a bulk driver of 3 GB, its Python workers, and Airflow's three services
NEEDED_DISK_MB = 6144  # the demo's aim: everything that it writes
_PINNED = ("pyspark", "delta-spark", "apache-airflow", "mlflow", "great-expectations")


@dataclass(frozen=True)
class Check:
    """One looked-at thing: what was found, what is allowed, and the fix when it is not ok."""

    name: str
    ok: bool
    found: str
    allowed: str
    fix: str = ""


def run_checks(
    data_root: Path,
    ports: Iterable[int],
    quick: bool,
    *,
    memory_mb: int = NEEDED_MEMORY_MB,
    disk_mb: int = NEEDED_DISK_MB,
) -> list[Check]:
    """Every check, in the order in which faults are best mended.

    Args:
        data_root: folder of everything that the pipelines write; need not exist yet.
        ports: that services are about to listen on, at 127.0.0.1.
        quick: start no process; Java is then judged by its `release` file.
        memory_mb: what the largest step and its neighbours need, MiB.
        disk_mb: what the next runs write, MiB.
    """
    return [
        *(check_version(name) for name in _PINNED),
        check_java(places.java_home(), quick),
        check_jars(places.cache_dir() / "jars", places.JARS_LOCK),
        check_memory(memory_mb),
        check_disk(data_root, disk_mb),
        check_writable("data folder", data_root),
        check_writable("cache folder", places.cache_dir()),
        *(check_port(port) for port in ports),
    ]


def check_version(distribution: str, required_by: str = "tidegate") -> Check:
    """The installed version against the one that `required_by` pins; not imported."""
    allowed = next(
        (
            text.split(";")[0].partition("==")[2].strip()
            for text in metadata.requires(required_by) or []
            if text.startswith(f"{distribution}==")
        ),
        "",
    )
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return Check(distribution, False, "not installed", allowed, "make setup")
    return Check(distribution, found == allowed, found, allowed, "" if found == allowed else "make setup")


def check_java(home: Path, quick: bool) -> Check:
    """The Java home has a runtime of a supported version; unless quick, it boots with what Spark passes."""
    allowed = f"Java {', '.join(map(str, java.SUPPORTED))} at JAVA_HOME {home}"
    fix = "make setup"
    if os.environ.get("TIDEGATE_JAVA_HOME"):
        fix = "point TIDEGATE_JAVA_HOME at a Java 17, 21 or 25, or unset it to use the bundled one"
    program = home / "bin" / "java"
    if not os.access(program, os.X_OK):
        return Check("java", False, f"no program {program}", allowed, fix)
    major = places.java_major(home)
    if major is not None and major not in java.SUPPORTED:
        return Check("java", False, f"Java {major}", allowed, fix)
    if quick:
        return Check("java", True, f"Java {major or 'of unknown version'}", allowed)
    return _boot_java(program, allowed, fix)


def _boot_java(program: Path, allowed: str, fix: str) -> Check:
    command = [str(program), "--add-modules=jdk.incubator.vector", "-version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("java", False, f"{program} does not run: {error}", allowed, fix)
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line and not line.startswith("WARNING")]
    told = next((line for line in lines if "version" in line), lines[0] if lines else "nothing")
    digits = told.partition('"')[2].split(".")[0].split("-")[0].split('"')[0]
    ok = done.returncode == 0 and digits.isdigit() and int(digits) in java.SUPPORTED
    return Check("java", ok, told, allowed, "" if ok else fix)


def check_jars(folder: Path, lock: Path) -> Check:
    """Every locked jar is in the folder with its sha256 (13 MB are read, 20 ms)."""
    try:
        locked = jars.read_lock(lock)
    except UsageError as error:
        return Check("jars", False, f"{error.where}: {error.found}", error.allowed, error.todo)
    wrong = jars.faults(folder, locked)
    found = "; ".join(wrong) or f"{len(locked)} jars with their sha256"
    return Check("jars", not wrong, found, f"the jars of {lock}", "make setup" if wrong else "")


def check_memory(needed_mb: int) -> Check:
    """Free memory of the machine, or of the container's limit when that is less."""
    free = available_memory_mb()
    ok = free is None or free >= needed_mb
    found = "unknown" if free is None else f"{free} MB free"
    fix = "" if ok else "stop other programs, give the container more, or lower memory_mb in conf/environments"
    return Check("memory", ok, found, f"at least {needed_mb} MB", fix)


def available_memory_mb() -> int | None:
    """Memory that new processes can get, MiB; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:")), None)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = (group / "memory.current").read_text(encoding="utf-8").strip()
    except OSError:
        return free
    if not limit.isdigit():
        return free
    left = (int(limit) - int(used)) // 2**20
    return left if free is None else min(free, left)


def check_disk(folder: Path, needed_mb: int) -> Check:
    """Free space where `folder` is or will be."""
    free = shutil.disk_usage(_nearest_existing(folder)).free // 2**20
    ok = free >= needed_mb
    fix = "" if ok else "free some space, or set TIDEGATE_DATA to a folder on a larger disk"
    return Check("disk", ok, f"{free} MB free at {folder}", f"at least {needed_mb} MB", fix)


def check_writable(name: str, folder: Path) -> Check:
    """A file can be made in `folder`, or in the nearest parent that exists; it is removed again."""
    place = _nearest_existing(folder)
    allowed = "a folder in which files can be made"
    fix = f"make {folder} a folder that this user owns, or name another (TIDEGATE_DATA, TIDEGATE_CACHE)"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".tidegate-"):
            return Check(name, True, str(folder), allowed)
    except OSError as error:
        return Check(name, False, f"{folder}: {error.strerror} at {place}", allowed, fix)


def check_port(port: int) -> Check:
    """Nothing listens on the port at 127.0.0.1."""
    allowed = "a free port"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            fix = f"stop what listens there (ss -ltnp 'sport = :{port}'), or name another port"
            return Check(f"port {port}", False, str(error), allowed, fix)
    return Check(f"port {port}", True, "free", allowed)


def _nearest_existing(folder: Path) -> Path:
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
