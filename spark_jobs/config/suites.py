"""expectations/<pipeline>/<table>.yaml as frozen models: what a published table must obey, and what happens when not.

Whether the named table and columns exist is `load.py`'s work; running the rules is the work of spark_jobs/quality.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from spark_jobs.config.catalogue import CATALOGUE, ExpectationType
from spark_jobs.config.section import Name, Section, Severity
from spark_jobs.errors import nearest

# Rules that every table has anyway.
RESERVED = (
    "rows_add_up",
    "row_count",
    "key_unique",
    "key_null",
    "event_within",
    "parse",
    "contradiction",
    "drop_readable",
    "type_drift",
    "volume",
    "arrival",
    "spine_missed",
    "values_fit",
)
# Rules that every training set has besides.
RESERVED_OF_SETS = ("both_classes", "no_future", "cells_present", "folds", "label_is_0_or_1", "coverage")
# Those of them that judge rows, with the columns that they are about: none, or one each.
ROW_RULES = ("parse", "key_null", "event_within", "contradiction")
ROW_RULES_OF_COLUMNS = ("type", "required", "finite")
BUILT_IN_BUDGET = 0.02  # largest share of an hour's rows that one built-in rule may quarantine
_TABLE = re.compile(r"(features/|training_sets/)?[a-z][a-z0-9_]{0,62}")
_COLUMNS = {"column": "column: one name", "pair": "columns: [a, b]", "columns": "columns: two names or more"}

Item = str | int | float | bool | datetime | date
Arg = Item | list[Item] | list[list[Item]] | dict[str, list[Item] | list[list[Item]]]


def _table(value: str) -> str:
    if not _TABLE.fullmatch(value):
        raise ValueError(
            f"'{value}' is not a table; write a silver table's name, features/<name> or training_sets/<model>"
        )
    return value


class Allowance(Section):
    """How many rows of an hour one built-in rule may quarantine."""

    budget: float | None = Field(
        default=None, ge=0, le=1, description="largest share (0 to 1) of an hour's rows; left out: that of `built_in`"
    )
    allow_rows: int | None = Field(
        default=None, ge=0, description="number of rows that is allowed in any hour; left out: that of `built_in`"
    )


class BuiltIn(Section):
    """How many rows of an hour each of the rules on rows that every table has may quarantine before the hour is refused."""

    budget: float = Field(
        default=BUILT_IN_BUDGET, ge=0, le=1,
        description="largest share (0 to 1) of an hour's rows that one built-in rule may quarantine; example: 0.05",
    )  # fmt: skip
    allow_rows: int = Field(
        default=0, ge=0,
        description="number of rows that one built-in rule may quarantine in any hour, even where the budget allows fewer;"
        " unit: rows; example: 1",
    )  # fmt: skip
    rules: dict[str, Allowance] = Field(
        default={},
        description="allowances by rule: parse, key_null, event_within, contradiction, and type, required or finite for all"
        " columns, or for one, such as type:amount; example: {event_within: {budget: 0.1}, type:amount: {allow_rows: 2}}",
    )

    @field_validator("rules")
    @classmethod
    def _known_rules(cls, rules: dict[str, Allowance]) -> dict[str, Allowance]:
        for name in rules:
            kind, colon, column = name.partition(":")
            known = kind in (ROW_RULES_OF_COLUMNS if colon else (*ROW_RULES, *ROW_RULES_OF_COLUMNS))
            if not known or (colon and not column):
                legal = [*ROW_RULES, *ROW_RULES_OF_COLUMNS, *(f"{one}:<column>" for one in ROW_RULES_OF_COLUMNS)]
                raise ValueError(f"'{name}' is not a built-in rule on rows; {nearest(name, legal)}")
        return rules

    def allowance(self, rule: str) -> tuple[float, int]:
        """Share and number of an hour's rows that the built-in rule `rule`, such as type:amount, may quarantine."""
        own = self.rules.get(rule) or self.rules.get(rule.partition(":")[0]) or Allowance()
        budget = self.budget if own.budget is None else own.budget
        return budget, self.allow_rows if own.allow_rows is None else own.allow_rows


class Rule(Section):
    """One expectation of a suite."""

    id: Name = Field(description="name of the rule in verdicts, quarantine and alerts; unique in its file")
    type: str = Field(description="a Great Expectations type, such as expect_column_values_to_be_between")
    column: Name | None = Field(default=None, description="the column, for types that look at one")
    columns: list[Name] = Field(
        default=[],
        description="the columns, for types that look at two or more; of a silver"
        " table also event_at and hour, in whose drop the row came",
    )
    args: dict[Name, Arg] = Field(default={}, description="the type's own arguments, such as {min_value: 0}")
    severity: Severity = Field(
        default="critical", description="critical blocks the publication; warning and info are reported"
    )
    scope: Literal["row", "hour", "batch"] = Field(
        description="row: bad rows are quarantined, up to the budget; hour: the hour's rows are judged as a whole; batch: all"
        " rows of the interval are, an hour in an hourly run, many in a backfill, so the two may differ. Of a training set: row"
        " leaves bad rows out of the set, hour is the hour before as_of, batch judges the whole set and takes every type"
    )
    budget: float | None = Field(
        default=None, ge=0, le=1,
        description="scope row: largest share (0 to 1) of an hour's rows that this rule may quarantine; one bad row of ten"
        " is 0.1, so hours of few rows may need allow_rows",
    )  # fmt: skip
    allow_rows: int = Field(
        default=0, ge=0,
        description="scope row: number of rows that this rule may quarantine in any hour, even where the budget allows"
        " fewer; unit: rows; example: 1",
    )  # fmt: skip
    min_rows: int = Field(
        default=0, ge=0,
        description="scope hour or batch: judged only where at least so many rows are left, since a mean or a share of few"
        " rows says little; with fewer it passes and says so; example: 20",
    )  # fmt: skip
    why: Annotated[str, Field(min_length=1)] = Field(description="one sentence for whoever is woken by it")

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value not in CATALOGUE:
            raise ValueError(f"'{value}' is not an expectation type; {nearest(value, list(CATALOGUE))}")
        return value

    @model_validator(mode="after")
    def _agrees_with_its_type(self) -> Rule:
        known = CATALOGUE[self.type]
        faults = [*self._scope_faults(known), *self._column_faults(known), *self._arg_faults(known)]
        if self.id in RESERVED:
            faults.append(f"id '{self.id}' is taken by a rule that every table has; reserved: {', '.join(RESERVED)}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _scope_faults(self, known: ExpectationType) -> list[str]:
        faults = []
        if self.scope == "row" and self.budget is None:
            faults.append("scope 'row' needs a budget, such as budget: 0.02")
        if self.scope != "row" and self.budget is not None:
            faults.append(f"budget belongs to scope 'row'; for scope '{self.scope}' write mostly in args, or bounds")
        if self.scope != "row" and self.allow_rows:
            faults.append("allow_rows belongs to scope 'row'")
        if self.min_rows and (self.scope == "row" or known.shape == "table"):
            faults.append("min_rows belongs to rules on columns of scope hour or batch")
        if self.scope == "row" and known.kind == "hour":
            faults.append(f"{self.type} judges an hour as a whole; write scope: hour")
        if known.kind == "batch" and self.scope != "batch":
            faults.append(f"{self.type} is not judged by row or hour; write scope: batch")
        if self.scope != "row" and known.windowed:
            faults.append(f"{self.type} compares rows with each other; write scope: row and a budget (0 allows none)")
        return faults

    def _column_faults(self, known: ExpectationType) -> list[str]:
        given = (self.column is not None, len(self.columns))
        fits = {
            "table": given == (False, 0),
            "column": given == (True, 0),
            "pair": given == (False, 2),
            "columns": not given[0] and given[1] >= 2,
        }
        return [] if fits[known.shape] else [f"{self.type} takes {_COLUMNS.get(known.shape, 'no column')}"]

    def _arg_faults(self, known: ExpectationType) -> list[str]:
        whole = self.scope != "row" and known.kind == "row"
        legal = [*known.args, "mostly"] if whole else list(known.args)
        if "mostly" in self.args and not whole:
            return ["args: 'mostly' is for row types in scope 'hour'; in scope 'row' write budget: 1 - mostly instead"]
        faults = [f"args: '{arg}' is unknown; {nearest(arg, legal)}" for arg in self.args if arg not in legal]
        faults += [f"args: {arg} is missing" for arg in known.needs if arg not in self.args]
        faults += [
            f"args: {arg} must be a list that is not empty"
            for arg, value in self.args.items()
            if arg in ("value_set", "regex_list", "value_pairs_set") and not (isinstance(value, list) and value)
        ]
        if known.one_of and not any(arg in self.args for arg in known.one_of):
            faults.append(f"args: one of {', '.join(known.one_of)} is needed")
        return faults

    @property
    def named(self) -> str:
        """The column or columns as text; empty for rules on the table."""
        return self.column or ", ".join(self.columns)


class Suite(Section):
    """Every rule of one published table; a file here is a gate."""

    table: Annotated[str, AfterValidator(_table)] = Field(
        description="a silver table, features/<name> or training_sets/<model>"
    )
    built_in: BuiltIn = Field(default=BuiltIn(), description="allowances of the rules that every table has")
    rules: list[Rule] = Field(min_length=1, description="the rules, judged together")

    @field_validator("rules")
    @classmethod
    def _own_ids(cls, rules: list[Rule]) -> list[Rule]:
        ids = [rule.id for rule in rules]
        doubled = sorted({rule for rule in ids if ids.count(rule) > 1})
        if doubled:
            raise ValueError(f"rule ids used twice: {', '.join(doubled)}")
        return rules

    @property
    def row_rules(self) -> list[Rule]:
        """The rules that quarantine rows."""
        return [rule for rule in self.rules if rule.scope == "row"]

    @property
    def hour_rules(self) -> list[Rule]:
        """The rules on an hour as a whole."""
        return [rule for rule in self.rules if rule.scope == "hour"]

    @property
    def batch_rules(self) -> list[Rule]:
        """The rules on the whole interval."""
        return [rule for rule in self.rules if rule.scope == "batch"]

    @property
    def digest(self) -> str:
        """16 hex digits that change with any rule; the `suite_hash` of a verdict."""
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]
