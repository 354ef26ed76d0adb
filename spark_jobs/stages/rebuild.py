"""Rebuild: tiles and features of published hours computed again from released silver, because their definitions changed.

Neither drops nor silver are read again. A publication of its own covers just the tables that are stale; what was known at
as_of stays known at as_of, now in the new meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.errors import UsageError
from spark_jobs.features import spine
from spark_jobs.features.groups import stage_group
from spark_jobs.features.tiles import changed_tiles, tiled_groups
from spark_jobs.invocation import HOUR
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.admission import require_verdicts
from spark_jobs.lake.publish import Publication
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Release
from spark_jobs.quality import gate
from spark_jobs.quality.accounts import known_times
from spark_jobs.quality.gate import JudgedTables
from spark_jobs.steps.context import Context
from spark_jobs.steps.plan import tables_read


def run(context: Context) -> JudgedTables:
    """Stage every stale tiles/<table> and features/<group> of the hours [from, to), and judge the latter.

    Raises:
        UsageError: an hour is not published, or no table of these hours is stale.
    """
    call, pipeline = context.call, context.pipeline
    groups = {name: group for name, group in pipeline.features.groups.items() if context.is_stale(f"features/{name}")}
    tiled = [group for group in tiled_groups(pipeline) if context.is_stale(f"tiles/{group.table}")]
    if not groups and not tiled:
        raise UsageError(
            f"{call.pipeline}/rebuild",
            "no table of tiles or features of these hours is stale",
            "hours that were made under former definitions",
            f"tidegate plan {call.pipeline} --env {call.env}",
        )
    hours = context.after({}, known_times(pipeline, context.root, context.line, call.start, call.end))
    tiles = {
        f"tiles/{group.table}": hours.lake.stage(f"tiles/{group.table}", changed_tiles(hours, group)) for group in tiled
    }
    tiled_hours = hours.after(tiles)
    rows = spine.spine_rows(tiled_hours, call.start + HOUR, call.end).persist()
    judged = gate.recorded(
        context, tiled_hours.together(lambda name: stage_group(tiled_hours, name, groups[name], rows), groups)
    )
    held_back = _stage_quarantine(context, list(groups), judged.held)
    return replace(judged, staged={**tiles, **judged.staged, **held_back})


def publish(context: Context, staged: Mapping[str, Staged]) -> Release:
    """Release what was rebuilt.

    Raises:
        RefusedError: a gate blocks, or judged other files.
        RetryError: another release touched what was read.
    """
    digests = {table: files.digest for table, files in staged.items()}
    gated = [table for table in staged if table.startswith("features/")]
    require_verdicts(context.ledger, f"{context.call.pipeline} pub {context.pub}", context.pub, gated, digests, digests)
    why = f"{', '.join(sorted(set(staged) - {'quarantine'}))} rebuilt under changed definitions"
    read = frozenset([*tables_read(context.pipeline, ("tiles", "features")), *gated])
    covers = dict.fromkeys(staged, (context.call.start, context.call.end))
    return lake_publish.publish(
        context.ledger, Publication(context.pub, "rebuild", covers, staged, context.base, read, why)
    )


def _stage_quarantine(context: Context, groups: list[str], held: Sequence[DataFrame]) -> dict[str, Staged]:
    """The rows that these hours hold back: those of the rebuilt features from now on, of all other tables as before."""
    parts = list(held)
    if context.lake.is_made("quarantine"):
        now = context.lake.current("quarantine", hours=[(context.call.start, context.call.end)], released=True)
        rebuilt = [f"features/{name}" for name in groups]
        parts.insert(0, now.where(~F.col("table").isin(rebuilt)).drop("day", "pub"))
    return {"quarantine": context.lake.stage("quarantine", reduce(DataFrame.unionByName, parts))} if parts else {}
