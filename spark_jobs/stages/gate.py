"""The gate of one table: split its rows, stage the good ones, judge the staged files; and the record of its verdict.

Rules, counts and decisions are the quality room's; this stage brings them rows and files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from spark_jobs.config.catalogue import CATALOGUE
from spark_jobs.config.suites import Rule, Suite
from spark_jobs.failpoints import failpoint
from spark_jobs.identifiers import quoted_list
from spark_jobs.invocation import hours_between
from spark_jobs.quality import decide, measures, suites
from spark_jobs.quality.decide import HourTally
from spark_jobs.quality.fits import named_columns
from spark_jobs.quality.split import BROKEN, built_ins, examples, good_rows, split_rows
from spark_jobs.stages.work import Work
from spark_jobs.verdict import MASKED, RuleResult, Verdict
from spark_jobs.windows.kernel import OVERFLOWED
from spark_jobs.windows.keys import business_key

VALUES_FIT = "values_fit"
DUPLICATE = "duplicate"  # not a fault: the same key again in one drop, of which the last line counts
_REPEAT = "repeat number"  # no column of a table can have a blank in its name
_ORIGIN = frozenset({"file", "line", "drop_sha256", "arrived_at", "known_at", "raw", "fault"})


@dataclass(frozen=True)
class Judged:
    """The rows of one table after the split, cached, with their counts an hour."""

    table: str
    suite: Suite
    split: DataFrame
    tallies: list[HourTally]
    built: list[str]
    errors: list[RuleResult]
    key: list[str]


def split(
    work: Work,
    table: str,
    frame: DataFrame,
    key: Sequence[str],
    faults: Mapping[str, Column],
    built: Mapping[str, Column],
) -> Judged:
    """`frame` with column broken, cached and counted in one pass; the last line of a repeated key is kept.

    Rules on uniqueness look at one of the lines that say the same: a repeated line is no contradiction.
    """
    suite = work.pipeline.suites[table.removeprefix("silver/")]
    frame = _with_repeats(frame, suite)
    tests, errors = suites.row_tests(frame, suite.row_rules, ["hour", _REPEAT])
    own = {**faults, **built}
    rows = split_rows(frame, {**own, **{rule: test.broken for rule, test in tests.items()}})
    doubled = (F.size(BROKEN) == 0) & ((F.col("_copy") > 1) | (F.col(_REPEAT) > 1))
    rows = rows.withColumn("_copy", F.row_number().over(_latest(rows, "hour", *key, F.size(BROKEN) == 0)))
    rows = rows.withColumn(BROKEN, F.when(doubled, F.array(F.lit(DUPLICATE))).otherwise(F.col(BROKEN)))
    rows = rows.drop("_copy", _REPEAT).persist()
    ids = [*own, *tests, DUPLICATE]
    tallies = measures.read_tallies(measures.hour_measures(rows, ids, []), ids, [])
    return Judged(table, suite, rows, tallies, list(own), errors, list(key))


def _with_repeats(rows: DataFrame, suite: Suite) -> DataFrame:
    """Rows with the number of each among those of its hour that say the same, from the last; 1 where no rule asks."""
    if not any(CATALOGUE[rule.type].windowed for rule in suite.row_rules):
        return rows.withColumn(_REPEAT, F.lit(1))
    said = [name for name in rows.columns if name not in _ORIGIN and not name.startswith("_")]
    return rows.withColumn(_REPEAT, F.row_number().over(_latest(rows, *said)))


def _latest(rows: DataFrame, *alike: str | Column) -> WindowSpec:
    order = [F.col(name).desc() for name in ("line", "file") if name in rows.columns]
    return Window.partitionBy(*alike).orderBy(*(order or [F.col("known_at").desc()]))


def judge(
    work: Work, judged: Judged, scope: str, extra: Sequence[RuleResult] = (),
    kept: Callable[[DataFrame], DataFrame] | None = None,
) -> Verdict:  # fmt: skip
    """Stage the good rows and let GX judge the staged files.

    `kept`: of the good rows only those are staged; rules on hours and tables are asked of all of them, which is what
    readers see afterwards.
    """
    table, suite, call = judged.table, judged.suite, work.call
    good = good_rows(judged.split)
    staged = work.lake.stage(table, kept(good) if kept else good, call.start, call.end)
    results = row_results(judged, judged.tallies)
    if over := decide.over_budget(results):
        named = {rule.id: named_columns(rule) for rule in suite.row_rules}
        shown = {rule: named.get(rule) or [rule.partition(":")[2] or judged.key[0]] for rule in over}
        hidden = work.pipeline.sensitive(table)
        seen = examples(judged.split, {rule: names for rule, names in shown.items() if not {*names} & hidden})
        seen |= {rule: [MASKED] for rule, names in shown.items() if {*names} & hidden}
        results = row_results(judged, judged.tallies, seen)
    results += _hour_results(work, judged, good if kept else staged)
    results.append(_key_unique(work, judged))
    return decide.decide(table, scope, suite, [*results, *extra], work.lake.staged[table].digest,
                         work.pipeline.sensitive(table))  # fmt: skip


def record(work: Work, verdict: Verdict) -> None:
    """Write a verdict down; nothing is decided before it stands in the ledger."""
    failpoint(f"audit.{verdict.table}.judged")
    work.ledger.add_verdict(work.call, work.pub, verdict)
    failpoint(f"audit.{verdict.table}.recorded")
    work.verdicts.append(verdict)


def row_results(
    judged: Judged, tallies: Sequence[HourTally], seen: Mapping[str, Sequence[object]] | None = None
) -> list[RuleResult]:
    """Row rules and built-in rules over `tallies`, all hours or one; ERROR for a rule that cannot work on the rows."""
    broken = {error.rule for error in judged.errors}
    results = decide.row_results(judged.suite.row_rules, tallies, judged.built, seen)
    return [result for result in results if result.rule not in broken] + judged.errors


def stage_judged(
    work: Work, table: str, scope: str, frame: DataFrame, kept: Callable[[DataFrame], DataFrame] | None = None
) -> tuple[Verdict, DataFrame]:
    """Split, stage and judge a table of features: its verdict, and the rows to hold back. `kept` as in `judge`.

    Cells with a value that does not fit its type (column OVERFLOWED) block the publication with an ERROR.
    """
    key = work.lake.kinds[table].key
    has_mark = OVERFLOWED in frame.columns
    faults = {VALUES_FIT: F.col(OVERFLOWED).isNotNull()} if has_mark else {}
    judged = split(work, table, frame, key, faults, built_ins(frame, key=key))
    overflows = _overflow_results(judged) if has_mark else []
    judged = replace(judged, split=judged.split.drop(OVERFLOWED), built=[r for r in judged.built if r not in faults])
    return judge(work, judged, scope, overflows, kept=kept), held_rows(judged.split, table, key)


def _overflow_results(judged: Judged) -> list[RuleResult]:
    """An ERROR that names features and hours where a value does not fit its type; nothing where all fit."""
    lost = [(tally.hour, tally.broken[VALUES_FIT]) for tally in judged.tallies if tally.broken.get(VALUES_FIT)]
    if not lost:
        return []
    marks = judged.split.where(F.array_contains(BROKEN, VALUES_FIT)).select(OVERFLOWED).limit(5).collect()
    return [decide.overflow_result(sorted({row[0] for row in marks}), sorted(lost))]


def held_rows(rows: DataFrame, table: str, key: Sequence[str]) -> DataFrame:
    """Quarantine rows: grain a broken row of `table`; cols holds its columns as text."""
    kept = [name for name in rows.columns if name not in (BROKEN, "hour", "known_at", "day", "pub")]
    text = [F.lit(name) if i == 0 else F.col(name).cast("string") for name in kept for i in (0, 1)]
    origin = [
        F.col(n) if n in rows.columns else F.lit(None).cast(t).alias(n)
        for n, t in (("file", "string"), ("line", "bigint"))
    ]
    broken = rows.where((F.size(BROKEN) > 0) & ~F.array_contains(BROKEN, DUPLICATE))
    return broken.select(
        F.lit(table).alias("table"), *origin,
        business_key(rows, key).alias("business_key"),
        F.col(BROKEN).alias("rules"), F.concat_ws(", ", BROKEN).alias("reason"), F.create_map(*text).alias("cols"),
        "hour", "known_at",
    )  # fmt: skip


def _hour_results(work: Work, judged: Judged, good: DataFrame) -> list[RuleResult]:
    """Hour rules, judged by GX in a run of one hour, by one pass grouped by hour in a longer one; and batch rules."""
    rules, batch = judged.suite.hour_rules, judged.suite.batch_rules
    rows = sum(tally.good for tally in judged.tallies)
    if work.call.hours == 1:
        return suites.validate(good, [*rules, *batch], rows)
    told = suites.validate(good, batch, rows)
    if not rules:
        return told
    tallies, working, errors = hour_tallies(good, rules)
    hours: list[datetime] = list(hours_between(work.call.start, work.call.end))
    return [*decide.hour_results(working, tallies, hours), *errors, *told]


def hour_tallies(good: DataFrame, rules: Sequence[Rule]) -> tuple[list[HourTally], list[Rule], list[RuleResult]]:
    """What hour rules measure on good rows, a tally an hour that has some; the rules that work, an ERROR for each other."""
    tests, errors = suites.row_tests(good, [rule for rule in rules if CATALOGUE[rule.type].kind == "row"])
    unbroken = good.withColumn(BROKEN, F.array().cast("array<string>"))
    working = [rule for rule in rules if rule.id not in {error.rule for error in errors}]
    tallies = measures.read_tallies(measures.hour_measures(unbroken, [], working, tests), [], working)
    return tallies, working, errors


def _key_unique(work: Work, judged: Judged) -> RuleResult:
    """Whether each key stands once an hour in the staged files, asked of the files by another engine than wrote them."""
    staged = work.lake.staged[judged.table]
    key = quoted_list(["hour", *judged.key])
    paths = [str(work.root / judged.table / file.path) for file in staged.files]
    doubled = 0
    if paths:
        asked = f"SELECT count(*) - count(DISTINCT ({key})) FROM read_parquet($paths)"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone='UTC'")
            row = connection.execute(asked, {"paths": paths}).fetchone()
            doubled = int(row[0]) if row else 0
    return decide.key_result(judged.key, doubled, staged.rows)
