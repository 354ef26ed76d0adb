"""The short, bounded texts that verdicts carry: what a rule allows, what was seen, a few examples.

Pure; no rule is judged here.
"""

from __future__ import annotations

from collections.abc import Iterable

from spark_jobs.config.catalogue import CATALOGUE
from spark_jobs.config.suites import Rule
from spark_jobs.values import printable, text
from spark_jobs.verdict import MAX_EXAMPLES, Outcome

MAX_TEXT = 120  # characters of one observed, allowed or example text


def bounded(value: object, limit: int = MAX_TEXT) -> str:
    """`value`, exact, on one printable line of at most `limit` characters; a longer one ends with …."""
    line = printable(" ".join(text(value)[: 10 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


# What a rule on an hour or an interval measures, in words around the measured value.
_MEASURED = {
    "_row_count_": "{} rows",
    "_column_count_": "{} columns",
    "_unique_value_count_": "{} distinct values",
    "_mean_": "mean {}",
    "_median_": "median {}",
    "_stdev_": "standard deviation {}",
    "_min_": "smallest value {}",
    "_max_": "largest value {}",
    "_sum_to_be_between": "sum {}",
    "_proportion_of_non_null_": "share of values that are not null: {}",
    "_proportion_of_unique_": "share of distinct values: {}",
    "_most_common_": "most common value {}",
    "_quantile_": "quantiles {}",
    "_kl_divergence_": "divergence {}",
    "_of_type": "type {}",
    "_type_list": "type {}",
    "_type_to_be": "type {}",
    "unexpected_rows_expectation": "the query returns {} rows; no row is allowed",
}


def measured_text(rule: Rule, value: str) -> str:
    """`value`, which the rule measured, in words: `mean 3.4`, `112 rows`."""
    words = next((text for part, text in _MEASURED.items() if part in rule.type), "{}")
    return value if value.endswith("of the rows") else words.format(value)


def examples_text(values: Iterable[object], limit: int = MAX_EXAMPLES) -> tuple[str, ...]:
    """At most `limit` distinct values as bounded texts, in their order; null is written null."""
    texts = (bounded(value, 40) for value in values)
    return tuple(dict.fromkeys(texts))[:limit]


def allowed_text(rule: Rule) -> str:
    """What the rule allows: its type without 'expect_', its arguments, its budget."""
    args = ", ".join(f"{name} {bounded(value, 60)}" for name, value in rule.args.items())
    words = bounded(rule.type.removeprefix("expect_").replace("_", " ") + (f": {args}" if args else ""), 200)
    told = [words, budget_text(rule.budget, rule.allow_rows) if rule.budget is not None else ""]
    told += ["judged on the whole interval" if rule.scope == "batch" else ""]
    told += [f"judged from {rule.min_rows} rows on" if rule.min_rows else ""]
    return "; ".join(filter(None, told))


def too_few(rule: Rule, rows: int) -> str:
    """Why a rule passes without being judged on `rows` rows; empty when it has to be judged.

    Great Expectations passes nearly anything on no row: there row-count rules alone are judged.
    """
    if rows < rule.min_rows:
        return f"{rows} rows, judged from {rule.min_rows} on"
    return "" if rows or CATALOGUE[rule.type].shape == "table" else "no rows"


def budget_text(budget: float, rows: int = 0) -> str:
    """The allowance of a row rule in words."""
    floor = f", or {rows} row{'s' if rows > 1 else ''}" if rows else ""
    return f"at most {100 * budget:.3g}% of an hour's rows broken{floor}"


def failing(severity: str) -> Outcome:
    """What a broken rule means: critical blocks, warning and info are told."""
    return Outcome.FAIL if severity == "critical" else Outcome.WARN
