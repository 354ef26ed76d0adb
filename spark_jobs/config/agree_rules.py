"""Whether suites agree with the tables that they judge: every table has one, and every rule can work on its columns."""

from __future__ import annotations

from collections.abc import Iterator

from spark_jobs.config.arguments import rule_faults
from spark_jobs.config.clash import Clash, unknown_name, unknown_names
from spark_jobs.config.columns import coverage_columns, feature_columns, judged_types, silver_columns
from spark_jobs.config.sql_rules import sql_fault
from spark_jobs.config.suites import Rule
from spark_jobs.config.whole import Pipeline
from spark_jobs.config.yaml_file import Where

_ADDED = {"known_at": "timestamp", "pub": "bigint", "day": "date"}  # to every published table


def suite_clashes(pipeline: Pipeline, name: str) -> Iterator[Clash]:
    """Rules of tables that are not published, rules that cannot work, and tables without a rule."""
    published = [*pipeline.silver, *pipeline.feature_tables]
    for table, suite in pipeline.suites.items():
        yield from unknown_name(table, ("table",), table, published, "published table")
        if table in published:
            types = judged_types(pipeline, table)
            for rule_name in suite.built_in.rules:
                if column := rule_name.partition(":")[2]:
                    yield from unknown_name(table, ("built_in", "rules", rule_name), column, list(types), "column")
            for index, rule in enumerate(suite.rules):
                yield from _rule(pipeline, table, ("rules", index), rule, types)
    for table in published:
        if table not in pipeline.suites:
            todo = f"write expectations/{name}/<file>.yaml with table: {table}"
            yield Clash("", (), f"table '{table}' would be published without a rule", todo)


def _rule(pipeline: Pipeline, table: str, at: Where, rule: Rule, types: dict[str, str]) -> Iterator[Clash]:
    group = table.removeprefix("features/")
    legal = (
        [*silver_columns(pipeline, table), "hour"] if table in pipeline.silver
        else ["entity", "key", "as_of", *feature_columns(pipeline, group), *coverage_columns(pipeline, group)]
    )  # fmt: skip
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
