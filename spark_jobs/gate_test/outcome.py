"""What a gate made of one changed hour, held against what it makes of the same hour as it was: caught or missed, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from spark_jobs.gate_test.mutators import Mutator
from spark_jobs.verdict import Outcome, Verdict

Fate = Literal["blocked", "held", "harmless", "missed"]


@dataclass(frozen=True)
class Seen:
    """One judged hour: the verdict, the rows that readers would see (typed columns), and the held ones by broken rule.

    `readable` counts equal rows; a held row may stand under several rules of `held_by`, in `held` it is one.
    """

    verdict: Verdict
    readable: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    held: int = 0
    held_by: Mapping[str, int] = field(default_factory=dict)

    @property
    def blocking(self) -> set[str]:
        """The rules for which nothing of the hour is published."""
        return {result.rule for result in self.verdict.rules if result.outcome.blocks}

    @property
    def warning(self) -> set[str]:
        """The rules that told something and blocked nothing."""
        return {result.rule for result in self.verdict.rules if result.outcome is Outcome.WARN}


@dataclass(frozen=True)
class Judgement:
    """The fate of one changed hour. `rules` caught it, `warnings` only told; `reason` says why it was missed.

    `columns`: those of the table that were changed. blocked: nothing is published. held: what is published is right, and
    every changed row is held back. harmless: readers see just what they should. missed: they see something else.
    """

    number: int
    name: str
    meaning: str
    hour: datetime
    columns: tuple[str, ...]
    outcome: Fate
    rules: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str = ""

    @property
    def caught(self) -> bool:
        """Whether readers are safe from it."""
        return self.outcome != "missed"


def judgement(mutator: Mutator, hour: datetime, columns: tuple[str, ...], clean: Seen, bad: Seen) -> Judgement:
    """What became of `hour` when `mutator` changed its drop; `clean` is the same hour as it was.

    A rule that refuses the clean hour, too, catches nothing.
    """
    new = bad.blocking - clean.blocking
    extra, gone = bad.readable - clean.readable, clean.readable - bad.readable
    newly_held = tuple(sorted(rule for rule, rows in bad.held_by.items() if rows > clean.held_by.get(rule, 0)))
    fate: Fate = "missed"
    rules: tuple[str, ...] = ()
    if new:
        fate, rules = "blocked", tuple(sorted(new))
    elif not bad.blocking and not extra and not gone:
        fate = "harmless"
    elif not bad.blocking and not extra and not mutator.loses and bad.held - clean.held >= gone.total():
        fate, rules = "held", newly_held
    reason = "" if fate != "missed" else _reason(clean, bad, extra.total(), gone.total())
    warnings = tuple(sorted(bad.warning - clean.warning))
    return Judgement(mutator.number, mutator.name, mutator.meaning, hour, columns, fate, rules, warnings, reason)


def _reason(clean: Seen, bad: Seen, extra: int, gone: int) -> str:
    if bad.blocking:
        return f"nothing new blocks: the hour as it was is refused, too, by {', '.join(sorted(clean.blocking))}"
    told = f"{extra} of {bad.readable.total()} readable rows are wrong, {gone} of {clean.readable.total()} right ones missing"
    held = bad.held - clean.held
    told += f", {held} held" if held > 0 else ""
    only_told = sorted(bad.warning - clean.warning)
    return told + (f"; only warned by {', '.join(only_told)}" if only_told else "; no rule spoke")
