"""What a step answers: the last line of its output, and its exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from spark_jobs.errors import EXIT_OK
from spark_jobs.values import to_json


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
    schema_version: int = 1

    def to_json(self) -> str:
        """The result line."""
        return to_json(asdict(self), ascii_only=True, compact=True)
