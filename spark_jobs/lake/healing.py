"""What a heal must look at, gathered from ledger, logs and files without a JVM; `stale_hours.py` decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from spark_jobs.config.features import AsOfGroup, Group, WindowGroup
from spark_jobs.config.whole import Pipeline
from spark_jobs.identifiers import quoted
from spark_jobs.invocation import HOUR
from spark_jobs.lake.hours import instant, micros
from spark_jobs.lake.reading import connect, rows_of, with_fresh_log
from spark_jobs.lake.stale_hours import NEVER, Heal, Reach, Span, history, is_state_of, stale_hours
from spark_jobs.ledger import Ledger, Release, folds

_ROWS = "rows_of_table"


@dataclass(frozen=True)
class HealPlan:
    """The hours that a heal must look at, and those that need no heal, as of release `base`."""

    base: int
    stale: Span | None  # from the first stale hour to the last; hours between them may be sound
    sound: tuple[Span, ...]  # to be recorded as looked at, so that the next heal does not read the times of rows again


def plan_heal(pipeline: Pipeline, root: Path, ledger: Ledger) -> HealPlan:
    """Which published hours have cells that can differ from what is known now; see `stale_hours` for the rules."""
    line = ledger.line()
    covered = folds.spans(folds.covered_hours(line))
    if not covered:
        return HealPlan(line[-1].release if line else 0, None, ())
    pubs = {release.pub for release in history(line)}
    tables = {f"silver/{group.table}" for group in pipeline.features.groups.values()}
    hours, asked = stale_hours(
        line,
        _bases(ledger, pubs),
        _heals(ledger, line),
        _known(root, pubs),
        sorted(tables),
        lambda table, wanted: _reaches(pipeline, root, table, pubs, wanted),
    )
    first, end = covered[0][0], covered[-1][1]
    if not hours:
        return HealPlan(line[-1].release, None, ((first, end),) if asked else ())
    stale = (hours[0], hours[-1] + HOUR)
    around = ((first, stale[0]), (stale[1], end))
    return HealPlan(line[-1].release, stale, tuple((a, b) for a, b in around if a < b))


def _bases(ledger: Ledger, pubs: set[int]) -> dict[int, int | None]:
    """The release that each publication read: the oldest, if it was staged in several steps; none: there was none."""
    found: dict[int, int | None] = {}
    for row in ledger.intervals("pub", "state", "base"):
        if row["pub"] in pubs and row["state"] in ("started", "staged"):
            older = found.get(row["pub"], row["base"])
            found[row["pub"]] = None if None in (older, row["base"]) else min(older, row["base"])
    return found


def _heals(ledger: Ledger, line: list[Release]) -> list[Heal]:
    """The heals whose result readers see, with their intervals; those that found nothing among them."""
    alive, columns = folds.live(line), ["state", "pub", "base", "from_hour", "to_hour"]
    rows = [r for r in ledger.store.rows("intervals", columns, {"step": "heal"}) if r["base"] is not None]
    empty = {base: is_state_of(line, base) for base in {r["base"] for r in rows if r["state"] == "empty"}}
    return [
        Heal(r["from_hour"], r["to_hour"], r["base"])
        for r in rows
        if (r["state"] == "published" and r["pub"] in alive) or (r["state"] == "empty" and empty[r["base"]])
    ]


def _known(root: Path, pubs: set[int]) -> dict[tuple[datetime, int], datetime]:
    """(hour, publication) -> when its drops were known, all sources, as `accounts` has it."""

    def ask() -> dict[tuple[datetime, int], datetime]:
        with connect(root) as connection:
            relation = rows_of(connection, root, "accounts", pubs, "accounts columns")
            if relation is None:
                return {}
            query = f"SELECT epoch_us(hour), pub, max(epoch_us(known_at)) FROM {relation} GROUP BY ALL"
            return {(instant(hour), pub): instant(at) for hour, pub, at in connection.execute(query).fetchall()}

    return with_fresh_log(f"{root.name}/accounts", ask)


def _reaches(
    pipeline: Pipeline, root: Path, table: str, pubs: set[int], hours: Iterable[datetime]
) -> Mapping[datetime, Reach]:
    """For each hour the as_of between which cells can read rows of its keys, in any version and wherever they lie."""
    settings = pipeline.silver[table.removeprefix("silver/")]
    groups = [group for group in pipeline.features.groups.values() if table == f"silver/{group.table}"]
    found: dict[datetime, Reach] = {}
    for group in groups:
        column = "event_at" if isinstance(group, (WindowGroup, AsOfGroup)) else str(settings.valid_from)
        for hour, (first, last) in _times(root, table, settings.version_key, column, pubs, hours).items():
            reach = _reach(group, first, last)
            before = found.get(hour, reach)
            found[hour] = min(reach[0], before[0]), max(reach[1], before[1])
    return found


def _reach(group: Group, first: int, last: int) -> Reach:
    """A window and an as-of join read rows before as_of, a look-up also a row that holds from as_of on."""
    if isinstance(group, WindowGroup):
        return first, last + max(group.windows) // timedelta(microseconds=1)
    if isinstance(group, AsOfGroup):
        return first, last + group.staleness // timedelta(microseconds=1)
    return first - 1, NEVER


def _times(
    root: Path, table: str, key: Iterable[str], column: str, pubs: set[int], hours: Iterable[datetime]
) -> dict[datetime, tuple[int, int]]:
    """Least and greatest `column` in live versions, of all hours, of the keys in each of `hours`; in microseconds."""
    columns = [quoted(name) for name in key]
    names, same = ", ".join(columns), " AND ".join(f"r.{name} IS NOT DISTINCT FROM t.{name}" for name in columns)
    query = f"""
        WITH live AS (SELECT hour, {names}, epoch_us({quoted(column)}) AS _at FROM {_ROWS}
                      WHERE pub IN (SELECT unnest($pubs))),
             touched AS (SELECT DISTINCT hour, {names} FROM live WHERE epoch_us(hour) IN (SELECT unnest($hours)))
        SELECT epoch_us(t.hour), min(r._at), max(r._at) FROM touched t JOIN live r ON {same}
        GROUP BY t.hour HAVING min(r._at) IS NOT NULL"""
    values = {"pubs": sorted(pubs), "hours": [micros(hour) for hour in hours]}

    def ask() -> dict[datetime, tuple[int, int]]:
        with connect(root) as connection:
            relation = rows_of(connection, root, table, pubs, "rows columns")
            if relation is None:
                return {}
            connection.execute(f"CREATE VIEW {_ROWS} AS FROM {relation}")
            rows = connection.execute(query, values).fetchall()
            return {instant(hour): (first, last) for hour, first, last in rows}

    return with_fresh_log(f"{root.name}/{table}", ask)
