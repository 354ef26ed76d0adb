"""Verdicts that block as bounded lines for a log, an alert or a terminal: what broke, what is not shown, which command shows it.

Values of rows appear as at most 3 short examples per rule; no other data is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from spark_jobs.invocation import Invocation
from spark_jobs.quality.words import bounded
from spark_jobs.values import Lines
from spark_jobs.verdict import Outcome, RuleResult, Verdict

MAX_LINES = 12  # of one table
_MAX_TABLES = 3  # in full; the others by name
_MAX_LINE = 200


def messages(verdicts: Sequence[Verdict], call: Invocation, release: int | str) -> str:
    """The verdicts of one run that block: the first three tables in full, the others by name and number of rules."""
    texts = [message(verdict, call, release) for verdict in verdicts[:_MAX_TABLES]]
    if verdicts[_MAX_TABLES:]:
        texts.append(others_line(verdicts[_MAX_TABLES:], call))
    return Lines.of(texts)


def others_line(verdicts: Sequence[Verdict], call: Invocation) -> str:
    """The verdicts that are not shown: how many, their tables, and the command that shows them."""
    names = bounded(", ".join(f"{v.table} ({len(v.broken())} rules)" for v in verdicts), _MAX_LINE)
    return f"{len(verdicts)} more tables refused: {names}: {call.look()}"


def message(verdict: Verdict, call: Invocation, release: int | str, limit: int = MAX_LINES) -> str:
    """What broke, where, by how much; what readers see; the commands that show the rows and the rules left out.

    At most `limit` lines, of which the verdict needs five; a rule is shown whole or counted as not shown.
    """
    broken = verdict.broken()
    word = "refused" if verdict.outcome.blocks else "published with warnings" if broken else "passed"
    interval = f"{call.argv()[5]} to {call.argv()[7]}"
    head = f"{verdict.outcome}: {call.pipeline}/{verdict.table} {interval} {word}"
    if len(broken) > 1:
        head += f", {len(broken)} rules broken"
    tail = [f"readers still see release {release}"] if verdict.outcome.blocks else []
    if broken and verdict.scope in ("silver", "features"):
        tail.append(f"see the rows that were held back: {call.look_at_rows(refused=verdict.outcome.blocks)}")
    shown = _that_fit([_rule_lines(verdict.table, rule) for rule in broken], limit - 1 - len(tail))
    if left := broken[len(shown) :]:
        names = bounded(", ".join(rule.rule for rule in left), _MAX_LINE)
        tail.insert(0, f"{len(left)} more rules not shown: {names}: {call.look(first_hour(verdict))}")
    return Lines.of([head, *(line for lines in shown for line in lines), *tail])


def first_hour(verdict: Verdict) -> datetime | None:
    """The first hour that alone broke a rule; None where rules broke on the whole interval, or the ledger kept no hours."""
    return min((hour for rule in verdict.broken() for hour in rule.hours), default=None)


def _that_fit(rules: list[list[str]], limit: int) -> list[list[str]]:
    """The first of `rules` that have at most `limit` lines together, one less where others have to be counted."""
    for number in range(len(rules), 0, -1):
        if sum(map(len, rules[:number])) + (number < len(rules)) <= limit:
            return rules[:number]
    return []


def _rule_lines(table: str, rule: RuleResult) -> list[str]:
    where = f"{table}.{rule.column}" if rule.column else table
    head = f"{rule.outcome} {where}, rule {rule.rule}: {rule.observed}"
    one = rule.total == 1 and rule.counts in ("hours", "intervals")  # then the rest of the line says all
    counted = f" (bad {rule.bad} of {rule.total} {rule.counts}".rstrip() + ")" if rule.total and not one else ""
    lines = [bounded(head + counted, _MAX_LINE)]
    if rule.outcome is Outcome.ERROR:
        lines.append("    the rule is broken, not the data: fix it in expectations/, then run the interval again")
    elif rule.allowed:
        lines.append("    allowed: " + bounded(rule.allowed, _MAX_LINE - 13))
    if rule.examples:
        lines.append("    examples: " + bounded(", ".join(rule.examples[:3]), _MAX_LINE - 14))
    return lines
