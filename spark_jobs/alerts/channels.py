"""Ways to tell people: one function a kind of channel, message in, nothing out; a failure is raised, never swallowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spark_jobs.config.environment import Environment, Places

Send = Callable[[Any, Places, dict[str, str]], None]
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


def send(environment: Environment, places: Places, name: str, message: dict[str, str]) -> None:
    """Send `message` by the environment's channel `name`.

    Raises:
        KeyError: the environment has no such channel.
        OSError: the channel cannot be reached.
    """
    settings = environment.channels[name]
    _KINDS[settings.kind](settings, places, message)


@channel("file")
def append_to_file(settings: Any, places: Places, message: dict[str, str]) -> None:  # one model a kind
    """One JSON object a line, at the end of a file below the data folder."""
    path: Path = places.data / settings.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(message, ensure_ascii=False) + "\n")
