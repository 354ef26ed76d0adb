"""Asks one host for pages: with a token, bounded retries and caps on size and redirects; what a page means is not its work.

Every error is bounded and holds no part of an answer. The token goes to the host of the first url and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import TracebackType

import httpx
import tenacity

from spark_jobs.config.http_source import HttpConf
from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.sources.http_headers import last_modified, next_link, seconds_asked

LATER = "repeat the command later; if it goes on, look at the upstream"
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5  # of one page
_WHERE = "tidegate.where"  # of a request: how its errors begin
_TOKEN = re.compile(r"[\x21-\x7e]+")  # the error about a header with anything else would show the token


@dataclass(frozen=True)
class Patience:
    """How long an upstream is tried; times in seconds. Waits double from `first_wait`, with up to as much jitter."""

    attempts: int = 6  # of one page
    first_wait: float = 1.0
    longest_wait: float = 60.0  # also of what Retry-After asks for
    stall: float = 30.0  # without a byte, after which the page is tried again
    pages: int = 10_000  # of one hour, should its pages never end
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True)
class Page:
    """One answer; `body` is none when the upstream has no content, `next` is the url that follows by pages: link.

    `modified` is what the header Last-Modified says, if it says an instant.
    """

    body: bytes | None
    next: httpx.URL | None
    modified: datetime | None


class _AgainError(Exception):
    """The same request may work later, in `after` seconds if the upstream has said so."""

    def __init__(self, found: str, after: float | None = None) -> None:
        super().__init__(found)
        self.after = after


class Upstream:
    """The host of `first`, as an async context; `where` begins every error. The sum of all pages is capped.

    Raises:
        UsageError: the variable of the token is not set, or holds no token.
    """

    def __init__(self, where: str, conf: HttpConf, first: httpx.URL, accept: str, patience: Patience) -> None:
        self._where, self._conf, self._first, self._patience = where, conf, first, patience
        self._token = _token(where, conf.token_env)
        self._left = conf.max_bytes
        headers = {"User-Agent": "tidegate", "Accept": f"{accept}, */*;q=0.1", "Accept-Encoding": "gzip"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        # plain http is for this machine and one's own network: no proxy may see the token
        self._client = httpx.AsyncClient(
            headers=headers, timeout=patience.stall, trust_env=first.scheme == "https", verify=_certificates(),
            event_hooks={"response": [self._look_at_redirect]},
        )  # fmt: skip

    async def __aenter__(self) -> Upstream:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def page(self, url: httpx.URL, number: int, seconds: float) -> Page:
        """The page at `url`, tried again after faults that may pass, as long as `seconds` are enough.

        Raises:
            UsageError: the answer is a status that no retry changes, or leads to another host.
            RefusedError: all pages together are too large, or the answer is packed in a way that was not asked for.
            RetryError: it could not be had.
        """
        where = f"{self._where}, page {number}"
        longest = self._patience.longest_wait
        growing = tenacity.wait_exponential_jitter(self._patience.first_wait, longest, jitter=self._patience.first_wait)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.after if isinstance(error, _AgainError) else None
            return growing(state) if asked is None else min(asked, longest)

        trying = tenacity.AsyncRetrying(
            sleep=self._patience.sleep, wait=wait, retry=tenacity.retry_if_exception_type(_AgainError), reraise=True,
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self._patience.attempts), tenacity.stop_before_delay(seconds)
            ),
        )  # fmt: skip
        try:
            return await trying(self._once, where, url)
        except _AgainError as fault:
            times = trying.statistics.get("attempt_number", 1)
            raise RetryError(where, f"{fault}, {times} time(s)", "an answer of status 200", LATER) from fault

    async def _once(self, where: str, url: httpx.URL) -> Page:
        """Ask once, following redirects on the same host."""
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                async with self._client.stream("GET", url, extensions={_WHERE: where}) as response:
                    to = self._redirect(response)
                    if to is None:
                        return await self._read(where, response)
                    url = to
        except httpx.ConnectError as error:
            raise _AgainError(f"cannot be reached ({error})") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _AgainError(f"connection broken ({type(error).__name__})") from error
        raise UsageError(where, f"more than {_MAX_REDIRECTS} redirects", "the rows", "mend http.url in sources.yaml")

    async def _look_at_redirect(self, response: httpx.Response) -> None:
        """Before httpx does: to it a Location that is no url is a broken connection, which a retry might cure."""
        self._redirect(response)

    def _redirect(self, response: httpx.Response) -> httpx.URL | None:
        """Where the answer sends us on to; None: nowhere."""
        if response.status_code not in _REDIRECTS or "location" not in response.headers:
            return None
        return self._same_host(
            response.request.extensions[_WHERE], response, response.headers["location"], "a redirect"
        )

    async def _read(self, where: str, response: httpx.Response) -> Page:
        status = response.status_code
        if status == 429 or status >= 500:
            raise _AgainError(f"status {status}", seconds_asked(response.headers))
        if status not in (200, 204):
            todo = "look at http.url in sources.yaml" + (" and at the token" if status in (401, 403) else "")
            raise UsageError(where, f"status {status}", "200, or 204 for no rows", todo)
        packing = response.headers.get("content-encoding", "identity").strip().lower()
        if packing not in ("identity", "gzip"):  # two layers of gzip may unpack to a million times their size
            raise RefusedError(where, "an answer that is not packed with gzip", "gzip or nothing", "tell the upstream")
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > self._left:
                found, allowed = "too large: the pages up to here", f"http.max_bytes: {self._conf.max_bytes}"
                raise RefusedError(where, found, allowed, "raise it in sources.yaml, or ask for less by http.url")
        self._left -= len(body)
        link = next_link(response)
        if link and self._conf.pages == "none":
            todo = "write pages: link below http in sources.yaml"
            raise RefusedError(where, "the header Link names a next page", "one page, as http.pages is none", todo)
        follows = link if self._conf.pages == "link" else None
        following = self._same_host(where, response, follows, "the next page") if follows else None
        return Page(None if status == 204 else bytes(body), following, last_modified(response.headers))

    def _same_host(self, where: str, response: httpx.Response, to: str, what: str) -> httpx.URL:
        """The url `to`, absolute; the same scheme, host and port as at first, so that the token stays there."""
        home = _origin(self._first)
        try:
            url = response.url.join(to).copy_with(fragment=None)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise UsageError(where, f"{what} leads to no url", f"urls of {home}", "tell the upstream") from error
        if _origin(url) != home or url.userinfo:
            there = re.sub(re.escape(self._token or "\0"), "***", _origin(url)[:200], flags=re.IGNORECASE)
            todo = "write the new place as http.url in sources.yaml, if you trust it"
            raise UsageError(where, f"{what} leads to {there}", f"urls of {home}", todo)
        return url


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities of this machine; made once, as that takes longer than a short fetch."""
    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> str:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return f"{url.scheme}://{url.raw_host.decode()}:{port}"


def _token(where: str, variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not _TOKEN.fullmatch(token):
        found = f"{variable} holds no token" if token else f"{variable} is not set"
        allowed = "a bearer token: letters, digits and signs of ASCII, in one piece"
        raise UsageError(where, found, allowed, f"set {variable} in the environment of this command")
    return token
