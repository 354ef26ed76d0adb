"""conf/pipelines/<name>/model.yaml: what is predicted, from which inputs, by which estimator, against which bars.

Every bar here is a number that a person wrote; learning/evaluate.py only holds the measured figures against them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from spark_jobs.config.section import Duration, Name, Scalar, Section, TransformCall, UtcHour, Zone

CalendarPart = Literal["hour", "weekday", "minute_of_day"]
Metric = Literal["auc", "log_loss"]


class Label(TransformCall):
    """What is predicted: a registered function of columns of a silver table that gives 0, 1 or null."""

    table: Name = Field(description="silver table that knows the outcome; it has the spine's key")
    maturity: Duration = Field(
        default=timedelta(hours=24),
        description="how long after the prediction an outcome may come in, for example 24h; younger rows are left out",
    )


class Rows(Section):
    """Which spine rows a model may learn from."""

    start: UtcHour | None = Field(
        default=None, alias="from", description="first prediction time, UTC hour; none: the pipeline's start"
    )
    min_coverage: Duration | None = Field(
        default=None,
        description="rows are dropped where fewer published hours (covered_h of a window group) lie before the prediction, of a"
        " group with shorter windows: than its longest window; none: no row is dropped; example: 28d",
    )
    missed_at_most: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="largest share (0 to 1) of the labelled rows that may lack features known at their prediction; more means"
        " that hours were not published, and refuses the training set (rule `cells_present`); example: 0.05",
    )


class Calendar(Section):
    """Parts of an instant on a wall clock."""

    of: Name = Field(description="instant of the spine whose parts are taken, for example scheduled_at")
    zone: Zone = Field(default="UTC", description="IANA time zone of the wall clock, for example America/New_York")
    parts: list[CalendarPart] = Field(
        min_length=1, description="hour (0-23), weekday (Monday 0 to Sunday 6), minute_of_day (0-1439)"
    )


class Inputs(Section):
    """The numbers that a model sees of a row."""

    numeric: list[Name] = Field(default=[], description="numeric columns of the spine, for example [distance_mi]")
    ids: list[Name] = Field(
        default=[], description="columns of the spine with at most 1,000 distinct values, coded as whole numbers"
    )
    calendar: Calendar | None = Field(default=None, description="parts of a wall clock; none: no calendar")
    features: list[Name] = Field(default=[], description="feature groups of features.yaml, taken whole")

    @model_validator(mode="after")
    def _not_empty(self) -> Inputs:
        if not (self.numeric or self.ids or self.calendar or self.features):
            raise ValueError("no inputs; name at least one of numeric, ids, calendar, features")
        return self


class EstimatorCall(Section):
    """A registered estimator and how it runs."""

    use: Name = Field(default="xgboost", description="name of a function in spark_jobs/learning/train.py")
    options: dict[Name, Scalar] = Field(
        default={}, description="its settings by name, for example {rounds: 200, max_depth: 6, learning_rate: 0.1}"
    )
    workers: int = Field(
        default=2, ge=1, description="Spark tasks that train together; each needs a free core, for example 2"
    )
    seed: int = Field(default=13, ge=0, description="seed of all random choices, for example 13")


class Baseline(Section):
    """Something simpler that a model must beat: a model on other inputs, or one column taken as the score."""

    inputs: Inputs | None = Field(
        default=None, description="inputs of a simpler model with the same estimator; or column"
    )
    options: dict[Name, Scalar] = Field(
        default={}, description="estimator options that differ, for example {rounds: 50}"
    )
    column: Name | None = Field(
        default=None,
        description="column of the training set taken as the score, for example a share over 3 hours; or inputs",
    )

    @model_validator(mode="after")
    def _either(self) -> Baseline:
        if (self.inputs is None) == (self.column is None):
            raise ValueError("a baseline is either a simpler model (inputs) or one column (column)")
        if self.column is not None and self.options:
            raise ValueError("options belong to a baseline with inputs; a column is not trained")
        return self


class RegisterBars(Section):
    """What a model must show before it is registered."""

    auc_at_least: float = Field(
        default=0.5, ge=0, le=1, description="lowest area under the ROC curve, for example 0.72"
    )
    auc_below: float = Field(
        default=1.0, gt=0, le=1, description="an area of this or more means a leak from the future, for example 0.78"
    )
    beat: list[Name] = Field(default=[], description="baselines whose area the model's must exceed")
    min_rows: int = Field(default=1000, ge=1, description="fewest judged rows, for example 1000")


class PromoteBars(Section):
    """What a registered model must show before it becomes the champion."""

    worse_by_at_most: float = Field(
        default=0.0,
        ge=0,
        le=0.1,
        description="how far its area may lie below the champion's on the same rows, for example 0.002",
    )


class Model(Section):
    """One model."""

    label: Label
    rows: Rows = Rows()
    evaluate: Duration = Field(description="last part of history, judged and never trained on, for example 31d")
    inputs: Inputs
    estimator: EstimatorCall = EstimatorCall()
    metrics: list[Metric] = Field(
        default=["auc", "log_loss"], min_length=1, description="figures to record; auc decides"
    )
    baselines: dict[Name, Baseline] = Field(default={}, description="simpler predictions by name")
    to_register: RegisterBars = Field(default=RegisterBars(), alias="register", description="bars to register")
    to_promote: PromoteBars = Field(default=PromoteBars(), alias="promote", description="bars to become champion")

    @model_validator(mode="after")
    def _whole(self) -> Model:
        if "auc" not in self.metrics:
            raise ValueError("metrics: auc is missing; the bars are written in it")
        if self.evaluate <= self.label.maturity:
            raise ValueError("evaluate: must be longer than the label's maturity, or no judged row has a known outcome")
        unknown = [name for name in self.to_register.beat if name not in self.baselines]
        if unknown:
            raise ValueError(f"register.beat: no baselines {unknown}; there are {sorted(self.baselines)}")
        if self.to_register.auc_at_least >= self.to_register.auc_below:
            raise ValueError("register: auc_at_least must be below auc_below, or no model can pass")
        return self


class ModelFile(Section):
    """The whole of model.yaml."""

    models: dict[Name, Model] = Field(min_length=1, description="models by name")
