"""What the headers of an answer say of time and of the next page; what is done about it is `http_client.py`'s work."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx


def seconds_asked(headers: httpx.Headers) -> float | None:
    """Seconds that Retry-After asks for, as a number or a date (RFC 9110, 10.2.3); None: nothing, or nonsense.

    A date counts from the answer's own date, so that the clocks of both need not agree.
    """
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    until, now = _date(asked), _date(headers.get("date", "")) or datetime.now(UTC)
    return None if until is None else max(0.0, (until - now).total_seconds())


def next_link(response: httpx.Response) -> str | None:
    """Where the header Link leads with rel=next (RFC 8288), as it stands there; None: nowhere."""
    following = [
        link["url"]
        for link in response.links.values()
        if link.get("url") and "next" in link.get("rel", "").lower().split()
    ]
    return following[0] if following else None


def last_modified(headers: httpx.Headers) -> datetime | None:
    """The instant that Last-Modified names (RFC 9110, 8.8.2), None: none, or nonsense."""
    return _date(headers.get("last-modified", ""))


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
