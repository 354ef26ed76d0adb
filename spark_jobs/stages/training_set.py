"""Training set: one row a spine row with its features as known at prediction time, its label, and its fold.

The default, "as known", takes exactly what the hourly run could serve; a row without an on-time cell is dropped and counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs import transforms
from spark_jobs.config.definitions import define, input_hashes, model_digest
from spark_jobs.config.model import Model
from spark_jobs.config.section import duration_text
from spark_jobs.features import spine
from spark_jobs.invocation import HOUR
from spark_jobs.lake.digest import digest
from spark_jobs.lake.staging import Staged
from spark_jobs.learning import folds
from spark_jobs.learning.set_folder import set_folder
from spark_jobs.quality import gate
from spark_jobs.steps.context import Context, hours
from spark_jobs.storage.files import write_whole
from spark_jobs.verdict import Outcome, RuleResult, Verdict

_COVERED = "is covered"  # no column of a table has a blank in its name


@dataclass(frozen=True)
class Counts:
    """What became of the spine rows of a training set."""

    rows: int
    labelled: int
    without_cells: int
    without_coverage: int  # labelled and with cells, but fewer published hours before them than rows.min_coverage
    leaks: int
    positives: int
    not_binary: int  # labels that are neither 0 nor 1
    to_train: int
    to_judge: int

    @property
    def kept(self) -> int:
        """Rows of the training set before its suite leaves out any."""
        return self.labelled - self.without_cells - self.without_coverage


@dataclass(frozen=True)
class TrainingSetOutput:
    """What was staged by table, how each set was judged, and by model what became of its rows; see `Result.models`."""

    staged: Mapping[str, Staged]
    verdicts: tuple[Verdict, ...]
    models: Mapping[str, Any]


def run(context: Context) -> TrainingSetOutput:
    """Stage training_sets/<model> for each model, judge it by its suite, record the verdict, write the set's manifest.

    Rows that break a rule of scope row are left out of the set, and counted.
    """
    judgements: list[gate.Judgement] = []
    models: dict[str, Any] = {}
    for name, model in context.pipeline.model_settings.items():
        table = f"training_sets/{name}"
        rows = _labelled(context, model).persist()
        counted = _counts(rows)
        kept = rows.where(F.col("label").isNotNull() & F.col("cells_known_at").isNotNull() & F.col(_COVERED))
        key = context.pipeline.silver[context.pipeline.features.spine.table].key
        judgement = gate.stage_judged(
            context, table, "training_set", kept.drop("_label", _COVERED), key=key, extra=_built_in(model, counted)
        )
        gate.record(context, judgement.verdict)
        facts = _facts(counted, judgement.staged.rows)
        _write_manifest(context, name, judgement.staged, facts)
        models[name] = {"rows": {"kept": facts.pop("rows")}, "positive_labels": counted.positives, **facts}
        judgements.append(judgement)
        rows.unpersist()
    sets = {judgement.staged.table: judgement.staged for judgement in judgements}
    return TrainingSetOutput(sets, tuple(judgement.verdict for judgement in judgements), models)


def _labelled(context: Context, model: Model) -> DataFrame:
    """Spine rows with cells as known at as_of, label, label_known_at, fold, and whether enough of their past is covered.

    Rows without a label or cell stay, null.
    """
    first = (model.rows.start or context.pipeline.start) + HOUR
    last = context.call.end - HOUR
    rows = spine.with_cells(context, spine.spine_rows(context, first, last), first, as_known=True)
    key = context.pipeline.silver[context.pipeline.features.spine.table].key
    known = context.lake.current(f"silver/{model.label.table}")
    columns = {name: F.col(name) for name in known.columns}
    label = transforms.apply(model.label, columns, "model.yaml: label")
    labels = known.select(*key, label.alias("_label"), F.col("known_at").alias("label_known_at"))
    joined = rows.withColumn(_COVERED, _is_covered(context, model)).join(labels, key, "left")
    joined = joined.drop(*[spine.covered(group) for group in context.pipeline.features.windows])
    fold = folds.fold(first, context.call.end, model.evaluate, model.label.maturity)
    return (
        joined.withColumn("label", _binary(F.col("_label")))
        .withColumn("fold", fold)
        .where(F.col("fold").isNotNull())
        .withColumns({"hour": F.col("as_of") - F.lit(timedelta(hours=1)), "known_at": F.col("as_of")})
    )


def _binary(label: Column) -> Column:
    """0 or 1 as int; null where the label is null, or anything else, which the verdict counts."""
    number = label.try_cast("double")
    return F.when(number.isin(0.0, 1.0), number.cast("int"))


def _is_covered(context: Context, model: Model) -> Column:
    """Whether every window group of the model has the coverage that `rows.min_coverage` asks of it; never null."""
    if model.rows.min_coverage is None:
        return F.lit(True)
    windows = context.pipeline.features.windows
    needed = {
        name: min(model.rows.min_coverage, max(windows[name].windows))
        for name in model.inputs.features if name in windows
    }  # fmt: skip
    enough = [F.coalesce(F.col(spine.covered(name)), F.lit(0)) >= hours(length) for name, length in needed.items()]
    return reduce(Column.__and__, enough, F.lit(True))


def _counts(rows: DataFrame) -> Counts:
    has_label, has_cell = F.col("label").isNotNull(), F.col("cells_known_at").isNotNull()
    is_covered = F.col(_COVERED)
    late_cell = F.col("cells_known_at") > F.col("as_of")
    early_label = F.col("label_known_at") <= F.col("as_of")
    one = rows.agg(
        F.count("*"), F.count_if(has_label), F.count_if(has_label & ~has_cell),
        F.count_if(has_label & has_cell & ~is_covered),
        F.count_if(has_label & has_cell & (late_cell | early_label)), F.count_if(F.col("label") == 1),
        F.count_if(F.col("_label").isNotNull() & ~has_label),
        *[F.count_if(has_label & has_cell & is_covered & (F.col("fold") == fold)) for fold in (folds.TRAIN, folds.EVALUATE)],
    ).first()  # one row  # fmt: skip
    return Counts(*one) if one else Counts(0, 0, 0, 0, 0, 0, 0, 0, 0)


def _built_in(model: Model, counted: Counts) -> list[RuleResult]:
    """The rules that every training set has: no leak, both classes and folds, features of nearly all labelled rows."""
    missed = counted.without_cells / counted.labelled if counted.labelled else 1.0
    results = [
        _result("both_classes", not 0 < counted.positives < counted.labelled, f"{counted.positives} positive",
                "some of each", "A model needs both.", counted.positives, counted.rows),
        _result("no_future", counted.leaks > 0, f"{counted.leaks} rows", "0",
                "A cell known after as_of, or a label known before it, would leak the outcome.", counted.leaks, counted.rows),
        _result("cells_present", missed > model.rows.missed_at_most + 1e-9, f"{missed:.1%} of the labelled rows have no features",
                f"at most {model.rows.missed_at_most:.0%} (rows.missed_at_most of model.yaml)",
                "Missing cells mean unpublished hours.", counted.without_cells, counted.labelled),
        _result("folds", not (counted.to_train and counted.to_judge),
                f"{counted.to_train} rows to train on, {counted.to_judge} to judge", "some of each",
                "Hours of the training period or of `evaluate` have no published rows with features.", 0, counted.rows),
        _result("label_is_0_or_1", counted.not_binary > 0, f"{counted.not_binary} labels are neither 0 nor 1",
                "0, 1 or null", "The label of model.yaml must be a class: use at_least with a threshold, or correct its column.",
                counted.not_binary, counted.rows, Outcome.ERROR),
    ]  # fmt: skip
    if model.rows.min_coverage is not None:
        needed = f"{duration_text(model.rows.min_coverage)} of published hours before each row; other rows are dropped"
        results.append(_result("coverage", False, f"{counted.without_coverage} rows dropped", needed,
                               "Windows that reach back before the lake's first hour look complete.", 0, counted.rows))  # fmt: skip
    return results


def _result(
    rule: str, is_bad: bool, observed: str, allowed: str, why: str, bad: int, total: int, broken: Outcome = Outcome.FAIL
) -> RuleResult:
    outcome = broken if is_bad else Outcome.PASS
    return RuleResult(rule, outcome, "", observed, allowed, bad if is_bad else 0, total, why=why, counts="rows")


def _facts(counted: Counts, rows: int) -> dict[str, int]:
    """How many rows the set has, and what became of the other rows of the spine."""
    return {
        "rows": rows, "spine_rows": counted.rows, "dropped_without_label": counted.rows - counted.labelled,
        "dropped_without_cells": counted.without_cells, "dropped_without_coverage": counted.without_coverage,
        "dropped_by_rules": counted.kept - rows,
    }  # fmt: skip


def _write_manifest(context: Context, model: str, staged: Staged, counted: dict[str, int]) -> None:
    rows, total = digest(context.lake.rows_of(staged).drop("pub", "day"))
    facts = {
        "schema_version": 1, "model": model, "table": f"{staged.table}/pub-{context.pub}", "pub": context.pub,
        "release": context.base, "config_hash": context.pipeline.config_hash,
        "digest": f"{rows}:{total}", "definitions": input_hashes(context.pipeline, define(context.pipeline)),
        "model_digest": model_digest(context.pipeline, model), **counted,
    }  # fmt: skip
    write_whole(
        set_folder(context.root, model, context.pub) / "manifest.json", json.dumps(facts, indent=1, sort_keys=True)
    )
