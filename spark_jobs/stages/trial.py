"""The trial of a gate: hours made bad on purpose, and hours as they were, go through the functions that judge an hour.

Everything lies in a scratch folder and nothing is published. Which hours, and what is done to them, is `trial_drops.py`'s.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.config.columns import silver_order
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.quality import decide, suites
from spark_jobs.quality.split import good_rows
from spark_jobs.sources.drops import Drop, find_drops, known_at
from spark_jobs.sources.files import read_drops
from spark_jobs.stages import gate, silver
from spark_jobs.stages.trial_drops import Drawn, Upstream, draw, trial_conf
from spark_jobs.stages.work import Work
from spark_jobs.trial.outcome import Seen, judgement
from spark_jobs.trial.report import Trial
from spark_jobs.trial.roles import roles_of
from spark_jobs.verdict import RuleResult

log = structlog.get_logger()


def run(
    open_session: Callable[[], SparkSession], pipeline: Pipeline, environment: Environment, folder: Path, table: str,
    seed: int, count: int,
) -> dict[str, Any]:  # fmt: skip
    """The facts of `Trial.facts` about silver table `table`: every mutator on an hour of its own, `count` clean hours more.

    `folder` is the trial's own, to be removed afterwards. Equal seeds give equal facts.

    Raises:
        UsageError: the pipeline has nothing to try this table on.
    """
    conf, settings = trial_conf(pipeline, table)
    silver_table, suite = pipeline.silver[table], pipeline.suites[table]
    roles, source = roles_of(silver_table), silver_table.source
    with _stage("drops"):
        upstream = Upstream(
            pipeline, conf, [pipeline.silver[name].source for name in _needed(pipeline, table, [])], seed
        )
        drawn = draw(upstream, source, roles, settings, seed, count)
        work = _scratch(open_session, pipeline, environment, folder, drawn)
        for hour, (_, mutant) in drawn.bad.items():
            upstream.land(folder / "bad", source, hour, mutant.drop)
        for hour in [*drawn.bad, *drawn.clean]:
            upstream.land(folder / "good", source, hour, upstream.drop(source, hour))
    with _stage("look_ups"):
        _look_ups(work, upstream, table, folder / "looked_up", [*drawn.bad, *drawn.clean])
    with _stage("gate"):
        bad = _seen(work, table, folder / "bad", drawn.bad)
        clean = _seen(work, table, folder / "good", [*drawn.bad, *drawn.clean])
    judged = [
        judgement(one, hour, tuple(roles.typed[name] for name in mutant.columns), clean[hour], bad[hour])
        for hour, (one, mutant) in drawn.bad.items()
    ]
    return Trial(pipeline.name, table, seed, judged, drawn.not_applicable, clean).facts(silver_table, suite)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    log.info("stage ended", stage=name, seconds=round(time.monotonic() - began, 2))


def _scratch(
    open_session: Callable[[], SparkSession], pipeline: Pipeline, environment: Environment, folder: Path, drawn: Drawn
) -> Work:
    """A step call under way whose lake is empty and lies in `folder`; no ledger is written."""
    hours = [*drawn.bad, *drawn.clean]
    places = Places(project=folder, data=folder, lake=folder / "lake", landing=folder, tracking_uri="")
    call = Invocation(pipeline.name, "prepare", min(hours), max(hours) + HOUR, "gate test")
    return Work(pipeline, environment, places, Ledger.open(places.lake / pipeline.name), call, 1, [], open_session)


def _needed(pipeline: Pipeline, table: str, hours: Collection[datetime]) -> dict[str, set[datetime]]:
    """`table` and those it looks up, each after those that it looks up itself, with the hours whose drops are read."""
    needed: dict[str, set[datetime]] = {table: set(hours)}
    for name in reversed(silver_order(pipeline.silver)):
        for look in pipeline.silver[name].lookups.values() if name in needed else ():
            back = range(int(look.within / HOUR) + 1)
            needed.setdefault(look.table, set()).update(hour - n * HOUR for hour in needed[name] for n in back)
    return {name: needed[name] for name in silver_order(pipeline.silver) if name in needed}


def _look_ups(work: Work, upstream: Upstream, table: str, landing: Path, hours: Collection[datetime]) -> None:
    """Stage what an hourly run of any of `hours` would find in the tables that `table` looks up, all of it good."""
    for name, wanted in _needed(work.pipeline, table, hours).items():
        settings = work.pipeline.silver[name]
        if name == table:
            continue
        for hour in sorted(wanted):
            upstream.land(landing, settings.source, hour, upstream.drop(settings.source, hour))
        _, _, judged = _judged(work, name, landing, wanted)
        rows = good_rows(silver.without_bronze(judged.split, settings))
        work.lake.stage(f"silver/{name}", rows, min(wanted), max(wanted) + HOUR)
        judged.split.unpersist()


def _judged(
    work: Work, name: str, landing: Path, hours: Collection[datetime]
) -> tuple[dict[datetime, Drop], DataFrame, gate.Judged]:
    """The drops of silver table `name` below `landing`, their lines, and these as its rows, split by its rules."""
    source = work.pipeline.silver[name].source
    conf = work.pipeline.sources.sources[source]
    found = find_drops(work.pipeline.sources, landing, source, sorted(hours))
    work.known.update({hour: known_at(drop, conf.grace) for hour, drop in found.items()})
    lines = read_drops(work.spark, list(found.values()), conf).persist()
    return found, lines, silver.judged_rows(work, name, lines)


def _seen(work: Work, table: str, landing: Path, hours: Collection[datetime]) -> dict[datetime, Seen]:
    """Each hour below `landing` as the gate of `table` sees it, by itself, as in an hourly run."""
    found, lines, judged = _judged(work, table, landing, hours)
    broken, settings = _by_hour(lines.where("line = 0"), ["file", "fault"]), work.pipeline.silver[table]
    good = good_rows(silver.without_bronze(judged.split, settings))
    readable, columns = _by_hour(good, list(settings.columns)), list(settings.columns)
    shapes = _shapes(work, judged, good, {hour: len(readable[hour]) for hour in hours})
    tallies = {tally.hour: tally for tally in judged.tallies}
    seen = {}
    for hour in hours:
        tally, rows = tallies.get(hour), readable[hour]
        keys = {tuple(row[columns.index(name)] for name in judged.key) for row in rows}
        account = silver.account(hour, found[hour].rows, tally)
        results = [
            *gate.row_results(judged, [tally] if tally else []), *shapes[hour],
            decide.key_result(judged.key, len(rows) - len(keys), len(rows)),
            decide.readable_result(broken[hour], 1), *decide.account_results([account]),
            *_drift(work, judged, hour),
        ]  # fmt: skip
        verdict = decide.decide(judged.table, "silver", judged.suite, results)
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
    work: Work, judged: gate.Judged, good: DataFrame, rows: dict[datetime, int]
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


def _drift(work: Work, judged: gate.Judged, hour: datetime) -> list[RuleResult]:
    source = work.pipeline.silver[judged.suite.table].source
    if work.pipeline.sources.sources[source].drift != "refuse":
        return []
    tallies = [tally for tally in judged.tallies if tally.hour == hour]
    return silver.type_drift(replace(judged, split=judged.split.where(F.col("hour") == F.lit(hour)), tallies=tallies))
