"""`tidegate fetch`: lands the drops that no upstream lands whole with a manifest: of kind http, and of files `complete`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_jobs.cli.output import show_json, show_table
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest
from spark_jobs.invocation import Invocation, format_hour, hours_between, parse_hour

if TYPE_CHECKING:
    from spark_jobs.sources.http import Fetched
    from spark_jobs.sources.landing import Landed


def fetch_drops(pipeline: str, start: str, end: str, only: list[str], env: str, *, as_json: bool) -> None:
    """Land the drops of [start, end), the oldest hour first; the first fault ends it, what has landed before stays."""
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, "fetch", low, high, "", env)  # refuses an interval without an hour
    sources = _fetched_sources(load_pipeline(pipeline), only)
    _, places = load_environment(env)
    done = [
        _land(name, source, places.landing / pipeline, hour)
        for hour in hours_between(call.start, call.end)
        for name, source in sources.items()
    ]
    if as_json:
        show_json({"drops": done})
    else:
        columns = ["source", "hour", "version", "rows", "bytes", "pages", "written"]
        told = [
            one | {"hour": format_hour(one["hour"]), "written": "yes" if one["written"] else "no"} for one in done
        ]  # fmt: skip
        show_table("", columns, [tuple(one[name] for name in columns) for one in told])


def _land(name: str, source: SourceConf, landing: Path, hour: datetime) -> dict[str, Any]:
    """Land the drop of one hour; its facts, of which `pages` is 0 for a file that lay there."""
    done: Fetched | Landed
    if source.kind == "http":
        from spark_jobs.sources.http import fetch_drop

        done = fetch_drop(name, source, landing, hour)
    else:
        from spark_jobs.sources.adopt import adopt_drop

        done = adopt_drop(name, source, landing, hour, datetime.now(UTC))
    facts = ("manifest", "version", "rows", "bytes")
    told = {fact: getattr(done, fact) for fact in facts}
    return {"source": name, "hour": hour, **told, "pages": getattr(done, "pages", 0), "written": done.written}


def _fetched_sources(pipeline: Pipeline, only: list[str]) -> dict[str, SourceConf]:
    """Sources whose drops are landed by this command, those of `only` when it names any.

    Raises:
        UsageError: there is none, or one of `only` is none.
    """
    declared = pipeline.sources.sources
    kinds = "of kind http, or of kind files with complete.by marker or stable"
    legal = {name: one for name, one in declared.items() if one.kind == "http" or one.complete.by != "manifest"}
    for name in only:
        if name not in legal:
            found = f"no source '{name}'"
            if name in declared:
                found = f"source '{name}' is of kind {declared[name].kind}, its upstream writes manifests"
            raise UsageError("--source", found, f"{kinds}: {nearest(name, list(legal))}", "name one of those")
    if not legal:
        todo = f"write one into conf/pipelines/{pipeline.name}/sources.yaml; else the upstream lands drops by itself"
        raise UsageError(pipeline.name, "no source of kind http, and none without manifests", kinds, todo)
    return {name: source for name, source in legal.items() if not only or name in only}
