"""Copies a file of another file system whose upstream writes no manifest, once it is whole there.

The look is taken there and not here: nobody writes to a copy, so a half copied file would soon seem whole. The times of
change come along, so that `adopt.py` finds here what was found there.
"""

from __future__ import annotations

from datetime import UTC, datetime

from spark_jobs.config.drop_files import CompleteConf
from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import RetryError
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.sources.copies import Copies, is_copy
from spark_jobs.sources.hadoop import RemoteFile
from spark_jobs.sources.landing import hour_path
from spark_jobs.sources.shape import MAX_UNPACKED
from spark_jobs.storage.files import exclusive


def mirror_whole(copies: Copies, name: str, source: SourceConf, hour: datetime, now: datetime) -> str:
    """Land the file of `hour`, then its marker, if there is one; why it is not whole at `now`, else an empty text.

    Raises:
        RefusedError: the file is too large.
        RetryError: it changed while it was read, or see `RemoteFiles.copy`.
    """
    complete, path = source.complete, hour_path(str(source.complete.data), hour)
    beside = hour_path(complete.marker, hour) if complete.marker else ""
    data = copies.there(path)
    marker = copies.there(beside) if beside else None
    if data is None:
        return f"no file {copies.url(path)}"
    if beside and marker is None:
        return f"no marker {copies.url(beside)}"
    if why := _older(data, marker) if marker else _young(data, complete, hour, now):
        return f"{data.url} {why}"
    folder = copies.folder(path)
    with exclusive(folder):
        if not is_copy(folder / data.name, data.bytes, data.changed_ms):
            part = copies.fetch(data, folder / data.name, MAX_UNPACKED)
            if copies.upstream.again(data) != data:
                part.unlink()
                raise RetryError(
                    f"{name} {format_hour(hour)}", f"waiting: {data.url} changed while it was read",
                    "a whole file, as `complete` of sources.yaml says", "the same command goes on when it is whole",
                )  # fmt: skip
            copies.settle(part, folder / data.name, data.changed_ms)
        if marker:
            here = copies.folder(beside) / marker.name
            if not is_copy(here, 0, marker.changed_ms):
                copies.put(b"", here, marker.changed_ms)
    return ""


def _older(data: RemoteFile, marker: RemoteFile) -> str:
    return "is younger than its marker, which speaks of a former one" if marker.changed_ms < data.changed_ms else ""


def _young(data: RemoteFile, complete: CompleteConf, hour: datetime, now: datetime) -> str:
    changed = datetime.fromtimestamp(data.changed_ms // 1000, UTC)
    due = max(changed, hour + HOUR) + (complete.quiet or HOUR)
    return (
        "" if now >= due else f"was last changed at {format_hour(changed)}Z, and is whole from {format_hour(due)}Z on"
    )
