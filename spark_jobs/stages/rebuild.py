"""Rebuild: tiles and features of published hours computed again from released silver, because their definitions changed.

Neither drops nor silver are read again. A publication of its own covers just the tables that are stale; what was known at
as_of stays known at as_of, now in the new meaning.
"""

from __future__ import annotations

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
from spark_jobs.ledger import Release
from spark_jobs.quality import gate
from spark_jobs.quality.accounts import known_times
from spark_jobs.steps.context import Work
from spark_jobs.steps.plan import tables_read


def run(work: Work) -> None:
    """Stage every stale tiles/<table> and features/<group> of the hours [from, to), and judge the latter.

    Raises:
        UsageError: an hour is not published, or no table of these hours is stale.
    """
    groups = {name: group for name, group in work.pipeline.features.groups.items() if work.is_stale(f"features/{name}")}
    tiled = [group for group in tiled_groups(work.pipeline) if work.is_stale(f"tiles/{group.table}")]
    if not groups and not tiled:
        raise UsageError(
            f"{work.call.pipeline}/rebuild", "no table of tiles or features of these hours is stale",
            "hours that were made under former definitions", f"tidegate plan {work.call.pipeline} --env {work.call.env}",
        )  # fmt: skip
    work.known.update(known_times(work.pipeline, work.root, work.line, work.call.start, work.call.end))
    for group in tiled:
        work.lake.stage(f"tiles/{group.table}", changed_tiles(work, group), work.call.start, work.call.end)
    rows = spine.spine_rows(work, work.call.start + HOUR, work.call.end).persist()
    for verdict, held in work.together(lambda name: stage_group(work, name, groups[name], rows), groups):
        gate.record(work, verdict)
        work.held.append(held)
    _stage_quarantine(work, list(groups))


def publish(work: Work) -> Release:
    """Release what was rebuilt.

    Raises:
        RefusedError: a gate blocks, or judged other files.
        RetryError: another release touched what was read.
    """
    staged = work.lake.staged
    digests = {table: files.digest for table, files in staged.items()}
    gated = [table for table in staged if table.startswith("features/")]
    require_verdicts(work.ledger, f"{work.call.pipeline} pub {work.pub}", work.pub, gated, digests, digests)
    why = f"{', '.join(sorted(set(staged) - {'quarantine'}))} rebuilt under changed definitions"
    read = frozenset([*tables_read(work.pipeline, ("tiles", "features")), *gated])
    base = work.line[-1].release
    return lake_publish.publish(
        work.ledger, Publication(work.pub, "rebuild", work.lake.covers, staged, base, read, why)
    )  # fmt: skip


def _stage_quarantine(work: Work, groups: list[str]) -> None:
    """The rows that these hours hold back: those of the rebuilt features from now on, of all other tables as before."""
    parts: list[DataFrame] = list(work.held)
    if work.lake.is_made("quarantine"):
        now = work.lake.current("quarantine", hours=[(work.call.start, work.call.end)], released=True)
        rebuilt = [f"features/{name}" for name in groups]
        parts.insert(0, now.where(~F.col("table").isin(rebuilt)).drop("day", "pub"))
    if parts:
        rows = reduce(DataFrame.unionByName, parts)
        work.lake.stage("quarantine", rows, work.call.start, work.call.end)
