"""Kind http: asks an upstream for the rows of an hour, page by page, and lands them as a drop; bronze reads the drop.

A light task: no Spark. Rows are landed as they came, unpacked, so that the same rows have the same bytes every time.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx

from spark_jobs.config.http_source import HttpConf
from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.invocation import HOUR, HOUR_FORMAT, format_hour
from spark_jobs.sources.http_client import LATER, Page, Patience, Upstream
from spark_jobs.sources.http_pages import DropText, PageError
from spark_jobs.sources.landing import FetchedDrop, land

PATIENCE = Patience()


def fetch_drop(
    name: str,
    source: SourceConf,
    landing: Path,
    hour: datetime,
    arrived_at: datetime | None = None,
    *,
    patience: Patience = PATIENCE,
) -> FetchedDrop:
    """Ask for the rows of `hour` and land them below `landing`, the pipeline's own landing folder.

    The same rows again change nothing; other rows become the hour's next version. `arrived_at` is when the rows had
    come, by the clock when left out. Not to be called inside an event loop.

    Raises:
        UsageError: not of kind http, no token, a status that no retry changes, or a lead to another host.
        RefusedError: the pages are not what the source says, are too large, or have no end.
        RetryError: the hour is not over; or the upstream cannot be reached, fails (429, 5xx) or is too slow.
    """
    where = f"{name} {format_hour(hour)}"
    if source.http is None:
        raise UsageError(where, f"a source of kind {source.kind}", "one of kind http", "name another source")
    if (arrived_at or datetime.now(UTC)) < hour + HOUR:
        raise RetryError(where, "waiting: the hour is not over", f"from {format_hour(hour + HOUR)}Z on", LATER)
    drop = DropText(source)
    try:
        pages, stated = asyncio.run(_collect(where, source.http, hour, drop, patience))
    except TimeoutError as error:
        found = f"too slow: not all pages within {source.http.timeout.total_seconds():g} s"
        raise RetryError(where, found, "all pages within http.timeout of sources.yaml", LATER) from error
    data = drop.data
    arrived = min(arrived_at or datetime.now(UTC), stated or datetime.max.replace(tzinfo=UTC))
    landed = land(name, source, landing, hour, data, drop.rows, arrived)
    return FetchedDrop.of(name, hour, landed, pages)


async def _collect(
    where: str, conf: HttpConf, hour: datetime, drop: DropText, patience: Patience
) -> tuple[int, datetime | None]:
    """Add every page to `drop`; how many there are, and when the last of their rows could be had, if pages say that.

    Raises:
        TimeoutError: all of it takes longer than `conf.timeout`.
    """
    url, clock = _first_url(where, conf.address(), hour), asyncio.get_running_loop().time
    seen: set[str] = set()
    stated: list[datetime] = []
    end = clock() + conf.timeout.total_seconds()
    upstream = Upstream(where, conf, url, drop.media_type, patience)
    async with asyncio.timeout_at(end), upstream:
        for number in range(1, patience.pages + 1):
            seen.add(str(url))
            page = await upstream.page(url, number, end - clock())
            try:
                following = _following(conf, page, url, None if page.body is None else drop.add(page.body))
            except PageError as fault:
                todo = "compare the page with format, http.rows and http.cursor of sources.yaml"
                raise RefusedError(f"{where}, page {number}", str(fault), drop.expected, todo) from fault
            stated += _stated(f"{where}, page {number}", conf, page)
            if following is None:
                return number, max(stated, default=None)
            if str(following) in seen:
                break
            url = following
        found = f"no end: page {number} leads to a page before it, or is one too many"
        allowed = f"at most {patience.pages} pages, none of them twice"
        raise RefusedError(where, found, allowed, "look at http.pages in sources.yaml, or tell the upstream")


def _stated(where: str, conf: HttpConf, page: Page) -> list[datetime]:
    if conf.arrived == "fetched":
        return []
    if page.modified is None:
        todo = "write arrived: fetched below http in sources.yaml"
        raise RefusedError(where, "no header Last-Modified", "one, as http.arrived is last_modified", todo)
    return [page.modified]


def _following(conf: HttpConf, page: Page, url: httpx.URL, cursor: str | None) -> httpx.URL | None:
    """The url of the page after the one at `url`; None after the last.

    Raises:
        PageError: a cursor that is too long, or half of a character.
    """
    if conf.cursor is None or cursor is None:
        return page.next
    try:
        return url.copy_set_param(conf.cursor.parameter, cursor)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise PageError(f"a cursor at {conf.cursor.field} that no url can hold") from error


def _first_url(where: str, template: str, hour: datetime) -> httpx.URL:
    places = {
        "{from}": f"{hour.strftime(HOUR_FORMAT)}Z",
        "{to}": f"{(hour + HOUR).strftime(HOUR_FORMAT)}Z",
        "{day}": f"{hour:%Y-%m-%d}",
        "{hour}": f"{hour:%H}",
    }
    for place, text in places.items():
        template = template.replace(place, text)
    try:
        return httpx.URL(template)
    except httpx.InvalidURL as error:
        raise UsageError(
            where, f"http.url is no url: {error}", "https://<host>/…", "mend it in sources.yaml"
        ) from error
