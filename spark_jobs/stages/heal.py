"""Heal: recompute feature cells from all that is known now, and publish those that differ from what readers see.

Publishing an hour restates tiles, so later cells are computed from corrected tiles; a heal does the same for the cells that
exist already. What was known at as_of stays readable: a restated cell is a further version, known since the newest hour,
so training and as-known readers see the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.columns import feature_columns
from spark_jobs.config.features import Group
from spark_jobs.errors import UsageError
from spark_jobs.features.cells import cells
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.lake import publish as lake_publish
from spark_jobs.lake.admission import require_verdicts
from spark_jobs.lake.publish import Publication
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Release
from spark_jobs.quality import gate
from spark_jobs.quality.gate import JudgedTables
from spark_jobs.steps.context import Context


def run(context: Context) -> JudgedTables:
    """Stage, for every feature group, the cells of hours [from, to) that differ, and judge all of them together.

    Grain entity, key, as_of. Only existing cells are recomputed: the cells that the spine, as known at as_of, demanded when
    their hour was published. A restated cell that breaks a rule on rows is not staged, and `outcome` reports how many.

    Raises:
        UsageError: nothing is published yet.
    """
    if not context.line:
        raise UsageError(f"{context.call.pipeline}/heal", "nothing is published yet", "hours that were published")
    groups = {
        name: group for name, group in context.pipeline.features.groups.items() if _has_cells(context, name, group)
    }
    return gate.recorded(context, context.together(lambda name: _stage(context, name, groups[name]), groups))


def publish(context: Context, changed: Mapping[str, Staged], held: Sequence[DataFrame]) -> Release | None:
    """Release the restated cells; none when no cell differs.

    Raises:
        RefusedError: a gate blocks, or judged other files.
        RetryError: a rollback came first.
    """
    staged = {table: files for table, files in changed.items() if files.rows}
    if not staged:
        return None
    digests = {table: files.digest for table, files in staged.items()}
    require_verdicts(
        context.ledger, f"{context.call.pipeline} pub {context.pub}", context.pub, staged, digests, digests
    )
    covers = dict.fromkeys(staged, (context.call.start, context.call.end))
    why = outcome(context.call, changed, held)
    return lake_publish.publish(
        context.ledger, Publication(context.pub, "heal", covers, staged, context.base, frozenset(), why)
    )


def outcome(call: Invocation, staged: Mapping[str, Staged], held: Sequence[DataFrame]) -> str:
    """What the heal found: the number of restated cells, and of cells that it had to leave as they were."""
    restated = sum(files.rows for files in staged.values())
    interval = f"{format_hour(call.start)} to {format_hour(call.end)}"
    text = f"{restated} cells restated" if restated else f"no cell of {interval} restated"
    left = sum(rows.where("cols['_restated'] = 'true'").count() for rows in held)  # rows of the gate, cached
    return f"{text}; {left} left as they were: restated they would break a rule on rows" if left else text


def _has_cells(context: Context, name: str, group: Group) -> bool:
    """Whether the group has cells, and rows from which they can be computed."""
    return context.lake.is_made(f"features/{name}") and context.lake.is_made(f"silver/{group.table}")


def _stage(context: Context, name: str, group: Group) -> gate.Judgement:
    """The group's cells, judged; the cells that differ but break a rule on rows are held back."""
    return gate.stage_judged(
        context,
        f"features/{name}",
        "features",
        _recomputed(context, name, group),
        kept=lambda good: good.where("_restated").drop("_restated"),
    )


def _recomputed(context: Context, name: str, group: Group) -> DataFrame:
    """Every cell of the hours as of all that is known now, and whether readers see another value (`_restated`).

    A restated cell is known after its as_of, no earlier than any row of the lake, and no earlier than the version that it
    replaces: the newest known version counts, whatever hours were published or healed in between.
    """
    table, values = f"features/{name}", F.struct(*feature_columns(context.pipeline, name))
    key = list(context.lake.kinds[table].key)
    old = context.lake.current(table, hours=[(context.call.start, context.call.end)], released=True)
    old = old.select(*key, values.alias("_seen"), F.col("known_at").alias("_seen_known_at"))
    rows = cells(context, group, old.select(*key), latest=True).join(old, key)
    return rows.withColumns(
        {
            "_restated": ~values.eqNullSafe(F.col("_seen")),
            "hour": F.col("as_of") - F.lit(HOUR),
            "known_at": _known_at(context),
        }
    ).drop("_seen", "_seen_known_at")


def _known_at(context: Context) -> Column:
    newest = context.lake.newest_known("accounts")
    return F.greatest(F.lit(newest), F.col("as_of") + F.lit(HOUR), F.col("_seen_known_at"))
