"""`tidegate plan PIPELINE`: what changed definitions mean for what is published, and the commands to run; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import say, show_json
from spark_jobs.cli.planning import missing_drops, schema_changes
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.definitions import define, table_of
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import format_hour
from spark_jobs.lake.changes import pending_changes
from spark_jobs.ledger import Ledger, folds
from spark_jobs.ledger.former import champion_facts
from spark_jobs.ledger.pending import Piece, estimate_seconds, estimated_cells, lake_tables, pieces
from spark_jobs.ledger.staleness import Published, Span, compare, count_hours, stale_ids
from spark_jobs.steps import plan

SHOWN = 12  # names that a line lists


def show_changes(pipeline: str, env: str, *, as_json: bool) -> None:
    """Print what the definitions in conf/ mean for what readers see."""
    facts = change_facts(pipeline, env)
    if as_json:
        show_json(facts)
    else:
        say(*_lines(facts))


def change_facts(pipeline: str, env: str) -> dict[str, Any]:
    """Definitions, stale hours, models, work and commands as plain data."""
    _, places = load_environment(env)
    whole, root = load_pipeline(pipeline), lake_root(pipeline, env)
    ledger = Ledger.open(root)
    published = Published.of(ledger, define(whole))
    changes = pending_changes(whole, root)
    refused = [f"{one.where}: {one.found}; {one.hint}" for one in changes.refusals]
    todo = pieces(whole, published)
    work = [_piece_facts(piece, ledger) for piece in todo]
    seconds = [piece["seconds"] for piece in work]
    models = champion_facts(whole, ledger)
    hours = [piece for piece in todo if piece.how == "hours"]
    missing = {
        f"{format_hour(piece.start)}/{format_hour(piece.end)}": found
        for piece in hours
        if (found := {s: n for s, n in missing_drops(whole, places.landing, piece.start, piece.end).items() if n})
    }
    return {
        "schema_version": 1, "pipeline": pipeline, "env": env,
        "release": published.line[-1].release if published.line else None,
        "published_hours": len(folds.covered_hours(published.line)),
        "unrecorded_hours": count_hours(published.unrecorded()),
        "definitions": _definitions(published), "refused": refused,
        "stale": [_stale_facts(published, table) for table in lake_tables(whole) if published.stale(table)],
        "schema_changes": schema_changes(root, whole), "models": models, "work": work,
        "missing_drops": missing,
        "seconds": None if None in seconds else round(sum(seconds)),
        "rewrites": {one.table: str(one) for one in changes.rewrites},
        "commands": [] if refused else _commands(whole, published, todo, models, bool(changes.rewrites), env),
    }  # fmt: skip


def _definitions(published: Published) -> dict[str, list[str]]:
    """Ids that were added, changed and removed since anything that readers see was made."""
    found: dict[str, set[str]] = {"added": set(), "changed": set(), "removed": set()}
    for digest, before in published.former.items():
        change = compare(before, published.now)
        for word, names in found.items():
            for name in getattr(change, word):
                table = table_of(name)
                if published.made_under("accounts" if table.startswith("entities/") else table, digest):
                    names.add(name)
    return {word: sorted(names) for word, names in found.items()}


def _stale_facts(published: Published, table: str) -> dict[str, Any]:
    spans = published.stale(table)
    because = {name for before in published.former.values() for name in stale_ids(table, before, published.now)}
    return {
        "table": table, "hours": count_hours(spans), "spans": _spans(spans),
        "rows": estimated_cells(published, table, spans), "definitions": sorted(because) or ["rules on rows"],
    }  # fmt: skip


def _piece_facts(piece: Piece, ledger: Ledger) -> dict[str, Any]:
    steps = [step.name for step in plan.HOUR_STEPS]
    rows = ledger.intervals("step", "state", "from_hour", "to_hour", "seconds")
    seconds = estimate_seconds(rows, steps if piece.how == "hours" else [piece.how], piece.hours)
    if seconds is None and piece.how != "hours":  # it makes less than the step that makes features of an hour
        features = [step for step in steps if "features" in plan.STEPS[step].stages]
        seconds = estimate_seconds(rows, features, piece.hours)
    return {
        "how": piece.how, "from": format_hour(piece.start), "to": format_hour(piece.end), "hours": piece.hours,
        "tables": list(piece.tables), "seconds": None if seconds is None else round(seconds),
    }  # fmt: skip


def _commands(
    whole: Pipeline, published: Published, todo: Sequence[Piece], models: Iterable[dict[str, Any]], rewrites: bool, env: str
) -> list[str]:  # fmt: skip
    commands = [f"tidegate migrate {whole.name} --env {env}"] if rewrites else []
    commands += [f"tidegate backfill {whole.name} --changed --env {env}"] if todo else []
    if any(piece.how == "hours" for piece in todo):
        commands.append(f"tidegate heal {whole.name} --env {env}")
    if any(model["former_inputs"] for model in models):
        end = max(folds.covered_hours(published.line)) + timedelta(hours=1)
        start = max(end - timedelta(days=7), whole.start)
        words = f"--from {format_hour(start)} --to {format_hour(end)} --dag-run changed --env {env}"
        commands += [f"tidegate run {whole.name} {step} {words}" for step in ("training_set", "train")]
    return commands


def _spans(spans: Iterable[Span]) -> list[list[str]]:
    return [[format_hour(a), format_hour(b)] for a, b in spans]


def _lines(facts: dict[str, Any]) -> list[str]:
    release = facts["release"] or "none"
    lines = [f"{facts['pipeline']}: {facts['published_hours']} published hours, release {release}"]
    if facts["unrecorded_hours"]:
        lines.append(
            f"  {facts['unrecorded_hours']} of them were published before definitions were recorded: taken for current"
        )
    for word, names in facts["definitions"].items():
        lines.append(f"{word:<8} {_listed(names)}")
    lines += [f"REFUSED  {text}" for text in facts["refused"]]
    for one in facts["stale"]:
        first, last = one["spans"][0][0], one["spans"][-1][1]
        where = f"{one['hours']} hours from {first} to {last}, about {one['rows']:,} rows"
        lines.append(f"stale    {one['table']}: {where}; {_listed(one['definitions'])}")
    for table, columns in facts["schema_changes"].items():
        lines.append(f"schema   {table}: {_listed(columns)}")
    lines += [f"rewrite  {text}" for text in facts["rewrites"].values()]
    lines += [_model_line(model) for model in facts["models"]]
    for interval, missing in facts["missing_drops"].items():
        names = ", ".join(f"{count} of {source}" for source, count in missing.items())
        lines.append(
            f"missing  drops of {interval.replace('/', ' to ')}: {names}; deliver them again before the backfill"
        )
    lines += [_work_line(piece) for piece in facts["work"]]
    if not facts["work"] and not facts["refused"]:
        lines.append("nothing is stale")
    lines += [f"run      {command}" for command in facts["commands"]]
    return lines


def _model_line(model: dict[str, Any]) -> str:
    name = f"model    {model['model']} version {model['version']}:"
    if model["former_inputs"] is None:
        return f"{name} what it was trained on is not recorded, taken for current"
    if not model["former_inputs"]:
        return f"{name} trained on the current definitions of its inputs"
    trained = f"{name} trained on former definitions of {_listed(model['former_inputs'])}"
    if model["scores"]:
        return f"{trained}; they are computed from silver for its scores until a version trained on conf/ is promoted"
    return (
        f"{trained}, which cannot be computed any more; it does not score until a version trained on conf/ is promoted"
    )


def _work_line(piece: dict[str, Any]) -> str:
    cost = "unknown time" if piece["seconds"] is None else f"about {piece['seconds']} s"
    how = {"hours": "run the hours again", "rebuild": "rebuild from silver", "heal": "heal cells"}[piece["how"]]
    return f"work     {how}: {piece['hours']} hours from {piece['from']} to {piece['to']}, {_listed(piece['tables'])}; {cost}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"
