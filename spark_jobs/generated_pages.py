"""Generated pages, conf/README.md and docs/reference/: their tables, and the program that prints or writes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence


def row(cells: Iterable[str]) -> str:
    """One line of a table; what ends a cell or begins a tag is escaped."""
    escaped = (cell.replace("|", "\\|").replace(" <", " \\<").replace("/<", "/\\<") for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line per row."""
    return "\n".join(map(row, [columns, ["---"] * len(columns), *rows])) + "\n"


def print_or_write(arguments: list[str], command: str, text: Callable[[], str], write: Callable[[], None]) -> int:
    """Print `text`, or write it with --write; exit code 0, or 64 and the right `command` for other arguments."""
    if arguments == ["--write"]:
        write()
    elif arguments:
        print(f"usage: {command}", file=sys.stderr)
        return 64
    else:
        print(text(), end="")
    return 0
