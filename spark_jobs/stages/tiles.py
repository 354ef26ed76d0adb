"""Tiles: the sums that windows are made of, staged for the hours of a call."""

from __future__ import annotations

from spark_jobs.features.tiles import changed_tiles, tiled_groups
from spark_jobs.steps.context import Work


def run(work: Work) -> None:
    """Stage tiles/<table> for every window group: the tiles that this publication changes, each whole.

    Grain: entity, key, event_hour, known_at. A tile is computed from all current rows of its hour, so a late row
    in a later drop restates the tile of its own hour, and a corrected key the tile that it left, however far away.
    """
    for group in tiled_groups(work.pipeline):
        work.lake.stage(f"tiles/{group.table}", changed_tiles(work, group), work.call.start, work.call.end)
