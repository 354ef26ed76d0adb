"""Scores of rows by a booster broadcast to the executors: 50 rows in one partition or millions in many."""

from __future__ import annotations

from collections.abc import Iterator

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
    encoder.check(rows)
    kept = [name for name in rows.columns if name != into]
    schema = StructType([*(rows.schema[name] for name in kept), StructField(into, FloatType(), True)])
    model = rows.sparkSession.sparkContext.broadcast(booster)
    width = len(encoder.inputs)

    def scored(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import numpy as np
        import xgboost as xgb

        forest: xgb.Booster | None = None
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if forest is None:  # an empty partition loads nothing
                forest = xgb.Booster(params={"nthread": 1}, model_file=bytearray(model.value))
            values = batch.column(_VECTOR).flatten().to_numpy(zero_copy_only=False)
            matrix = np.ascontiguousarray(values, dtype=np.float32).reshape(batch.num_rows, width)
            score = forest.inplace_predict(matrix, missing=np.nan).astype(np.float32)
            columns = [batch.column(name) for name in kept]
            yield pa.RecordBatch.from_arrays([*columns, pa.array(score)], names=[*kept, into])

    vectors = rows.select(*kept, encoder.vector().alias(_VECTOR))
    return vectors.mapInArrow(scored, schema)
