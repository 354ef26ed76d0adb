"""Makes a drop of a file whose upstream writes no manifest, once the file is whole: its manifest is written beside it.

Kinds of wholeness are `complete` of sources.yaml. From then on nothing differs from a drop that came with a manifest. The
clock is the caller's; no Spark.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spark_jobs.config.drop_files import CompleteConf
from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.sources.drops import Drop, must_lie_below
from spark_jobs.sources.landing import Landed, NextVersion, hour_path, next_version
from spark_jobs.sources.manifest import Manifest
from spark_jobs.sources.parse import count_rows
from spark_jobs.sources.shape import MAX_UNPACKED, FileFault

_LONG_AGO = timedelta(days=1)  # a file left alone for so long needs no second look, which a backfill would wait for
_LATER = "the same command goes on when the file is whole"


def adopt_drop(
    name: str, source: SourceConf, landing: Path, hour: datetime, now: datetime,
    *, wait_seconds: float = 2.0, sleep: Callable[[float], None] = time.sleep,
) -> Landed:  # fmt: skip
    """Make the whole file of `hour` below `landing`, the pipeline's own landing folder, a drop: write its manifest.

    The bytes of the newest drop change nothing; other bytes under the same name become the hour's next version. The drop
    arrives when its marker, or else its file, was last changed. Not for sources whose upstream writes manifests.

    Raises:
        RetryError: the file is not there or not whole at `now`; its text says why.
        RefusedError: it or its marker was changed in the future, it is a link, leads out of `landing`, cannot be unpacked, is
            too large, or has no rows, which only a manifest can confirm; or a manifest of the hour is malformed.
    """
    root, complete = Path(os.path.realpath(landing)), source.complete
    where = f"{name} {format_hour(hour)}"
    path = root / hour_path(str(complete.data), hour)
    if not path.parent.is_dir():
        raise _not_yet(where, f"no file {path.name}")
    with next_version(name, source, root, hour) as following:
        seen = _look(path, root)
        if following.newest and (seen is None or _is_drop(path, seen, following.there)):
            return Landed.of(following.newest, written=False)
        if seen is None:
            raise _not_yet(where, f"no file {path.name}")
        arrived = _arrival(where, complete, root, hour, seen, now, source.clock_skew)
        data = _read(path)
        if complete.by == "stable" and now - arrived < _LONG_AGO:
            sleep(wait_seconds)
        again = _look(path, root)
        if again is None or _state(again) != _state(seen) or len(data) != seen.st_size:
            raise _not_yet(where, f"{path.name} changed while it was read")
        rows = _rows(path, data, source)
        if not rows:
            raise _empty(path, data, following, arrived)
        return following.state(path.name, data, rows, arrived)


def _not_yet(where: str, found: str) -> RetryError:
    return RetryError(where, f"waiting: {found}", "a whole file, as `complete` of sources.yaml says", _LATER)


def _look(path: Path, root: Path) -> os.stat_result | None:
    """What lies at `path`, none when nothing does; only a file of its own is legal there."""
    must_lie_below(path.parent, root)
    try:
        seen = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(seen.st_mode):
        kind = "a link" if stat.S_ISLNK(seen.st_mode) else "no file"
        raise RefusedError(str(path), kind, "a file of its own, below the landing folder", "put the file itself there")
    return seen


def _state(seen: os.stat_result) -> tuple[int, int, int]:
    return seen.st_size, seen.st_mtime_ns, seen.st_ino


def _is_drop(path: Path, seen: os.stat_result, there: list[Drop]) -> bool:
    """Whether the newest drop of this very file speaks of the bytes that it holds; one by hand may be newer still."""
    last = next((drop for drop in reversed(there) if drop.path == str(path)), None)
    return last is not None and last.bytes == seen.st_size and last.sha256 == hashlib.sha256(_read(path)).hexdigest()


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a link or pipe put there since the look
    with open(handle, "rb") as stream:
        data = stream.read(MAX_UNPACKED + 1)
    if len(data) > MAX_UNPACKED:
        raise _refused(path, f"size: more than {MAX_UNPACKED} bytes")
    return data


def _arrival(
    where: str, complete: CompleteConf, root: Path, hour: datetime, data: os.stat_result, now: datetime, skew: timedelta
) -> datetime:
    """When the drop arrived, if its file may be whole at `now`.

    Raises:
        RetryError: it may not.
        RefusedError: the file or its marker was changed more than `skew` after `now`.
    """
    changed = _must_not_be_ahead(root / hour_path(str(complete.data), hour), data, now + skew)
    if complete.marker is not None:
        path = root / hour_path(complete.marker, hour)
        marker = _look(path, root)
        if marker is None:
            raise _not_yet(where, f"no marker {path.name}")
        if marker.st_mtime_ns < data.st_mtime_ns:
            raise _not_yet(where, f"the marker {path.name} is older than the file, and speaks of a former one")
        if _must_not_be_ahead(path, marker, now + skew) > now:
            raise _not_yet(where, f"the marker {path.name} is of {format_hour(_instant(marker))}Z, which is not yet")
        return _instant(marker)
    due = max(changed, hour + HOUR) + (complete.quiet or HOUR)
    if now < due:
        raise _not_yet(
            where, f"the file was last changed at {format_hour(changed)}Z, and is whole from {format_hour(due)}Z on"
        )
    return changed


def _must_not_be_ahead(path: Path, seen: os.stat_result, latest: datetime) -> datetime:
    changed = _instant(seen)
    if changed <= latest:
        return changed
    raise RefusedError(
        str(path), f"was last changed at {format_hour(changed)}Z, which lies in the future",
        f"at most {format_hour(latest)}Z, which is this machine's clock and clock_skew of sources.yaml",
        f"touch {path}, or set the clock of the machine that wrote it",
    )  # fmt: skip


def _instant(seen: os.stat_result) -> datetime:
    return datetime.fromtimestamp(seen.st_mtime_ns // 1_000_000_000, UTC)


def _rows(path: Path, data: bytes, source: SourceConf) -> int:
    try:
        return count_rows(data, path.name, source) if data else 0
    except FileFault as fault:
        raise _refused(path, str(fault)) from fault


def _refused(path: Path, found: str) -> RefusedError:
    todo = "have it delivered again under the same name; no manifest was written for it"
    return RefusedError(str(path), found, "a whole file of the source's format", todo)


def _empty(path: Path, data: bytes, following: NextVersion, arrived: datetime) -> RefusedError:
    manifest = Manifest(
        schema_version=1, source=following.source, hour=following.hour, file=path.name, rows=0, bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(), arrived_at=arrived,
    )  # fmt: skip
    return RefusedError(
        str(path), "no rows, and nobody says that the hour has none", "rows, or a manifest that says 0",
        f"have it delivered again; or, if the hour is truly empty, write {following.path} by hand: {manifest.text().strip()}",
    )  # fmt: skip
