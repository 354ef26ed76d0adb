"""Models of one training set, each trained once: a try after one that found no registry takes what that one kept.

They lie beside the set, `training_sets/<model>/<pub>/fits/<hash of what they are made of>/…`, and go with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_jobs.config.model import EstimatorCall, Inputs
from spark_jobs.config.section import Scalar
from spark_jobs.learning.model_files import LoadedModel, keep_model, kept_model, sha256
from spark_jobs.learning.train import LABEL, Trained, train_model

log = structlog.get_logger()


@dataclass(frozen=True)
class Fits:
    """`made_of`: what, besides the set's rows, a model follows from: the model's settings and code. Uncommitted code is never equal."""

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
        place = self.folder / "fits" / sha256(self.made_of.encode())
        kept = None if self.made_of.endswith("-dirty") else kept_model(place, name, self.pub)
        if kept:
            log.info("took the model that an earlier try kept", model=name)
            rows, positives = self.training.agg(F.count("*"), F.sum(LABEL)).first() or (0, 0)
            return Trained(kept.booster, kept.encoder, int(rows), int(positives))
        made = train_model(self.training, self.key, inputs, self.columns, call, options)
        keep_model(place, LoadedModel(name, self.pub, made.booster, made.encoder))
        return made
