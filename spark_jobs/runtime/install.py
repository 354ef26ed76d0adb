"""`python -m spark_jobs.runtime.install`: the part of `make setup` that comes after the Python packages.

Java home, jars, start-up cache; each is compared by content first, so that a second call does nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spark_jobs.config.load import load_environment
from spark_jobs.errors import TidegateError
from spark_jobs.runtime import jars, java, places, spark, startup_cache

_WARM_UP = Path(__file__).parent / "warm_up" / "job.py"


def install() -> None:
    """Bring the cache to what the locks say; quiet when it is there already.

    Raises:
        UsageError: a package is missing, the jars could not be fetched, or one has another sha256 than the lock.
    """
    if java.write_bundled_home():
        _say("Java home written", places.bundled_java_home())
    locked = jars.read_lock(places.JARS_LOCK)
    folder = places.cache_dir() / "jars"
    if jars.faults(folder, locked):
        started = time.monotonic()
        jars.resolve(locked, folder, {**os.environ, **spark.process_environment()})
        _say(f"{len(locked)} jars fetched and checked in {time.monotonic() - started:.0f} s", folder)
    _build_startup_cache()


def _build_startup_cache() -> None:
    profile = load_environment(os.environ.get("TIDEGATE_ENV", "local"))[0].spark.hourly
    target = spark.startup_cache_file(profile)
    if target is None or target.is_file() or target.with_suffix(".failed").is_file():
        return
    started = time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    conf = spark.spark_conf(profile)
    conf["spark.driver.extraJavaOptions"] += " " + " ".join(startup_cache.build_flags(part))
    with tempfile.TemporaryDirectory(prefix="tidegate-warm-up-") as scratch:
        command = spark.submit_script(
            _WARM_UP, [scratch], master="local[2]", memory_mb=1024, conf=conf, name="tidegate warm-up"
        )
        done = subprocess.run(
            command, env={**os.environ, **spark.process_environment()}, capture_output=True, text=True, check=False
        )
    if done.returncode != 0 or not part.is_file():
        failed = target.with_suffix(".failed")
        failed.write_text(done.stdout + done.stderr, encoding="utf-8")
        part.unlink(missing_ok=True)
        _say("start-up cache could not be built (steps start slower, nothing else); remove this to try again", failed)
        return
    for old in target.parent.glob("*.aot"):  # 200 MB each, and no JVM but the one just seen can use it
        old.unlink()
    part.replace(target)
    _say(f"start-up cache built in {time.monotonic() - started:.0f} s", target)


def _say(what: str, where: Path) -> None:
    print(f"setup: {what}: {where}", flush=True)


def main() -> int:
    """Exit code of the set-up; a fault is printed in its four parts."""
    try:
        install()
    except TidegateError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
