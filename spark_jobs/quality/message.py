"""A verdict that blocks or warns, as at most 12 lines for a log, an alert or a terminal.

Values of rows appear as at most 3 short examples a rule; nothing else of the data is told.
"""

from __future__ import annotations

from spark_jobs.quality.words import bounded
from spark_jobs.verdict import Outcome, RuleResult, Verdict

MAX_LINES = 12
_MAX_RULES = 3  # of up to three lines each, between one line above and two below
_MAX_LINE = 200


def message(verdict: Verdict, pipeline: str, interval: str, release: int | str, command: str) -> str:
    """What broke, where, by how much; what readers see; the one `command` that shows the rows. At most 12 lines."""
    word = "refused" if verdict.outcome.blocks else "published with warnings" if verdict.broken() else "passed"
    lines = [f"{verdict.outcome}: {pipeline}/{verdict.table} {interval} {word}"]
    broken = verdict.broken()
    for rule in broken[:_MAX_RULES]:
        lines += _rule_lines(verdict.table, rule)
    if len(broken) > _MAX_RULES:
        lines[0] += f", {len(broken)} rules broken"
    if verdict.outcome.blocks:
        lines.append(f"readers still see release {release}")
    return "\n".join([*lines, f"see the rows: {command}"])


def _rule_lines(table: str, rule: RuleResult) -> list[str]:
    where = f"{table}.{rule.column}" if rule.column else table
    head = f"{rule.outcome} {where}, rule {rule.rule}: {rule.observed}"
    one = rule.total == 1 and rule.counts in ("hours", "intervals")  # then the rest of the line says all
    counted = f" (bad {rule.bad} of {rule.total} {rule.counts}".rstrip() + ")" if rule.total and not one else ""
    lines = [bounded(head + counted, _MAX_LINE)]
    if rule.outcome is Outcome.ERROR:
        lines.append("    the rule is broken, not the data: mend it in expectations/, then run the interval again")
    elif rule.allowed:
        lines.append("    allowed: " + bounded(rule.allowed, _MAX_LINE - 13))
    if rule.examples:
        lines.append("    examples: " + bounded(", ".join(rule.examples[:3]), _MAX_LINE - 14))
    return lines
