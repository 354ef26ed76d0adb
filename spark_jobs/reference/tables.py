"""docs/reference/tables.md: the lake tables with the columns that every pipeline has, from `spark_jobs/config/schemas.py`.

Columns that `conf/` defines (those of sources, silver tables, measures and features) differ by pipeline and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spark_jobs.config.columns import input_columns, judged_types
from spark_jobs.config.load import ROOT, list_pipelines, load_pipeline
from spark_jobs.config.schemas import TYPES, silver_types, table_types
from spark_jobs.config.whole import Pipeline
from spark_jobs.generated_pages import table
from spark_jobs.reference.heading import head
from spark_jobs.reference.table_kinds import CELL, EVERY_TABLE, KINDS

_INTRODUCTION = """
All tables are below `<lake>/<pipeline>/`. They are Delta tables that are only appended to, partitioned by `day`, except for
training sets, which are plain Parquet. Which rows count is decided by a release:
[Publications and releases](../concepts/releases.md). `tidegate read` and the views of `tidegate views` show rows that
count; a table's newest Delta version shows unpublished rows as well.

Types are those of Delta logs and Spark. Each section names the columns that `conf/` adds.
"""


def page() -> str:
    """The whole page.

    Raises:
        KeyError: a column has no meaning here.
        LookupError: no pipeline of the checkout has a table of some kind.
    """
    pipelines = [load_pipeline(name, ROOT) for name in list_pipelines(ROOT)]
    own = {name: kind for name, kind in _types(pipelines, "silver/<table>").items() if name in EVERY_TABLE}
    parts = [head("Tables and columns", "`spark_jobs/config/schemas.py`"), _INTRODUCTION.lstrip()]
    parts += ["## Columns of every table\n", _columns(own, EVERY_TABLE)]
    for kind in KINDS:
        types = {name: one for name, one in _types(pipelines, kind.name).items() if name not in EVERY_TABLE}
        parts += [f"## `{kind.name}`\n", f"{kind.about} Key: {kind.key}.\n", _columns(types, kind.columns)]
        if kind.added:
            parts.append(f"Also: {kind.added}.\n")
    return "\n".join(parts)


def _columns(types: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    return table(
        ["column", "type", "meaning"], [[f"`{name}`", _shown(kind), meanings[name]] for name, kind in types.items()]
    )


def _shown(kind: Any) -> str:
    """A type of a Delta log in words. Any: a name, or a mapping for an array or map."""
    if not isinstance(kind, dict):
        return str(kind)
    if kind["type"] == "array":
        return f"array of {kind['elementType']}"
    return f"map of {kind['keyType']} to {kind['valueType']}"


def _types(pipelines: list[Pipeline], kind: str) -> dict[str, Any]:
    """The columns of tables of `kind` that do not depend on `conf/`, from the first pipeline that has such a table."""
    prefix = kind.partition("<")[0]
    for pipeline in pipelines:
        for name, types in _all_types(pipeline).items():
            if name == kind or ("<" in kind and name.startswith(prefix)):
                defined = set(_defined(pipeline, name))
                return {column: TYPES.get(str(one), one) for column, one in types.items() if column not in defined}
    raise LookupError(f"no pipeline in conf/ has a table {kind}")


def _all_types(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Types by table and column: window groups before other groups, and training sets."""
    types = dict(table_types(pipeline))
    windows = {f"features/{name}": types.pop(f"features/{name}") for name in pipeline.features.windows}
    sets = {name: judged_types(pipeline, name) for name in pipeline.training_sets}
    return {**windows, **types, **sets}


def _defined(pipeline: Pipeline, name: str) -> Iterator[str]:
    """The columns of the lake table `name` that `conf/` defines."""
    kind, _, rest = name.partition("/")
    spine = pipeline.features.spine.table
    if kind == "bronze":
        yield from pipeline.sources.sources[rest].columns
    elif kind == "silver":
        yield from (column for column in silver_types(pipeline, rest) if column != "event_at")
    elif kind == "tiles":
        measures = {one for group in pipeline.features.windows.values() for one in group.measures}
        yield from (f"{prefix}_{measure}" for measure in measures for prefix in ("n", "sum"))
    elif kind == "features":
        yield from (
            column for column in table_types(pipeline)[name] if column not in (*CELL, "covered_h", *EVERY_TABLE)
        )
    elif kind == "predictions":
        yield from pipeline.silver[spine].key
    elif kind == "training_sets":
        yield from pipeline.silver[spine].columns
        yield from (column for group in pipeline.features.groups for column in input_columns(pipeline, group))
