"""Alert channels of an environment: one section a kind, told apart by `kind`; what a channel needs of the process environment.

Nothing is sent here; `alerts/` does. A password or a webhook's url never stands in conf/, only the name of its variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from spark_jobs.config.section import Section, Variable

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value) or ".." in value:
        raise ValueError("is not a mail address; write it bare, such as team@example.com")
    return value


Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[float, Field(gt=0, le=30)]


class FileChannel(Section):
    """A channel that appends alerts to a file, one JSON object a line."""

    kind: Literal["file"] = Field(description="how alerts leave; example: file")
    path: str = Field(description="file below the data folder, for example alerts/alerts.jsonl")


class EmailChannel(Section):
    """A channel that mails alerts by an SMTP server."""

    kind: Literal["email"] = Field(description="how alerts leave; example: email")
    host: str = Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$", description="the SMTP server; example: smtp.example.com")
    port: int = Field(
        default=587,
        ge=1,
        le=65535,
        description="its port, often 587 for starttls, 465 for tls, 25 for none; example: 587",
    )
    tls: Literal["none", "starttls", "tls"] = Field(
        default="starttls",
        description="starttls (asked for before anything is said), tls (from the first byte), or none; with either the"
        " server's certificate is checked; example: starttls",
    )
    user_env: Variable | None = Field(
        default=None, description="name of the environment variable with the login's user; example: SMTP_USER"
    )
    password_env: Variable | None = Field(
        default=None, description="name of the environment variable with the login's password; example: SMTP_PASSWORD"
    )
    sender: Address = Field(alias="from", description="address that mails come from; example: tidegate@example.com")
    to: list[Address] = Field(min_length=1, description='addresses that get them; example: ["team@example.com"]')
    timeout_s: Seconds = Field(
        default=10, description="longest time of one mail, all in all; unit: seconds; example: 10"
    )

    @model_validator(mode="after")
    def _login_is_whole_and_not_readable(self) -> EmailChannel:
        if (self.user_env is None) != (self.password_env is None):
            there, missing = ("user_env", "password_env") if self.user_env else ("password_env", "user_env")
            raise ValueError(f"{there}: a login needs {missing} beside it")
        if self.user_env and self.tls == "none" and self.host not in _LOOPBACK:
            raise ValueError("tls: none would send the password readable; write starttls or tls")
        return self

    def login(self) -> tuple[str, str] | None:
        """User and password, from the environment; none: no login.

        Raises:
            ValueError: a variable is not set.
        """
        if self.user_env is None or self.password_env is None:
            return None
        return _variable(self.user_env), _variable(self.password_env)


class SlackChannel(Section):
    """A channel that posts alerts to a Slack-style incoming webhook, as JSON with one key, text."""

    kind: Literal["slack"] = Field(description="how alerts leave; example: slack")
    url_env: Variable = Field(
        description="name of the environment variable with the webhook's url, which is a secret; https, or http on"
        " 127.0.0.1, localhost or ::1; example: SLACK_WEBHOOK"
    )
    plain_http: bool = Field(
        default=False,
        description="whether the url may be http on another host, inside of one's own network; example: false",
    )
    timeout_s: Seconds = Field(
        default=10, description="longest time of one message, all in all; unit: seconds; example: 10"
    )

    def url(self) -> str:
        """The webhook's url, from the environment.

        Raises:
            ValueError: it is not set, or no url that may be asked; the text holds nothing of it.
        """
        url = _variable(self.url_env)
        try:
            parts = urlsplit(url)
            scheme, host, _ = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme, host = "", None
        if not _VISIBLE.fullmatch(url) or not host or scheme not in ("https", "http"):
            raise ValueError(f"{self.url_env} holds no url that begins with https:// and a host")
        if scheme == "http" and host not in _LOOPBACK and not self.plain_http:
            raise ValueError(
                f"{self.url_env} holds an http url; write https, or plain_http: true inside your own network"
            )
        return url


Channel = Annotated[FileChannel | EmailChannel | SlackChannel, Field(discriminator="kind")]


def secret_faults(channel: Channel) -> Iterator[tuple[str, str]]:
    """Keys of `channel` whose variables this process lacks, each with what is wrong; no value is told."""
    if isinstance(channel, EmailChannel):
        for key, variable in (("user_env", channel.user_env), ("password_env", channel.password_env)):
            if variable and not os.environ.get(variable, "").strip():
                yield key, f"{variable} is not set"
    elif isinstance(channel, SlackChannel):
        try:
            channel.url()
        except ValueError as error:
            yield "url_env", str(error)


def _variable(name: str) -> str:
    """What the variable holds; the end of a line in a secret's file is none of it."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ValueError(f"{name} is not set")
    return value
