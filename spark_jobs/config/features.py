"""conf/pipelines/<name>/features.yaml: the rows to predict for, and the features as of an hour."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from spark_jobs.config.section import Duration, Name, Section, Severity, TransformCall


class Missed(Section):
    """How many rows of the spine an hour may miss, and what happens beyond: rule `spine_missed` of the features gate."""

    at_most: float = Field(
        default=0.1, ge=0, le=1, description="largest legal share of the rows that an hour accounts for"
    )
    severity: Severity = Field(
        default="warning", description="critical blocks the publication; warning and info report"
    )


class Spine(Section):
    """The rows a model predicts for; not stored, but read from a silver table as known at as_of."""

    table: Name = Field(description="silver table whose rows are predicted for")
    event_at: Name = Field(description="its column with the instant that is predicted")
    predict_before: Duration = Field(description="how long before that instant the prediction is made, for example 2h")
    announced_within: Duration = Field(
        default=timedelta(days=7), description="spine rows delivered longer before their prediction are not looked for"
    )
    missed: Missed = Field(
        default=Missed(),
        description="rows that cannot be predicted for: not known by then, or without features; example: {at_most: 0.02}",
    )
    entities: dict[Name, list[Name]] = Field(
        min_length=1,
        description="entity -> columns of the spine that name it; their values, separated by '|', are its key",
    )


class Aggregation(Section):
    """One value of a window."""

    name: Name = Field(description="first part of the feature's name; the window is the second, as in share_late_3h")
    op: Literal["count", "sum", "mean"] = Field(description="count of rows, or sum or mean of a measure")
    of: Name | None = Field(default=None, description="the measure; none for count")
    type: Literal["double", "float"] | None = Field(
        default=None,
        description="type of a sum or mean; none: bigint for a sum of whole numbers, else double; float rounds to 32 bits,"
        " double lets a sum of whole numbers exceed bigint",
    )


class WindowGroup(Section):
    """Windows [as_of - W, as_of) over the events of one silver table, for several entities."""

    table: Name = Field(description="silver table of events")
    entities: list[Name] = Field(min_length=1, description="entities of the spine; the table has their columns")
    measures: dict[Name, TransformCall] = Field(default={}, description="number a row contributes, by name")
    windows: list[Duration] = Field(min_length=1, description="whole hours, for example [3h, 24h, 7d, 28d]")
    aggregations: list[Aggregation] = Field(min_length=1, description="values of each window")


class AsOfGroup(Section):
    """The newest observation before as_of, for one entity."""

    table: Name = Field(description="silver table of observations")
    entity: Name = Field(description="entity of the spine; the table has its columns")
    columns: list[Name] = Field(min_length=1, description="columns taken over as features")
    staleness: Duration = Field(
        default=timedelta(hours=6), description="older observations count as missing, whole hours"
    )

    @property
    def entities(self) -> list[str]:
        """As of a window group: the one."""
        return [self.entity]


class LookUpGroup(Section):
    """What a slowly changing table said of one entity at as_of, as it was known then; null where it knew nothing."""

    table: Name = Field(description="silver table with valid_from; example: products")
    entity: Name = Field(description="entity of the spine; the table has its columns; example: product")
    columns: list[Name] = Field(min_length=1, description="columns taken over as features; example: [weight_kg]")

    @property
    def entities(self) -> list[str]:
        """As of a window group: the one."""
        return [self.entity]


Group = WindowGroup | AsOfGroup | LookUpGroup


class FeaturesFile(Section):
    """The whole of features.yaml; each group is a table features/<name>."""

    spine: Spine
    windows: dict[Name, WindowGroup] = Field(default={}, description="window groups by name")
    as_of: dict[Name, AsOfGroup] = Field(default={}, description="as-of joins by name")
    look_ups: dict[Name, LookUpGroup] = Field(default={}, description="look-ups in slowly changing tables by name")

    @property
    def joined(self) -> dict[str, AsOfGroup | LookUpGroup]:
        """The groups that take over columns of a silver table for one entity, by name."""
        return {**self.as_of, **self.look_ups}

    @property
    def groups(self) -> dict[str, Group]:
        """All groups by name."""
        return {**self.windows, **self.joined}
