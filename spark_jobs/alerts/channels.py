"""Ways to tell people: one function a kind of channel, message in, nothing out; a failure is raised, never swallowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spark_jobs.alerts.message import Message
from spark_jobs.alerts.sending import ChannelError
from spark_jobs.config.channels import EmailChannel, FileChannel, SlackChannel
from spark_jobs.config.environment import Environment, Places
from spark_jobs.errors import nearest
from spark_jobs.values import to_json

Send = Callable[[Any, Places, Message], None]  # Any: one model a kind
_KINDS: dict[str, Send] = {}


def channel(kind: str) -> Callable[[Send], Send]:
    """Register the function that sends by channels of `kind`.

    Raises:
        ValueError: the kind is taken.
    """

    def register(function: Send) -> Send:
        if kind in _KINDS:
            raise ValueError(f"channel kind '{kind}' is registered twice")
        _KINDS[kind] = function
        return function

    return register


def send(environment: Environment, places: Places, name: str, message: Message) -> None:
    """Send `message` by the environment's channel `name`.

    Raises:
        ChannelError: the environment has no such channel, or it did not take the message, whatever the cause.
    """
    fault = _fault(environment, places, name, message)
    if fault:
        raise ChannelError(f"channel {name}", fault.found, fault.allowed, fault.todo)


def _fault(environment: Environment, places: Places, name: str, message: Message) -> ChannelError | None:
    settings = environment.channels.get(name)
    if settings is None:
        legal = nearest(name, list(environment.channels))
        return ChannelError("", "the environment has no such channel", legal, "mend alerts in pipeline.yaml")
    try:
        _KINDS[settings.kind](settings, places, message)
    except ChannelError as fault:
        return fault
    except Exception as error:  # must not fail the data; its text may hold a secret
        return ChannelError("", f"{settings.kind} failed: {type(error).__name__}", "", "report this, it is a bug")
    return None


@channel("file")
def append_to_file(settings: FileChannel, places: Places, message: Message) -> None:
    """One JSON object a line, at the end of a file below the data folder."""
    path: Path = places.data / settings.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(to_json(message) + "\n")
    except OSError as error:
        raise ChannelError("file", str(error), "a file that can be written", "mend the path of the channel") from error


@channel("email")
def send_by_mail(settings: EmailChannel, places: Places, message: Message) -> None:
    """One mail to all recipients."""
    from spark_jobs.alerts.mail import send_mail  # smtplib and httpx load when something is sent, not at every command

    send_mail(settings, message)


@channel("slack")
def post_to_webhook(settings: SlackChannel, places: Places, message: Message) -> None:
    """One post to a Slack-style webhook."""
    from spark_jobs.alerts.webhook import post

    post(settings, message)
