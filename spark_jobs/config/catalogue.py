"""The expectation types that a suite may name: what each looks at, which arguments it takes, what it judges.

Committed so that `validate` and DAG files never import Great Expectations; a test compares it with its classes.
Left out on purpose: types that run a Python function per row (one that raises poisons the other results), that look at the
order of rows (files have none), that need a second table, or that Great Expectations has no Spark code for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# row: every row is good or bad by itself; hour: one value for the hour's rows; batch: any other, on the whole interval
Kind = Literal["row", "hour", "batch"]
Shape = Literal["column", "pair", "columns", "table"]  # what `column:` / `columns:` of the rule must name


@dataclass(frozen=True)
class ExpectationType:
    """One legal type.

    `needs` are arguments that must be given; of `one_of` at least one must be. `windowed` types compare rows with
    each other (uniqueness), so they are judged row by row only, within the hour.
    """

    kind: Kind
    shape: Shape
    args: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    windowed: bool = False


_BOUNDS = ("min_value", "max_value")
_STRICT = (*_BOUNDS, "strict_min", "strict_max")


def _between(kind: Kind, shape: Shape = "column") -> ExpectationType:
    return ExpectationType(kind, shape, _STRICT, one_of=_BOUNDS)


def _column(needs: str, *more: str) -> ExpectationType:
    return ExpectationType("row", "column", (needs, *more), needs=(needs,))


def _batch(shape: Shape, needs: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> ExpectationType:
    return ExpectationType("batch", shape, (*needs, *more), needs=needs)


def _set_of_hour() -> ExpectationType:
    return ExpectationType("hour", "column", ("value_set",), needs=("value_set",))


def class_name(type_: str) -> str:
    """Great Expectations' class of a type."""
    return "".join(word.capitalize() for word in type_.split("_")).replace("KlDivergence", "KLDivergence")


CATALOGUE: dict[str, ExpectationType] = {
    "expect_column_values_to_be_between": _between("row"),
    "expect_column_values_to_not_be_null": ExpectationType("row", "column"),
    "expect_column_values_to_be_null": ExpectationType("row", "column"),
    "expect_column_values_to_be_in_set": _column("value_set"),
    "expect_column_values_to_not_be_in_set": _column("value_set"),
    "expect_column_values_to_match_regex": _column("regex"),
    "expect_column_values_to_not_match_regex": _column("regex"),
    "expect_column_values_to_match_regex_list": _column("regex_list", "match_on"),
    "expect_column_values_to_not_match_regex_list": _column("regex_list"),
    "expect_column_value_lengths_to_be_between": _between("row"),
    "expect_column_value_lengths_to_equal": _column("value"),
    "expect_column_values_to_be_unique": ExpectationType("row", "column", windowed=True),
    "expect_column_pair_values_a_to_be_greater_than_b": ExpectationType("row", "pair", ("or_equal", "ignore_row_if")),
    "expect_column_pair_values_to_be_equal": ExpectationType("row", "pair", ("ignore_row_if",)),
    "expect_column_pair_values_to_be_in_set": ExpectationType(
        "row", "pair", ("value_pairs_set", "ignore_row_if"), needs=("value_pairs_set",)
    ),
    "expect_compound_columns_to_be_unique": ExpectationType("row", "columns", ("ignore_row_if",), windowed=True),
    "expect_multicolumn_sum_to_equal": ExpectationType(
        "row", "columns", ("sum_total", "ignore_row_if"), needs=("sum_total",)
    ),
    "expect_multicolumn_values_to_be_equal": ExpectationType("row", "columns", ("ignore_row_if",)),
    "expect_select_column_values_to_be_unique_within_record": ExpectationType("row", "columns", ("ignore_row_if",)),
    "expect_table_row_count_to_be_between": _between("hour", "table"),
    "expect_table_row_count_to_equal": ExpectationType("hour", "table", ("value",), needs=("value",)),
    "expect_column_mean_to_be_between": _between("hour"),
    "expect_column_median_to_be_between": _between("hour"),
    "expect_column_stdev_to_be_between": _between("hour"),
    "expect_column_min_to_be_between": _between("hour"),
    "expect_column_max_to_be_between": _between("hour"),
    "expect_column_sum_to_be_between": _between("hour"),
    "expect_column_unique_value_count_to_be_between": _between("hour"),
    "expect_column_proportion_of_non_null_values_to_be_between": _between("hour"),
    "expect_column_distinct_values_to_be_in_set": _set_of_hour(),
    "expect_column_distinct_values_to_contain_set": _set_of_hour(),
    "expect_column_distinct_values_to_equal_set": _set_of_hour(),
    "expect_column_kl_divergence_to_be_less_than": _batch(
        "column", ("partition_object", "threshold"), ("internal_weight_holdout", "tail_weight_holdout")
    ),
    "expect_column_most_common_value_to_be_in_set": _batch("column", ("value_set",), ("ties_okay",)),
    "expect_column_proportion_of_unique_values_to_be_between": _between("batch"),
    "expect_column_quantile_values_to_be_between": _batch("column", ("quantile_ranges",), ("allow_relative_error",)),
    "expect_column_value_z_scores_to_be_less_than": _batch("column", ("threshold", "double_sided"), ("mostly",)),
    "expect_column_values_to_not_be_outliers": _batch("column", ("method", "multiplier"), ("mostly",)),
    "expect_column_values_to_be_of_type": _batch("column", ("type_",)),
    "expect_column_values_to_be_in_type_list": _batch("column", ("type_list",)),
    "expect_column_type_to_be": _batch("column", ("type_",)),
    "expect_column_to_exist": _batch("column", (), ("column_index",)),
    "expect_table_column_count_to_be_between": _batch("table", (), _BOUNDS),
    "expect_table_column_count_to_equal": _batch("table", ("value",)),
    "expect_table_columns_to_match_ordered_list": _batch("table", ("column_list",)),
    "expect_table_columns_to_match_set": _batch("table", ("column_set",), ("exact_match",)),
    "unexpected_rows_expectation": _batch("table", ("unexpected_rows_query",)),
}
