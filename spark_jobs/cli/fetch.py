"""`tidegate fetch`: lands the drops that no upstream puts whole and with a manifest into the landing folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_jobs.cli.act import submit
from spark_jobs.cli.output import show_json, show_some
from spark_jobs.cli.results import show_result
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.interval import check_interval
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import EXIT_OK, UsageError, nearest
from spark_jobs.invocation import ASKED_AGAIN, Invocation, format_hour, hours_between, parse_hour

_DROPS = 30  # lines that people get; JSON has all

if TYPE_CHECKING:
    from spark_jobs.sources.http import Fetched
    from spark_jobs.sources.landing import Landed


def fetch_drops(pipeline: str, start: str, end: str, only: list[str], env: str, *, as_json: bool) -> int:
    """Land the drops of [start, end), the oldest hour first; the first fault ends it, what has landed before stays.

    Databases and other file systems are asked by Spark, all of the pipeline's at once; its exit code is returned. Files that
    came without a manifest get theirs afterwards.
    """
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, "query", low, high, f"{ASKED_AGAIN}{format_hour(low)}__{format_hour(high)}", env)
    whole = load_pipeline(pipeline)
    check_interval(whole, call)
    sources, queried = _fetched_sources(whole, only), whole.sources.queried()
    heavy = {name: source for name, source in sources.items() if name in queried}
    drops = _land_all(call, {name: source for name, source in sources.items() if name not in heavy})
    if drops and not as_json:
        _show_drops(drops)
    code, result = submit(call, again=True) if heavy else (EXIT_OK, {})
    if result and not as_json:
        show_result(result, as_json=False, env=env)
    copied = {name: source for name, source in heavy.items() if source.complete.by != "manifest"}
    adopted = _land_all(call, copied) if code == EXIT_OK else []
    if adopted and not as_json:
        _show_drops(adopted)
    if as_json:
        show_json({"drops": drops + adopted, **({"query": result} if result else {})})
    return code


def _land_all(call: Invocation, sources: dict[str, SourceConf]) -> list[dict[str, Any]]:
    _, places = load_environment(call.env)
    return [
        _land(name, source, places.landing / call.pipeline, hour)
        for hour in hours_between(call.start, call.end)
        for name, source in sources.items()
    ]


def _show_drops(drops: list[dict[str, Any]]) -> None:
    columns = ["source", "hour", "version", "rows", "bytes", "pages", "written"]
    told = [one | {"hour": format_hour(one["hour"]), "written": "yes" if one["written"] else "no"} for one in drops]
    show_some(
        "", columns, [tuple(one[name] for name in columns) for one in told], _DROPS, "the same command with --json"
    )


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
    kinds = "of kind http or jdbc, or of kind files with a section hadoop or complete.by marker or stable"
    legal = {
        n: one for n, one in declared.items() if one.kind != "files" or one.hadoop or one.complete.by != "manifest"
    }
    for name in only:
        if name not in legal:
            found = f"no source '{name}'"
            if name in declared:
                found = f"source '{name}' is of kind {declared[name].kind}, its upstream writes manifests"
            raise UsageError("--source", found, f"{kinds}: {nearest(name, list(legal))}", "name one of those")
    if not legal:
        todo = f"write one into conf/pipelines/{pipeline.name}/sources.yaml; else the upstream lands drops by itself"
        raise UsageError(pipeline.name, "no source of kind http or jdbc, and none without manifests", kinds, todo)
    return {name: source for name, source in legal.items() if not only or name in only}
