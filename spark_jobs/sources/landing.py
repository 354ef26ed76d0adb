"""Puts a drop into the landing folder as an upstream does: the data file, then the manifest that makes it count.

Nothing that a manifest names is ever written over with other bytes: other bytes are the hour's next version.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.failpoints import failpoint
from spark_jobs.sources.drops import drops_of
from spark_jobs.sources.manifest import Manifest, write_whole


@dataclass(frozen=True)
class Landed:
    """The newest drop of an hour after landing; `written`: false when it was there already, whole."""

    manifest: Path
    file: Path
    version: int
    written: bool


def land(
    name: str, source: SourceConf, landing: Path, hour: datetime, data: bytes, rows: int, arrived_at: datetime
) -> Landed:
    """Make `data`, of `rows` rows, the newest drop of `hour` below `landing`, the pipeline's own landing folder.

    The same bytes as the newest drop's change nothing, but a data file that is gone or cut is written again. Callers
    at the same time, in whatever process of this machine, go one after the other.

    Raises:
        RefusedError: a manifest of the hour is malformed, or its folder leads out of `landing`.
    """
    landing.mkdir(parents=True, exist_ok=True)
    conf = SourcesConf(sources={name: source})
    drops_of(conf, landing, name, [hour])  # refuses a folder that leads elsewhere before anything is made in it
    first = landing / _manifest(source.manifests, hour, 1)
    first.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256(data).hexdigest()
    with _alone(first.parent):
        versions = drops_of(conf, landing, name, [hour]).get(hour)
        newest = versions[-1] if versions else None
        if newest and newest.sha256 == sha256:
            file = Path(newest.path)
            written = not file.exists() or file.read_bytes() != data
            if written:
                write_whole(file, data)
            return Landed(Path(newest.manifest), file, newest.version, written)
        version = 1
        while (path := landing / _manifest(source.manifests, hour, version)).exists():
            version += 1
        file = path.with_name(f"{path.name.removesuffix('.json').removesuffix('.manifest')}.{source.format}")
        manifest = Manifest(
            schema_version=1, source=name, hour=hour, file=file.name, rows=rows, bytes=len(data), sha256=sha256,
            arrived_at=max(arrived_at, newest.arrived_at) if newest else arrived_at,
        )  # fmt: skip
        write_whole(file, data)
        failpoint("fetch.manifest.before")
        write_whole(path, manifest.text().encode())
        return Landed(path, file, version, True)


def _manifest(template: str, hour: datetime, version: int) -> str:
    """Path of the manifest of one version of an hour, below the landing folder."""
    mark = f"{hour:%H}" if version == 1 else f"{hour:%H}.{version}"
    return template.replace("{day}", f"{hour:%Y-%m-%d}").replace("{hour}", mark)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While in force, no other caller on this machine is here with the same folder; the lock ends with the process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
