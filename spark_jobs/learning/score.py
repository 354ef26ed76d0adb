"""Scores of rows by a booster broadcast to the executors: 50 rows in one partition or millions in many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import FloatType, StructField, StructType

from spark_jobs.learning.encode import Encoder

_VECTOR = "__inputs"


def score_frame(rows: DataFrame, encoder: Encoder, booster: bytes, into: str = "score") -> DataFrame:
    """`rows` with the column `into` (float32, probability of label 1); rows stay, their order is not kept.

    Grain: as given. Columns used: those of `encoder`. A row's score depends on that row and the booster alone.

    Args:
        rows: rows to score.
        encoder: the encoder stored with the model.
        booster: the model as UBJSON (`Booster.save_raw("ubj")`).
        into: name of the added column; an existing one is replaced.

    Raises:
        UsageError: a column that the encoder needs is missing.
    """
    return score_models(rows, {into: (booster, encoder)})


def score_models(rows: DataFrame, models: Mapping[str, tuple[bytes, Encoder]]) -> DataFrame:
    """`rows` with one float32 column a model, by its name; one pass, because each Python worker pays xgboost's import.

    Raises:
        UsageError: a column that an encoder needs is missing.
    """
    for _, encoder in models.values():
        encoder.check(rows)
    kept = [name for name in rows.columns if name not in models]
    schema = StructType(
        [*(rows.schema[name] for name in kept), *(StructField(name, FloatType(), True) for name in models)]
    )
    boosters = rows.sparkSession.sparkContext.broadcast([booster for booster, _ in models.values()])
    widths = [len(encoder.inputs) for _, encoder in models.values()]
    names = [*kept, *models]

    def scored(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import numpy as np
        import xgboost as xgb

        forests: list[xgb.Booster] = []
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if not forests:  # an empty partition loads nothing
                forests = [xgb.Booster(params={"nthread": 1}, model_file=bytearray(one)) for one in boosters.value]
            scores = []
            for place, forest in enumerate(forests):
                values = batch.column(f"{_VECTOR}_{place}").flatten().to_numpy(zero_copy_only=False)
                matrix = np.ascontiguousarray(values, dtype=np.float32).reshape(batch.num_rows, widths[place])
                scores.append(pa.array(forest.inplace_predict(matrix, missing=np.nan).astype(np.float32)))
            yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in kept), *scores], names=names)

    vectors = [encoder.vector().alias(f"{_VECTOR}_{place}") for place, (_, encoder) in enumerate(models.values())]
    return rows.select(*kept, *vectors).mapInArrow(scored, schema)
