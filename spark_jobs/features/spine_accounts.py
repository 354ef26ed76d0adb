"""`spine_accounts`: for each hour how many spine rows it predicts for, how many are missed, and why; and the rule on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.features import spine
from spark_jobs.invocation import HOUR, hours_between
from spark_jobs.lake.staging import Staged
from spark_jobs.quality.accounts import SPINE_COLUMNS, spine_account_row
from spark_jobs.quality.decide import SpineAccount, spine_result
from spark_jobs.spark_columns import spark_column
from spark_jobs.steps.context import Context
from spark_jobs.verdict import Verdict
from spark_jobs.windows.keys import entity_key

TABLE = "spine_accounts"
_FIRST = datetime(1, 1, 2, tzinfo=UTC)  # Python has no year before 1; a delivered instant may be in one
_EARLIEST = timedelta(days=3)  # how far before a late row's as_of another version of it may have been due


def stage_accounts(context: Context, rows: DataFrame, held: Sequence[DataFrame]) -> tuple[Staged, Verdict]:
    """Stage spine_accounts and judge it; grain: an hour and the as_of of the rows that it accounts for.

    An hour H has one row for as_of H + 1, with the spine rows that were known by then, and one for each as_of of rows that
    its drop brought too late: no version of them was known by their as_of. A row delivered late twice counts twice.

    Args:
        context: of the hours, with silver and features staged.
        rows: `spine.spine_rows` of the hours.
        held: quarantined rows of every feature group.
    """
    accounts = [*_on_time(context, rows, held), *_late(context)]
    stored = [tuple(spine_account_row(account, context.known[account.hour]).values()) for account in accounts]
    frame = context.spark.createDataFrame(stored, SPINE_COLUMNS)
    staged = context.lake.stage(TABLE, frame)
    missed = context.pipeline.features.spine.missed
    result = spine_result(accounts, missed.at_most, missed.severity)
    return staged, Verdict.of(TABLE, "features", [result])


def _on_time(context: Context, rows: DataFrame, held: Sequence[DataFrame]) -> list[SpineAccount]:
    """Rows known by their as_of: those with a feature cell are predicted for; one account per hour."""
    pairs = [
        F.struct(
            F.lit(f"features/{name}").alias("table"), F.lit(entity).alias("entity"),
            entity_key(rows, context.pipeline.features.spine.entities[entity]).alias("key"),
        )
        for name, group in context.pipeline.features.groups.items() for entity in group.entities
    ]  # fmt: skip
    by_row = _cells_by_row(context, rows, pairs, held) if pairs else _without_features(rows)
    counts = by_row.groupBy(F.unix_seconds("as_of").alias("as_of_s")).agg(
        F.count("*"), F.count_if("has_cell"), F.count_if(F.col("has_cell") & ~F.col("is_whole")),
        F.count_if(~F.col("has_key")), F.count_if(F.col("has_key") & ~F.col("has_cell")),
    )  # fmt: skip
    found = {_instant(as_of_s): numbers for as_of_s, *numbers in counts.collect()}  # at most one per hour
    accounts = []
    for hour in hours_between(context.call.start, context.call.end):
        expected, predicted, incomplete, entity_null, no_cells = found.get(hour + HOUR, [0] * 5)
        accounts.append(SpineAccount(hour, hour + HOUR, expected, predicted, incomplete, 0, entity_null, no_cells))
    return accounts


def _cells_by_row(context: Context, rows: DataFrame, pairs: Sequence[Column], held: Sequence[DataFrame]) -> DataFrame:
    """For each spine row, as_of and whether it has a key, a cell, and the cells of all `pairs` (table, entity, key)."""
    key = [spark_column(name) for name in context.pipeline.silver[context.pipeline.features.spine.table].key]
    wanted = rows.select(F.struct(*key).alias("row"), "as_of", F.inline(F.array(*pairs)))
    cell = [F.col("cols")["entity"].alias("entity"), F.col("cols")["key"].alias("key")]
    lost = reduce(DataFrame.unionByName, held).select(
        "table", *cell, (F.col("hour") + F.lit(HOUR)).alias("as_of"), F.lit(True).alias("is_lost")
    )
    joined = wanted.join(F.broadcast(lost.distinct()), ["table", "entity", "key", "as_of"], "left")
    has_key = F.col("key").isNotNull()
    return joined.groupBy("row", "as_of").agg(
        F.max(has_key).alias("has_key"),
        F.max(has_key & F.col("is_lost").isNull()).alias("has_cell"),
        F.min(has_key & F.col("is_lost").isNull()).alias("is_whole"),
    )


def _without_features(rows: DataFrame) -> DataFrame:
    """The same for a pipeline without feature groups: nothing can be lacking."""
    return rows.select("as_of", *[F.lit(True).alias(name) for name in ("has_key", "has_cell", "is_whole")])


def _late(context: Context) -> list[SpineAccount]:
    """Rows of this publication that no hour predicts for: one account per hour and as_of; too early ones, one per hour."""
    conf = context.pipeline.features.spine
    rows = spine.with_as_of(context, context.lake.staged_rows(f"silver/{conf.table}"))
    is_late = F.col("known_at") > F.col("as_of")
    is_early = (F.col("known_at") <= F.col("as_of")) & ~spine.is_looked_for(context)
    late = rows.where(F.col("as_of").isNull() | is_late)
    first, any_early = rows.agg(
        F.min(F.when(is_late, F.unix_seconds("as_of"))), F.max(is_early)
    ).first() or (None, None)  # fmt: skip
    if first is not None:
        late = _without_known(context, late, max(_instant(max(first, int(_FIRST.timestamp()))), context.pipeline.start))
    accounts = [SpineAccount(hour, as_of, count, not_known=count) for hour, as_of, count in _counted(late, _due_at())]
    if any_early:
        accounts += [
            SpineAccount(hour, as_of, 0, too_early=count)
            for hour, as_of, count in _counted(rows.where(is_early), F.col("hour") + F.lit(HOUR))
        ]
    return accounts


def _without_known(context: Context, late: DataFrame, first_as_of: datetime) -> DataFrame:
    """Late rows but for those of which another version was known in time, and before this one: those are corrections."""
    conf = context.pipeline.features.spine
    start = first_as_of - conf.announced_within - _EARLIEST
    versions = context.lake.known_versions(f"silver/{conf.table}", hours=[(start, context.call.end)])
    versions = spine.with_as_of(context, versions).where(spine.is_looked_for(context))
    still_counts = F.col("known_until").isNull() | (F.col("known_until") > F.col("as_of"))
    in_time = versions.where((F.col("known_at") <= F.col("as_of")) & still_counts)
    key = context.pipeline.silver[conf.table].key
    known = in_time.groupBy(*map(spark_column, key)).agg(F.min("known_at").alias("first_known_at"))
    joined = late.join(known, key, "left")
    return joined.where(F.col("first_known_at").isNull() | (F.col("first_known_at") > F.col("known_at")))


def _due_at() -> Column:
    """as_of of a late row; of one without an instant to predict that of its hour."""
    of_hour = F.col("hour") + F.lit(HOUR)
    return F.when(F.col("as_of").isNull(), of_hour).otherwise(F.greatest("as_of", F.lit(_FIRST)))


def _counted(rows: DataFrame, as_of: Column) -> list[tuple[datetime, datetime, int]]:
    """Number of rows by hour and `as_of`; bounded by the hours of the call times those of lateness."""
    counts = rows.groupBy(F.unix_seconds("hour").alias("hour_s"), F.unix_seconds(as_of).alias("as_of_s")).count()
    return sorted((_instant(row["hour_s"]), _instant(row["as_of_s"]), row["count"]) for row in counts.collect())


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
