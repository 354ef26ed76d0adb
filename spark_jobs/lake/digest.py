"""One number for the rows of a frame, whatever their order: equal frames have equal digests."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def digest(frame: DataFrame) -> tuple[int, int]:
    """(rows, sum of xxhash64 over the columns in order).

    The sum is taken as decimal(38,0): a bigint sum overflows under ANSI, and xor hides pairs. Columns of type map
    have no hash; select them away.
    """
    hashed = F.xxhash64(*frame.columns).cast("decimal(38,0)")
    row = frame.agg(F.count("*").alias("rows"), F.coalesce(F.sum(hashed), F.lit(0)).alias("total")).first()  # one row
    return (int(row["rows"]), int(row["total"])) if row else (0, 0)
