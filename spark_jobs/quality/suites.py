"""Great Expectations behind two functions: the tests that rows must stand, and the judgement of one hour's rows.

The only file that imports great_expectations. Splitting, counting and deciding are the neighbours' work, without GX.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.arguments import compares_values, typed_rule
from spark_jobs.config.catalogue import CATALOGUE, class_name
from spark_jobs.config.suites import Rule, Suite
from spark_jobs.config.typed_values import typed_value
from spark_jobs.frames import local_frame
from spark_jobs.quality.decide import HourTally, hour_results
from spark_jobs.quality.fits import misfit, named_columns
from spark_jobs.quality.measures import hour_measures, read_tallies
from spark_jobs.quality.split import BROKEN
from spark_jobs.quality.words import allowed_text, bounded, examples_text, failing, measured_text, too_few
from spark_jobs.spark_columns import spark_column
from spark_jobs.verdict import Outcome, RuleResult

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.data_context.data_context.abstract_data_context import AbstractDataContext
    from great_expectations.execution_engine.sparkdf_execution_engine import SparkDFExecutionEngine
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.validator.metric_configuration import MetricConfiguration

_BATCH = "rows"
_EXTREMES_AND_BETWEEN = (
    "expect_column_values_to_be_between",
    "expect_column_min_to_be_between",
    "expect_column_max_to_be_between",
)
_EXACT = 2**53  # whole numbers up to here are exact as floats
_HOUR, _ANY_HOUR = "_hour", datetime(1970, 1, 1, tzinfo=UTC)  # for rows that are judged as one hour's, whichever it is
_ALONE = threading.RLock()  # GX keeps its data sources in one context for all threads


@dataclass(frozen=True)
class RowTest:
    """`broken`: true on the rows that break the rule. `applies`: true on the rows that count in its `mostly` share."""

    broken: Column
    applies: Column


def warm_up() -> threading.Thread:
    """The running thread that imports Great Expectations (6-10 CPU s); start it before the Spark session is made.

    The JVM starts in another process, so both costs overlap; a second call costs nothing.
    """
    thread = threading.Thread(target=_expectations, name="import great_expectations", daemon=True)
    thread.start()
    return thread


@functools.cache
def _expectations() -> ModuleType:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import: no telemetry, no network
    return importlib.import_module("great_expectations.expectations")


@functools.cache
def _context() -> AbstractDataContext:
    _expectations()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")  # writes no file
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _expectation(rule: Rule) -> Expectation:
    known = CATALOGUE[rule.type]
    where: dict[str, object] = {}
    if known.shape == "column":
        where = {"column": rule.column}
    elif known.shape == "pair":
        where = {"column_A": rule.columns[0], "column_B": rule.columns[1]}
    elif known.shape == "columns":
        where = {"column_list": list(rule.columns)}
    made: Expectation = getattr(_expectations(), class_name(rule.type))(
        **where, **rule.args, severity=rule.severity, meta={"rule": rule.id}
    )
    return made


def row_tests(
    frame: DataFrame, rules: Sequence[Rule], within: Sequence[str] = ()
) -> tuple[dict[str, RowTest], list[RuleResult]]:
    """Great Expectations' own condition for each of `rules` (of row types), as Columns of `frame`; no row is read.

    A rule that cannot work on this frame (column missing, a bound of another type, a broken regular expression) has
    no test but an ERROR result, so that a broken check is never taken for bad data. Null handling is GX's: nulls are
    broken under not-null only; NaN is broken under between. Uniqueness is judged within the columns `within`.
    """
    with _ALONE:
        _context()
    types = dict(frame.dtypes)
    faults = {rule.id: _misfit(frame, rule) for rule in rules}
    own = {rule.id: typed_rule(rule, types) for rule in rules if not faults[rule.id] and _has_own_bounds(rule, types)}
    fitting = [typed_rule(rule, types) for rule in rules if not faults[rule.id] and rule.id not in own]
    asked = {f"{rule.id}": rule for rule in fitting}
    asked |= {f"{rule.id} within": _compound(rule, within) for rule in fitting if within and _is_windowed(rule)}
    conditions = _conditions(frame, asked)
    tests: dict[str, RowTest] = {}
    errors: list[RuleResult] = []
    for rule in rules:
        if rule.id in own:
            tests[rule.id] = _own_test(own[rule.id])
            continue
        found = {name: conditions[name] for name in (rule.id, f"{rule.id} within") if name in conditions}
        fault = faults[rule.id] or next((text for text in found.values() if isinstance(text, str)), "")
        if not fault:
            try:
                tests[rule.id] = _row_test(rule, [pair for pair in found.values() if not isinstance(pair, str)])
                frame.select(tests[rule.id].broken)  # analysis only: it fails here, not in the write of the rows
                continue
            except PySparkException as error:
                tests.pop(rule.id, None)
                fault = f"the check broke: {bounded(str(error).strip().splitlines()[0])}"
        errors.append(_error(rule, fault))
    return tests, errors


def _misfit(frame: DataFrame, rule: Rule) -> str:
    """Why the rule cannot work on the frame, GX's own word on its arguments included; empty when it can."""
    if fault := misfit(frame, rule):
        return fault
    types = dict(frame.dtypes)
    try:
        if not _has_own_bounds(rule, types):
            _expectation(typed_rule(rule, types))
        return ""
    except ValueError as error:  # GX's models refuse an argument
        return f"Great Expectations refuses it: {bounded(' '.join(str(error).splitlines()[1:]))}"


def row_conditions(frame: DataFrame, suite: Suite, within: Sequence[str] = ()) -> dict[str, Column]:
    """Rule id -> Column, true on the rows of `frame` that break that row rule; rules that cannot work are left out."""
    tests, _ = row_tests(frame, suite.row_rules, within)
    return {rule: test.broken for rule, test in tests.items()}


def _has_own_bounds(rule: Rule, types: Mapping[str, str]) -> bool:
    """Whether bounds are compared here: GX has none of text, and makes floats of whole numbers, which end at 2^53."""
    if rule.type not in _EXTREMES_AND_BETWEEN:
        return False
    large = any(isinstance(bound, int) and abs(bound) > _EXACT for bound in rule.args.values())
    return types[str(rule.column)] == "string" or large


def _own_test(rule: Rule) -> RowTest:
    """The test of bounds that GX cannot express; as there, a null is not judged."""
    values, broken = spark_column(str(rule.column)), F.lit(False)
    if "min_value" in rule.args:
        low = F.lit(rule.args["min_value"])
        broken = broken | ((values <= low) if rule.args.get("strict_min") else (values < low))
    if "max_value" in rule.args:
        high = F.lit(rule.args["max_value"])
        broken = broken | ((values >= high) if rule.args.get("strict_max") else (values > high))
    return RowTest(broken & values.isNotNull(), values.isNotNull())


def _is_measured(rule: Rule, types: Mapping[str, str]) -> bool:
    """Whether a rule on an hour is judged by `measures.py`: GX compares instants without a zone with those of rules."""
    if rule.column is None or CATALOGUE[rule.type].kind == "batch":
        return False
    return _has_own_bounds(rule, types) or (compares_values(rule) and types[rule.column] in ("timestamp", "date"))


def _measured(frame: DataFrame, rules: Sequence[Rule], rows: int) -> list[RuleResult]:
    """One result for each of `rules` on the `rows` rows of `frame`, as if they were one hour's."""
    tests, errors = row_tests(frame, [rule for rule in rules if CATALOGUE[rule.type].kind == "row"])
    working = [rule for rule in rules if rule.id not in {error.rule for error in errors}]
    whole = frame.withColumns({BROKEN: F.array().cast("array<string>"), _HOUR: F.lit(_ANY_HOUR)})
    tallies = read_tallies(hour_measures(whole, [], working, tests, _HOUR), [], working)
    results = hour_results(working, tallies or [HourTally(_ANY_HOUR, rows, 0)], [_ANY_HOUR])
    return [*(replace(result, hours=()) for result in results), *errors]  # which hour it is, is not known here


def _is_windowed(rule: Rule) -> bool:
    return CATALOGUE[rule.type].windowed


def _compound(rule: Rule, within: Sequence[str]) -> Rule:
    """Uniqueness with the columns `within` as further ones."""
    columns = [*within, *named_columns(rule)]
    compound = {"type": "expect_compound_columns_to_be_unique", "column": None, "columns": columns}
    return rule.model_copy(update=compound)


def _row_test(rule: Rule, found: list[tuple[Column, Column]]) -> RowTest:
    """GX's condition on the rows it is meant for; the condition of the last pair, the filter of the first."""
    broken, applies = found[-1][0], found[0][1]
    if CATALOGUE[rule.type].shape == "column" and not rule.type.endswith("_be_null"):
        applies = applies & F.col(named_columns(rule)[0]).isNotNull()
    return RowTest(broken & applies, applies)


def _conditions(frame: DataFrame, rules: Mapping[str, Rule]) -> dict[str, tuple[Column, Column] | str]:
    """For each rule GX's condition (true = unexpected) and the filter of the rows it is meant for, or why it broke.

    One call for all rules, on a frame without rows: GX counts the rows in each call, and the conditions are Columns by
    name that fit `frame` as well (39 rules of an hour: 40 s a rule at a time on the frame, 2 s so).
    """
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.execution_engine.sparkdf_execution_engine import SparkDFExecutionEngine
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    engine = SparkDFExecutionEngine(persist=False)
    engine.load_batch_data(_BATCH, local_frame(frame.sparkSession, [], frame.schema))
    metrics: dict[str, MetricConfiguration] = {}
    answers: dict[str, tuple[Column, Column] | str] = {}
    for name, rule in rules.items():
        try:
            metrics[name] = _condition_metric(engine, rule)
        except (GreatExpectationsError, PySparkException) as error:
            answers[name] = f"the check broke: {bounded(str(error).strip().splitlines()[0])}"
    if not metrics:
        return answers
    computed, aborted = MetricsCalculator(engine, show_progress_bars=False).compute_metrics([*metrics.values()])
    for name, metric in metrics.items():
        if metric.id in computed:
            condition, domain, accessors = cast("tuple[Column, dict[str, Any], dict[str, Any]]", computed[metric.id])
            answers[name] = condition, _applies(domain, [*accessors.values()])
        else:
            answers[name] = f"the check broke: {bounded(_cause(aborted[metric.id].get('exception_info')))}"
    return answers


def _condition_metric(engine: SparkDFExecutionEngine, rule: Rule) -> MetricConfiguration:
    from great_expectations.validator.metric_configuration import MetricConfiguration

    wanted = _expectation(rule).get_validation_dependencies(
        execution_engine=engine, runtime_configuration={"result_format": {"result_format": "BOOLEAN_ONLY"}}
    )
    own = f"{getattr(type(_expectation(rule)), 'map_metric')}.unexpected_count"  # noqa: B009 (untyped in GX)
    counted = wanted.metric_configurations[own]
    return MetricConfiguration(
        own.replace(".unexpected_count", ".condition"),
        metric_domain_kwargs={**counted.metric_domain_kwargs, "batch_id": _BATCH},
        metric_value_kwargs=counted.metric_value_kwargs,
    )


def _applies(domain: dict[str, Any], accessors: list[Any]) -> Column:
    """The rows that GX's `get_domain_records` keeps: its filter conditions and `ignore_row_if`, as one Column."""
    applies = F.lit(True)
    for condition in domain.get("filter_conditions", []):
        applies = applies & F.expr(condition.condition)
    names = [name for value in accessors for name in (value if isinstance(value, list | tuple) else [value])]
    missing = [F.col(name).isNull() for name in names]
    rule = domain.get("ignore_row_if")
    if rule in ("both_values_are_missing", "all_values_are_missing"):
        return applies & ~functools.reduce(Column.__and__, missing)
    if rule in ("either_value_is_missing", "any_value_is_missing"):
        return applies & ~functools.reduce(Column.__or__, missing)
    return applies


def validate(frame: DataFrame, rules: Sequence[Rule], rows: int) -> list[RuleResult]:
    """One result for each of `rules`, in their order, as Great Expectations judges the `rows` rows of `frame`.

    BOOLEAN_ONLY first (all rules in about one scan), then SUMMARY for the failed ones only. Nothing is cached. `rows`
    is known from the split; too few rows for a rule pass it (see `too_few`), because GX passes an empty batch.
    A rule without a result, or with two, is an ERROR, as is a rule that breaks.
    """
    types = dict(frame.dtypes)
    fitting = {rule.id: _misfit(frame, rule) for rule in rules}
    here = [rule for rule in rules if not fitting[rule.id] and _is_measured(rule, types)]
    judged = [rule for rule in rules if not fitting[rule.id] and rule not in here and not too_few(rule, rows)]
    measured = {result.rule: result for result in (_measured(frame, here, rows) if here else [])}
    first = _run(frame, judged, "BOOLEAN_ONLY")
    failed = [rule for rule in judged if [_passed(result) for result in first.get(rule.id, [])] == [False]]
    second = _run(frame, failed, "SUMMARY")
    results = []
    for rule in rules:
        if fitting[rule.id]:
            results.append(_error(rule, fitting[rule.id]))
        elif rule in here:
            results.append(measured[rule.id])
        elif rule not in judged:
            results.append(_result(rule, Outcome.PASS, too_few(rule, rows)))
        else:
            results.append(_answer(rule, second.get(rule.id) or first.get(rule.id, [])))
    return results


def _run(
    frame: DataFrame, rules: Sequence[Rule], result_format: Literal["BOOLEAN_ONLY", "SUMMARY"]
) -> dict[str, list[ExpectationValidationResult]]:
    """Rule id -> GX's results for it; new expectation objects each time, since one belongs to one suite."""
    if not rules:
        return {}
    import great_expectations as gx

    types = dict(frame.dtypes)
    of_instants = [
        rule
        for rule in rules
        if compares_values(rule)
        and types[str(rule.column)] in ("timestamp", "date")
        and CATALOGUE[rule.type].kind == "batch"
    ]
    if of_instants and len(rules) > 1:
        parts = [[rule for rule in rules if rule not in of_instants], *([rule] for rule in of_instants)]
        return {name: found for part in parts for name, found in _run(frame, part, result_format).items()}
    if of_instants:
        frame, rule = _with_text(frame, of_instants[0])
        rules = [rule]
    rules = [typed_rule(rule, dict(frame.dtypes)) for rule in rules]
    with _ALONE:
        source = _context().data_sources.add_or_update_spark("spark", persist=False)  # the default caches every batch
        batches = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
        batch = batches.get_batch(batch_parameters={"dataframe": frame})
        suite = gx.ExpectationSuite("suite", expectations=[_expectation(rule) for rule in rules])
        results = batch.validate(suite, result_format=result_format).results
    answers: dict[str, list[ExpectationValidationResult]] = {}
    for answer in results:
        meta = (answer.expectation_config.meta if answer.expectation_config else None) or {}
        answers.setdefault(str(meta.get("rule")), []).append(answer)
    return answers


def _with_text(frame: DataFrame, rule: Rule) -> tuple[DataFrame, Rule]:
    """A batch rule that compares instants, and `frame`, with texts in their place: GX takes instants from Spark without a zone."""
    name, given = str(rule.column), rule.args["value_set"]
    texts = []
    for value in given if isinstance(given, list) else [given]:
        text = typed_value(value, "timestamp").replace(tzinfo=None).isoformat(" ")
        texts.append(text.rstrip("0").rstrip(".") if "." in text else text)  # as Spark's cast writes it
    as_text = frame.withColumn(name, spark_column(name).cast("timestamp").cast("string"))
    return as_text, rule.model_copy(update={"args": {**rule.args, "value_set": texts}})


def _passed(answer: ExpectationValidationResult) -> bool | None:
    """None when the check itself broke: GX then says `success=False` like for bad data."""
    raised = answer.exception_info or {}
    infos = raised.values() if all(isinstance(info, dict) for info in raised.values()) else [raised]
    return None if any(info.get("raised_exception") for info in infos) else bool(answer.success)


def _answer(rule: Rule, answers: list[ExpectationValidationResult]) -> RuleResult:
    if len(answers) != 1:
        return _error(rule, f"{len(answers)} results from Great Expectations; exactly 1 is due")
    passed, seen = _passed(answers[0]), answers[0].result or {}
    if passed is None:
        return _error(rule, f"the check broke: {_cause(answers[0].exception_info)}")
    if passed:
        return _result(rule, Outcome.PASS, "")
    share, whole = seen.get("unexpected_percent"), seen.get("observed_value")
    observed = measured_text(rule, bounded(whole)) if share is None else f"{share / 100:.1%} of the rows"
    return _result(rule, failing(rule.severity), observed, examples_text(seen.get("partial_unexpected_list") or []))


def _cause(exception_info: Mapping[str, Any] | None) -> str:
    """The first line of what GX caught: one exception, or one a metric."""
    raised = exception_info or {}
    info = raised if "exception_message" in raised else next(iter(raised.values()), {})
    return bounded(str(info.get("exception_message") or raised).strip().splitlines()[0])


def _error(rule: Rule, observed: str) -> RuleResult:
    return _result(rule, Outcome.ERROR, observed)


def _result(rule: Rule, outcome: Outcome, observed: str, examples: tuple[str, ...] = ()) -> RuleResult:
    bad = int(outcome is not Outcome.PASS)  # hours, as in `decide.hour_results`: one of one
    counts = "intervals" if rule.scope == "batch" else "hours"
    return RuleResult(rule.id, outcome, rule.named, observed, allowed_text(rule), bad, 1, examples, rule.why, counts)
