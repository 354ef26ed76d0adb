"""The gate of one table: split its rows, stage the good ones, judge the staged files; and the record of its verdict.

Other modules of this package decide; this one brings them rows and files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from spark_jobs.config.catalogue import CATALOGUE
from spark_jobs.config.suites import Rule, Suite
from spark_jobs.failpoints import failpoint
from spark_jobs.identifiers import quoted_list
from spark_jobs.invocation import hours_between
from spark_jobs.lake.reading import connect
from spark_jobs.lake.staging import Staged
from spark_jobs.quality import decide, measures, suites
from spark_jobs.quality.decide import CONTRADICTION, HourTally
from spark_jobs.quality.fits import named_columns
from spark_jobs.quality.split import BROKEN, broken_rows, built_ins, examples, good_rows, split_rows
from spark_jobs.steps.context import Context
from spark_jobs.verdict import MASKED, RuleResult, Verdict
from spark_jobs.windows.kernel import OVERFLOWED
from spark_jobs.windows.keys import business_key

VALUES_FIT = "values_fit"
DUPLICATE = "duplicate"  # not a fault: the same row again in one drop, of which the last line counts
_REPEAT = "repeat number"  # no column of a table can have a blank in its name
_ORIGIN = frozenset({"file", "line", "drop_sha256", "arrived_at", "known_at", "raw", "fault"})


@dataclass(frozen=True)
class Judged:
    """The rows of one table after the split, cached, with their counts an hour.

    `delivered`: columns that stay in bronze, among them the text `_<column>` of each typed column as it was delivered.
    """

    table: str
    suite: Suite
    split: DataFrame
    tallies: list[HourTally]
    built: list[str]
    errors: list[RuleResult]
    key: list[str]
    delivered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What became of one table: its verdict, the files that were staged, and the rows to hold back."""

    verdict: Verdict
    staged: Staged
    held: DataFrame


@dataclass(frozen=True)
class JudgedTables:
    """What a stage staged by table, how its tables were judged, and the rows held back of each of them."""

    staged: Mapping[str, Staged]
    verdicts: tuple[Verdict, ...]
    held: tuple[DataFrame, ...]


def split(
    context: Context,
    table: str,
    frame: DataFrame,
    key: Sequence[str],
    faults: Mapping[str, Column],
    built: Mapping[str, Column],
) -> Judged:
    """`frame` with column broken, cached and counted in one pass; of lines that repeat the same row the last is kept.

    Rows come from lines where the frame has a column line. Lines of one drop with the same key and different values
    contradict each other: all of them break the rule `contradiction`. Rules on uniqueness see one of the lines that repeat
    the same row.
    """
    suite = context.pipeline.suites[table.removeprefix("silver/")]
    frame = _with_repeats(frame, suite)
    tests, errors = suites.row_tests(frame, suite.row_rules, ["hour", _REPEAT])
    own = {**faults, **built}
    rows = split_rows(frame, {**own, **{rule: test.broken for rule, test in tests.items()}})
    from_lines = "line" in frame.columns
    good = F.size(BROKEN) == 0
    by_key: list[str | Column] = ["hour", *key, good]
    rows = rows.withColumns(
        {
            "_copy": F.row_number().over(_latest(rows, *by_key)),
            "_differs": _differs(rows, by_key) if from_lines else F.lit(False),
        }
    )
    contradicts, doubled = good & F.col("_differs"), good & ((F.col("_copy") > 1) | (F.col(_REPEAT) > 1))
    repeated = F.when(contradicts, F.array(F.lit(CONTRADICTION))).when(doubled, F.array(F.lit(DUPLICATE)))
    rows = rows.withColumn(BROKEN, repeated.otherwise(F.col(BROKEN))).drop("_copy", "_differs", _REPEAT).persist()
    built_in = [*own, CONTRADICTION] if from_lines else [*own]
    ids = [*built_in, *tests, DUPLICATE]
    tallies = measures.read_tallies(measures.hour_measures(rows, ids, []), ids, [])
    return Judged(table, suite, rows, tallies, built_in, errors, list(key))


def _differs(rows: DataFrame, alike: Sequence[str | Column]) -> Column:
    """Whether rows that are `alike` differ in a value; typed values are compared, 1.0 and 1.00 are the same."""
    facts, window = F.struct(*_facts(rows)), Window.partitionBy(*alike)
    return ~F.min(facts).over(window).eqNullSafe(F.max(facts).over(window))


def _facts(rows: DataFrame) -> list[str]:
    return [name for name in rows.columns if name not in {*_ORIGIN, BROKEN, _REPEAT} and not name.startswith("_")]


def _with_repeats(rows: DataFrame, suite: Suite) -> DataFrame:
    """Rows with the number of each among those of its hour that say the same, from the last; 1 where no rule asks."""
    if not any(CATALOGUE[rule.type].windowed for rule in suite.row_rules):
        return rows.withColumn(_REPEAT, F.lit(1))
    return rows.withColumn(_REPEAT, F.row_number().over(_latest(rows, *_facts(rows))))


def _latest(rows: DataFrame, *alike: str | Column) -> WindowSpec:
    order = [F.col(name).desc() for name in ("line", "file") if name in rows.columns]
    return Window.partitionBy(*alike).orderBy(*(order or [F.col("known_at").desc()]))


def judge(
    context: Context, judged: Judged, scope: str, extra: Sequence[RuleResult] = (),
    kept: Callable[[DataFrame], DataFrame] | None = None,
) -> tuple[Verdict, Staged]:  # fmt: skip
    """Stage the good rows and let GX judge the staged files.

    `kept`: of the good rows only those are staged; rules on hours and tables are asked of all of them, which is what
    readers see afterwards.
    """
    table, suite = judged.table, judged.suite
    good = good_rows(judged.split).drop(*judged.delivered)
    staged = context.lake.stage(table, kept(good) if kept else good)
    results = row_results(judged, judged.tallies)
    if over := decide.over_budget(results):
        results = row_results(judged, judged.tallies, _examples(judged, over, context.pipeline.sensitive(table)))
    results += _hour_results(context, judged, scope, good if kept else context.lake.rows_of(staged))
    results.append(_key_unique(context, judged, staged))
    sensitive = context.pipeline.sensitive(table)
    return decide.decide(table, scope, suite, [*results, *extra], staged.digest, sensitive), staged


def _examples(judged: Judged, rules: Sequence[str], sensitive: frozenset[str]) -> dict[str, list[object]]:
    """For each of `rules` some values of rows that break it, as they were delivered where it is about their type."""
    named = {rule.id: named_columns(rule) for rule in judged.suite.row_rules}
    shown = {rule: named.get(rule) or _shown_columns(judged, rule) for rule in rules}
    hidden = {*sensitive, *(f"_{name}" for name in sensitive), *(["raw", "event_at"] if sensitive else [])}
    seen: dict[str, list[object]] = {rule: [MASKED] for rule, names in shown.items() if {*names} & hidden}
    return seen | examples(judged.split, {rule: names for rule, names in shown.items() if rule not in seen})


def _shown_columns(judged: Judged, rule: str) -> list[str]:
    """The columns whose values show what a built-in rule found."""
    kind, _, column = rule.partition(":")
    if kind in ("type", "finite") and f"_{column}" in judged.split.columns:
        return [f"_{column}"]
    special = {"parse": ["raw"], "event_within": ["event_at"]}
    return [column] if column else special.get(kind, judged.key)


def record(context: Context, verdict: Verdict) -> None:
    """Write a verdict down; nothing is decided before it stands in the ledger."""
    failpoint(f"audit.{verdict.table}.judged")
    context.ledger.add_verdict(context.call, context.pub, verdict)
    failpoint(f"audit.{verdict.table}.recorded")


def recorded(context: Context, judgements: Sequence[Judgement]) -> JudgedTables:
    """`judgements` as the output of a stage, their verdicts recorded in this order."""
    for judgement in judgements:
        record(context, judgement.verdict)
    return JudgedTables(
        {judgement.staged.table: judgement.staged for judgement in judgements},
        tuple(judgement.verdict for judgement in judgements),
        tuple(judgement.held for judgement in judgements),
    )


def row_results(
    judged: Judged, tallies: Sequence[HourTally], seen: Mapping[str, Sequence[object]] | None = None
) -> list[RuleResult]:
    """Row rules and built-in rules over `tallies`, all hours or one; ERROR for a rule that cannot work on the rows."""
    broken = {error.rule for error in judged.errors}
    results = decide.row_results(judged.suite.row_rules, tallies, judged.built, seen, judged.suite.built_in)
    return [result for result in results if result.rule not in broken] + judged.errors


def stage_judged(
    context: Context, table: str, scope: str, frame: DataFrame, kept: Callable[[DataFrame], DataFrame] | None = None,
    former: DataFrame | None = None, key: Sequence[str] = (), extra: Sequence[RuleResult] = (),
) -> Judgement:  # fmt: skip
    """Split, stage and judge a table that is computed. `kept` as in `judge`.

    `key`: of a table that is not released, such as a training set. `extra`: results of rules that this table alone has.
    `former`: keys of cells that readers must not see any longer as they are: one whose new row is held back is staged
    without values.
    Cells with a value that does not fit its type (column OVERFLOWED) block the publication with an ERROR.
    """
    key = key or context.lake.kinds[table].key
    has_mark = OVERFLOWED in frame.columns
    faults = {VALUES_FIT: F.col(OVERFLOWED).isNotNull()} if has_mark else {}
    judged = split(context, table, frame, key, faults, built_ins(frame, key=key))
    overflows = _overflow_results(judged) if has_mark else []
    judged = replace(judged, split=judged.split.drop(OVERFLOWED), built=[r for r in judged.built if r not in faults])
    if former is not None:
        blank = _without_values(judged.split, key, former)
        kept = lambda good: good.unionByName(blank)  # noqa: E731
    verdict, staged = judge(context, judged, scope, [*overflows, *extra], kept=kept)
    return Judgement(verdict, staged, held_rows(judged.split, table, key))


def _without_values(rows: DataFrame, key: Sequence[str], former: DataFrame) -> DataFrame:
    """The broken rows whose key is in `former`, all values null."""
    broken = _without_duplicates(broken_rows(rows)).drop(BROKEN)
    found, stay = broken.join(former.select(*key), list(key), "left_semi"), {*key, "hour", "known_at"}
    return found.select(*[F.col(n) if n in stay else F.lit(None).cast(t).alias(n) for n, t in found.dtypes])


def _without_duplicates(broken: DataFrame) -> DataFrame:
    """Broken rows that are held back: repeated lines are marked like them, but are only counted."""
    return broken.where(~F.array_contains(BROKEN, DUPLICATE))


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
    return _without_duplicates(broken_rows(rows)).select(
        F.lit(table).alias("table"), *origin,
        business_key(rows, key).alias("business_key"),
        F.col(BROKEN).alias("rules"), F.concat_ws(", ", BROKEN).alias("reason"), F.create_map(*text).alias("cols"),
        "hour", "known_at",
    )  # fmt: skip


def _hour_results(context: Context, judged: Judged, scope: str, good: DataFrame) -> list[RuleResult]:
    """Hour rules, judged by GX in a run of one hour, by one pass grouped by hour in a longer one; and batch rules.

    A training set has rows of many hours before the call, and none of its last ones: every hour with rows is judged.
    """
    is_set = scope == "training_set"
    rules, batch = judged.suite.hour_rules, judged.suite.batch_rules
    rows = sum(tally.good for tally in judged.tallies)
    if context.call.hours == 1 and not is_set:
        return suites.validate(good, [*rules, *batch], rows)
    told = suites.validate(good, batch, rows)
    if not rules:
        return told
    tallies, working, errors = hour_tallies(good, rules)
    hours: list[datetime] = (
        sorted(tally.hour for tally in judged.tallies)
        if is_set
        else list(hours_between(context.call.start, context.call.end))
    )
    return [*decide.hour_results(working, tallies, hours), *errors, *told]


def hour_tallies(good: DataFrame, rules: Sequence[Rule]) -> tuple[list[HourTally], list[Rule], list[RuleResult]]:
    """What hour rules measure on good rows, a tally an hour that has some; the rules that work, an ERROR for each other."""
    tests, errors = suites.row_tests(good, [rule for rule in rules if CATALOGUE[rule.type].kind == "row"])
    unbroken = good.withColumn(BROKEN, F.array().cast("array<string>"))
    working = [rule for rule in rules if rule.id not in {error.rule for error in errors}]
    tallies = measures.read_tallies(measures.hour_measures(unbroken, [], working, tests), [], working)
    return tallies, working, errors


def _key_unique(context: Context, judged: Judged, staged: Staged) -> RuleResult:
    """Whether each key stands once an hour in the staged files, asked of the files by another engine than wrote them."""
    key = quoted_list(["hour", *judged.key])
    paths = [str(context.root / judged.table / file.path) for file in staged.files]
    doubled = 0
    if paths:
        asked = f"SELECT count(*) - count(DISTINCT ({key})) FROM read_parquet($paths)"
        with connect(context.root) as connection:
            row = connection.execute(asked, {"paths": paths}).fetchone()
            doubled = int(row[0]) if row else 0
    return decide.key_result(judged.key, doubled, staged.rows)
