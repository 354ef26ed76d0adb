"""Where this machine keeps what a run needs: the checkout, its cache, Java, Spark and the jars.

Everything is found from this file and three environment variables; nothing is imported from what is found.
"""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

from spark_jobs.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[2]
JARS_LOCK = CHECKOUT / "jars.lock"


def cache_dir() -> Path:
    """Folder of everything that `make setup` generates: TIDEGATE_CACHE, else `.cache` of the checkout."""
    return Path(os.environ.get("TIDEGATE_CACHE") or CHECKOUT / ".cache").absolute()


def bundled_java_home() -> Path:
    """Java home that `make setup` writes: a `bin/java` wrapper around the locked runtime and its `release` file."""
    return cache_dir() / "java"


def java_home() -> Path:
    """The Java home of every JVM: TIDEGATE_JAVA_HOME (a user's Java 17, 21 or 25), else the bundled one."""
    own = os.environ.get("TIDEGATE_JAVA_HOME")
    return Path(own).expanduser().absolute() if own else bundled_java_home()


def package_dir(package: str) -> Path:
    """Folder of an installed package, found without importing it.

    Raises:
        UsageError: the package is not installed in this environment.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"Python package {package}", "not installed", "the environment of uv.lock", "make setup")
    return Path(next(iter(spec.submodule_search_locations)))


def spark_home() -> Path:
    """The Spark that this environment's pyspark carries; a SPARK_HOME of the shell is never followed."""
    return package_dir("pyspark")


def java_major(home: Path) -> int | None:
    """Major version from the home's `release` file, without starting a JVM; None when the file does not say."""
    try:
        lines = (home / "release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition("=")
        if name == "JAVA_VERSION":
            head = value.strip().strip('"').split(".")[0].split("-")[0].split("+")[0]
            return int(head) if head.isdigit() else None
    return None


def code_version(project: Path) -> str:
    """The commit of the project's checkout, with -dirty where files differ from it; the package's version outside one.

    TIDEGATE_CODE_VERSION says it where there is no checkout, as in a container image.
    """
    named = os.environ.get("TIDEGATE_CODE_VERSION")
    if named:
        return named
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # no git on this machine
        found = ""
    return found or "0.1.0"
