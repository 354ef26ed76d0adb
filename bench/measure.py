"""CPU seconds of whole process trees, and the table that a bench prints."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil

Rows = list[tuple[str, float, float, int]]  # what, CPU seconds, wall seconds, rows


def tree_cpu() -> float:
    """CPU seconds of this process and all that it started, those that have ended included."""
    here = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (here, *here.children(recursive=True)))


@contextmanager
def measured(rows: Rows, what: str) -> Iterator[list[int]]:
    """Add what the block took; it puts the number of rows into the list."""
    count: list[int] = []
    cpu, wall = tree_cpu(), time.monotonic()
    yield count
    add(rows, what, tree_cpu() - cpu, time.monotonic() - wall, sum(count))


def add(rows: Rows, what: str, cpu: float, wall: float, count: int) -> None:
    """One more line, shown at once."""
    rows.append((what, cpu, wall, count))
    print(f"  {what:<52} {cpu:7.1f} CPU s {wall:7.1f} s {count:>9} rows", flush=True)


def table(rows: Rows, peers: Mapping[int, Iterable[int]], ratio: str, more: Mapping[str, Sequence[int]]) -> None:
    """The lines as a table in Markdown; `peers`: line -> lines whose CPU seconds are given as its multiple."""
    of = {line: peer for peer, lines in peers.items() for line in lines}
    print(f"\n| what | CPU s | {ratio} | s | rows |{''.join(f' {name} |' for name in more)}")
    print("|---|---|---|---|---|" + "---|" * len(more))
    for line, (what, cpu, wall, count) in enumerate(rows):
        told = "".join(f" {column[line]} |" for column in more.values())
        print(f"| {what} | {cpu:.1f} | {cpu / rows[of[line]][1]:.2f} | {wall:.1f} | {count:,} |{told}")
