"""Rows -> the numbers a model sees: one definition, stored as JSON with the model, used to train and to score.

Everything is a pure Spark column; nothing here knows an estimator. Sessions run in UTC (runtime sets it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.model import Calendar, Inputs
from spark_jobs.errors import RefusedError, UsageError, nearest

SCHEMA_VERSION = 2  # 1: a null id has the code of an unknown one
MAX_VOCABULARY = 1000  # a code is found by scanning a literal array; beyond this a feature says more than an id
UNKNOWN = -1
LARGEST = 3.4028234663852886e38  # float32


@dataclass(frozen=True)
class Input:
    """One number: `kind` is 'number', 'id' (code in `vocabulary`) or 'calendar' (`part` of `column` in `zone`)."""

    name: str
    kind: str
    column: str
    vocabulary: tuple[str, ...] = ()
    part: str = ""
    zone: str = ""
    null_is_unknown: bool = (
        False  # of an id: whether a null has the code of an unknown value, as before schema_version 2
    )

    def value(self) -> Column:
        """float32, null when the column is null; an id that is not in the vocabulary is -1.

        A number beyond the range of float32 is the largest of its sign, which keeps the order of values.
        """
        if self.kind == "id":
            words = F.array(*[F.lit(word) for word in self.vocabulary]) if self.vocabulary else F.array(F.lit(""))
            place = F.array_position(words, F.col(self.column).cast("string"))
            known = place > 0 if self.vocabulary else F.lit(False)
            code = F.when(known, place - 1).otherwise(UNKNOWN).cast("float")
            return code if self.null_is_unknown else F.when(F.col(self.column).isNotNull(), code)
        if self.kind == "calendar":
            return _calendar_part(F.from_utc_timestamp(F.col(self.column), self.zone), self.part).cast("float")
        value = F.col(self.column).cast("double")
        limited = F.least(
            F.greatest(value, F.lit(-LARGEST)), F.lit(LARGEST)
        )  # an infinity would end training and scoring
        return F.when(value.isNotNull() & ~F.isnan(value), limited).cast("float")


@dataclass(frozen=True)
class Encoder:
    """All inputs of a model, in the order in which the model takes them."""

    inputs: tuple[Input, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def names(self) -> list[str]:
        """Names of the inputs, in order."""
        return [one.name for one in self.inputs]

    def columns(self) -> list[Column]:
        """One float32 column an input, named for it; null means missing."""
        return [one.value().alias(one.name) for one in self.inputs]

    def vector(self) -> Column:
        """array<float> of all inputs in order; NaN means missing, so that no element is null."""
        return F.array(*[F.coalesce(one.value(), F.lit(float("nan")).cast("float")) for one in self.inputs])

    def check(self, rows: DataFrame) -> None:
        """Whether `rows` has every column that an input needs.

        Raises:
            UsageError: a column is missing.
        """
        for one in self.inputs:
            if one.column not in rows.columns:
                raise UsageError(f"input {one.name}", f"no column '{one.column}'", nearest(one.column, rows.columns))

    def to_json(self) -> str:
        """The encoder as JSON, the same text for the same encoder."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Encoder:
        """The encoder that `to_json` wrote, now or under schema_version 1, which gives the same numbers as it did then.

        Raises:
            RefusedError: another schema_version wrote it.
        """
        facts = json.loads(text)
        version = facts["schema_version"]
        if version not in (1, SCHEMA_VERSION):
            raise RefusedError(
                "encoder", f"schema_version {version}", f"1 or {SCHEMA_VERSION}", "train the model again"
            )
        old = {"null_is_unknown": True} if version == 1 else {}
        return Encoder(
            tuple(Input(**{**one, **old, "vocabulary": tuple(one["vocabulary"])}) for one in facts["inputs"])
        )


def fit_encoder(training_rows: DataFrame, inputs: Inputs, features: Mapping[str, Sequence[str]]) -> Encoder:
    """The encoder of `inputs`; vocabularies are the sorted values of `training_rows` and of no other rows.

    Args:
        training_rows: the training fold; one aggregate over it collects the values of `inputs.ids`.
        inputs: what the model sees.
        features: feature group -> its columns in the training set.

    Raises:
        UsageError: a feature group or a column is unknown, two inputs share a name, an id has over 1,000 values.
    """
    for group in inputs.features:
        if group not in features:
            raise UsageError("inputs.features", f"no feature group '{group}'", nearest(group, list(features)))
    numbers = [*inputs.numeric, *(column for group in inputs.features for column in features[group])]
    encoder = Encoder((
        *(Input(f"id_{column}", "id", column) for column in inputs.ids),
        *_calendar_inputs(inputs.calendar),
        *(Input(column, "number", column) for column in numbers),
    ))  # fmt: skip
    twice = sorted({name for name in encoder.names if encoder.names.count(name) > 1})
    if twice:
        raise UsageError("inputs", f"named twice: {twice}", "each input once")
    encoder.check(training_rows)
    words = _vocabularies(training_rows, inputs.ids)
    return Encoder(tuple(
        Input(one.name, one.kind, one.column, words[one.column]) if one.kind == "id" else one for one in encoder.inputs
    ))  # fmt: skip


def _calendar_inputs(calendar: Calendar | None) -> list[Input]:
    if calendar is None:
        return []
    return [Input(f"calendar_{part}", "calendar", calendar.of, (), part, calendar.zone) for part in calendar.parts]


def _vocabularies(rows: DataFrame, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if not ids:
        return {}
    found = rows.agg(*[F.array_sort(F.collect_set(F.col(c).cast("string"))).alias(c) for c in ids]).first()
    words: dict[str, tuple[str, ...]] = {c: tuple(found[c]) for c in ids} if found else {}
    for column, values in words.items():
        if len(values) > MAX_VOCABULARY:
            raise UsageError(
                f"inputs.ids {column}", f"{len(values):,} distinct values", f"at most {MAX_VOCABULARY:,}",
                "make it an entity of features.yaml and use its windows instead",
            )  # fmt: skip
    return words


def _calendar_part(local: Column, part: str) -> Column:
    if part == "hour":
        return F.hour(local)
    if part == "weekday":
        return F.weekday(local)
    return F.hour(local) * 60 + F.minute(local)
