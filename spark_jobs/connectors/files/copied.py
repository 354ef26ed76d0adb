"""Kind files: copies from another file system, where there is a section remote, and a manifest for files that came without."""

from __future__ import annotations

from datetime import datetime

from spark_jobs.connectors.delivery import Delivery, FetchRequest
from spark_jobs.errors import RetryError
from spark_jobs.sources.landing import FetchedDrop, Landed


def land_files(request: FetchRequest) -> Delivery:
    """Land the complete files of the interval as drops; hours whose files are not complete yet are `missing`.

    Raises:
        UsageError: the section remote is wrong, or a login is rejected.
        RefusedError: a file is not what its manifest states, or cannot be a drop.
        RetryError: the other file system cannot be reached, or a file changed while it was copied.
    """
    missing, copied = dict[datetime, str](), dict[datetime, int]()
    if request.source.remote:
        from spark_jobs.connectors.files.mirror import mirror_files

        mirrored = mirror_files(request)
        missing, copied = mirrored.waiting, mirrored.copied
    if request.source.complete.by == "manifest":
        there = request.landed()
        drops = [
            FetchedDrop.of(request.name, hour, Landed.of(drop, written=hour in copied)) for hour, drop in there.items()
        ]
        return Delivery(drops, {hour: missing.get(hour, "no manifest") for hour in request.hours if hour not in there})
    return _adopted(request, missing)


def _adopted(request: FetchRequest, missing: dict[datetime, str]) -> Delivery:
    from spark_jobs.sources.adopt import adopt_drop

    drops, why = list[FetchedDrop](), dict[datetime, str]()
    wait_seconds = 0.0 if request.source.remote else 2.0  # nobody writes to a copy
    for hour in request.hours:
        try:
            landed = adopt_drop(
                request.name, request.source, request.landing, hour, request.now, wait_seconds=wait_seconds
            )
        except RetryError as error:
            why[hour] = missing.get(hour, error.found)
            continue
        drops.append(FetchedDrop.of(request.name, hour, landed))
    return Delivery(drops, why)
