"""Many hours' drops as the gate of one table sees each of them by itself: the verdict, and what readers would see.

What a trial needs and a step does not; every row, rule and count is judged by the functions that a step calls.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.gate_test.outcome import Seen
from spark_jobs.quality import decide, gate, suites
from spark_jobs.quality.split import good_rows
from spark_jobs.sources.drops import Drop, find_drops, known_at
from spark_jobs.sources.files import read_drops
from spark_jobs.stages import silver
from spark_jobs.steps.context import Context
from spark_jobs.verdict import RuleResult


@dataclass(frozen=True)
class Lines:
    """Drops by hour, their lines, and the context in which these hours are known."""

    context: Context
    drops: Mapping[datetime, Drop]
    rows: DataFrame


def lines_of(context: Context, name: str, landing: Path, hours: Collection[datetime]) -> Lines:
    """The drops of silver table `name` below `landing`."""
    source = context.pipeline.silver[name].source
    conf = context.pipeline.sources.sources[source]
    found = find_drops(context.pipeline.sources, landing, source, sorted(hours))
    known = {**context.known, **{hour: known_at(drop, conf) for hour, drop in found.items()}}
    return Lines(context.after({}, known), found, read_drops(context.spark, list(found.values()), conf))


def hours_seen(
    context: Context, table: str, landing: Path, hours: Collection[datetime], usual: Mapping[datetime, int]
) -> dict[datetime, Seen]:
    """Each hour below `landing` as the gate of `table` sees it, by itself, as in an hourly run; `usual`: rows of others."""
    delivered = lines_of(context, table, landing, hours)
    lines = delivered.rows.persist()
    judged = silver.judged_rows(delivered.context, table, lines)
    broken, settings = _by_hour(lines.where("line = 0"), ["file", "fault"]), context.pipeline.silver[table]
    good = good_rows(silver.without_bronze(judged.split, settings))
    readable, columns = _by_hour(good, list(settings.columns)), list(settings.columns)
    shapes = _shapes(context, judged, good, {hour: len(readable[hour]) for hour in hours})
    tallies = {tally.hour: tally for tally in judged.tallies}
    seen = {}
    for hour in hours:
        tally, rows = tallies.get(hour), readable[hour]
        keys = {tuple(row[columns.index(name)] for name in judged.key) for row in rows}
        account = silver.account(hour, delivered.drops[hour].rows, tally)
        results = [
            *gate.row_results(judged, [tally] if tally else []),
            *shapes[hour],
            decide.key_result(judged.key, len(rows) - len(keys), len(rows)),
            decide.readable_result([(hour, *one) for one in broken[hour]], 1),
            *decide.account_results([account]),
            decide.volume_result(settings.volume, {hour: account.manifest}, usual),
            *_drift(context, judged, hour),
        ]
        hidden = context.pipeline.sensitive(judged.table)
        verdict = decide.decide(judged.table, "silver", judged.suite, results, sensitive=hidden)
        counts = tally.broken if tally else {}
        held_by = {rule: rows for rule, rows in counts.items() if rows and rule != gate.DUPLICATE}
        seen[hour] = Seen(verdict, Counter(rows), account.quarantined, held_by)
    judged.split.unpersist()
    lines.unpersist()
    return seen


def _by_hour(rows: DataFrame, columns: list[str]) -> defaultdict[datetime, list[tuple[Any, ...]]]:
    """The rows of each hour on the driver: those of a trial's hours, some thousands."""
    found: defaultdict[datetime, list[tuple[Any, ...]]] = defaultdict(list)
    for hour_s, *values in rows.select(F.unix_seconds("hour"), *columns).collect():
        found[datetime.fromtimestamp(hour_s, UTC)].append(tuple(values))
    return found


def _shapes(
    context: Context, judged: gate.Judged, good: DataFrame, rows: dict[datetime, int]
) -> dict[datetime, list[RuleResult]]:
    """Hour rules and batch rules of each hour; an hourly run's interval is the hour."""
    tallies, working, errors = gate.hour_tallies(good, judged.suite.hour_rules)
    told = {}
    for hour, count in rows.items():
        own = [tally for tally in tallies if tally.hour == hour]
        told[hour] = [*decide.hour_results(working, own, [hour]), *errors]
        if judged.suite.batch_rules:
            told[hour] += suites.validate(good.where(F.col("hour") == F.lit(hour)), judged.suite.batch_rules, count)
    return told


def _drift(context: Context, judged: gate.Judged, hour: datetime) -> list[RuleResult]:
    source = context.pipeline.silver[judged.suite.table].source
    if context.pipeline.sources.sources[source].drift != "refuse":
        return []
    tallies = [tally for tally in judged.tallies if tally.hour == hour]
    return silver.type_drift(replace(judged, split=judged.split.where(F.col("hour") == F.lit(hour)), tallies=tallies))
