"""`tidegate fetch`: lands the drops of sources of kind http and jdbc, as an upstream of kind files does by itself."""

from __future__ import annotations

from spark_jobs.cli.act import show_result, submit
from spark_jobs.cli.output import show_json, show_table
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import EXIT_OK, UsageError, nearest
from spark_jobs.invocation import Invocation, format_hour, hours_between, parse_hour


def fetch_drops(pipeline: str, start: str, end: str, only: list[str], env: str, *, as_json: bool) -> int:
    """Land the drops of [start, end), the oldest hour first; the first fault ends it, what has landed before stays.

    Databases are asked by Spark, all of the pipeline's at once; its exit code is returned.
    """
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, "query", low, high, f"fetch__{format_hour(low)}__{format_hour(high)}", env)
    sources = _asked(load_pipeline(pipeline), only)
    over_http = {name: source for name, source in sources.items() if source.kind == "http"}
    if over_http:
        _over_http(call, over_http, as_json=as_json)
    if len(over_http) == len(sources):
        return EXIT_OK
    code, result = submit(call, again=True)
    show_result(result, as_json)
    return code


def _over_http(call: Invocation, sources: dict[str, SourceConf], *, as_json: bool) -> None:
    from spark_jobs.sources.http import fetch_drop

    _, places = load_environment(call.env)
    done = [
        fetch_drop(name, source, places.landing / call.pipeline, hour)
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


def _asked(pipeline: Pipeline, only: list[str]) -> dict[str, SourceConf]:
    """Sources that are asked for their rows, those of `only` when it names any.

    Raises:
        UsageError: there is none, or one of `only` is none.
    """
    declared = pipeline.sources.sources
    legal = {name: source for name, source in declared.items() if source.kind != "files"}
    for name in only:
        if name not in legal:
            found = f"source '{name}' is of kind {declared[name].kind}" if name in declared else f"no source '{name}'"
            raise UsageError(
                "--source", found, f"of kind http or jdbc: {nearest(name, list(legal))}", "name one of those"
            )
    if not legal:
        todo = f"write kind: http or jdbc in conf/pipelines/{pipeline.name}/sources.yaml; of kind files, the upstream lands drops"
        raise UsageError(pipeline.name, "no source of kind http or jdbc", "a pipeline with one", todo)
    return {name: source for name, source in legal.items() if not only or name in only}
