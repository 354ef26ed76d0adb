"""docs/reference/cli.md: every command with its arguments and options, from the Typer app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from spark_jobs.cli.app import app
from spark_jobs.generated_pages import table
from spark_jobs.reference.heading import head

_INTRODUCTION = """
`make setup` installs the command as `.venv/bin/tidegate`. Hours are UTC and written as `2013-11-01T12:00:00`; an interval
is `[from, to)`. With `--json` a command prints JSON on stdout and nothing else there; messages and progress go to stderr.
`tidegate COMMAND --help` prints the same text as this page. [Exit codes](exit-codes.md) says how commands end.
"""


def page() -> str:
    """The whole page."""
    sections = [_section(words, command) for words, command in commands(typer.main.get_command(app))]
    return "\n".join([head("Command line", "`spark_jobs/cli/app.py`"), _INTRODUCTION.lstrip(), *sections])


def commands(group: Any, words: tuple[str, ...] = ("tidegate",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be run, with its words. Any: Typer's commands have no public type."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def _section(words: tuple[str, ...], command: Any) -> str:
    shown = [parameter for parameter in command.params if parameter.name != "help" and not parameter.hidden]
    arguments = [parameter for parameter in shown if not _is_option(parameter)]
    names = " ".join(_argument_name(argument) for argument in arguments)
    usage = f"```\n{' '.join(words)} {names} [OPTIONS]\n```\n".replace("  ", " ")
    rows = [[f"`{_argument_name(argument)}`", _default(argument), argument.help] for argument in arguments]
    rows += [[_option_name(option), _default(option), option.help] for option in shown if _is_option(option)]
    parts = [
        f"## {' '.join(words)}\n",
        usage,
        f"{command.help}\n",
        table(["argument or option", "default", "meaning"], rows),
    ]
    return "\n".join(parts)


def _is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


def _argument_name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option_name(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar or 'VALUE'}"
    return ", ".join(f"`{name}{value}`" for name in option.opts)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    shown = f"`{default}`" if isinstance(default, str | int) and not isinstance(default, bool) and default != "" else ""
    return f"{shown}, or `{parameter.envvar}`" if parameter.envvar else shown
