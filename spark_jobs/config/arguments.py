"""Whether the arguments of a rule fit its type and the types of its columns: bounds, sets, patterns, shares, options.

`types` are declared ones in `validate` and those of a frame in the gate. What depends on the data is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spark_jobs.config.catalogue import CATALOGUE
from spark_jobs.config.patterns import pattern_fault
from spark_jobs.config.suites import Rule
from spark_jobs.config.typed_values import EXPECTED, class_of, comparable, shown, typed_value

_BOUNDS = ("min_value", "max_value")
_OF_COLUMN = (*_BOUNDS, "value_set")  # arguments whose values are compared with values of the column
_SWITCHES = ("strict_min", "strict_max", "or_equal", "exact_match", "ties_okay", "double_sided")
_PAIR_IGNORES = ("both_values_are_missing", "either_value_is_missing", "neither")
_COLUMNS_IGNORES = ("all_values_are_missing", "any_value_is_missing", "never")
_COUNTS = ("_value_lengths_", "_unique_value_count_", "_row_count_", "_column_count_")
_SHARES = ("_proportion_of_",)
_NUMERIC = ("_mean_", "_median_", "_stdev_", "_sum_to_be_between", "_quantile_", "_z_scores_", "_outliers")
_ALIKE = ("_pair_values_a_", "_pair_values_to_be_equal", "_multicolumn_values_to_be_equal", "_unique_within_record")


@dataclass(frozen=True)
class RuleFault:
    """A rule that cannot work: the key below the rule at fault, what is wrong, what is expected."""

    at: tuple[str | int, ...]
    found: str
    expected: str = ""

    def __str__(self) -> str:
        return f"{self.found}; expected: {self.expected}" if self.expected else self.found


def compares_values(rule: Rule) -> bool:
    """Whether min_value, max_value or value_set are values of the rule's column, not counts or shares."""
    counted = any(word in rule.type for word in (*_COUNTS, *_SHARES))
    return rule.column is not None and not counted and bool({*_OF_COLUMN} & {*rule.args})


def typed_rule(rule: Rule, types: Mapping[str, str]) -> Rule:
    """`rule` with the arguments that are compared with its columns as values of the columns' types.

    Raises:
        ValueError: a value is not of its column's type.
    """
    args: dict[str, Any] = dict(rule.args)
    if compares_values(rule):
        kind = types[str(rule.column)]
        for name in _OF_COLUMN:
            if name in args:
                given = args[name]
                args[name] = (
                    [typed_value(item, kind) for item in given] if isinstance(given, list) else typed_value(given, kind)
                )
    if "value_pairs_set" in args:
        kinds = [types[name] for name in rule.columns]
        args["value_pairs_set"] = [
            [typed_value(v, k) for v, k in zip(p, kinds, strict=True)] for p in args["value_pairs_set"]
        ]
    return rule.model_copy(update={"args": args})


def rule_faults(rule: Rule, types: Mapping[str, str]) -> list[RuleFault]:
    """All reasons why `rule` cannot work on columns of these `types`, which have all that it names."""
    return [*_columns(rule, types), *_values(rule, types), *_amounts(rule), *_options(rule), *_partition(rule)]


def _columns(rule: Rule, types: Mapping[str, str]) -> Iterator[RuleFault]:
    named = [rule.column] if rule.column else list(rule.columns)
    at = ("column",) if rule.column else ("columns",)
    if len(set(named)) < len(named):
        yield RuleFault(at, "a column twice", "different columns")
    numeric = any(word in rule.type for word in _NUMERIC) or rule.type == "expect_multicolumn_sum_to_equal"
    for name in named:
        if numeric and class_of(types[name]) != "number":
            yield RuleFault(at, f"column '{name}' is {types[name]}, {rule.type} needs numbers", "a column of numbers")
    if any(word in rule.type for word in _ALIKE):
        other = next((name for name in named[1:] if not comparable(types[named[0]], types[name])), None)
        if other:
            found = f"'{named[0]}' is {types[named[0]]} and '{other}' is {types[other]}, which cannot be compared"
            yield RuleFault(at, found, "columns of one type")
    bounded = rule.type in (
        "expect_column_values_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_max_to_be_between",
    )
    if bounded and class_of(types[named[0]]) == "truth":
        yield RuleFault(at, f"column '{named[0]}' is boolean, which has no bounds", "expect_column_values_to_be_in_set")


def _values(rule: Rule, types: Mapping[str, str]) -> Iterator[RuleFault]:
    """Arguments that are compared with values of columns: types, order, duplicates."""
    if compares_values(rule) and not any(word in rule.type for word in _NUMERIC):
        kind = types[str(rule.column)]
        yield from _set_of(rule, "value_set", {str(rule.column): kind})
        for name in _BOUNDS:
            if name in rule.args and (wrong := _not_typed(rule.args[name], kind)):
                yield RuleFault(("args", name), f"{wrong}; column '{rule.column}' is {kind}", EXPECTED[class_of(kind)])
        if class_of(kind) != "truth":
            yield from _order(rule, kind)
    if "value_pairs_set" in rule.args:
        yield from _set_of(rule, "value_pairs_set", {name: types[name] for name in rule.columns})
    for name in ("regex", "regex_list"):
        given = rule.args.get(name, [])
        for index, text in enumerate(given if isinstance(given, list) else [given]):
            place = ("args", name, index) if isinstance(given, list) else ("args", name)
            wrong = pattern_fault(text) if isinstance(text, str) else f"{shown(text)} is not text"
            if wrong:
                yield RuleFault(place, wrong, "a regular expression of Java, in quotes")


def _set_of(rule: Rule, name: str, types: Mapping[str, str]) -> Iterator[RuleFault]:
    """Faults of a set whose items are values of one column, or lists with one value of each column."""
    kinds = list(types.values())
    given = rule.args.get(name)
    if not isinstance(given, list):
        return
    seen: list[Any] = []
    for index, item in enumerate(given):
        place = ("args", name, index)
        parts = item if isinstance(item, list) else [item]
        if len(parts) != len(kinds) or (len(kinds) > 1 and not isinstance(item, list)):
            yield RuleFault(place, f"{item} has not one value of each column", "a list such as [a, b]")
            continue
        wrong = [(_not_typed(part, kind), column) for part, (column, kind) in zip(parts, types.items(), strict=True)]
        for text, column in wrong:
            if text:
                found = f"{text}; column '{column}' is {types[column]}"
                yield RuleFault(place, found, EXPECTED[class_of(types[column])])
        if not any(text for text, _ in wrong):
            typed = [typed_value(part, kind) for part, kind in zip(parts, kinds, strict=True)]
            if typed in seen:
                yield RuleFault(place, f"{item} is in the set twice", "each value once")
            seen.append(typed)


def _not_typed(value: object, kind: str) -> str:
    try:
        typed_value(value, kind)
    except ValueError as error:
        return (
            str(error).partition(" is not ")[0] + f" is not a value of type {kind}"
            if " is not " in str(error)
            else str(error)
        )
    return ""


def _order(rule: Rule, kind: str) -> Iterator[RuleFault]:
    """min_value above max_value, or equal to it where one of them is excluded: no value could pass."""
    if not all(name in rule.args for name in _BOUNDS):
        return
    try:
        low, high = (typed_value(rule.args[name], kind) for name in _BOUNDS)
    except ValueError:
        return  # reported as a value of another type
    strict = rule.args.get("strict_min") is True or rule.args.get("strict_max") is True
    if low > high or (strict and low == high):
        found = (
            f"min_value {shown(rule.args['min_value'])} and max_value {shown(rule.args['max_value'])} leave no value"
        )
        yield RuleFault(("args", "min_value"), found, "min_value below max_value")


def _amounts(rule: Rule) -> Iterator[RuleFault]:
    """Counts, shares and figures: arguments that are numbers whatever the column holds."""
    counts, shares = (any(word in rule.type for word in words) for words in (_COUNTS, _SHARES))
    figures = any(word in rule.type for word in _NUMERIC)
    for name in (*_BOUNDS, "value"):
        if name not in rule.args or not (counts or shares or figures):
            continue
        value = rule.args[name]
        if not isinstance(value, int | float) or isinstance(value, bool):
            yield RuleFault(("args", name), f"{shown(value)} is not a number", "a number without quotes")
        elif counts and (value < 0 or value != int(value)):
            yield RuleFault(("args", name), f"{value} is not a count", "a whole number, 0 or more")
        elif shares and not 0 <= value <= 1:
            yield RuleFault(("args", name), f"{value} is not a share", "a number from 0 to 1")
    if counts or shares or figures:
        yield from _order(rule, "double")
    for name, positive in (("threshold", True), ("multiplier", True), ("sum_total", False)):
        amount = rule.args.get(name)
        if amount is not None and (
            not isinstance(amount, int | float) or isinstance(amount, bool) or (positive and amount <= 0)
        ):
            yield RuleFault(
                ("args", name), f"{shown(amount)} is not {'above 0' if positive else 'a number'}", "a number"
            )
    mostly = rule.args.get("mostly")
    if mostly is not None and (not isinstance(mostly, int | float) or isinstance(mostly, bool) or not 0 < mostly <= 1):
        yield RuleFault(
            ("args", "mostly"), f"{shown(mostly)} is not a share that a rule can need", "above 0, at most 1"
        )


def _options(rule: Rule) -> Iterator[RuleFault]:
    ignores = _PAIR_IGNORES if CATALOGUE[rule.type].shape == "pair" else _COLUMNS_IGNORES
    choices = {"ignore_row_if": ignores, "match_on": ("any", "all"), "method": ("iqr", "std")}
    for name, legal in choices.items():
        if name in rule.args and rule.args[name] not in legal:
            yield RuleFault(
                ("args", name), f"{shown(rule.args[name])} is not a choice of {name}", f"one of {', '.join(legal)}"
            )
    for name in _SWITCHES:
        if name in rule.args and not isinstance(rule.args[name], bool):
            yield RuleFault(("args", name), f"{shown(rule.args[name])} is neither true nor false", "true or false")


def _partition(rule: Rule) -> Iterator[RuleFault]:
    """Arguments that are mappings: quantile ranges, and the partition of a divergence."""
    ranges = rule.args.get("quantile_ranges")
    if isinstance(ranges, dict):
        quantiles, bounds = ranges.get("quantiles", []), ranges.get("value_ranges", [])
        whole = all(isinstance(q, int | float) and 0 <= q <= 1 for q in quantiles)
        pairs = all(isinstance(b, list) and len(b) == 2 and all(isinstance(n, int | float) for n in b) for b in bounds)
        if not quantiles or len(quantiles) != len(bounds) or not whole or not pairs:
            yield RuleFault(("args", "quantile_ranges"), "quantiles and value_ranges do not fit each other",
                            "{quantiles: [0.5], value_ranges: [[0, 10]]}, a pair of numbers for each quantile from 0 to 1")  # fmt: skip
        elif any(pair[0] > pair[1] for pair in bounds):  # type: ignore[index, operator]
            yield RuleFault(("args", "quantile_ranges"), "a value range whose low is above its high", "[low, high]")
    partition = rule.args.get("partition_object")
    if isinstance(partition, dict):
        values, weights = partition.get("values", partition.get("bins", [])), partition.get("weights", [])
        needed = len(values) - ("bins" in partition)
        numbers = [w for w in weights if isinstance(w, int | float) and not isinstance(w, bool) and w >= 0]
        if not weights or len(numbers) != len(weights) or needed != len(weights) or abs(sum(numbers) - 1) > 1e-3:
            yield RuleFault(("args", "partition_object"), "values (or bins) and weights do not fit each other",
                            "{values: [a, b], weights: [0.4, 0.6]}, weights that add up to 1")  # fmt: skip
