"""Heal: cells that rows made wrong which came late or were corrected afterwards are made anew of what is known now.

Tiles are healed whenever an hour is published, so later cells are right of themselves; here the older ones are. What was
known at as_of stays what it was: a restated cell is a further version, known since the newest hour, so training and
as-known readers see the first one.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.columns import feature_columns
from spark_jobs.config.features import Group
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.admission import require_verdicts
from spark_jobs.lake.publish import Publication
from spark_jobs.ledger import Release
from spark_jobs.stages import features, gate
from spark_jobs.stages.work import Work
from spark_jobs.verdict import Verdict


def run(work: Work) -> None:
    """Stage, for every feature group, the cells of hours [from, to) that differ, and judge all of them together.

    Grain entity, key, as_of. Only cells that are there are made anew. A restated cell that breaks a rule on rows is left as
    it was.

    Raises:
        UsageError: nothing is published yet.
    """
    if not work.line:
        raise UsageError(f"{work.call.pipeline}/heal", "nothing is published yet", "hours that were published")
    named = {name: group for name, group in work.pipeline.features.groups.items() if _is_made(work, name, group)}
    for verdict in work.together(lambda name: _stage(work, name, named[name]), named):
        gate.record(work, verdict)


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
    why = f"{sum(files.rows for files in staged.values())} cells restated"
    covers = dict.fromkeys(staged, (work.call.start, work.call.end))
    base = work.line[-1].release
    return lake_publish.publish(work.ledger, Publication(work.pub, "heal", covers, staged, base, frozenset(), why))


def _is_made(work: Work, name: str, group: Group) -> bool:
    """Whether there are cells, and rows that they could be made of."""
    return work.lake.is_made(f"features/{name}") and work.lake.is_made(f"silver/{group.table}")


def _stage(work: Work, name: str, group: Group) -> Verdict:
    rows = _made_anew(work, name, group)
    verdict, _ = gate.stage_judged(
        work, f"features/{name}", "features", rows, kept=lambda good: good.where("_differs").drop("_differs")
    )
    return verdict


def _made_anew(work: Work, name: str, group: Group) -> DataFrame:
    """Every cell of the hours as it is with all that is known now, and whether readers see another one (`_differs`)."""
    table, values = f"features/{name}", F.struct(*feature_columns(work.pipeline, name))
    key = list(work.lake.kinds[table].key)
    old = work.lake.current(table, start=work.call.start, end=work.call.end, released=True)
    old = old.select(*key, values.alias("_seen"))
    rows = features.cells(work, group, old.select(*key), latest=True).join(old, key)
    known_at = max(work.lake.newest_known("accounts"), work.call.end + HOUR)
    return rows.withColumns(
        {
            "_differs": ~values.eqNullSafe(F.col("_seen")),
            "hour": F.col("as_of") - F.lit(HOUR),
            "known_at": F.lit(known_at),
        }
    ).drop("_seen")


def told(work: Work) -> str:
    """What a heal that found nothing says."""
    return f"no cell of {format_hour(work.call.start)} to {format_hour(work.call.end)} differs"
