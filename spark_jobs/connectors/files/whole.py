"""Copies a file of another file system whose upstream writes no manifest, once it is complete there.

Whether it is complete is decided there and not here: nobody writes to a copy, so a file that was copied too early would
soon seem complete. The times of change come along, so that `adopt.py` finds here what was found there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from spark_jobs.config.drop_files import CompleteConf
from spark_jobs.connectors.delivery import FetchRequest
from spark_jobs.connectors.files.copies import Copies, is_copy
from spark_jobs.connectors.files.remote import RemoteFile
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.sources.landing import hour_path
from spark_jobs.sources.shape import MAX_UNPACKED
from spark_jobs.storage.files import exclusive


def mirror_whole(copies: Copies, request: FetchRequest, hour: datetime) -> str:
    """Land the file of `hour`, then its marker, if there is one; why it is not complete, else an empty text.

    Raises:
        RefusedError: the file is too large.
        RetryError: it changed while it was copied, or see `RemoteFiles.copy`.
    """
    complete = request.source.complete
    path = hour_path(str(complete.data), hour)
    beside = hour_path(complete.marker, hour) if complete.marker else ""
    data = copies.there(path)
    marker = copies.there(beside) if beside else None
    if data is None:
        return f"no file {copies.url(path)}"
    if beside and marker is None:
        return f"no marker {copies.url(beside)}"
    if why := _older(data, marker) if marker else _young(data, complete, hour, request.now):
        return f"{data.url} {why}"
    folder = copies.folder(path)
    with exclusive(folder):
        if not is_copy(folder / data.name, data):
            copies.copy(data, folder / data.name, MAX_UNPACKED)
        if marker:
            here = copies.folder(beside) / marker.name
            if not is_copy(here, replace(marker, bytes=0)):
                copies.put(b"", here, marker.changed_ms)
    return ""


def _older(data: RemoteFile, marker: RemoteFile) -> str:
    return "is younger than its marker, which is of a former one" if marker.changed_ms < data.changed_ms else ""


def _young(data: RemoteFile, complete: CompleteConf, hour: datetime, now: datetime) -> str:
    changed = datetime.fromtimestamp(data.changed_ms // 1000, UTC)
    due = max(changed, hour + HOUR) + (complete.quiet or HOUR)
    return (
        ""
        if now >= due
        else f"was last changed at {format_hour(changed)}Z, and is complete from {format_hour(due)}Z on"
    )
