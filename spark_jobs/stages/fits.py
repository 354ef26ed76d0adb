"""Models of one training set, each trained once: a try after one that found no registry takes what that one kept.

They lie beside the set, `training_sets/<model>/<pub>/fits/<name>/…`, and go with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.model import EstimatorCall, Inputs
from spark_jobs.config.section import Scalar
from spark_jobs.learning.model_files import LoadedModel, keep_model, kept_model
from spark_jobs.learning.train import LABEL, Trained, train_model

log = structlog.get_logger()


@dataclass(frozen=True)
class Fits:
    """`made_of`: what, besides the set's rows, a model follows from: configuration and code. Uncommitted code is never equal."""

    folder: Path
    pub: int
    made_of: str
    training: DataFrame
    key: list[str]
    columns: Mapping[str, list[str]]

    def fit(
        self, name: str, inputs: Inputs, call: EstimatorCall, options: Mapping[str, Scalar] | None = None
    ) -> Trained:
        """The model `name` of these rows; see `learning.train.train_model`."""
        place, word = self.folder / "fits", self.folder / "fits" / name / "made_of.json"
        kept = kept_model(place, name, self.pub) if not self.made_of.endswith("-dirty") else None
        if kept and word.is_file() and json.loads(word.read_text()) == self.made_of:
            log.info("took the model that an earlier try kept", model=name)
            rows, positives = self.training.agg(F.count("*"), F.sum(LABEL)).first() or (0, 0)
            return Trained(kept.booster, kept.encoder, int(rows), int(positives))
        made = train_model(self.training, self.key, inputs, self.columns, call, options)
        word.unlink(missing_ok=True)
        keep_model(place, LoadedModel(name, self.pub, made.booster, made.encoder))
        word.write_text(json.dumps(self.made_of))
        return made
