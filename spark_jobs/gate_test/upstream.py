"""The drops of a trial: which hours, good or made bad by which mutator, as the packaged history would deliver them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from zoneinfo import ZoneInfo

from spark_jobs.config.replay import ReplayConf, Trial
from spark_jobs.config.tables import Volume
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest
from spark_jobs.gate_test.delivery import Delivery, delivery
from spark_jobs.gate_test.draw import clean_hours, hour_of_a_row
from spark_jobs.gate_test.mutators import Case, Mutant, Mutator, mutators
from spark_jobs.gate_test.roles import Roles
from spark_jobs.invocation import HOUR, format_hour, hours_between
from spark_jobs.quality.decide import same_hours
from spark_jobs.sources.replay import clean_texts, deliver

SOME_ROWS = 200  # of a history without hours, in each hour that is asked for
_TRIES = 20  # hours drawn for a mutator before it counts as not applicable


def trial_conf(pipeline: Pipeline, table: str) -> tuple[ReplayConf, Trial]:
    """What replay.yaml says of trials of silver table `table`.

    Raises:
        UsageError: no such table, no replay.yaml, or no section trial in it.
    """
    if table not in pipeline.silver:
        raise UsageError(
            "TABLE", f"no silver table '{table}'", nearest(table, list(pipeline.silver)), "name one of those"
        )
    where = f"conf/pipelines/{pipeline.name}/replay.yaml"
    if pipeline.replay is None:
        raise UsageError(where, "is not there", "a pipeline whose history can be replayed, such as the shipped example",
                         "describe a history of good hours in replay.yaml; conf/README.md has its fields")  # fmt: skip
    if pipeline.replay.trial is None:
        raise UsageError(where, "has no section trial", "trial: {from: …, to: …, zone: …}",
                         "name an interval that the rules were not written on")  # fmt: skip
    return pipeline.replay, pipeline.replay.trial


class Upstream:
    """The good drops of some sources, hour by hour.

    A source whose history says no hour delivers some of its rows in every hour, drawn by seed and hour, stamped with it.
    """

    def __init__(self, pipeline: Pipeline, conf: ReplayConf, sources: Iterable[str], seed: int) -> None:
        self._conf, self._declared, self._seed = conf, pipeline.sources.sources, seed
        self._texts = clean_texts(conf, list(dict.fromkeys(sources)))
        self._whole = cache(self._of_hour)

    def drop(self, source: str, hour: datetime) -> Delivery:
        """The records of an hour."""
        replayed = self._conf.sources[source]
        if replayed.hour:
            return self._of_hour(source, hour)
        whole = self._whole(source, self._conf.start)
        chance = random.Random(f"{self._seed} {source} {format_hour(hour)}")
        stamp = {replayed.stamp: f"{format_hour(hour)}Z"} if replayed.stamp else {}
        rows = chance.sample(whole.rows, min(SOME_ROWS, len(whole.rows)))
        return replace(whole, rows=tuple({**row, **stamp} for row in rows))

    def rows(self, source: str, hours: Iterable[datetime]) -> dict[datetime, int]:
        """Number of rows by hour."""
        dated = self._conf.sources[source].hour
        return {hour: self._texts[source].of_hour(hour)[1] if dated else SOME_ROWS for hour in hours}

    def before(self, source: str, hours: Iterable[datetime], volume: Volume) -> dict[datetime, int]:
        """Rows of the hours against which the volume of `hours` is judged, as the accounts of a lake would have them.

        None of a source without hours: its drops are mostly empty, and those of a trial are made up.
        """
        asked = {at for hour in hours for at in same_hours(hour, volume.weeks, volume.zone)}
        wanted = [at for at in sorted(asked) if self._conf.start <= at < self._conf.end]
        return self.rows(source, wanted) if self._conf.sources[source].hour else {}

    def known(self, source: str, column: str) -> frozenset[str]:
        """All values that the history has in a delivered column."""
        drops = (self._of_hour(source, hour) for hour in hours_between(self._conf.start, self._conf.end))
        return frozenset(value for drop in drops for row in drop.rows if (value := row[column]) is not None)

    def land(self, landing: Path, source: str, hour: datetime, drop: Delivery) -> None:
        """Put `drop` below `landing` as the drop of an hour, with a manifest that agrees."""
        deliver(landing, source, self._conf.sources[source].format, hour, drop.text(), len(drop.rows))

    def _of_hour(self, source: str, hour: datetime) -> Delivery:
        conf, text = self._declared[source], self._texts[source].of_hour(hour)[0]
        return delivery(text, self._conf.sources[source].format, conf.columns, conf.nulls)


@dataclass(frozen=True)
class Drawn:
    """What a trial judges: hours with the mutator and the bad drop, and hours that are left as they are."""

    bad: Mapping[datetime, tuple[Mutator, Mutant]]
    clean: list[datetime]
    not_applicable: list[Mutator]


def draw(upstream: Upstream, source: str, roles: Roles, trial: Trial, seed: int, count: int) -> Drawn:
    """An hour of its own for each mutator, as likely as it has rows, and `count` clean hours; the same for equal seeds.

    Raises:
        UsageError: the interval has no row.
    """
    hours = list(hours_between(trial.start, trial.end))
    rows = upstream.rows(source, hours)
    if not any(rows.values()):
        found = f"no row of {source} from {format_hour(trial.start)} to {format_hour(trial.end)}"
        raise UsageError("replay.yaml: trial", found, "an interval with rows", "change from and to")
    bad: dict[datetime, tuple[Mutator, Mutant]] = {}
    unfit = []
    for one in mutators():
        chance = random.Random(f"{seed} {source} {one.number}")
        for _ in range(_TRIES):
            hour = hour_of_a_row(chance, rows, bad)
            mutant = one.make(_case(upstream, source, roles, trial, chance, hour, rows)) if hour else None
            if hour and mutant:
                bad[hour] = one, mutant
                break
        else:
            unfit.append(one)
    clean = clean_hours(random.Random(f"{seed} {source} clean"), hours, trial.hard_days, count, bad)
    return Drawn(bad, clean, unfit)


def _case(
    upstream: Upstream, source: str, roles: Roles, trial: Trial, chance: random.Random, hour: datetime,
    rows: Mapping[datetime, int],
) -> Case:  # fmt: skip
    other = hour_of_a_row(chance, rows, [hour]) or hour
    drop, before, day_before, elsewhere = (
        upstream.drop(source, at) for at in (hour, hour - HOUR, hour - 24 * HOUR, other)
    )
    known = partial(upstream.known, source)
    return Case(drop, before, day_before, elsewhere, roles, chance, ZoneInfo(trial.zone), known)
