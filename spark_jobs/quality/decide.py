"""From counts to a verdict: row budgets, hour rules, the account of rows, the key. Pure: no Spark, no GX, no clock.

Budgets are shares of one hour's rows, judged hour by hour, or a number of rows (`allow_rows`), whichever allows more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from spark_jobs.config.section import Severity
from spark_jobs.config.suites import BuiltIn, Rule, Suite
from spark_jobs.config.tables import Volume
from spark_jobs.config.typed_values import micros
from spark_jobs.invocation import format_hour
from spark_jobs.quality.words import allowed_text, bounded, budget_text, examples_text, failing, measured_text, too_few
from spark_jobs.values import micros_text
from spark_jobs.verdict import MASKED, Outcome, RuleResult, Verdict

CONTRADICTION = "contradiction"  # several lines of one drop have the same key and different values
_LATE = timedelta(days=1)  # between the start of an hour and the time since which its drop is known
_NEARLY_ALL = 0.9  # share of the drops of an interval
_EVERY = "a rule that every table has"
_WHY = {
    CONTRADICTION: f"{_EVERY}: lines with the same key and different values in one drop; which is right is not known"
}


@dataclass(frozen=True)
class HourTally:
    """One hour of one table after the split: `rows` = `good` + rows that break at least one rule."""

    hour: datetime
    rows: int
    good: int
    broken: Mapping[str, int] = field(default_factory=dict)  # rule id -> rows; a row may break several
    measured: Mapping[str, Any] = field(default_factory=dict)  # hour rule id -> its measure over the good rows


@dataclass(frozen=True)
class Account:
    """Where the rows of one hour's drop went."""

    hour: datetime
    manifest: int
    silver: int
    quarantined: int = 0
    duplicates: int = 0
    discarded: int = 0

    @property
    def found(self) -> int:
        """The rows that are accounted for; `manifest` when nothing got lost or was made up."""
        return self.silver + self.quarantined + self.duplicates + self.discarded


@dataclass(frozen=True)
class SpineAccount:
    """Spine rows that one hour accounts for, all due at `as_of`: predicted for, or missed for one of three reasons.

    `not_known`: no version was known by as_of. `entity_null`: no entity has a key. `no_cells`: the gate held all of its
    feature cells. Beside these, `incomplete` are predicted rows that lack the cell of some entity, and `too_early` rows that
    were delivered longer than `announced_within` before their as_of, which are predicted for only if delivered again.
    """

    hour: datetime
    as_of: datetime
    expected: int
    predicted: int = 0
    incomplete: int = 0
    not_known: int = 0
    entity_null: int = 0
    no_cells: int = 0
    too_early: int = 0

    @property
    def missed(self) -> int:
        """Expected rows that are not predicted for."""
        return self.not_known + self.entity_null + self.no_cells


def row_results(
    rules: Sequence[Rule],
    tallies: Sequence[HourTally],
    built_ins: Sequence[str] = (),
    examples: Mapping[str, Sequence[object]] | None = None,
    allowances: BuiltIn | None = None,
) -> list[RuleResult]:
    """One result for each row rule and built-in rule: FAIL or WARN when it breaks more rows of any hour than allowed.

    A rule that no tally counted was not run: ERROR. `examples`: rule id -> values, put into failed results.
    """
    shown = examples or {}
    results = [
        _budget_result(RuleResult(rule.id, failing(rule.severity), rule.named, "", allowed_text(rule), why=rule.why, counts="rows"),
                       (rule.budget or 0.0, rule.allow_rows), tallies, shown.get(rule.id, ()))
        for rule in rules
    ]  # fmt: skip
    for name in built_ins:
        allowed = (allowances or BuiltIn()).allowance(name)
        why = _WHY.get(name, _EVERY)
        blank = RuleResult(
            name, Outcome.FAIL, name.partition(":")[2], "", budget_text(*allowed), why=why, counts="rows"
        )
        results.append(_budget_result(blank, allowed, tallies, shown.get(name, ())))
    return results


def over_budget(results: Sequence[RuleResult]) -> list[str]:
    """The ids of row rules for which examples are worth a query."""
    return [result.rule for result in results if result.outcome in (Outcome.FAIL, Outcome.WARN)]


def _budget_result(
    blank: RuleResult, allowed: tuple[float, int], tallies: Sequence[HourTally], examples: Sequence[object]
) -> RuleResult:
    """`allowed`: share of an hour's rows, and number of rows; the larger allowance counts."""
    budget, floor = allowed
    if any(blank.rule not in tally.broken for tally in tallies if tally.rows):
        return _with(blank, Outcome.ERROR, "the rule was not run")
    counted = [(tally, tally.broken.get(blank.rule, 0)) for tally in tallies if tally.rows]
    bad, total = sum(count for _, count in counted), sum(tally.rows for tally, _ in counted)
    over = [
        (count / tally.rows, tally.hour) for tally, count in counted if count > max(budget * tally.rows + 1e-9, floor)
    ]
    if not over:
        return _with(blank, Outcome.PASS, f"{bad} of {total} rows", bad, total)
    share, hour = max(over, key=lambda pair: pair[0])
    observed = f"{share:.1%} of the rows of {format_hour(hour)}"
    if len(counted) > 1:
        observed += f", over budget in {len(over)} of {len(counted)} hours"
    return _with(blank, blank.outcome, observed, bad, total, examples_text(examples), [hour for _, hour in over])


def hour_results(rules: Sequence[Rule], tallies: Sequence[HourTally], hours: Sequence[datetime]) -> list[RuleResult]:
    """One result for each hour rule over all `hours`; `bad` and `total` count hours. The verdict GX gives hour by hour.

    An hour without good rows is judged by row-count rules alone, as in `suites.validate`.
    """
    measured = {tally.hour: tally for tally in tallies}
    return [_hour_result(rule, [(hour, measured.get(hour)) for hour in hours]) for rule in rules]


def _hour_result(rule: Rule, tallies: Sequence[tuple[datetime, HourTally | None]]) -> RuleResult:
    blank = RuleResult(
        rule.id, failing(rule.severity), rule.named, "", allowed_text(rule), why=rule.why, counts="hours"
    )
    counts_rows = not rule.named
    faults: list[tuple[datetime, str]] = []
    unjudged: list[str] = []
    for hour, tally in tallies:
        good = tally.good if tally else 0
        if good and tally and rule.id not in tally.measured:
            return _with(blank, Outcome.ERROR, "the rule was not run")
        if few := too_few(rule, good):
            unjudged.append(few)
            continue
        fault = judge(rule, good if counts_rows or not tally else tally.measured[rule.id])
        if fault is not None:
            faults.append((hour, measured_text(rule, fault)))
    if not faults:
        return _with(blank, Outcome.PASS, unjudged[-1] if len(unjudged) == len(tallies) else "", 0, len(tallies))
    observed = faults[0][1]
    if len(tallies) > 1:
        observed = f"{faults[0][1]} in {format_hour(faults[0][0])}, broken in {len(faults)} of {len(tallies)} hours"
    return _with(blank, blank.outcome, observed, len(faults), len(tallies), hours=[hour for hour, _ in faults])


def judge(rule: Rule, value: object) -> str | None:
    """What was observed when `value` (one hour's measure) breaks `rule`; None when it obeys. Null and NaN break."""
    if isinstance(value, Mapping) and "seen" in value:
        mostly = float(str(rule.args.get("mostly", 1.0)))
        good = (value["seen"] - value["bad"]) / value["seen"] if value["seen"] else 1.0
        return None if good >= mostly else f"{1.0 - good:.1%} of the rows"
    if isinstance(value, Mapping) and "micros" in value:
        return _instant(rule, value["micros"])
    if isinstance(value, Mapping):
        return _sets(rule, value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return bounded(value)
    if "value" in rule.args:
        return None if value == rule.args["value"] else bounded(value)
    return None if _between(rule, value) else bounded(value)


def _between(rule: Rule, value: Any) -> bool:  # a number, text or instant, whatever the column holds
    low, high = (rule.args.get(arg) for arg in ("min_value", "max_value"))
    return _inside(rule, value, low, high)


def _instant(rule: Rule, us: int | None) -> str | None:
    """What was observed when an instant, in microseconds from 1970, breaks `rule`; null breaks it."""
    low, high = (micros(rule.args[arg]) if arg in rule.args else None for arg in ("min_value", "max_value"))
    if us is None:
        return "None"
    return None if _inside(rule, us, low, high) else micros_text(us, zoned=True)


def _inside(rule: Rule, value: Any, low: Any, high: Any) -> bool:
    above = low is None or (value > low if rule.args.get("strict_min") else value >= low)
    below = high is None or (value < high if rule.args.get("strict_max") else value <= high)
    return bool(above and below)


def _sets(rule: Rule, value: Mapping[str, Any]) -> str | None:
    given = rule.args["value_set"]
    missing = len(set(map(str, given if isinstance(given, list) else [given]))) - value["inside"]
    outside = list(value["outside"])
    told = [f"{missing} values missing"] if missing and "_be_in_set" not in rule.type else []
    told += [f"also {', '.join(examples_text(outside))}"] if outside and "_contain_" not in rule.type else []
    return "; ".join(told) or None


def account_results(accounts: Sequence[Account]) -> list[RuleResult]:
    """`rows_add_up` (nothing lost, nothing made up) and `row_count` (empty only when the manifest says so)."""
    lost = [a for a in accounts if a.found != a.manifest]
    empty = [a for a in accounts if a.manifest > 0 and a.silver == 0]
    rows = sum(account.manifest for account in accounts)
    sums = "manifest rows = silver + quarantined + duplicates + discarded"
    return [
        _told("rows_add_up", sums, lost, lambda a: f"{a.found} of {a.manifest} rows", rows, len(accounts)),
        _told("row_count", "no row only in an hour whose manifest says 0 rows", empty,
              lambda a: f"0 of {a.manifest} rows are left", rows, len(accounts)),
    ]  # fmt: skip


def _told(
    rule: str, allowed: str, broken: Sequence[Account], said: Callable[[Account], str], rows: int, hours: int
) -> RuleResult:
    if not hours:
        return RuleResult(rule, Outcome.ERROR, "", "no hour was counted", allowed, why=_EVERY)
    observed, examples = f"{rows} rows in {hours} hours", tuple(format_hour(a.hour) for a in broken[:5])
    if broken:
        observed = f"{said(broken[0])} in {format_hour(broken[0].hour)}, {len(broken)} of {hours} hours"
    outcome = Outcome.FAIL if broken else Outcome.PASS
    at_fault = tuple(account.hour for account in broken)
    return RuleResult(rule, outcome, "", observed, allowed, len(broken), hours, examples, _EVERY, "hours", at_fault)


def readable_result(broken: Sequence[tuple[datetime, str, str]], hours: int) -> RuleResult:
    """`drop_readable`: `broken` are drops that could not be read whole, as (hour, file, fault), of the drops of `hours` hours."""
    observed = f"{broken[0][1]}: {broken[0][2]}" if broken else f"{hours} drops"
    return RuleResult(
        "drop_readable", Outcome.FAIL if broken else Outcome.PASS, "", observed,
        "whole files with the declared columns; have a broken one delivered again, then re-run the hour",
        len(broken), hours, tuple(f"{file}: {fault}"[:120] for _, file, fault in broken[:5]), _EVERY, "drops",
        tuple(hour for hour, _, _ in broken),
    )  # fmt: skip


def arrival_result(known: Mapping[datetime, datetime]) -> RuleResult:
    """`arrival`: a warning when nearly all first versions of the interval's drops are known long after their hours.

    `known`: hour -> since when the rows of its drop are known; features and training of the time between do not see them.
    """
    late = sorted(hour for hour, at in known.items() if at - hour > _LATE)
    observed, outcome = f"{len(late)} of {len(known)} drops arrived more than {_LATE.days} day late", Outcome.PASS
    if late and len(late) >= _NEARLY_ALL * len(known):
        outcome = Outcome.WARN
        observed += f"; rows of {format_hour(late[0])} are known since {format_hour(known[late[0]])}"
    allowed = (
        "drops that arrive with their hours: features as of an hour before their arrival do not see these rows; if they are"
        " history delivered in bulk, declare history_until in sources.yaml, and run the hours again"
    )
    examples = tuple(format_hour(hour) for hour in late[:5])
    return RuleResult(
        "arrival", outcome, "", observed, allowed, len(late), len(known), examples, _EVERY, counts="drops"
    )  # fmt: skip


def volume_result(conf: Volume, rows: Mapping[datetime, int], past: Mapping[datetime, int]) -> RuleResult:
    """`volume`: the rows of each hour's drop against the median of the same hour of the weeks before.

    `past` has the rows of the hours before by hour, those of the interval itself included. An hour is judged when at
    most one of its weeks is unknown and the median of the others reaches `conf.min_rows`; `bad` and `total` count hours.
    """
    judged, broken = 0, []
    for hour, count in sorted(rows.items()):
        weeks = [past[at] for at in same_hours(hour, conf.weeks, conf.zone) if at in past]
        expected = statistics.median(weeks) if len(weeks) >= max(2, conf.weeks - 1) else 0
        if expected >= conf.min_rows:
            judged += 1
            if not conf.at_least * expected <= count <= conf.at_most * expected:
                broken.append((hour, f"{count} rows where {expected:g} are usual"))
    observed = f"{judged} of {len(rows)} hours judged"
    if broken:
        observed = f"{broken[0][1]} in {format_hour(broken[0][0])}, {len(broken)} of {len(rows)} hours"
    allowed = f"{conf.at_least:g} to {conf.at_most:g} times the median of the same hour of {conf.weeks} weeks"
    outcome, examples = failing(conf.severity) if broken else Outcome.PASS, tuple(format_hour(h) for h, _ in broken[:5])
    at_fault = tuple(hour for hour, _ in broken)
    return RuleResult(
        "volume", outcome, "", observed, allowed, len(broken), len(rows), examples, _EVERY, "hours", at_fault
    )


def same_hours(hour: datetime, weeks: int, zone: str = "UTC") -> list[datetime]:
    """The same hour of the week in the `weeks` weeks before, as clocks on the wall of `zone` show it; in UTC."""
    there = hour.astimezone(ZoneInfo(zone))  # a week back from an instant of a zone is a week on its clock
    return [(there - timedelta(weeks=back)).astimezone(UTC) for back in range(1, weeks + 1)]


def key_result(key: Sequence[str], doubled: int, rows: int, examples: Sequence[object] = ()) -> RuleResult:
    """`key_unique`: `doubled` of `rows` staged rows share their business key with another row of the publication."""
    outcome = Outcome.FAIL if doubled else Outcome.PASS
    return RuleResult(
        "key_unique", outcome, ", ".join(key), f"{doubled} rows share a key", "each key once", doubled, rows,
        examples_text(examples), _EVERY, "rows",
    )  # fmt: skip


def spine_result(accounts: Sequence[SpineAccount], at_most: float, severity: Severity) -> RuleResult:
    """`spine_missed`: the share of spine rows that each hour misses; `bad` and `total` count rows."""
    shares, bad, total = [], 0, 0
    for hour in sorted({one.hour for one in accounts}):
        mine = [one for one in accounts if one.hour == hour]
        missed, expected = sum(one.missed for one in mine), sum(one.expected for one in mine)
        bad, total = bad + missed, total + expected
        if expected and missed > at_most * expected + 1e-9:
            shares.append((missed / expected, hour, mine))
    outcome, observed = Outcome.PASS, f"{bad} of {total} rows"
    if shares:
        share, hour, mine = max(shares, key=lambda one: one[0])
        reasons = {name: sum(getattr(one, name) for one in mine) for name in ("not_known", "entity_null", "no_cells")}
        why = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in reasons.items() if count)
        outcome, observed = failing(severity), f"{share:.1%} of the spine rows of {format_hour(hour)} ({why})"
    return RuleResult(
        "spine_missed", outcome, "", observed, f"at most {at_most:.0%} of an hour's spine rows without features", bad, total,
        tuple(format_hour(hour) for _, hour, _ in shares[:5]), _EVERY, "rows",
        tuple(hour for _, hour, _ in shares),
    )  # fmt: skip


def overflow_result(features: Sequence[str], lost: Sequence[tuple[datetime, int]]) -> RuleResult:
    """`values_fit`: `lost` has the number of cells with a value out of its type's range, by hour; of `features`."""
    hour, cells = lost[0][0], sum(count for _, count in lost)
    return RuleResult(
        "values_fit", Outcome.ERROR, ", ".join(features),
        f"{', '.join(features)} of {format_hour(hour)} out of range, {cells} cells in {len(lost)} hours",
        "values within the range of their type; bound the measure by a rule on its silver table, or declare type: double"
        " for the aggregation", cells, cells, tuple(format_hour(at) for at, _ in lost[:5]), _EVERY, "cells",
        tuple(at for at, _ in lost),
    )  # fmt: skip


def decide(
    table: str, scope: str, suite: Suite, results: Sequence[RuleResult], staged_digest: str = "",
    sensitive: Collection[str] = (),
) -> Verdict:  # fmt: skip
    """The verdict on one table: every declared rule must have exactly one result, else that rule is an ERROR.

    Whatever a result shows of the columns `sensitive` is masked.
    """
    seen = [result.rule for result in results]
    counted = list(results)
    for rule in suite.rules:
        if seen.count(rule.id) != 1:
            told = f"{seen.count(rule.id)} results; exactly 1 is due"
            counted = [result for result in counted if result.rule != rule.id]
            counted.append(RuleResult(rule.id, Outcome.ERROR, rule.named, told, allowed_text(rule), why=rule.why))
    valued = {rule.id for rule in suite.rules if rule.scope != "row"}  # they observe values, row rules shares
    shown = [_masked(result, result.rule in valued) if _is_of(result, sensitive) else result for result in counted]
    return Verdict.of(table, scope, shown, suite.digest, staged_digest)


def _is_of(result: RuleResult, columns: Collection[str]) -> bool:
    return any(column in columns for column in result.column.split(", "))


def _masked(result: RuleResult, valued: bool) -> RuleResult:
    observed = MASKED if valued and result.outcome is not Outcome.PASS else result.observed
    return replace(result, observed=observed, examples=(MASKED,) if result.examples else ())


def _with(
    blank: RuleResult, outcome: Outcome, observed: str, bad: int = 0, total: int = 0,
    examples: tuple[str, ...] = (), hours: Iterable[datetime] = (),
) -> RuleResult:  # fmt: skip
    return replace(
        blank, outcome=outcome, observed=observed, bad=bad, total=total, examples=examples, hours=tuple(hours)
    )
