"""Copies the files of some hours from another file system into the landing folder, whole and under the same names.

Whether a file is complete is decided by what is there: a manifest lands after the file that it fits, a file without a
manifest once it is complete (`whole.py`). From then on nothing differs from files that an upstream put there itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from spark_jobs.config.drop_files import manifest_names
from spark_jobs.connectors.delivery import FetchRequest
from spark_jobs.connectors.files.copies import Copies, is_copy, size_of
from spark_jobs.connectors.files.remote import RemoteFile, remote_files
from spark_jobs.connectors.files.whole import mirror_whole
from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.sources.landing import hour_path
from spark_jobs.sources.manifest import Manifest, parse_manifest
from spark_jobs.sources.shape import MAX_UNPACKED
from spark_jobs.storage.files import exclusive, sha256_of

log = structlog.get_logger()
_MAX_MANIFEST = 1 << 20  # bytes


@dataclass(frozen=True)
class Mirrored:
    """How many files were copied for each hour that had new ones, and why some hours have no complete files there."""

    copied: dict[datetime, int]
    waiting: dict[datetime, str]


def mirror_files(request: FetchRequest) -> Mirrored:
    """Copy the complete files of the hours that differ from what is in the landing folder.

    The newest version of an hour must be what its manifest states, an older one that is not is left out. `request.now`
    decides what nobody wrote to for long enough. A second call copies nothing.

    Raises:
        UsageError: no section remote, or see `remote_files`.
        RefusedError: a manifest is malformed, its file is missing, too large or not the one that it describes.
        RetryError: the file system does not answer in time, or a file changed while it was copied.
    """
    source, remote, waiting, copied = (
        request.source,
        request.source.remote,
        dict[datetime, str](),
        dict[datetime, int](),
    )
    if remote is None:
        found = f"a source of kind {source.kind} without a section remote"
        raise UsageError(request.where, found, "one of kind files with a section remote", "name another source")
    try:
        source.require_times(remote.address())
    except ValueError as error:
        hint = "change complete.by in sources.yaml, or root_env"
        raise UsageError(request.where, str(error), "a file system that shows times, or manifests", hint) from None
    request.landing.mkdir(parents=True, exist_ok=True)
    with remote_files(request.where, remote) as upstream:
        copies = Copies(upstream, request.landing)
        for hour in request.hours:
            before = copies.copied
            why = (_mirror_twice if source.complete.by == "manifest" else mirror_whole)(copies, request, hour)
            if why:
                waiting[hour] = why
            if copies.copied > before:
                copied[hour] = copies.copied - before
    return Mirrored(copied, waiting)


@dataclass(frozen=True)
class _Version:
    """A manifest there: its bytes, its facts, and whether it is here already; `where` begins errors about it."""

    where: str
    number: int
    file: RemoteFile
    data: bytes
    facts: Manifest
    landed: bool


def _mirror_twice(copies: Copies, request: FetchRequest, hour: datetime) -> str:
    """`_mirror_manifests`, tried again after a refusal: a listing is not one instant, and the upstream may be writing."""
    try:
        return _mirror_manifests(copies, request, hour)
    except RefusedError:
        copies.forget(hour_path(request.source.manifests, hour))
        return _mirror_manifests(copies, request, hour)


def _mirror_manifests(copies: Copies, request: FetchRequest, hour: datetime) -> str:
    """Land the versions of `hour`, the newest first, each after its file; why there is none, else an empty text."""
    template, name = request.source.manifests, request.name
    path, names = hour_path(template, hour), manifest_names(template, f"{hour:%Y-%m-%d}")
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
    landed = is_copy(here, file)
    data = here.read_bytes() if landed else copies.read(file, _MAX_MANIFEST)
    landed = landed or (size_of(here) == len(data) and here.read_bytes() == data)
    where = f"{name} {file.url}"
    return _Version(where, number, file, data, parse_manifest(data, where, name, hour), landed)


def _land_data(copies: Copies, here: Path, version: _Version, file: RemoteFile | None) -> None:
    """Put the file of `version` at `here`, unless it is there.

    Raises:
        RefusedError: it is not what the manifest states; what was there before stays.
    """
    facts = version.facts
    if size_of(here) == facts.bytes and (version.landed or sha256_of(here) == facts.sha256):
        return
    if file is None:
        raise _refused(version, f"its file {facts.file} is missing", f"a file of {facts.bytes} bytes beside it")
    if file.bytes != facts.bytes:
        raise _refused(version, f"its file {facts.file} has {file.bytes} bytes", f"{facts.bytes} bytes, as it states")
    try:
        copies.copy(file, here, MAX_UNPACKED, facts.sha256)
    except RefusedError as fault:
        raise _refused(version, f"its file {facts.file} has {fault.found}", fault.allowed) from None


def _refused(version: _Version, found: str, allowed: str) -> RefusedError:
    hint = "have it delivered again (as a new version), then fetch the hour: tidegate fetch --help"
    return RefusedError(version.where, found, allowed, hint)
