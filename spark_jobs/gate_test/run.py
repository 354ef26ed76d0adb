"""The trial of a gate: hours made bad on purpose, and hours as they were, go through the functions that judge an hour.

Everything lies in a scratch folder and nothing is published. Which hours, and what is done to them, is `trial_drops.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache, reduce
from pathlib import Path
from typing import Any

import structlog
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.config.columns import silver_order
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.gate_test.judging import hours_seen, lines_of
from spark_jobs.gate_test.outcome import judgement
from spark_jobs.gate_test.report import Trial
from spark_jobs.gate_test.roles import roles_of
from spark_jobs.gate_test.upstream import Drawn, Upstream, draw, trial_conf
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.quality.split import good_rows
from spark_jobs.stages import silver
from spark_jobs.steps.context import Context

log = structlog.get_logger()


def run(
    open_session: Callable[[], SparkSession],
    pipeline: Pipeline,
    environment: Environment,
    folder: Path,
    table: str,
    seed: int,
    count: int,
) -> dict[str, Any]:
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
        empty = _scratch(open_session, pipeline, environment, folder, table, drawn)
        for hour, (_, mutant) in drawn.bad.items():
            upstream.land(folder / "bad", source, hour, mutant.drop)
        for hour in [*drawn.bad, *drawn.clean]:
            upstream.land(folder / "good", source, hour, upstream.drop(source, hour))
    with _stage("look_ups"):
        context = _looked_up(empty, upstream, table, folder, drawn)
    with _stage("gate"):
        usual = upstream.before(source, [*drawn.bad, *drawn.clean], silver_table.volume)
        bad = hours_seen(context, table, folder / "bad", drawn.bad, usual)
        clean = hours_seen(context, table, folder / "good", [*drawn.bad, *drawn.clean], usual)
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
    open_session: Callable[[], SparkSession],
    pipeline: Pipeline,
    environment: Environment,
    folder: Path,
    table: str,
    drawn: Drawn,
) -> Context:
    """A publication of all hours whose drops are read, in an empty lake in `folder`; no ledger is written."""
    hours = [hour for wanted in _needed(pipeline, table, [*drawn.bad, *drawn.clean]).values() for hour in wanted]
    places = Places(project=folder, data=folder, lake=folder / "lake", landing=folder, tracking_uri="")
    call = Invocation(pipeline.name, "ingest", min(hours), max(hours) + HOUR, "gate test")
    ledger = Ledger.open(places.lake / pipeline.name)
    return Context(pipeline, environment, places, ledger, call, 1, [], cache(open_session))


def _needed(pipeline: Pipeline, table: str, hours: Collection[datetime]) -> dict[str, set[datetime]]:
    """`table` and those it looks up, each after those that it looks up itself, with the hours whose drops are read."""
    needed: dict[str, set[datetime]] = {table: set(hours)}
    for name in reversed(silver_order(pipeline.silver)):
        for look in pipeline.silver[name].lookups.values() if name in needed else ():
            back = range(int(look.within / HOUR) + 1)
            needed.setdefault(look.table, set()).update(hour - n * HOUR for hour in needed[name] for n in back)
    return {name: needed[name] for name in silver_order(pipeline.silver) if name in needed}


def _looked_up(context: Context, upstream: Upstream, table: str, folder: Path, drawn: Drawn) -> Context:
    """The context once it has staged what an hourly run of any drawn hour would find in the tables that `table` looks up.

    All of their rows are good. Those of keys that are in no drawn drop, nine of ten, are left out.
    """
    hours = [*drawn.bad, *drawn.clean]
    needed = _needed(context.pipeline, table, hours)
    if len(needed) == 1:
        return context
    bad = lines_of(context, table, folder / "bad", drawn.bad)
    good = lines_of(bad.context, table, folder / "good", hours)
    keys = reduce(DataFrame.union, [silver.keys_of(context, table, lines.rows) for lines in (bad, good)]).persist()
    context = good.context
    for name, wanted in needed.items():
        source = context.pipeline.silver[name].source
        if name == table:
            continue
        for hour in sorted(wanted):
            upstream.land(folder / "looked_up", source, hour, upstream.drop(source, hour))
        lines = lines_of(context, name, folder / "looked_up", wanted)
        judged = silver.judged_rows(lines.context, name, lines.rows, keys)
        rows = good_rows(silver.without_bronze(judged.split, context.pipeline.silver[name]))
        context = lines.context.after({f"silver/{name}": lines.context.lake.stage(f"silver/{name}", rows)})
        judged.split.unpersist()
    keys.unpersist()
    return context
