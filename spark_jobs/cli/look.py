"""Commands that only look: they start no JVM and write nothing into the lake."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.cli.output import LONGEST_CELL, first_line, note, one_line, say, show_json, show_table
from spark_jobs.config import ConfigError, list_pipelines, load_environment, load_pipeline, project_folder
from spark_jobs.config.faults import Fault
from spark_jobs.config.load import check_channels, stray_pipelines
from spark_jobs.errors import EXIT_OK, EXIT_USAGE, UsageError, nearest
from spark_jobs.invocation import HOUR, format_hour, parse_hour
from spark_jobs.values import instant_text, printable

_RUNS, _VERDICTS, _BROKEN, _INCIDENTS, _WARNINGS = 20, 30, 30, 10, 10  # lines that people get; JSON has all


def validate_all(pipeline: str | None, env: str, *, as_json: bool) -> None:
    """Load the environment and one or all pipelines, and hold them against each other; all faults in one error.

    Raises:
        ConfigError: any fault.
        UsageError: no such pipeline or environment, or none at all.
    """
    faults: list[Fault] = list(stray_pipelines(project_folder()))
    good = []
    for name in [pipeline] if pipeline else list_pipelines():
        whole = None
        try:
            whole = load_pipeline(name)
        except ConfigError as error:
            faults.extend(fault for fault in error.faults if fault not in faults)
        try:
            check_channels(name, env)
        except ConfigError as error:
            faults.extend(fault for fault in error.faults if fault not in faults)
        if whole is not None:
            good.append((name, whole))
    if faults and as_json:
        show_json({"ok": False, "faults": [asdict(fault) for fault in faults]})
    if faults:
        raise ConfigError(str(project_folder()), faults)
    if not good:
        raise UsageError(str(project_folder()), "no pipeline in conf/pipelines", "a folder with pipeline.yaml",
                         "add conf/pipelines/<name>/pipeline.yaml")  # fmt: skip
    facts = [
        {"pipeline": n, "tables": len(w.silver) + len(w.feature_tables) + len(w.training_sets),
         "rules": sum(len(s.rules) for s in w.suites.values()),
         "config_hash": w.config_hash}
        for n, w in good
    ]  # fmt: skip
    if as_json:
        show_json({"ok": True, "pipelines": facts})
    else:
        for fact in facts:
            say(f"{fact['pipeline']}: ok, {fact['tables']} tables with rules, {fact['rules']} rules")


def lake_root(pipeline: str, env: str) -> Path:
    """The folder of `pipeline` in the lake of `env`.

    Raises:
        UsageError: no such pipeline or environment.
    """
    if pipeline not in list_pipelines():
        legal = list_pipelines()
        raise UsageError("pipeline", f"no pipeline '{pipeline}'", nearest(pipeline, legal), "tidegate status")
    _, places = load_environment(env)
    return places.lake / pipeline


def show_status(pipeline: str | None, hour: str | None, env: str, *, as_json: bool) -> None:
    """How the hours of one or all pipelines stand."""
    from spark_jobs.report.facts import hour_facts

    if hour is not None:
        if pipeline is None:
            raise UsageError(
                "status", "--hour needs a pipeline", "PIPELINE before --hour", "tidegate status PIPELINE --hour H"
            )
        at = parse_hour(hour, "--hour")
        root, whole = lake_root(pipeline, env), load_pipeline(pipeline)
        facts = hour_facts(root, whole, at, *_accounts(root, whole, at))
        show_json(facts) if as_json else _print_hour(facts, env)
        return
    found = [_facts(lake_root(name, env), name, env) for name in ([pipeline] if pipeline else list_pipelines())]
    if as_json:
        show_json(found[0] if pipeline else found)
        return
    if not found:
        note(f"{project_folder()}: no pipeline in conf/pipelines")
    for facts in found:
        _print_pipeline(facts, env)


def _facts(root: Path, pipeline: str, env: str) -> dict[str, Any]:
    from spark_jobs.ledger import Ledger
    from spark_jobs.ledger.former import champion_facts
    from spark_jobs.quality.accounts import settled_totals
    from spark_jobs.report.facts import pipeline_facts

    whole, ledger = load_pipeline(pipeline), Ledger.open(root)
    facts = pipeline_facts(root, whole, settled_totals(whole, root, ledger))
    return {**facts, "registry": _registry(whole, ledger, env), "models": champion_facts(whole, ledger)}


def _registry(whole: Any, ledger: Any, env: str) -> list[dict[str, Any]]:  # a Pipeline, a Ledger
    """Models on which registry and ledger disagree; the registry's client is imported only if there can be any."""
    _, places = load_environment(env)
    models, kept_here = whole.model_settings, places.tracking_uri.startswith("sqlite:///")
    may_differ = not kept_here or Path(places.tracking_uri.removeprefix("sqlite:///")).exists()
    if not any(may_differ or ledger.champion(model) for model in models):
        return []
    from spark_jobs.cli.model import registry_facts

    return registry_facts(whole, places, ledger, env)


def _accounts(root: Path, whole: Any, hour: datetime) -> tuple[list[dict[str, Any]], ...]:  # a Pipeline
    """Where the rows of the hour's drops went, and the spine rows that it accounts for."""
    from spark_jobs.ledger import Ledger
    from spark_jobs.quality.accounts import published_spine_accounts, settled_accounts

    ledger, span = Ledger.open(root), (hour, hour + HOUR)
    return settled_accounts(whole, root, ledger, *span), published_spine_accounts(whole, root, ledger.line(), *span)


def _print_pipeline(facts: dict[str, Any], env: str) -> None:
    states = ", ".join(f"{count} {state}" for state, count in facts["hours"].items()) or "none yet"
    release = facts["release"]
    say(f"{facts['pipeline']} (owner {facts['owner']})")
    say(f"  hours      {states}")
    say(
        f"  release    {release['release'] if release else 'none'}"
        + (f", {release['kind']}; readers see hours to {release['to'] or 'none'}" if release else "")
    )
    champion = ", ".join(f"{m} version {v}" for m, v in facts["champions"].items() if v) or "none"
    say(f"  champion   {champion}")
    for one in facts["registry"]:
        if one["problem"] is None:
            say(f"  registry   not compared for model {one['model']}: {one['unreachable'].partition(chr(10))[0]}")
            continue
        say(f"  registry   {one['problem']}")
        for way, command in one["ways"].items():
            say(f"             to {way}: {command}")
    for model in facts["models"]:
        if model["former_inputs"]:
            name = f"{model['model']} version {model['version']}"
            if model["scores"]:
                say(f"             {name} scores with former definitions until a version trained on conf/ is promoted")
            else:
                say(f"             {name} does not score: its inputs were redefined since")
            say(f"             do: tidegate plan {facts['pipeline']}")
    for name, account in facts["account"].items():
        say(f"  account    {name}: " + ", ".join(f"{value} {word}" for word, value in account.items()))
    for warning in facts["warnings"][:_WARNINGS]:
        say(printable(f"  warning    {warning['table']}, rule {warning['rule']}: {warning['observed']}", LONGEST_CELL))
    if len(facts["warnings"]) > _WARNINGS:
        left = len(facts["warnings"]) - _WARNINGS
        say(f"             {left} more warnings not shown: tidegate status {facts['pipeline']} --env {env} --json")
    say(f"  incidents  {len(facts['open_incidents'])} open")
    for incident in facts["open_incidents"][-_INCIDENTS:]:
        say(f"             {incident['incident']}, owner {incident['owner']}")
    if len(facts["open_incidents"]) > _INCIDENTS:
        left = len(facts["open_incidents"]) - _INCIDENTS
        say(f"             {left} older ones not shown: tidegate status {facts['pipeline']} --env {env} --json")
    for failed in facts["failed_channels"]:
        say(f"  alerts     not sent: {one_line(failed['why'])} ({instant_text(failed['since'])})")


def _print_hour(facts: dict[str, Any], env: str) -> None:
    say(
        f"{facts['pipeline']} {facts['hour']}: {facts['state']}"
        + (f", release {facts['release']}" if facts["release"] else "")
    )
    account = ["table", "manifest", "silver", "quarantined", "duplicates", "discarded"]
    show_table("account", account, [[row[name] for name in account] for row in facts["account"]])
    spine = ["as_of", "expected", "predicted", "incomplete", "not_known", "entity_null", "no_cells", "too_early"]
    show_table("spine rows", spine, [[row[name] for name in spine] for row in facts["spine"]])
    all_of = f"tidegate status {facts['pipeline']} --hour {facts['hour']} --env {env} --json"
    runs = [[r["seq"], r["step"], r["state"], r["pub"], first_line(r["why"] or "")] for r in facts["runs"]]
    _newest("runs", ["seq", "step", "state", "pub", "why"], runs, _RUNS, all_of)
    verdicts = [[v["pub"], v["table"], v["outcome"], v["rules"], len(v["broken"])] for v in facts["verdicts"]]
    _newest("verdicts", ["pub", "table", "outcome", "rules", "broken"], verdicts, _VERDICTS, all_of)
    broken = [
        [v["pub"], r["outcome"], v["table"], r["rule"], r["observed"], r["allowed"]]
        for v in facts["verdicts"] for r in v["broken_rules"]
    ]  # fmt: skip
    if broken:
        _newest("broken rules", ["pub", "outcome", "table", "rule", "observed", "allowed"], broken, _BROKEN, all_of)
    if facts["state"] == "refused":
        say(
            f"rows that it held back: tidegate quarantine list {facts['pipeline']} --refused --hour {facts['hour']} --env {env}"
        )


def _newest(title: str, columns: list[str], rows: list[list[Any]], limit: int, all_of: str) -> None:
    """The last `limit` of `rows`, oldest first, and how many before them are not shown."""
    show_table(title, columns, rows[-limit:])
    if len(rows) > limit:
        say(f"… {len(rows) - limit} older {title} not shown: {all_of}")


def read_rows(
    pipeline: str, table: str, release: int | None, as_known: str | None, where: str, limit: int, env: str
) -> None:
    """Published rows of one table as JSON. `predictions` alone means those of the only model."""
    from spark_jobs.lake.kinds import table_kinds
    from spark_jobs.lake.reading import read_current
    from spark_jobs.ledger import Ledger

    known_by = parse_hour(as_known, "--as-known") if as_known else None
    kinds = table_kinds(load_pipeline(pipeline))
    root = lake_root(pipeline, env)
    short = [name for name in kinds if name.partition("/")[0] == table]
    name = short[0] if table not in kinds and len(short) == 1 else table
    if name not in kinds:
        raise UsageError("table", f"no lake table '{table}'", nearest(table, list(kinds)), "name one of those")
    line = Ledger.open(root).line(release)
    rows = read_current(root, name, kinds[name], line, where=where, limit=limit, known_by=known_by)
    asked = {"as_known": known_by} if known_by else {}
    show_json({"rows": rows, "release": line[-1].release if line else None, **asked})


def write_view_file(
    pipeline: str, release: int | None, as_known: str | None, file: Path, env: str, *, as_json: bool
) -> None:
    """A DuckDB file of views of one release; the lake stays as it is."""
    from spark_jobs.lake.kinds import table_kinds
    from spark_jobs.lake.views import released_line, write_views

    known_by = parse_hour(as_known, "--as-known") if as_known else None
    kinds, root = table_kinds(load_pipeline(pipeline)), lake_root(pipeline, env)
    line = released_line(root, release)
    names = write_views(file, root, kinds, line, known_by)
    number = line[-1].release
    if as_json:
        show_json({"file": str(file.absolute()), "release": number, "as_known": known_by, "views": names})
    else:
        known = f", as known at {format_hour(known_by)}" if known_by else ""
        say(f"{file}: {len(names)} views of release {number}{known}; a later release needs the command again")


def run_doctor(quick: bool, env: str, *, as_json: bool) -> int:
    """Every check with its fix; 0 when all are well, else 64."""
    from spark_jobs.runtime.checks import run_checks
    from spark_jobs.runtime.scheduler import check_airflow

    environment, places = load_environment(env)
    checks = run_checks(places.data, ports=[], quick=quick)
    if not quick:
        checks += check_airflow(list_pipelines(), environment.spark.master)
    if as_json:
        show_json([asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{'ok ' if check.ok else 'BAD'}  {check.name:<22} {check.found}")
            if not check.ok:
                say(f"     allowed: {check.allowed}", f"     do: {check.fix}")
    bad = [check for check in checks if not check.ok]
    if bad:
        note(f"{len(bad)} of {len(checks)} checks failed")
    return EXIT_USAGE if bad else EXIT_OK
