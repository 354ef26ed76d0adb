"""`tidegate plan`: what a step would do, from conf/, landing folder, ledger and table schemas; writes nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import say, show_json
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.definitions import Definitions, define
from spark_jobs.config.interval import check_interval
from spark_jobs.config.schemas import table_types
from spark_jobs.config.suites import RESERVED, RESERVED_OF_SETS
from spark_jobs.config.whole import Pipeline, lake_table
from spark_jobs.errors import UsageError
from spark_jobs.invocation import Invocation, format_hour, hours_between, parse_hour
from spark_jobs.steps import plan

_SCOPES = ("silver", "features", "training_set")  # of verdicts that a suite is behind


def plan_of(pipeline: str, step: str | None, start: str | None, end: str | None, env: str, *, as_json: bool) -> None:
    """Print the plan of a step over [start, end), or of what changed definitions mean where none is named.

    Raises:
        UsageError: a step without its interval, or an interval without a step.
    """
    if step is None and start is None and end is None:
        from spark_jobs.cli.changes import show_changes

        show_changes(pipeline, env, as_json=as_json)
        return
    if step is None or start is None or end is None:
        missing = [word for word, value in (("STEP", step), ("--from", start), ("--to", end)) if value is None]
        raise UsageError(
            "plan",
            f"{', '.join(missing)} missing",
            "STEP with --from and --to, or PIPELINE alone",
            "tidegate plan --help",
        )
    show_plan(pipeline, step, start, end, env, as_json=as_json)


def show_plan(pipeline: str, step_name: str, start: str, end: str, env: str, *, as_json: bool) -> None:
    """Print the plan of one step over [start, end)."""
    environment, places = load_environment(env)
    step = plan.step(step_name)
    low, high = parse_hour(start, "--from"), parse_hour(end, "--to")
    call = Invocation(pipeline, step_name, low, high, "plan", env)
    whole = load_pipeline(pipeline)
    check_interval(whole, call)
    root = places.lake / pipeline
    jvm, profile = environment.profile(step_name, call.hours)
    facts: dict[str, Any] = {
        "pipeline": pipeline, "step": step_name, "meaning": step.meaning, "stages": list(step.stages),
        "gates": list(step.gates), "from": format_hour(low), "to": format_hour(high), "hours": call.hours,
        "hours_published": _published(root, low, high),
        "reads": plan.tables_read(whole, step.stages), "writes": plan.tables_written(whole, step.stages),
        "rules": {table: len(suite.rules) for table, suite in whole.suites.items()},
        "checks": checks(root, whole), "schema_changes": schema_changes(root, whole),
        "rewrites": _rewrites(root, whole, env),
        "jvm": jvm, "memory_mb": profile.memory_mb, "cores": profile.cores,
        "missing_drops": missing_drops(whole, places.landing, low, high) if "bronze" in step.stages else {},
        "command": call.command(),
    }  # fmt: skip
    if as_json:
        show_json(facts)
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' '):>15}  {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def checks(root: Path, pipeline: Pipeline) -> dict[str, Any]:
    """Number of rules, and the rules added, gone or rewritten since the newest verdict on each table."""
    before = _last_verdicts(root)
    now = {lake_table(table): suite for table, suite in pipeline.suites.items()}
    added, changed = [], []
    for table, suite in now.items():
        if table in before:
            judged, suite_hash, defined = before[table]
            new = [f"{table}.{rule.id}" for rule in suite.rules if rule.id not in judged]
            added += new
            gone = judged - {rule.id for rule in suite.rules}
            if defined is not None and table not in pipeline.training_sets:  # whose rules define no hour
                changed += _rewritten(defined, define(pipeline), table)
            else:  # a verdict of a version that recorded no definitions
                changed += [table] if suite_hash != suite.digest and not (new or gone) else []
    removed = [
        f"{table}.{rule}"
        for table, (judged, *_) in before.items()
        for rule in sorted(judged - {rule.id for rule in (now[table].rules if table in now else [])})
    ]
    number = sum(len(suite.rules) for suite in pipeline.suites.values())
    since = {"added": added, "removed": removed, "rewritten": changed} if before else "nothing was judged yet"
    return {"now": number, "change since the last run": since}


def checks_line(pipeline: str, env: str) -> str:
    """How many rules judge the pipeline's tables, and which came or went since the last run: lost checks are noticed."""
    facts = checks(lake_root(pipeline, env), load_pipeline(pipeline))
    return f"checks: {facts['now']}; since the last run {_shown(facts['change since the last run'])}"


def _rewritten(before: Definitions, now: Definitions, table: str) -> list[str]:
    """Rules of `table` that state something else than before, those that every table has among them."""
    old, new = before.of(table), now.of(table)
    both = sorted(name for name in old.keys() & new.keys() if new[name].kind == "rule")
    return [name.replace(":", ".", 1) for name in both if old[name].facts != new[name].facts]


def _last_verdicts(root: Path) -> dict[str, tuple[set[str], str, Definitions | None]]:
    """For each table the ids of the rules of its newest verdict, without those that every table has; suite hash; definitions."""
    from spark_jobs.ledger import Ledger
    from spark_jobs.verdict import Verdict

    ledger = Ledger.open(root)
    started = ledger.store.rows("intervals", ["pub", "config_hash"], {"state": "started"})
    digests, recorded = {row["pub"]: row["config_hash"] for row in started}, ledger.definitions()
    newest = {row["table"]: row for row in ledger.store.rows("verdicts") if row["scope"] in _SCOPES}
    found: dict[str, tuple[set[str], str, Definitions | None]] = {}
    for table, row in newest.items():
        verdict = Verdict.from_json(row["verdict"])
        reserved = {*RESERVED, *(RESERVED_OF_SETS if verdict.scope == "training_set" else ())}
        rules = {rule.rule for rule in verdict.rules if ":" not in rule.rule and rule.rule not in reserved}
        found[table] = (rules, verdict.suite_hash, recorded.get(digests.get(row["pub"], "")))
    return found


def schema_changes(root: Path, pipeline: Pipeline) -> dict[str, list[str]]:
    """Columns that conf/ has and a table of the lake has not (+), or the other way round (-), by table."""
    from spark_jobs.storage.damage import open_log

    wanted = {
        table: types for table, types in table_types(pipeline).items() if table.startswith(("silver/", "features/"))
    }
    found: dict[str, list[str]] = {}
    for table, types in wanted.items():
        log = open_log(root / table)
        if log is None:
            continue
        present = {field.name for field in log.schema().fields}
        words = [
            *(f"+{name}" for name in types if name not in present),
            *(f"-{name}" for name in present - {*types}),
        ]
        if words:
            found[table] = sorted(words)
    return found


def _rewrites(root: Path, pipeline: Pipeline, env: str) -> dict[str, Any]:
    """Published tables that `tidegate migrate` must rewrite before a step can run, with their size.

    Raises:
        UsageError: conf/ contradicts published rows.
    """
    from spark_jobs.lake.changes import pending_changes, require_allowed

    changes = pending_changes(pipeline, root)
    require_allowed(pipeline, changes)
    sizes = {one.table: str(one) for one in changes.rewrites}
    return {**sizes, "command": f"tidegate migrate {pipeline.name} --env {env}"} if sizes else {}


def _published(root: Path, low: datetime, high: datetime) -> int:
    """Hours of the interval that are readable already."""
    from spark_jobs.ledger import Ledger, folds

    seen = folds.covered_hours(Ledger.open(root).line())
    return sum(hour in seen for hour in hours_between(low, high))


def missing_drops(pipeline: Pipeline, landing: Path, low: datetime, high: datetime) -> dict[str, int]:
    """Number of hours of [low, high) whose drop has not landed, by source."""
    from spark_jobs.sources.drops import find_drops

    hours, folder, sources = list(hours_between(low, high)), landing / pipeline.name, pipeline.sources
    return {name: len(hours) - len(find_drops(sources, folder, name, hours)) for name in sources.sources}
