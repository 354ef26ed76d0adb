"""A trial's result as data: how many faults the gate of a table caught, how often it cried wolf, what nothing guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from spark_jobs.config.suites import Suite
from spark_jobs.config.tables import SilverTable
from spark_jobs.gate_test.mutators import Mutator
from spark_jobs.gate_test.outcome import Judgement, Seen
from spark_jobs.invocation import format_hour


@dataclass(frozen=True)
class Trial:
    """All hours of one trial. `clean`: hours that nobody changed, those from which the changed ones were made included."""

    pipeline: str
    table: str
    seed: int
    judged: Sequence[Judgement]
    not_applicable: Sequence[Mutator]
    clean: Mapping[datetime, Seen]

    @property
    def alarms(self) -> dict[datetime, set[str]]:
        """The blocking rules of each clean hour that is refused."""
        return {hour: seen.blocking for hour, seen in sorted(self.clean.items()) if seen.blocking}

    def idle_rules(self) -> list[str]:
        """Rules that were judged and caught nothing."""
        known = {result.rule: None for seen in self.clean.values() for result in seen.verdict.rules}
        busy = {rule for one in self.judged for rule in one.rules}
        return [rule for rule in known if rule not in busy]

    def unguarded_columns(self, table: SilverTable, suite: Suite) -> list[str]:
        """Columns that no rule of the suite names, and of which no change was blocked or held."""
        named = {column for rule in suite.rules for column in [rule.column, *rule.columns]}
        caught = {column for one in self.judged if one.outcome in ("blocked", "held") for column in one.columns}
        return [column for column in table.columns if column not in named and column not in caught]

    def facts(self, table: SilverTable, suite: Suite) -> dict[str, Any]:
        """Everything that is printed, ready for JSON."""
        return {
            "pipeline": self.pipeline,
            "table": self.table,
            "seed": self.seed,
            "caught": sum(one.caught for one in self.judged),
            "total": len(self.judged),
            "false_alarms": len(self.alarms),
            "clean_hours": len(self.clean),
            "clean_rows_held": sum(seen.held for seen in self.clean.values()),
            "mutants": [{**asdict(one), "hour": format_hour(one.hour)} for one in self.judged],
            "not_applicable": [{"number": one.number, "name": one.name} for one in self.not_applicable],
            "false_alarm_hours": [{"hour": format_hour(h), "rules": sorted(rules)} for h, rules in self.alarms.items()],
            "idle_rules": self.idle_rules(),
            "unguarded_columns": self.unguarded_columns(table, suite),
        }
