"""Copies the files of some hours from another file system into the landing folder, whole and under the same names.

What counts is decided there as it is here: a manifest lands after the file that it fits, a file without a manifest once it
is whole (`mirror_whole.py`). From then on nothing differs from files that an upstream put into the landing folder itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from pyspark.sql import SparkSession

from spark_jobs.config.drop_files import manifest_names
from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.invocation import format_hour
from spark_jobs.sources.copies import Copies, is_copy, sha256_of, size_of
from spark_jobs.sources.hadoop import RemoteFile, remote_files
from spark_jobs.sources.landing import hour_path
from spark_jobs.sources.manifest import Manifest, parse_manifest
from spark_jobs.sources.mirror_whole import mirror_whole
from spark_jobs.sources.shape import MAX_UNPACKED
from spark_jobs.storage.files import exclusive

log = structlog.get_logger()
_MAX_MANIFEST = 1 << 20  # bytes


@dataclass(frozen=True)
class Mirrored:
    """How many files were new or other than before, and why some hours have no whole files there."""

    copied: int
    waiting: dict[datetime, str]


def mirror_files(
    spark: SparkSession, name: str, source: SourceConf, landing: Path, hours: Iterable[datetime], now: datetime
) -> Mirrored:
    """Copy the whole files of `hours` below `landing`, the pipeline's own landing folder, those that differ from what is there.

    The newest version of an hour must be what its manifest says, an older one that is not is left out. `now` decides what
    nobody wrote to for long enough. A second call copies nothing.

    Raises:
        UsageError: no section hadoop, or see `remote_files`.
        RefusedError: a manifest is malformed, its file is missing, too large or not the one that it speaks of.
        RetryError: the file system does not answer in time, or a file changed while it was read.
    """
    wanted = list(hours)
    if source.hadoop is None:
        raise UsageError(
            name, f"a source of kind {source.kind} here", "one with a section hadoop", "name another source"
        )
    if source.complete.by == "stable" and not source.hadoop.tells_of_writing(root := source.hadoop.address()):
        found = f"complete.by: stable with {root}, which tells no time of the last writing to a file that is open"
        raise UsageError(name, found, "marker or manifest", "change complete.by in sources.yaml, or root_env")
    landing.mkdir(parents=True, exist_ok=True)
    waiting: dict[datetime, str] = {}
    with remote_files(spark, f"{name} {format_hour(wanted[0])}", source.hadoop) as upstream:
        copies = Copies(upstream, landing)
        for hour in wanted:
            if source.complete.by != "manifest":
                why = mirror_whole(copies, name, source, hour, now)
            else:
                why = _mirror_twice(copies, name, source, hour)
            if why:
                waiting[hour] = why
    return Mirrored(copies.copied, waiting)


@dataclass(frozen=True)
class _Version:
    """A manifest there: its bytes, its facts, and whether it lies here already."""

    number: int
    file: RemoteFile
    data: bytes
    facts: Manifest
    landed: bool


def _mirror_twice(copies: Copies, name: str, source: SourceConf, hour: datetime) -> str:
    """`_mirror_manifests`, a fault looked at twice: a listing is no single instant, and the upstream may be writing."""
    try:
        return _mirror_manifests(copies, name, source, hour)
    except RefusedError:
        copies.forget(hour_path(source.manifests, hour))
        return _mirror_manifests(copies, name, source, hour)


def _mirror_manifests(copies: Copies, name: str, source: SourceConf, hour: datetime) -> str:
    """Land the versions of `hour`, the newest first, each after its file; why there is none, else an empty text."""
    path, names = hour_path(source.manifests, hour), manifest_names(source.manifests, f"{hour:%Y-%m-%d}")
    beside = copies.beside(path)
    matches = [(names.fullmatch(file.name), file) for file in beside.values()]
    numbered = [(int(match[2] or 1), file) for match, file in matches if match and match[1] == f"{hour:%H}"]
    if not numbered:
        return f"no manifest {copies.url(path)}"
    folder = copies.folder(path)
    with exclusive(folder):
        versions = [_version(copies, folder, name, hour, number, file) for number, file in numbered]
        versions.sort(key=lambda one: (one.facts.arrived_at, one.number), reverse=True)
        named: set[str] = set()
        for version in versions:
            file = version.facts.file
            if names.fullmatch(file):
                raise _refused(version, f"its file {file} has the name of a manifest", "a file of data")
            try:
                if file not in named:  # else it has the bytes of the newer version that names it, too
                    _land_data(copies, folder / file, version, beside.get(file))
            except RefusedError as fault:
                if version is versions[0]:
                    raise
                log.warning("an older version is left out", manifest=fault.where, found=fault.found)
                continue
            named.add(file)
            if not version.landed:
                copies.put(version.data, folder / version.file.name, version.file.changed_ms)
    return ""


def _version(copies: Copies, folder: Path, name: str, hour: datetime, number: int, file: RemoteFile) -> _Version:
    here = folder / file.name
    landed = is_copy(here, file.bytes, file.changed_ms)
    if landed:
        data = here.read_bytes()
    else:
        part = copies.fetch(file, here, _MAX_MANIFEST)
        data = part.read_bytes()
        part.unlink()
    return _Version(number, file, data, parse_manifest(data, file.url, name, hour), landed)


def _land_data(copies: Copies, here: Path, version: _Version, file: RemoteFile | None) -> None:
    """Put the file of `version` at `here`, if that does not lie there.

    Raises:
        RefusedError: it is not what the manifest says; what lay there before stays.
    """
    facts = version.facts
    if size_of(here) == facts.bytes and (version.landed or sha256_of(here) == facts.sha256):
        return
    if file is None:
        raise _refused(version, f"its file {facts.file} is missing", f"a file of {facts.bytes} bytes beside it")
    if file.bytes != facts.bytes:
        raise _refused(version, f"its file {facts.file} has {file.bytes} bytes", f"{facts.bytes} bytes, as it says")
    part = copies.fetch(file, here, MAX_UNPACKED)
    if (found := sha256_of(part)) != facts.sha256:
        part.unlink()
        raise _refused(version, f"its file {facts.file} has sha256 {found}", f"sha256 {facts.sha256}, as it says")
    copies.settle(part, here, file.changed_ms)


def _refused(version: _Version, found: str, allowed: str) -> RefusedError:
    todo = "have it delivered again (as a new version), then fetch the hour: tidegate fetch --help"
    return RefusedError(version.file.url, found, allowed, todo)
