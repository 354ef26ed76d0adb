"""Whether suites agree with the tables that they judge: every table has one, and every rule can work on its columns."""

from __future__ import annotations

from collections.abc import Iterator

from spark_jobs.config.arguments import rule_faults
from spark_jobs.config.catalogue import CATALOGUE
from spark_jobs.config.clash import Clash, unknown_name, unknown_names
from spark_jobs.config.columns import coverage_columns, feature_columns, judged_types, silver_columns
from spark_jobs.config.sql_rules import sql_fault
from spark_jobs.config.suites import RESERVED_OF_SETS, Rule
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where

_ADDED = {"known_at": "timestamp", "pub": "bigint", "day": "date"}  # to every published table


def suite_clashes(pipeline: Pipeline, name: str) -> Iterator[Clash]:
    """Rules of tables that are not published, rules that cannot work, and tables without a rule."""
    published = [*pipeline.silver, *pipeline.feature_tables, *pipeline.training_sets]
    for table, suite in pipeline.suites.items():
        yield from unknown_name(table, ("table",), table, published, "published table")
        if table in published:
            types = judged_types(pipeline, table)
            for rule_name in suite.built_in.rules:
                if column := rule_name.partition(":")[2]:
                    yield from unknown_name(table, ("built_in", "rules", rule_name), column, list(types), "column")
            for index, rule in enumerate(suite.rules):
                yield from _rule(pipeline, table, ("rules", index), rule, types)
                yield from _kind_of_table(table, ("rules", index), rule, is_set=table in pipeline.training_sets)
    for table in published:
        if table not in pipeline.suites:
            todo = f"write expectations/{name}/<file>.yaml with table: {table}"
            yield Clash("", (), f"table '{table}' would be published without a rule", todo)


def _kind_of_table(table: str, at: Where, rule: Rule, *, is_set: bool) -> Iterator[Clash]:
    """What depends on whether a table is made hour by hour or, as a training set is, whole."""
    if is_set and rule.id in RESERVED_OF_SETS:
        found = f"id '{rule.id}' is taken by a rule that every training set has"
        yield Clash(table, (*at, "id"), found, f"another id than {', '.join(RESERVED_OF_SETS)}")
    if not is_set and rule.scope == "batch" and CATALOGUE[rule.type].kind != "batch":
        found = f"{rule.type} can be judged by the hour, so that a backfill judges alike"
        yield Clash(table, (*at, "scope"), found, "scope: hour")


def _rule(pipeline: Pipeline, table: str, at: Where, rule: Rule, types: dict[str, str]) -> Iterator[Clash]:
    group = table.removeprefix("features/")
    legal = (
        [*silver_columns(pipeline, table), "hour"]
        if table in pipeline.silver
        else list(types)
        if table in pipeline.training_sets
        else ["entity", "key", "as_of", *feature_columns(pipeline, group), *coverage_columns(pipeline, group)]
    )
    if rule.column:
        yield from unknown_name(table, (*at, "column"), rule.column, legal, "column")
    yield from unknown_names(table, (*at, "columns"), rule.columns, legal, "column")
    named = [rule.column] if rule.column else rule.columns
    if all(name in types for name in named):
        for fault in rule_faults(rule, types):
            yield Clash(table, (*at, *fault.at), fault.found, f"expected: {fault.expected}" if fault.expected else "")
    query = rule.args.get("unexpected_rows_query")
    if query is not None:
        columns = {**types, **_ADDED, **({"file": "string", "line": "bigint"} if table in pipeline.silver else {})}
        if wrong := sql_fault(query, columns):
            yield Clash(table, (*at, "args", "unexpected_rows_query"), wrong, "a SELECT of Spark SQL over {batch}")
