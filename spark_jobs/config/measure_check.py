"""Whether the measures and aggregations of window groups agree: shared measures, and types that are declared."""

from __future__ import annotations

from collections.abc import Iterator

from spark_jobs.config.clash import Clash
from spark_jobs.config.whole import Pipeline

_FILE = "features.yaml"


def measure_clashes(pipeline: Pipeline) -> Iterator[Clash]:
    """Measures that two groups over one table define differently, and counts with a type."""
    defined: dict[tuple[str, str], str] = {}  # table and measure -> the group that defines it
    windows = pipeline.features.windows
    for name, group in windows.items():
        for measure, call in group.measures.items():
            where = ("windows", name, "measures", measure)
            other = defined.setdefault((group.table, measure), name)
            if windows[other].measures[measure] != call:
                yield Clash(
                    _FILE,
                    where,
                    f"differs from measure '{measure}' of group '{other}', whose tiles it shares",
                    f"another name: both groups are over {group.table}",
                )
        for index, aggregation in enumerate(group.aggregations):
            if aggregation.op == "count" and aggregation.type:
                at = ("windows", name, "aggregations", index, "type")
                yield Clash(_FILE, at, f"'{aggregation.name}': type {aggregation.type} of a count", "no type: an int")
