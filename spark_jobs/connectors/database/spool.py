"""Lines of JSON by their hour, sorted on disk: a drop has the same bytes in whatever order the database gives its rows."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator

_CACHE_KIB = 64 << 10  # beyond it lines go to a temporary file in TMPDIR


class Spool:
    """A temporary file that ends with the process; several threads may add lines."""

    def __init__(self) -> None:
        self._lines = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # "": private and temporary
        self._lock = threading.Lock()
        for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", f"cache_size=-{_CACHE_KIB}"):
            self._lines.execute(f"PRAGMA {setting}")
        self._lines.execute("CREATE TABLE lines (hour TEXT, line BLOB)")

    def add(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Keep lines, each with its hour."""
        with self._lock:
            self._lines.execute("BEGIN")
            self._lines.executemany("INSERT INTO lines VALUES (?, ?)", lines)
            self._lines.execute("COMMIT")

    def sizes(self) -> dict[str, tuple[int, int]]:
        """The number of lines, and of their bytes, of each hour that has any."""
        # the index holds the lines as well: what is read by hour is not sorted again
        self._lines.execute("CREATE INDEX IF NOT EXISTS by_hour ON lines (hour, line)")
        rows = self._lines.execute("SELECT hour, count(*), sum(length(line)) FROM lines GROUP BY hour")
        return {hour: (count, size) for hour, count, size in rows}

    def lines(self, hour: str) -> Iterator[bytes]:
        """The lines of an hour in the order of their bytes."""
        return (line for (line,) in self._lines.execute("SELECT line FROM lines WHERE hour = ? ORDER BY line", [hour]))

    def close(self) -> None:
        """Remove it."""
        self._lines.close()
