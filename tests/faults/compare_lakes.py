"""Two data folders of the demo compared: the rows that readers see of every table, in both views.

`python tests/faults/compare_lakes.py BEFORE AFTER` prints a line a table and ends with 1 when any differs. BEFORE may have
been written by an earlier version; both are read by this one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PIPELINE = "nycflights13"
VIEWS = {"current": "", "as_known": "WHERE known_at <= TIMESTAMPTZ '2013-11-01 14:00:00+00'"}
NOT_COMPARED = ("pub", "data_release")  # numbers that the ledger gives, in the order of runs


@dataclass(frozen=True)
class Seen:
    """What readers of the newest release see of a table: how many rows, and each row's hash, sorted."""

    hashes: tuple[int, ...]

    def without(self, other: Seen) -> int:
        """Rows that `other` lacks."""
        return len(set(self.hashes) - set(other.hashes))


def rows_seen(data: Path, table: str, condition: str) -> Seen:
    """The rows of `table` in the lake of a data folder."""
    from spark_jobs.config import load_pipeline
    from spark_jobs.lake.kinds import table_kinds
    from spark_jobs.lake.reading import connect, register_current
    from spark_jobs.ledger import Ledger

    root = data / "lake" / PIPELINE
    kind = table_kinds(load_pipeline(PIPELINE))[table]
    with connect(root) as connection:
        if not register_current(connection, root, table, kind, Ledger.open(root).line(), "rows"):
            return Seen(())
        columns = [row[0] for row in connection.execute("DESCRIBE rows").fetchall()]
        listed = ", ".join(f'"{name}"::VARCHAR' for name in columns if name not in NOT_COMPARED)
        found = connection.execute(f"SELECT hash({listed}) AS row FROM rows {condition} ORDER BY row").fetchall()
        return Seen(tuple(row[0] for row in found))


def compare(before: Path, after: Path) -> Iterator[tuple[str, str, Seen, Seen]]:
    """View, table, and what readers see of it before and after."""
    from spark_jobs.config import load_pipeline
    from spark_jobs.lake.kinds import table_kinds

    for view, condition in VIEWS.items():
        for table in table_kinds(load_pipeline(PIPELINE)):
            yield view, table, rows_seen(before, table, condition), rows_seen(after, table, condition)


def differences(before: Path, after: Path) -> list[str]:
    """A line for each view of a table that differs."""
    return [
        f"{view} {table}: {old.without(new)} rows missing, {new.without(old)} added"
        for view, table, old, new in compare(before, after)
        if old != new
    ]


def main(before: str, after: str) -> int:
    """Compare and print."""
    differing = 0
    for view, table, old, new in compare(Path(before), Path(after)):
        same = old == new
        differing += not same
        detail = "" if same else f"; {old.without(new):,} missing, {new.without(old):,} added"
        print(f"{'same' if same else 'DIFFERS':8s}{view:9s} {table:28s} {len(old.hashes):>9,} rows{detail}", flush=True)
    print(f"{differing} views of tables differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
