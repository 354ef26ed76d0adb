"""An alert as a post to a Slack-style incoming webhook: once, to its url and nowhere else; the answer is not read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from spark_jobs.alerts.message import Message, on_one_line
from spark_jobs.alerts.sending import ChannelError, reason, within
from spark_jobs.config.channels import SlackChannel

_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")


def text(message: Message) -> str:
    """What people read: the subject, and the body as a block of code, in which nothing of the data is markup."""
    body = message["body"].replace("```", "'''")
    shown = f"{on_one_line(message['subject'])}\n```\n{body}\n```"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")  # <!channel> would wake everybody


def post(settings: SlackChannel, message: Message) -> None:
    """Post the message, within `timeout_s`.

    Raises:
        ChannelError: the variable is not set or holds no url, or the receiver cannot be reached or answers with anything
            but a status of 200 to 299. Nothing is tried again, whatever Retry-After says.
    """
    fault = _fault(settings, message)  # raised where no other error is at hand, which would hold the url
    if fault:
        raise ChannelError("slack", fault, "", f"look at the url in {settings.url_env}")


def _fault(settings: SlackChannel, message: Message) -> str:
    """Post; why it failed, or nothing."""
    status: list[int] = []
    try:
        url, content = settings.url(), {"text": text(message)}
        within(settings.timeout_s, lambda: status.append(_status(url, content, settings.timeout_s)))
    except (TimeoutError, httpx.TimeoutException):
        return f"no end within {settings.timeout_s:g} s"
    except (httpx.ConnectError, httpx.ProxyError) as error:
        return f"the receiver cannot be reached: {reason(error)}"
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        return f"the post failed: {type(error).__name__}"
    except ValueError as error:  # of the variable, and made by us
        return str(error)
    if 300 <= status[0] < 400:
        return f"status {status[0]}: a redirect, which is not followed"
    return "" if 200 <= status[0] < 300 else f"status {status[0]}"


def _status(url: str, content: dict[str, str], seconds: float) -> int:
    """Post; the status of the answer, whose body stays where it is."""
    proxied = url.lower().startswith("https:")  # plain http is for one's own network: no proxy may see the url
    client = httpx.Client(
        timeout=seconds, follow_redirects=False, trust_env=proxied, headers={"User-Agent": "tidegate"}
    )
    with _unlogged(), client, client.stream("POST", url, json=content) as response:
        return response.status_code


@contextmanager
def _unlogged() -> Iterator[None]:
    """While in force, this thread's lines of httpx are dropped: at INFO it logs each url."""
    me = threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return threading.get_ident() != me

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(of_others)
