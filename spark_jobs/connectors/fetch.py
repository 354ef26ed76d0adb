"""The one way to fetch a source, whatever its kind. No Spark, no JVM.

Tasks `fetch_<source>` and `tidegate fetch` call it. The libraries of a kind are imported only when a source needs them.
"""

from __future__ import annotations

from datetime import datetime

from spark_jobs.config.environment import Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.connectors.delivery import Delivery, FetchRequest
from spark_jobs.errors import UsageError, nearest


def fetch_source(
    pipeline: Pipeline, places: Places, name: str, start: datetime, end: datetime, now: datetime
) -> Delivery:
    """Land the drops of source `name` for the hours [start, end), the oldest first; what landed before an error stays.

    The same rows again change nothing, other rows become the hour's next version. `now` is when the source is read.

    Raises:
        UsageError: no such source, or its section, a variable or a login is wrong.
        RefusedError: what the source delivers is not what sources.yaml declares.
        RetryError: the last hour is not over, or the source cannot be reached or is too slow.
    """
    source = pipeline.sources.sources.get(name)
    if source is None:
        raise UsageError("sources.yaml", f"no source '{name}'", nearest(name, list(pipeline.sources.sources)))
    request = FetchRequest(name, source, places.landing / pipeline.name, places.data, start, end, now)
    return {"http": _pages, "database": _rows, "files": _files}[source.kind](request)


def _pages(request: FetchRequest) -> Delivery:
    from spark_jobs.sources.http import fetch_drop

    return Delivery([fetch_drop(request.name, request.source, request.landing, hour) for hour in request.hours])


def _rows(request: FetchRequest) -> Delivery:
    from spark_jobs.connectors.database.rows import land_rows

    return land_rows(request)


def _files(request: FetchRequest) -> Delivery:
    from spark_jobs.connectors.files.copied import land_files

    return land_files(request)
