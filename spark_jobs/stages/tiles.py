"""Tiles: the sums that windows are made of, staged for the hours of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spark_jobs.features.tiles import changed_tiles, tiled_groups
from spark_jobs.lake.staging import Staged
from spark_jobs.steps.context import Context


@dataclass(frozen=True)
class TilesOutput:
    """What was staged, by table."""

    staged: Mapping[str, Staged]


def run(context: Context) -> TilesOutput:
    """Stage tiles/<table> for every window group: the tiles that this publication changes, each whole.

    Grain: entity, key, event_hour, known_at. A tile is computed from all current rows of its hour, so a late row
    in a later drop restates the tile of its own hour, and a corrected key the tile that it left, however far away.
    """
    groups = tiled_groups(context.pipeline)
    staged = [context.lake.stage(f"tiles/{group.table}", changed_tiles(context, group)) for group in groups]
    return TilesOutput({one.table: one for one in staged})
