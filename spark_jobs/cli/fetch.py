"""`tidegate fetch`: lands the drops that no upstream puts whole and with a manifest into the landing folder."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from spark_jobs.cli.output import say, show_json, show_table
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.interval import check_interval
from spark_jobs.config.whole import Pipeline
from spark_jobs.connectors.delivery import Delivery
from spark_jobs.connectors.fetch import fetch_source
from spark_jobs.errors import EXIT_OK, RetryError, UsageError, nearest
from spark_jobs.invocation import Invocation, format_hour, parse_hour
from spark_jobs.sources.landing import FetchedDrop
from spark_jobs.values import Lines

SHOWN_DROPS = 48  # more are summed by source


def fetch_drops(pipeline: str, start: str, end: str, only: list[str], env: str, *, as_json: bool) -> int:
    """Land the drops of [start, end), source by source; the first error ends it, what landed before it stays.

    Raises:
        UsageError, RefusedError, RetryError: see `fetch_source`; RetryError also when a drop is not complete yet.
    """
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, "fetch", low, high, "", env)
    whole, (_, places) = load_pipeline(pipeline), load_environment(env)
    check_interval(whole, call)
    fetched = {
        name: fetch_source(whole, places, name, low, high, datetime.now(UTC)) for name in _fetched_names(whole, only)
    }
    _require_complete(fetched)
    drops = [drop for delivery in fetched.values() for drop in delivery.drops]
    if as_json:
        show_json({"drops": [asdict(drop) for drop in drops]})
    elif drops:
        _show(drops)
    return EXIT_OK


def _show(drops: list[FetchedDrop]) -> None:
    if len(drops) > SHOWN_DROPS:
        for name in dict.fromkeys(drop.source for drop in drops):
            mine = [drop for drop in drops if drop.source == name]
            new = sum(drop.written for drop in mine)
            say(f"{name}: {len(mine)} drops, {sum(drop.rows for drop in mine)} rows, {new} written new")
        return
    columns = ["source", "hour", "version", "rows", "bytes", "pages", "written"]
    shown = [
        asdict(drop) | {"hour": format_hour(drop.hour), "written": "yes" if drop.written else "no"} for drop in drops
    ]
    show_table("", columns, [tuple(drop[name] for name in columns) for drop in shown])


def _require_complete(fetched: dict[str, Delivery]) -> None:
    missing = [(name, hour, why) for name, delivery in fetched.items() for hour, why in delivery.missing.items()]
    if missing:
        shown = [f"  {name} {format_hour(hour)}: {why}" for name, hour, why in missing[:5]]
        more = [f"  and {len(missing) - 5} more"] if len(missing) > 5 else []
        raise RetryError(
            f"{missing[0][0]} {format_hour(missing[0][1])}",
            Lines.of([f"waiting: {len(missing)} hour(s) without complete files", *shown, *more]),
            "a complete file for each hour, as `complete` of sources.yaml defines it",
            "the same command goes on when the files are complete",
        )


def _fetched_names(pipeline: Pipeline, only: list[str]) -> list[str]:
    """Sources whose drops this command lands, those of `only` when it names any.

    Raises:
        UsageError: there is none, or one of `only` is none.
    """
    declared = pipeline.sources.sources
    kinds = "of kind http or database, or of kind files with a section remote or complete.by marker or stable"
    legal = [name for name, source in declared.items() if source.fetched or source.complete.by != "manifest"]
    for name in only:
        if name not in legal:
            found = f"no source '{name}'"
            if name in declared:
                found = f"source '{name}' is of kind {declared[name].kind}, its upstream writes manifests"
            raise UsageError("--source", found, f"{kinds}: {nearest(name, legal)}", "name one of those")
    if not legal:
        todo = f"write one into conf/pipelines/{pipeline.name}/sources.yaml; else the upstream lands drops by itself"
        raise UsageError(pipeline.name, "no source of kind http or database, and none without manifests", kinds, todo)
    return [name for name in legal if not only or name in only]
