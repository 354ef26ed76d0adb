"""The section `http` of a source: where its rows are asked for, how pages follow each other, and what is too much.

Nothing is asked here; `sources/http.py` does. A token never stands in conf/, only the name of the variable that has it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from spark_jobs.config.address import LOOPBACK, PLAIN_HOSTS, URL_ENV, PlainHost, address
from spark_jobs.config.section import Duration, Section, Variable

PLACES = ("{from}", "{to}", "{day}", "{hour}")
_URL = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%{}]+")
_POINTER = re.compile(r"(/([^/~]|~[01])+)+")
_PARAMETER = re.compile(r"[A-Za-z0-9_.\-]{1,63}")


def _url(value: str) -> str:
    """A url of one host, whose path or query names the hour."""
    bare = value
    for place in PLACES:
        bare = bare.replace(place, "")
    if not _URL.fullmatch(value) or set("{}") & set(bare):
        raise ValueError(f"is not a url; legal are the characters of a url without #, and {', '.join(PLACES)}")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"is not a url: {error}") from error
    if "@" in parts.netloc:
        raise ValueError("holds a user or password; write token_env: the name of a variable with a token")
    if not host or "{" in parts.netloc or parts.scheme not in ("https", "http"):
        raise ValueError("must begin with https:// and one host")
    if not ("{from}" in value or "{to}" in value or ("{day}" in value and "{hour}" in value)):
        raise ValueError(
            "must name the hour: {from}, {to}, or {day} and {hour}; else each hour would get the same rows"
        )
    return value


def _check_url(value: str, plain_hosts: list[str]) -> None:
    parts = urlsplit(_url(value))
    plain = (*LOOPBACK, *plain_hosts)
    if parts.scheme == "http" and parts.hostname not in plain:
        raise ValueError(f"http is for {' and '.join(plain)} only; write https, or name the host in plain_hosts")


def _pointer(value: str) -> str:
    if not _POINTER.fullmatch(value):
        raise ValueError(f"'{value}' is not a JSON pointer (RFC 6901); write / before each name, such as /data/items")
    return value


def _parameter(value: str) -> str:
    if not _PARAMETER.fullmatch(value):
        raise ValueError(f"'{value}' is not a query parameter; use letters, digits, _, . and -, at most 63")
    return value


def _some_time(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("no time at all; write 1m or more")
    return value


Pointer = Annotated[str, AfterValidator(_pointer)]


class CursorConf(Section):
    """The cursor of `pages: cursor`: each page says with what the next one is asked for."""

    field: Pointer = Field(
        description="JSON pointer to a page's cursor, a text or a number; null, false, empty, or left out of an object that"
        " is there: the last page; a page without that object is refused; example: /meta/next"
    )
    parameter: Annotated[str, AfterValidator(_parameter)] = Field(
        description="query parameter that hands it back; example: cursor"
    )


class HttpConf(Section):
    """Where `tidegate fetch` asks for an hour's rows. Needed by kind http, refused with any other."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="the first page; https, or http on 127.0.0.1, localhost or one of plain_hosts; {from} and {to} are the hour's"
        " start and end such as 2013-11-01T12:00:00Z, {day} is YYYY-MM-DD, {hour} is HH, all UTC; no page and no redirect may lead"
        " to another host; example: https://api.example.com/orders?from={from}&to={to}"
    )
    url_env: Variable | None = Field(default=None, description=URL_ENV)
    plain_hosts: list[PlainHost] = Field(default=[], description=PLAIN_HOSTS)
    pages: Literal["none", "link", "cursor"] = Field(
        default="none",
        description="how pages follow: none (there is one), link (header Link with rel=next, RFC 8288) or cursor"
        " (section cursor); example: link",
    )
    cursor: CursorConf | None = Field(default=None)
    rows: Pointer | None = Field(
        default=None,
        description="JSON pointer to a page's list of rows; left out: the page is the list; a CSV page has none, but a"
        " header line, the same on every page; example: /data",
    )
    token_env: Variable | None = Field(
        default=None,
        description="name of the environment variable with a bearer token, which only the host of url gets;"
        " example: ORDERS_TOKEN",
    )
    arrived: Literal["fetched", "last_modified"] = Field(
        default="fetched",
        description="when the rows count as known: when they were fetched, or when the pages' header Last-Modified says that"
        " they could first be had (for an upstream that serves its past and is right about it); example: fetched",
    )
    timeout: Annotated[Duration, AfterValidator(_some_time)] = Field(
        default=timedelta(minutes=5),
        description="longest time of one hour's fetch, all pages and waiting included; unit: m, h or d; example: 5m",
    )
    max_bytes: int = Field(
        default=64 << 20,
        ge=1,
        le=1 << 30,
        description="most that all pages of one hour may hold, unpacked; unit: bytes; example: 67108864",
    )

    def address(self) -> str:
        """The url that holds in this environment, with its places for the hour.

        Raises:
            UsageError: the variable of url_env holds no legal one.
        """
        return address(self.url, self.url_env, lambda url: _check_url(url, self.plain_hosts))

    @model_validator(mode="after")
    def _url_is_not_readable_on_the_way(self) -> HttpConf:
        try:
            _check_url(self.url, self.plain_hosts)
        except ValueError as error:
            raise ValueError(f"url: {error}") from None
        return self

    @model_validator(mode="after")
    def _cursor_belongs_to_its_pages(self) -> HttpConf:
        if self.pages == "cursor" and self.cursor is None:
            raise ValueError("pages: cursor needs a section cursor, such as cursor: {field: /next, parameter: cursor}")
        if self.pages != "cursor" and self.cursor is not None:
            raise ValueError(f"cursor: belongs to pages cursor, these are {self.pages}")
        if self.cursor and self.rows is None:
            raise ValueError("pages: a page with a cursor is no list; write rows: where its list is, such as /data")
        return self
