"""Tiles computed again because their definition changed: every version that readers may have seen gets a new one."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.windows.tiles import TILE


def restated_tiles(versions: DataFrame, replaced: DataFrame) -> DataFrame:
    """`versions` of tiles, with a further one at every time at which a version of `replaced` counted.

    Grain: (entity, key, event_hour, known_at) of both -> the union of both. A former version is known at a time at which
    the new definition may give no other value than before, so that none was made: left alone, the former one would count
    there. A tile that no row is left of gets n = 0.

    Args:
        versions: all versions under the new definition, as `tile_versions` returns them.
        replaced: entity, key, event_hour and known_at of the versions under the former one.
    """
    values = [name for name in versions.columns if name not in (*TILE, "known_at")]
    made = versions.select(*TILE, "known_at", F.struct(*values).alias("made"))
    nothing = F.lit(None).cast(made.schema["made"].dataType).alias("made")
    both = made.unionByName(replaced.select(*TILE, "known_at", nothing))
    once = both.groupBy(*TILE, "known_at").agg(F.first("made", ignorenulls=True).alias("made"))
    until_then = Window.partitionBy(*TILE).orderBy("known_at").rowsBetween(Window.unboundedPreceding, 0)
    filled = once.withColumn("made", F.last("made", ignorenulls=True).over(until_then))
    none_left = F.col("made").isNull()  # all values are 0 then; a sum alone is null where it overflows
    columns = [F.when(none_left, F.lit(0)).otherwise(F.col("made")[name]).alias(name) for name in values]
    return filled.select(*TILE, "known_at", *columns).select(*versions.columns)
