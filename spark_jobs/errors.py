"""The one base error and the exit codes; every message says where, what was found, what is allowed, what to do.

What an error means to a scheduler is its exit code; nothing else decides whether a step is retried.
"""

from __future__ import annotations

from difflib import get_close_matches

from spark_jobs.values import Lines, printable

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 64  # a fault of a command or of conf/: no retry helps
EXIT_REFUSED = 65  # the data were judged and refused: no retry helps, a new drop or a new rule does
EXIT_RETRY = 75  # a transient fault, or data that are not there yet: the same command may work later


class TidegateError(Exception):
    """A fault that a person can act upon.

    Attributes hold the facts, so that a report or an alert never parses the text. Each is one printable line, whatever an upstream
    or a library wrote into it; only a `values.Lines` has several.
    """

    exit_code = EXIT_BUG

    def __init__(self, where: str, found: str, allowed: str = "", todo: str = "") -> None:
        self.where, self.found, self.allowed, self.todo = map(printable, (where, found, allowed, todo))
        super().__init__(where, found, allowed, todo)  # args rebuild the error when it is unpickled

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.found}"]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.todo:
            lines.append(f"  do: {self.todo}")
        return Lines.of(Lines(line) for line in lines)  # whose parts are printable


class UsageError(TidegateError):
    """A command or a setting is wrong; nothing was started."""

    exit_code = EXIT_USAGE


class RefusedError(TidegateError):
    """The data broke a rule; nothing of them is readable and readers keep the former release."""

    exit_code = EXIT_REFUSED


class AlreadyRefusedError(RefusedError):
    """A former step of the same run was refused, and its incident is open already."""


class RetryError(TidegateError):
    """Something is not there yet, or another writer was first; the same command may work later."""

    exit_code = EXIT_RETRY


class SupersededError(RetryError):
    """Another attempt or another release was first; what this one made is not published, nothing is lost."""


def closest(name: str, legal: list[str]) -> str:
    """The legal name that `name` was probably meant to be; empty when none is close."""
    folded = {one.lower(): one for one in reversed(legal)}
    close = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    swapped = [one for one in folded if sorted(one) == sorted(name.lower())]  # 'fo' for 'of' shares one letter in place
    found = (close or swapped)[:1]
    return folded[found[0]] if found else ""


def nearest(name: str, legal: list[str]) -> str:
    """The legal names as text, the closest to `name` first and marked when one is close."""
    close = closest(name, legal)
    listed = ", ".join(sorted(legal)) or "none"
    return f"did you mean '{close}'? legal: {listed}" if close else f"legal: {listed}"
