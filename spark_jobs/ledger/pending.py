"""What has to be rebuilt after a change of definitions, in which order, and what it costs by what former runs took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Literal

from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import HOUR
from spark_jobs.ledger import folds
from spark_jobs.ledger.staleness import Published, Span, count_hours, merged, within
from spark_jobs.storage import Row

How = Literal["hours", "rebuild", "heal"]


@dataclass(frozen=True)
class Piece:
    """Hours [start, end) to make again: by the steps of an hour, from released silver alone, or only cells that differ."""

    how: How
    start: datetime
    end: datetime
    tables: tuple[str, ...]

    @property
    def hours(self) -> int:
        """Number of hours."""
        return int((self.end - self.start) / HOUR)


def lake_tables(pipeline: Pipeline) -> list[str]:
    """Tables whose rows have a meaning: silver, tiles and features."""
    tiles = [f"tiles/{group.table}" for group in pipeline.features.windows.values()]
    return [*(f"silver/{name}" for name in pipeline.silver), *dict.fromkeys(tiles), *pipeline.feature_tables]


def pieces(pipeline: Pipeline, published: Published) -> list[Piece]:
    """The least that makes nothing stale, the oldest hours first, so that no window reads tiles of a former definition.

    Hours with a stale silver table are run again as a whole, since all else is made of it. Of the others only stale tiles and
    features are rebuilt. Restated cells that would outlive that are healed afterwards: see `Published.outlived`.
    """
    stale = {table: spans for table in lake_tables(pipeline) if (spans := published.stale(table))}
    silver = merged(span for table, spans in stale.items() if table.startswith("silver/") for span in spans)
    edges = sorted({edge for spans in [silver, *stale.values()] for span in spans for edge in span})
    found: list[Piece] = []
    for low, high in pairwise(edges):
        tables = tuple(table for table, spans in stale.items() if within(spans, low, high))
        if tables:
            _extend(found, Piece("hours" if within(silver, low, high) else "rebuild", low, high, tables))
    return [*found, *_heals(pipeline, published)]


def _extend(found: list[Piece], piece: Piece) -> None:
    """Add `piece`, as part of the last one where it goes on with the same."""
    last = found[-1] if found else None
    if (
        last
        and (last.end, last.how) == (piece.start, piece.how)
        and (piece.how == "hours" or last.tables == piece.tables)
    ):
        tables = tuple(dict.fromkeys([*last.tables, *piece.tables]))
        found[-1] = Piece(last.how, last.start, piece.end, tables)
    else:
        found.append(piece)


def _heals(pipeline: Pipeline, published: Published) -> list[Piece]:
    spans = {table: spans for table in pipeline.feature_tables if (spans := published.outlived(table))}
    return [Piece("heal", a, b, tuple(spans)) for a, b in merged(span for found in spans.values() for span in found)]


def estimate_seconds(intervals: Iterable[Row], steps: Sequence[str], hours: int) -> float | None:
    """Seconds that `steps` over `hours` hours take, by a line through the shortest and the longest recorded runs of each.

    None where a step's seconds were never recorded.
    """
    total = 0.0
    for step in steps:
        known = [
            (int((row["to_hour"] - row["from_hour"]) / HOUR), row["seconds"])
            for row in intervals
            if row["step"] == step and row["seconds"] and row["state"] in ("staged", "published", "empty")
        ]
        if not known:
            return None
        (few, low), (many, high) = min(known), max(known)
        slope = max(0.0, (high - low) / (many - few)) if many > few else low / few
        total += max(low if hours >= few else 0.0, low + slope * (hours - few))
    return total


def estimated_cells(published: Published, table: str, stale: Sequence[Span]) -> int:
    """About how many rows of `table` lie in the hours `stale`: of each publication its share of hours."""
    alive, rows = folds.live(published.line), 0.0
    for release in published.line:
        spans = merged((a, b) for name, a, b in release.covers if name == table)
        if release.pub in alive and spans and release.kind not in ("heal", "score"):
            share = count_hours([cut for a, b in spans for cut in within(stale, a, b)]) / count_hours(spans)
            rows += release.rows.get(table, 0) * share
    return round(rows)
