"""`tidegate fetch`: lands the drops of sources of kind http, as an upstream of kind files does by itself."""

from __future__ import annotations

from spark_jobs.cli.output import show_json, show_table
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError, nearest
from spark_jobs.invocation import Invocation, format_hour, hours_between, parse_hour


def fetch_drops(pipeline: str, start: str, end: str, only: list[str], env: str, *, as_json: bool) -> None:
    """Land the drops of [start, end), the oldest hour first; the first fault ends it, what has landed before stays."""
    from spark_jobs.sources.http import fetch_drop

    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, "fetch", low, high, "", env)  # refuses an interval without an hour
    sources = _http_sources(load_pipeline(pipeline), only)
    _, places = load_environment(env)
    done = [
        fetch_drop(name, source, places.landing / pipeline, hour)
        for hour in hours_between(call.start, call.end)
        for name, source in sources.items()
    ]
    if as_json:
        facts = ("source", "hour", "manifest", "version", "rows", "bytes", "pages", "written")
        show_json({"drops": [{name: getattr(one, name) for name in facts} for one in done]})
    else:
        rows = [
            (
                one.source,
                format_hour(one.hour),
                one.version,
                one.rows,
                one.bytes,
                one.pages,
                "yes" if one.written else "no",
            )
            for one in done
        ]
        show_table("", ["source", "hour", "version", "rows", "bytes", "pages", "written"], rows)


def _http_sources(pipeline: Pipeline, only: list[str]) -> dict[str, SourceConf]:
    """Sources of kind http, those of `only` when it names any.

    Raises:
        UsageError: there is none, or one of `only` is none.
    """
    declared = pipeline.sources.sources
    legal = {name: source for name, source in declared.items() if source.kind == "http"}
    for name in only:
        if name not in legal:
            found = f"source '{name}' is of kind {declared[name].kind}" if name in declared else f"no source '{name}'"
            raise UsageError("--source", found, f"of kind http: {nearest(name, list(legal))}", "name one of those")
    if not legal:
        todo = (
            f"write kind: http in conf/pipelines/{pipeline.name}/sources.yaml; of kind files, the upstream lands drops"
        )
        raise UsageError(pipeline.name, "no source of kind http", "a pipeline with one", todo)
    return {name: source for name, source in legal.items() if not only or name in only}
