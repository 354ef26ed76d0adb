"""Which drop hours a stage reads of a silver table, so that no version outside of them replaces a row inside."""

from __future__ import annotations

from datetime import datetime

from spark_jobs.config.tables import SilverTable
from spark_jobs.lake.hours import Hours
from spark_jobs.lake.moved_keys import KeyedRows, TileHours, hours_elsewhere, tile_hours
from spark_jobs.ledger import folds
from spark_jobs.steps.context import Context


def hours_of_tiles(context: Context, name: str) -> TileHours:
    """The hours that the call reads of silver/<name> to restate tiles, and the event hours of these tiles."""
    table = context.pipeline.silver[name]
    return tile_hours(
        _rows(context, name),
        context.call.start,
        context.call.end,
        table.event_within,
        key_decides_event=key_decides_event(context, name),
    )


def hours_from(context: Context, name: str, start: datetime, end: datetime | None = None) -> Hours:
    """The hours [start, end) of silver/<name>, and those before with other versions of the keys found there.

    An older hour that is delivered again can replace rows of later hours. A version in an hour from `end` on replaces none
    for readers as of `end` or before: it is known later.
    """
    if key_decides_event(context, name):
        return [(start, end)]
    return [*hours_elsewhere(_rows(context, name), [(start, end)], [(None, start)]), (start, end)]


def key_decides_event(context: Context, name: str) -> bool:
    """Whether all versions of a key have the same event_at: it is computed of key columns, and always was."""
    if not is_of_key(context.pipeline.silver[name]):
        return False
    return not (context.line and context.published.former and context.published.stale(f"silver/{name}"))


def is_of_key(table: SilverTable) -> bool:
    """Whether event_at is computed of columns of the key alone."""
    return set(table.event_at.columns) <= set(table.version_key)


def _rows(context: Context, name: str) -> KeyedRows:
    table = context.lake.declared(f"silver/{name}")
    staged = context.lake.staged.get(table)
    paths = tuple(context.root / table / file.path for file in staged.files) if staged else None
    key = tuple(context.pipeline.silver[name].version_key)
    return KeyedRows(context.root, table, key, folds.live(context.line), paths)
