"""How commands print: data on stdout (JSON on request), everything else on stderr, no colour in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from spark_jobs.values import printable, text, to_json

LONGEST_CELL = 200  # characters of one cell of a table; JSON has all


def show_json(data: object) -> None:
    """`data` as one line of valid JSON on stdout, nothing else; values as `values.plain` writes them."""
    print(to_json(data, ascii_only=not _is_unicode(sys.stdout.encoding)))


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout, as wide as its text; plain characters only, in a terminal as in a pipe."""
    lines = [
        list(columns),
        *(["" if cell is None else printable(text(cell), LONGEST_CELL) for cell in row] for row in rows),
    ]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    if title:
        say(title)
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_some(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], limit: int, more: str) -> None:
    """The first `limit` rows as a table, then how many are not shown; `more` says what shows them."""
    show_table(title, columns, rows[:limit])
    if len(rows) > limit:
        say(f"… {len(rows) - limit} more not shown: {more}")


def first_line(text: str, longest: int = LONGEST_CELL) -> str:
    """The first line of `text`, with a mark where more follows."""
    line, _, more = text.strip().partition("\n")
    return printable(line, longest) + (" …" if more and len(line) <= longest else "")


def one_line(text: str, longest: int = LONGEST_CELL) -> str:
    """All lines of `text` as one, with a mark where it is cut."""
    return printable("; ".join(line.strip() for line in text.strip().splitlines()), longest)


def say(*lines: str) -> None:
    """Lines for people, on stdout; an empty one without arguments."""
    for line in lines or ("",):
        print(printable(line))


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def _is_unicode(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "").startswith("utf")
