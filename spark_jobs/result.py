"""What a step answers: the last line of its output, and its exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from spark_jobs.errors import EXIT_OK
from spark_jobs.values import to_json
from spark_jobs.verdict import Outcome, Verdict

MAX_WARNINGS = 50  # in a result line; the ledger has all


@dataclass
class Result:
    """What became of one run of one step."""

    pipeline: str
    step: str
    start: str
    end: str
    dag_run: str
    state: str
    pub: int | None = None
    release: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    why: str = ""
    exit_code: int = EXIT_OK
    # [from, to) of the hours that alone were refused; empty where the whole was
    refused: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(
        default_factory=list
    )  # the first 50 of the rules that broke and do not block
    warnings_total: int = 0
    models: dict[str, Any] = field(
        default_factory=dict
    )  # by model what `training_set` or `train` did: rows, figures, decision
    schema_version: int = 1

    def warn(self, verdicts: Iterable[Verdict]) -> None:
        """Note the rules of `verdicts` that broke and do not block: table, rule, what was observed and what is allowed."""
        found = [(v.table, rule) for v in verdicts for rule in v.rules if rule.outcome is Outcome.WARN]
        self.warnings_total = len(found)
        self.warnings = [
            {"table": table, "rule": rule.rule, "observed": rule.observed, "allowed": rule.allowed}
            for table, rule in found[:MAX_WARNINGS]
        ]

    def to_json(self) -> str:
        """The result line."""
        return to_json(asdict(self), ascii_only=True, compact=True)
