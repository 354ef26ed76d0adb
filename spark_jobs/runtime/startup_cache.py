"""The JVM's start-up cache (AOT cache, Java 25): its key, its place, and the flags that use it when it is there.

A small step spends a third of its CPU on loading classes; the cache is tied to the JVM's build, the class path and the
collector, so all three are its key, and where nothing matches the JVM simply starts without it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from spark_jobs.runtime import places

_FIRST_JAVA = 25  # -XX:AOTCacheOutput in one step: JEP 514; older JVMs do not know the option
# The JVM reports a cache that does not fit on stdout, where a step's result line goes.
_QUIET = ("-Xlog:disable", "-Xlog:all=warning,aot*=off,cds*=off:stderr")


def cache_file(jvm_flags: Sequence[str], class_path: list[Path]) -> Path | None:
    """Where the cache of this JVM, class path and flags belongs, there or not; None for a Java that has no such cache.

    Args:
        jvm_flags: collector and compiler flags; another collector needs another cache.
        class_path: the jars put before Spark's own, in order.
    """
    home = places.java_home()
    major = places.java_major(home)
    if major is None or major < _FIRST_JAVA:
        return None
    digest = hashlib.sha256((home / "release").read_bytes())
    digest.update("\n".join([str(home), *jvm_flags]).encode())
    for path in [*class_path, *_by_name(places.spark_home() / "jars")]:
        stat = path.stat()  # the JVM itself compares sizes and modification times
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return places.cache_dir() / "aot" / f"{digest.hexdigest()[:16]}.aot"


def flags(jvm_flags: Sequence[str], class_path: list[Path]) -> list[str]:
    """The JVM options that use the cache, or none when there is no cache for exactly this JVM."""
    path = cache_file(jvm_flags, class_path)
    return [f"-XX:AOTCache={path}", *_QUIET] if path is not None and path.is_file() else []


def build_flags(target: Path) -> list[str]:
    """The JVM options of the one run whose loaded classes become the cache at `target`, written when it ends."""
    return [f"-XX:AOTCacheOutput={target}", "-Xlog:disable"]


def _by_name(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(os.listdir(folder))]
