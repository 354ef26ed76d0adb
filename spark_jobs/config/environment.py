"""conf/environments/<env>.yaml: where things are and how much of the machine a step may take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from spark_jobs.config.channels import Channel
from spark_jobs.config.jvm_profile import JvmProfile
from spark_jobs.config.section import Name, Section
from spark_jobs.errors import UsageError

StepName = Literal[
    "ingest",
    "build_features",
    "publish",
    "heal",
    "rebuild",
    "training_set",
    "train",
    "score",
]  # those of steps/plan.py, which a test holds equal
BULK_FROM_HOURS = 25  # an interval of more than a day is worth the profile bulk


class ClusterSection(Section):
    """The executors of one application on a standalone cluster. The driver runs where the step was submitted."""

    executors: int = Field(ge=1, le=256, description="how many; example: 2")
    cores: int = Field(ge=1, description="cores of each; example: 1")
    memory_mb: int = Field(ge=512, description="heap of each in MiB; example: 1024")
    events: str | None = Field(
        default=None, description="folder below the data folder for Spark's event logs; example: spark-events"
    )


class SparkSection(Section):
    """How Spark runs."""

    master: str = Field(
        pattern=r"^(local\[\d+\]|spark://[A-Za-z0-9.\-]+:\d+)$",
        description="Spark master: local[N], for example local[2], or a standalone one, for example spark://host:7077",
    )
    cluster: ClusterSection | None = Field(
        default=None, description="executors of an application; needed with a master spark://, refused with a local one"
    )
    hourly: JvmProfile = Field(description="profile of short steps")
    bulk: JvmProfile = Field(description="profile of long steps, and of every interval of more than 24 hours")
    steps: dict[StepName, Literal["hourly", "bulk"]] = Field(
        default={},
        description="profile of each step; an interval of more than 24 hours takes bulk whatever stands here",
    )

    @model_validator(mode="after")
    def _cluster_where_it_is_one(self) -> SparkSection:
        if self.master.startswith("spark://") and self.cluster is None:
            raise ValueError("master spark:// needs the section cluster: executors, cores, memory_mb")
        if self.master.startswith("local") and self.cluster is not None:
            raise ValueError(f"master {self.master} has no executors of its own; leave the section cluster out")
        return self


class Environment(Section):
    """One place to run in. Paths are relative to `data` unless absolute."""

    data: str = Field(
        default="var",
        description="folder of all that runs write; TIDEGATE_DATA overrides it; its path holds none of [ ] { } % ^ ? * and no"
        " vertical bar or backslash",
    )
    lake: str = Field(default="lake", description="folder of Delta tables and ledger")
    landing: str = Field(default="landing", description="folder where upstreams put drops")
    spark: SparkSection
    tracking_uri: str = Field(
        default="sqlite:///{data}/mlflow/mlflow.db", description="MLflow tracking URI; {data} is the data folder"
    )
    channels: dict[Name, Channel] = Field(default={}, description="alert channels by name")

    def profile(self, step: str, hours: int) -> tuple[Literal["hourly", "bulk"], JvmProfile]:
        """Name and profile of `step` over `hours` hours."""
        bulk_steps = [name for name, profile in self.spark.steps.items() if profile == "bulk"]
        bulk = hours >= BULK_FROM_HOURS or step in bulk_steps
        return ("bulk", self.spark.bulk) if bulk else ("hourly", self.spark.hourly)


# Read as a pattern, an escape or a separator by delta-rs ([ ] % ^ | \), Spark ([ ] { } ? * \), DuckDB ([ ] ? *) or SQLite (% ?).
_NOT_IN_PATHS = frozenset("[]{}%^|\\?*")


def _check_path(data: Path) -> None:
    wrong = sorted({char for char in str(data) if char in _NOT_IN_PATHS or not char.isprintable()})
    if wrong:
        shown = " ".join(char if char.isprintable() else repr(char)[1:-1] for char in wrong)
        raise UsageError(
            "data folder",
            f"the path {str(data)!r} holds {shown}",
            f"a path without {' '.join(sorted(_NOT_IN_PATHS))} and control characters",
            "name another folder with TIDEGATE_DATA, or `data` in conf/environments, or rename the folder",
        )


class Places(Section):
    """The folders of one environment, resolved."""

    project: Path
    data: Path
    lake: Path
    landing: Path
    tracking_uri: str

    @staticmethod
    def of(project: Path, environment: Environment) -> Places:
        """Folders of `environment` for the project at `project`; TIDEGATE_DATA moves the data folder.

        Raises:
            UsageError: the path of the data folder has a character that the engines read as a pattern or an escape.
        """
        data = (project / (os.environ.get("TIDEGATE_DATA") or environment.data)).resolve()
        _check_path(data)
        return Places(
            project=project,
            data=data,
            lake=data / environment.lake,
            landing=data / environment.landing,
            tracking_uri=environment.tracking_uri.replace("{data}", str(data)),
        )
