"""Which cells may be made of rows that came late or were corrected since: known from ledger, logs and files, without a JVM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spark_jobs.config.features import LookUpGroup
from spark_jobs.config.whole import Pipeline
from spark_jobs.identifiers import quoted
from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.lake.reading import connect
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.storage import day_of
from spark_jobs.storage.damage import open_log

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def hours_to_heal(pipeline: Pipeline, root: Path, ledger: Ledger) -> tuple[datetime, datetime] | None:
    """The hours [from, to) whose cells may differ from what is known now; none when no cell can.

    A cell reads rows before its as_of, so it can differ from the earliest row on that changed since the release that the
    last heal looked at: rows of hours published since (those that they replaced among them), and of hours that a
    rollback took away or brought back. Cells of the newest published hour know all that there is.
    """
    line = ledger.line()
    covered = folds.covered_hours(line)
    firsts = [
        _first_as_of(pipeline, root, name, hours) for name, hours in _changed(line, _looked_at(ledger, line)).items()
    ]
    known = [first for first in firsts if first]
    if not covered or not known:
        return None
    start, end = max(min(known) - HOUR, min(covered)), max(covered)
    return (start, end) if start < end else None


def _looked_at(ledger: Ledger, line: list[Release]) -> int:
    """The newest release that a heal has looked at whose cells readers see; 0 where none has."""
    alive = folds.live(line)
    rows = ledger.store.rows("intervals", ["state", "pub", "base"], {"step": "heal"})
    done = [r["base"] for r in rows if r["state"] == "empty" or (r["state"] == "published" and r["pub"] in alive)]
    return max(done, default=0)


def _changed(line: list[Release], since: int) -> dict[str, set[datetime]]:
    """Hours by table of which readers of the last of `line` may see other rows than those of release `since` did."""
    changed: dict[str, set[datetime]] = {}
    for number, release in enumerate(line):
        if release.release <= since or release.kind in ("heal", "score"):
            continue
        for other in _moved(line, number) if release.kind == "rollback" else [release]:
            for table, start, end in other.covers:
                if other.kind == "heal" or table.startswith("silver/"):
                    changed.setdefault(table, set()).update(hours_between(start, end))
    return changed


def _moved(line: list[Release], number: int) -> Iterator[Release]:
    """The releases that rollback `line[number]` took away or brought back."""
    before = line[number - 1].dead if number else frozenset()
    return (release for release in line if release.pub in line[number].dead ^ before)


def _first_as_of(pipeline: Pipeline, root: Path, table: str, hours: Iterable[datetime]) -> datetime | None:
    """The earliest as_of of a cell that a row of these hours of `table` can be part of, in any of its versions; none: of none.

    A window and an as-of join read what lies before as_of, a look-up also what holds from as_of on. Cells that a rollback
    moved may differ themselves.
    """
    if table in pipeline.feature_tables:
        return min(hours) + HOUR
    groups = [group for group in pipeline.features.groups.values() if table == f"silver/{group.table}"]
    firsts = []
    for held in {isinstance(group, LookUpGroup) for group in groups}:
        column = str(pipeline.silver[table.removeprefix("silver/")].valid_from) if held else "event_at"
        if seen := _earliest(root, table, column, hours):
            before = seen - timedelta(microseconds=1) if held else seen
            firsts.append(before.replace(minute=0, second=0, microsecond=0) + HOUR)
    return min(firsts, default=None)


def _earliest(root: Path, table: str, column: str, hours: Iterable[datetime]) -> datetime | None:
    """The least value of `column` in rows of `hours`, whichever publication wrote them."""
    log, wanted = open_log(root / table), sorted(hours)
    if log is None or not wanted:
        return None
    days = {f"{hour:%F}" for hour in wanted}
    paths = log.get_add_actions().column("path").to_pylist()
    files = [str(root / table / path) for path in paths if day_of(path) in days]
    if not files:
        return None
    asked = f"SELECT min(epoch_us({quoted(column)})) FROM read_parquet($files) WHERE epoch_us(hour) IN (SELECT unnest($hours))"
    with connect() as connection:
        row = connection.execute(
            asked, {"files": files, "hours": [int(h.timestamp()) * 10**6 for h in wanted]}
        ).fetchone()
    return _EPOCH + timedelta(microseconds=row[0]) if row and row[0] is not None else None
