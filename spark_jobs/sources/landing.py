"""Puts a drop into the landing folder as an upstream does: the data file, then the manifest that makes it count.

Nothing that a manifest names is ever written over with other bytes by us: other bytes are the hour's next version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.failpoints import failpoint
from spark_jobs.sources.drops import Drop, drops_of
from spark_jobs.sources.manifest import Manifest
from spark_jobs.storage.files import exclusive, sha256_of, whole_file, write_whole


@dataclass(frozen=True)
class Landed:
    """The newest drop of an hour after landing; `written`: false when it was there already, whole."""

    manifest: Path
    file: Path
    version: int
    rows: int
    bytes: int
    written: bool

    @staticmethod
    def of(drop: Drop, *, written: bool) -> Landed:
        """The drop, which was there already."""
        return Landed(Path(drop.manifest), Path(drop.path), drop.version, drop.rows, drop.bytes, written)


@dataclass(frozen=True)
class FetchedDrop:
    """The newest drop of an hour; `written`: its bytes are new or its file was restored; `pages`: of an API, else 0."""

    source: str
    hour: datetime
    manifest: Path
    version: int
    rows: int
    bytes: int
    written: bool
    pages: int = 0

    @staticmethod
    def of(source: str, hour: datetime, landed: Landed, pages: int = 0) -> FetchedDrop:
        """The drop that was landed."""
        return FetchedDrop(
            source, hour, landed.manifest, landed.version, landed.rows, landed.bytes, landed.written, pages
        )


@dataclass(frozen=True)
class NextVersion:
    """Where the next version of an hour goes, and those that are there, the newest last."""

    source: str
    hour: datetime
    there: list[Drop]
    number: int
    path: Path  # of its manifest

    @property
    def newest(self) -> Drop | None:
        """The drop that counts so far."""
        return self.there[-1] if self.there else None

    def state(self, file: str, data: bytes, rows: int, arrived_at: datetime) -> Landed:
        """Write the manifest of `data`, of `rows` rows, that lies in `file` beside it: from now on the drop counts.

        It arrives no earlier than the newest one, so that it is the newest.
        """
        return self.state_facts(file, len(data), hashlib.sha256(data).hexdigest(), rows, arrived_at)

    def state_facts(self, file: str, size: int, sha256: str, rows: int, arrived_at: datetime) -> Landed:
        """Write the manifest of a file of `size` bytes with this hash; see `state`."""
        manifest = Manifest(
            schema_version=1, source=self.source, hour=self.hour, file=file, rows=rows, bytes=size, sha256=sha256,
            arrived_at=max(arrived_at, self.newest.arrived_at) if self.newest else arrived_at,
        )  # fmt: skip
        write_whole(self.path, manifest.text())
        return Landed(self.path, self.path.with_name(file), self.number, rows, size, True)


@contextmanager
def next_version(name: str, source: SourceConf, landing: Path, hour: datetime) -> Iterator[NextVersion]:
    """The next version of `hour` below `landing`; callers of this machine, in whatever process, go one after the other.

    Raises:
        RefusedError: a manifest of the hour is malformed, or its folder leads out of `landing`.
    """
    landing.mkdir(parents=True, exist_ok=True)
    conf = SourcesConf(sources={name: source})
    drops_of(conf, landing, name, [hour])  # refuses a folder that leads elsewhere before anything is made in it
    folder = (landing / manifest_path(source.manifests, hour, 1)).parent
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        there = drops_of(conf, landing, name, [hour]).get(hour, [])
        number = max((drop.version for drop in there), default=0) + 1
        path = landing / manifest_path(source.manifests, hour, number)
        yield NextVersion(name, hour, there, number, path)


def land(
    name: str, source: SourceConf, landing: Path, hour: datetime, data: bytes, rows: int, arrived_at: datetime
) -> Landed:
    """Make `data`, of `rows` rows, the newest drop of `hour` below `landing`, the pipeline's own landing folder.

    The same bytes as the newest drop's change nothing, but a data file that is gone or cut is written again. Callers
    at the same time go one after the other.

    Raises:
        RefusedError: a manifest of the hour is malformed, or its folder leads out of `landing`.
    """
    return land_parts(name, source, landing, hour, lambda: [data], rows, arrived_at)


def land_parts(
    name: str, source: SourceConf, landing: Path, hour: datetime, parts: Callable[[], Iterable[bytes]], rows: int,
    arrived_at: datetime,
) -> Landed:  # fmt: skip
    """Make the bytes that each call of `parts` yields the newest drop of `hour`, in bounded memory; see `land`.

    Raises:
        RefusedError: see `land`.
    """
    digest, size = hashlib.sha256(), 0
    for part in parts():
        digest.update(part)
        size += len(part)
    sha256 = digest.hexdigest()
    with next_version(name, source, landing, hour) as following:
        newest = following.newest
        if newest and newest.sha256 == sha256:
            written = not _has(Path(newest.path), sha256)
            if written:
                _write(Path(newest.path), parts())
            return Landed.of(newest, written=written)
        path = following.path
        file = path.with_name(f"{path.name.removesuffix('.json').removesuffix('.manifest')}.{source.format}")
        _write(file, parts())
        failpoint("fetch.manifest.before")
        return following.state_facts(file.name, size, sha256, rows, arrived_at)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with whole_file(path) as file:
        for part in parts:
            file.write(part)


def _has(path: Path, sha256: str) -> bool:
    """Whether a file with this hash is at `path`."""
    try:
        return sha256_of(path) == sha256
    except FileNotFoundError:
        return False


def manifest_path(template: str, hour: datetime, version: int) -> str:
    """Path of the manifest of one version of an hour, below the landing folder."""
    return hour_path(template, hour, "" if version == 1 else f".{version}")


def hour_path(template: str, hour: datetime, mark: str = "") -> str:
    """The path that a template with {day} and {hour} gives for `hour`, `mark` set after the hour."""
    return template.replace("{day}", f"{hour:%Y-%m-%d}").replace("{hour}", f"{hour:%H}{mark}")
