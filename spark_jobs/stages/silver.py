"""Silver: bronze lines typed, looked up, judged and de-duplicated; bad rows are held, every row is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs import transforms
from spark_jobs.config.columns import silver_waves
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.tables import SilverTable
from spark_jobs.invocation import hours_between
from spark_jobs.lake.staging import Staged
from spark_jobs.quality import gate
from spark_jobs.quality.accounts import ACCOUNT_COLUMNS, account_row, account_totals, rows_before
from spark_jobs.quality.decide import (
    Account,
    HourTally,
    account_results,
    arrival_result,
    readable_result,
    volume_result,
)
from spark_jobs.quality.gate import JudgedTables
from spark_jobs.quality.split import built_ins, examples
from spark_jobs.quality.words import examples_text
from spark_jobs.sources.drops import Drop, known_at
from spark_jobs.spark_columns import spark_column
from spark_jobs.steps.context import Context
from spark_jobs.storage import Row
from spark_jobs.transforms.columns import typed
from spark_jobs.verdict import Outcome, RuleResult


@dataclass(frozen=True)
class SilverInput:
    """The drops that bronze was staged of, by source and hour."""

    drops: Mapping[str, Mapping[datetime, Drop]]


@dataclass(frozen=True)
class SilverOutput(JudgedTables):
    """The tables of silver and `accounts`; `accounts`: where the rows of each table went, in total."""

    accounts: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class _Table:
    """What became of one table; `accounts`: one per hour."""

    name: str
    judgement: gate.Judgement
    accounts: list[Account]


def run(context: Context, inputs: SilverInput) -> SilverOutput:
    """Stage silver/<table> for every table, each after those it looks up, and accounts: one row per hour and source."""
    tables: list[_Table] = []
    rows_of_hours = rows_before(context.pipeline, context.root, context.line, context.call.start, context.call.end)
    seen = context  # with the tables of the waves before
    for wave in silver_waves(context.pipeline.silver):
        judge = partial(_table, seen, inputs.drops, rows_of_hours)
        judged = seen.together(judge, wave)
        for table in judged:
            gate.record(context, table.judgement.verdict)
        seen = seen.after({f"silver/{table.name}": table.judgement.staged for table in judged})
        tables += judged
    staged = {table.judgement.staged.table: table.judgement.staged for table in tables}
    return SilverOutput(
        {**staged, "accounts": _stage_accounts(context, inputs.drops, tables)},
        tuple(table.judgement.verdict for table in tables),
        tuple(table.judgement.held for table in tables),
        {table.name: account_totals(table.accounts) for table in tables},
    )


def _stage_accounts(context: Context, drops: Mapping[str, Mapping[datetime, Drop]], tables: list[_Table]) -> Staged:
    booked: list[Row] = []
    for table in tables:
        read = drops[context.pipeline.silver[table.name].source]
        booked += [account_row(table.name, read[a.hour], a, context.known[a.hour]) for a in table.accounts]
    frame = context.spark.createDataFrame([tuple(row.values()) for row in booked], ACCOUNT_COLUMNS)
    return context.lake.stage("accounts", frame)


def _table(
    context: Context,
    read: Mapping[str, Mapping[datetime, Drop]],
    rows_of_hours: Mapping[str, Mapping[datetime, int]],
    name: str,
) -> _Table:
    table = context.pipeline.silver[name]
    bronze = context.lake.staged_rows(f"bronze/{table.source}").drop("day", "pub")
    judged = judged_rows(context, name, bronze)
    counted = {tally.hour: tally for tally in judged.tallies}
    drops, source = read[table.source], context.pipeline.sources.sources[table.source]
    hours = hours_between(context.call.start, context.call.end)
    accounts = [account(hour, drops[hour].rows, counted.get(hour)) for hour in hours]
    drifted = type_drift(judged) if source.drift == "refuse" else []
    rows_of = {one.hour: one.manifest for one in accounts}
    volume = volume_result(table.volume, rows_of, {**rows_of_hours[name], **rows_of})
    arrival = arrival_result(known_first(drops, source))
    whole = [_drop_readable(bronze, len(accounts)), *account_results(accounts), volume, arrival]
    judged = replace(judged, delivered=delivered_columns(table))
    verdict, staged = gate.judge(context, judged, "silver", [*whole, *drifted])
    held = gate.held_rows(judged.split, f"silver/{name}", table.version_key)
    return _Table(name, gate.Judgement(verdict, staged, held), accounts)


def known_first(drops: Mapping[datetime, Drop], source: SourceConf) -> dict[datetime, datetime]:
    """Since when the drops are known that are the first version of their hour; a correction is late by nature."""
    return {hour: known_at(drop, source) for hour, drop in drops.items() if drop.version == 1}


def keys_of(context: Context, name: str, bronze: DataFrame) -> DataFrame:
    """Lines of drops -> the keys of silver table `name` in them, each once."""
    table = context.pipeline.silver[name]
    rows, _ = _lines_typed(context, table, bronze)
    return rows.select(*table.key).distinct()


def judged_rows(context: Context, name: str, bronze: DataFrame, keys: DataFrame | None = None) -> gate.Judged:
    """Lines of drops -> rows of silver table `name`, typed, looked up and split by its rules; bronze columns still there.

    `keys`: rows of other keys are left out.
    """
    table = context.pipeline.silver[name]
    rows, faults = _lines_typed(context, table, bronze)
    rows = rows if keys is None else rows.join(F.broadcast(keys), table.key, "left_semi")
    rows = _with_event_at(_looked_up(context, rows, table), name, table)
    required = [column for column, settings in table.columns.items() if settings.required]
    built = built_ins(
        rows, key=table.version_key, required=required, event_at="event_at",
        lateness=table.event_within.lateness, ahead=table.event_within.ahead,
    )  # fmt: skip
    return gate.split(context, f"silver/{name}", rows, table.version_key, faults, built)


def instants(context: Context, name: str, bronze: DataFrame) -> DataFrame:
    """Lines of drops with what the transforms of silver table `name` make of them: file, line and event_at."""
    table = context.pipeline.silver[name]
    rows, _ = _lines_typed(context, table, bronze)
    return _with_event_at(rows, name, table).select("file", "line", "event_at")


def _with_event_at(rows: DataFrame, name: str, table: SilverTable) -> DataFrame:
    columns = {column: F.col(column) for column in table.columns}
    return rows.withColumn("event_at", transforms.apply(table.event_at, columns, f"tables.yaml: {name}.event_at"))


def _lines_typed(context: Context, table: SilverTable, bronze: DataFrame) -> tuple[DataFrame, dict[str, Column]]:
    return _typed(bronze.where(F.col("line") > 0), table, context.pipeline.sources.sources[table.source].nulls)


def _typed(lines: DataFrame, table: SilverTable, nulls: list[str]) -> tuple[DataFrame, dict[str, Column]]:
    """Lines with typed columns added, and for each typed column the rows whose text could not be read as its type."""
    faults: dict[str, Column] = {"parse": F.col("fault").isNotNull()}
    raw = {f"_{name}": spark_column(settings.source or name) for name, settings in table.columns.items()}
    held = lines.select(*["file", "line", "drop_sha256", "arrived_at", "known_at", "hour", "raw", "fault"],
                        *[text.alias(name) for name, text in raw.items()])  # fmt: skip
    made = {}
    for name, settings in table.columns.items():
        text = F.when(~F.col(f"_{name}").isin(nulls), F.col(f"_{name}")) if nulls else F.col(f"_{name}")
        made[name] = typed(text, settings.type)
        if settings.type != "string":
            faults[f"type:{name}"] = text.isNotNull() & F.col(name).isNull()
    return held.withColumns(made), faults


def without_bronze(rows: DataFrame, table: SilverTable) -> DataFrame:
    """Rows without the columns that stay in bronze."""
    return rows.drop(*delivered_columns(table))


def delivered_columns(table: SilverTable) -> tuple[str, ...]:
    """Columns of `judged_rows` that stay in bronze: text as it was delivered, and origin."""
    return (*(f"_{name}" for name in table.columns), "drop_sha256", "arrived_at", "raw", "fault")


def _looked_up(context: Context, rows: DataFrame, table: SilverTable) -> DataFrame:
    """Rows with the columns that other silver tables knew by the same key when the row was known; null without. Rows stay.

    An hour's run is followed by those of later hours and of drops that come late, so "when the row was known" is known_at,
    and among hours known at once the order of hours: an hourly run and a bulk run find the same.
    """
    for name, look in table.lookups.items():
        version = F.struct("known_at", "hour", "known_until", look.column)
        seen = context.lake.known_versions(
            f"silver/{look.table}", hours=[(context.call.start - look.within, max(context.known.values()))]
        )
        known = seen.groupBy(*table.key).agg(F.collect_list(version).alias("_versions"))
        best = F.array_max(F.filter("_versions", known_then(look.within)))
        rows = rows.join(known, table.key, "left").withColumn(name, best[look.column]).drop("_versions")
    return rows


def known_then(within: timedelta) -> Callable[[Column], Column]:
    """Whether a version of another table's row counted when a row of columns known_at and hour was known."""

    def counted(version: Column) -> Column:
        now, hour = F.struct("known_at", "hour"), version["hour"]
        came = F.struct(version["known_at"], hour) <= now
        gone = version["known_until"].isNotNull() & (F.struct(version["known_until"], hour) <= now)
        return came & ~gone & (hour >= F.col("hour") - F.lit(within))

    return counted


def account(hour: datetime, manifest: int, tally: HourTally | None) -> Account:
    """Where the `manifest` rows of an hour's drop went; `tally`: none when no row of the drop could be read."""
    tally = tally or HourTally(hour, 0, 0)
    duplicates = tally.broken.get(gate.DUPLICATE, 0)
    return Account(hour, manifest, tally.good, tally.rows - tally.good - duplicates, duplicates)


def _drop_readable(bronze: DataFrame, hours: int) -> RuleResult:
    """Whether every drop could be read whole: a file-level fault (line 0) refuses the drop."""
    told = bronze.where("line = 0").select(F.unix_seconds("hour"), "file", "fault").collect()  # at most one row a drop
    return readable_result(sorted((datetime.fromtimestamp(hour_s, UTC), *said) for hour_s, *said in told), hours)


def type_drift(judged: gate.Judged) -> list[RuleResult]:
    """`type_drift`: whether every value is of its column's type, without a budget, for a source of drift: refuse."""
    rules = [rule for rule in judged.built if rule.startswith("type:")]
    counts = {rule: sum(tally.broken.get(rule, 0) for tally in judged.tallies) for rule in rules}
    drifted = {rule.partition(":")[2]: count for rule, count in counts.items() if count}
    limit = 3 if len(drifted) == 1 else 1
    seen = examples(judged.split, {f"type:{name}": [f"_{name}"] for name in drifted}, limit)
    shown = [f"{rule.partition(':')[2]}: {value}" for rule, values in seen.items() for value in values]
    observed = "; ".join(f"{name}: {count} values of another type" for name, count in drifted.items())
    return [
        RuleResult(
            "type_drift", Outcome.FAIL if drifted else Outcome.PASS, ", ".join(drifted), observed or "no value of another type",
            "values of the declared types (drift: refuse in sources.yaml); have the upstream mend it, or change tables.yaml",
            sum(drifted.values()), sum(tally.rows for tally in judged.tallies), examples_text(shown, 3),
            "the source says that a change of type refuses the hour", "rows",
            tuple(tally.hour for tally in judged.tallies if any(tally.broken.get(rule) for rule in rules)),
        )
    ]  # fmt: skip
