"""How far the stages of a publication have come: what the next stage starts from, and what is recorded at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame

from spark_jobs.errors import TidegateError
from spark_jobs.lake.staging import Staged
from spark_jobs.sources.drops import Drop
from spark_jobs.steps.context import Context
from spark_jobs.verdict import Verdict


@dataclass(frozen=True)
class Progress:
    """The context for the next stage, and what the outputs of the stages before have in common."""

    context: Context
    drops: Mapping[str, Mapping[datetime, Drop]] = field(default_factory=dict)  # by source and hour, for bronze
    verdicts: tuple[Verdict, ...] = ()
    held: tuple[DataFrame, ...] = ()  # quarantined rows of each table
    accounts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # silver table -> totals of the interval
    predictions: tuple[Staged, ...] = ()  # each of a publication of its own
    models: Mapping[str, Any] = field(default_factory=dict)  # see `Result.models`
    fault: TidegateError | None = None  # what ended the last stage after all, with what it knows in `models`
