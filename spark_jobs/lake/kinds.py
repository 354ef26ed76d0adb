"""Every lake table of a pipeline and how its current rows are chosen; known without Spark."""

from __future__ import annotations

from spark_jobs.config.whole import Pipeline
from spark_jobs.lake.versions import TableKind


def table_kinds(pipeline: Pipeline) -> dict[str, TableKind]:
    """Every lake table of `pipeline` that steps append to, with how its current rows are chosen."""
    kinds = {f"bronze/{name}": TableKind((), True) for name in pipeline.sources.sources}
    for name, table in pipeline.silver.items():
        kinds[f"silver/{name}"] = TableKind(tuple(table.version_key), True, table.valid_from or "")
    kinds["quarantine"] = TableKind((), True)
    kinds["accounts"] = kinds["spine_accounts"] = TableKind((), True)
    tiled = {group.table for group in pipeline.features.windows.values()}
    kinds |= {f"tiles/{name}": TableKind(("entity", "key", "event_hour"), False) for name in sorted(tiled)}
    kinds |= {name: TableKind(("entity", "key", "as_of"), False) for name in pipeline.feature_tables}
    spine_key = tuple(pipeline.silver[pipeline.features.spine.table].key)
    models = pipeline.model_settings
    kinds |= {f"predictions/{name}": TableKind((*spine_key, "model_version"), False) for name in models}
    return kinds
