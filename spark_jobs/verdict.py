"""What a gate decided, as data: written by the step that audited, read without Spark by gates, pages and alerts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

SCHEMA_VERSION = 1
MAX_EXAMPLES = 5  # a check
MASKED = "•••"  # instead of a value of a sensitive column
MAX_PRINTED_CHECKS = 10


class Outcome(StrEnum):
    """PASS and WARN publish; FAIL (the data are bad) and ERROR (the check itself broke) block."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    ERROR = "ERROR"

    @property
    def blocks(self) -> bool:
        """Whether nothing may be published under this outcome."""
        return self in (Outcome.FAIL, Outcome.ERROR)


_WORST_LAST = [Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.ERROR]


@dataclass(frozen=True)
class RuleResult:
    """One rule's result for one interval: what was observed, what is allowed, how many were bad of how many."""

    rule: str
    outcome: Outcome
    column: str = ""
    observed: str = ""
    allowed: str = ""
    bad: int = 0
    total: int = 0
    examples: tuple[str, ...] = ()
    why: str = ""
    counts: str = field(default="", compare=False)  # what `bad` and `total` are numbers of: rows, hours, intervals …
    hours: tuple[datetime, ...] = field(default=(), compare=False)  # those that alone broke it; not kept in the ledger


@dataclass(frozen=True)
class Verdict:
    """The gate's word on one table of one publication."""

    table: str
    scope: str  # 'silver', 'features' or 'training_set': which gate reads it
    outcome: Outcome
    rules: tuple[RuleResult, ...]
    suite_hash: str = ""
    staged_digest: str = ""
    schema_version: int = field(default=SCHEMA_VERSION)

    @staticmethod
    def of(table: str, scope: str, rules: list[RuleResult], suite_hash: str = "", staged_digest: str = "") -> Verdict:
        """The verdict whose outcome is the worst of its rules; no rule at all is an ERROR."""
        worst = max((r.outcome for r in rules), key=_WORST_LAST.index, default=Outcome.ERROR)
        return Verdict(table, scope, worst, tuple(rules), suite_hash, staged_digest)

    def to_json(self) -> str:
        """The verdict as one line of JSON."""
        facts = asdict(self)
        for rule in facts["rules"]:
            del rule["hours"]
        return json.dumps(facts, separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Verdict:
        """The verdict that `to_json` wrote."""
        facts = json.loads(text)
        rules = tuple(
            RuleResult(**{**rule, "outcome": Outcome(rule["outcome"]), "examples": tuple(rule["examples"])})
            for rule in facts.pop("rules")
        )
        return Verdict(**{**facts, "outcome": Outcome(facts["outcome"]), "rules": rules})

    def broken(self) -> list[RuleResult]:
        """The rules that did not pass, the blocking ones first."""
        bad = [rule for rule in self.rules if rule.outcome is not Outcome.PASS]
        return sorted(bad, key=lambda rule: -_WORST_LAST.index(rule.outcome))


def hours_at_fault(verdicts: Iterable[Verdict]) -> set[datetime]:
    """The hours without which nothing of `verdicts` would block; empty where nothing does, or what does is of no single hour."""
    blocking = [rule for verdict in verdicts for rule in verdict.rules if rule.outcome.blocks]
    return {hour for rule in blocking for hour in rule.hours} if all(rule.hours for rule in blocking) else set()
