"""Heal: recompute feature cells from all that is known now, and publish those that differ from what readers see.

Publishing an hour restates tiles, so later cells are computed from corrected tiles; a heal does the same for the cells that
exist already. What was known at as_of stays readable: a restated cell is a further version, known since the newest hour,
so training and as-known readers see the first one.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.columns import feature_columns
from spark_jobs.config.features import Group
from spark_jobs.errors import UsageError
from spark_jobs.features.cells import cells
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.admission import require_verdicts
from spark_jobs.lake.publish import Publication
from spark_jobs.ledger import Release
from spark_jobs.quality import gate
from spark_jobs.steps.context import Work
from spark_jobs.verdict import Verdict


def run(work: Work) -> None:
    """Stage, for every feature group, the cells of hours [from, to) that differ, and judge all of them together.

    Grain entity, key, as_of. Only existing cells are recomputed: the cells that the spine, as known at as_of, demanded when
    their hour was published. A restated cell that breaks a rule on rows is not staged, and `outcome` reports how many.

    Raises:
        UsageError: nothing is published yet.
    """
    if not work.line:
        raise UsageError(f"{work.call.pipeline}/heal", "nothing is published yet", "hours that were published")
    groups = {name: group for name, group in work.pipeline.features.groups.items() if _has_cells(work, name, group)}
    for verdict, held in work.together(lambda name: _stage(work, name, groups[name]), groups):
        gate.record(work, verdict)
        work.held.append(held)


def publish(work: Work) -> Release | None:
    """Release the restated cells; none when no cell differs.

    Raises:
        RefusedError: a gate blocks, or judged other files.
        RetryError: a rollback came first.
    """
    staged = {table: files for table, files in work.lake.staged.items() if files.rows}
    if not staged:
        return None
    digests = {table: files.digest for table, files in staged.items()}
    require_verdicts(work.ledger, f"{work.call.pipeline} pub {work.pub}", work.pub, staged, digests, digests)
    covers = dict.fromkeys(staged, (work.call.start, work.call.end))
    base = work.line[-1].release
    return lake_publish.publish(
        work.ledger, Publication(work.pub, "heal", covers, staged, base, frozenset(), outcome(work))
    )


def outcome(work: Work) -> str:
    """What the heal found: the number of restated cells, and of cells that it had to leave as they were."""
    restated = sum(files.rows for files in work.lake.staged.values())
    interval = f"{format_hour(work.call.start)} to {format_hour(work.call.end)}"
    text = f"{restated} cells restated" if restated else f"no cell of {interval} restated"
    left = sum(rows.where("cols['_restated'] = 'true'").count() for rows in work.held)  # rows of the gate, cached
    return f"{text}; {left} left as they were: restated they would break a rule on rows" if left else text


def _has_cells(work: Work, name: str, group: Group) -> bool:
    """Whether the group has cells, and rows from which they can be computed."""
    return work.lake.is_made(f"features/{name}") and work.lake.is_made(f"silver/{group.table}")


def _stage(work: Work, name: str, group: Group) -> tuple[Verdict, DataFrame]:
    """The verdict on the group's cells, and the cells that differ but break a rule on rows."""
    return gate.stage_judged(
        work, f"features/{name}", "features", _recomputed(work, name, group),
        kept=lambda good: good.where("_restated").drop("_restated"),
    )  # fmt: skip


def _recomputed(work: Work, name: str, group: Group) -> DataFrame:
    """Every cell of the hours as of all that is known now, and whether readers see another value (`_restated`).

    A restated cell is known after its as_of, no earlier than any row of the lake, and no earlier than the version that it
    replaces: the newest known version counts, whatever hours were published or healed in between.
    """
    table, values = f"features/{name}", F.struct(*feature_columns(work.pipeline, name))
    key = list(work.lake.kinds[table].key)
    old = work.lake.current(table, hours=[(work.call.start, work.call.end)], released=True)
    old = old.select(*key, values.alias("_seen"), F.col("known_at").alias("_seen_known_at"))
    rows = cells(work, group, old.select(*key), latest=True).join(old, key)
    return rows.withColumns(
        {
            "_restated": ~values.eqNullSafe(F.col("_seen")),
            "hour": F.col("as_of") - F.lit(HOUR),
            "known_at": _known_at(work),
        }
    ).drop("_seen", "_seen_known_at")


def _known_at(work: Work) -> Column:
    newest = work.lake.newest_known("accounts")
    return F.greatest(F.lit(newest), F.col("as_of") + F.lit(HOUR), F.col("_seen_known_at"))
