"""What a step's result line says, for people: state and rows, warnings of a green run, and what a training measured."""

from __future__ import annotations

from typing import Any

from spark_jobs.cli.output import say, show_json, show_table
from spark_jobs.values import printable

_WARNINGS, _FIGURES, _BARS = 10, 12, 12  # lines that people get; JSON and the ledger have all
_LONGEST = 200  # characters of one line


def show_result(result: dict[str, Any], *, as_json: bool, env: str = "local") -> None:
    """Print the result line of a step, for people or as JSON."""
    if as_json:
        show_json(result)
    elif result:
        rows = result.get("rows") or {}
        named = "".join(
            f", {what} {result[key]}"
            for what, key in (("release", "release"), ("publication", "pub"))
            if result.get(key)
        )
        say(f"{result['step']}: {result['state']}{named}, {sum(rows.values())} rows, {result['seconds']}")
        _show_warnings(result, env)
        for name, facts in (result.get("models") or {}).items():
            _show_training(name, facts) if "figures" in facts else _show_training_set(name, facts)


def _show_warnings(result: dict[str, Any], env: str) -> None:
    """Rules that broke and do not block: a green run is not silent about them."""
    warnings = result.get("warnings") or []
    for one in warnings[:_WARNINGS]:
        say(
            printable(
                f"  WARN {one['table']}, rule {one['rule']}: {one['observed']}; allowed: {one['allowed']}", _LONGEST
            )
        )
    left = result.get("warnings_total", 0) - len(warnings[:_WARNINGS])
    if left > 0:
        look = f"tidegate status {result['pipeline']} --hour {result['start']} --env {env}"
        say(f"  … {left} more warnings: {look}")


def _show_training_set(name: str, facts: dict[str, Any]) -> None:
    by_rules = f", {facts['dropped_by_rules']} by rules of its suite" if facts.get("dropped_by_rules") else ""
    say(
        f"  {name}: {facts['rows']['kept']} rows of {facts['spine_rows']} spine rows, {facts['positive_labels']} labels are 1;"
        f" left out: {facts['dropped_without_label']} without a label, {facts['dropped_without_cells']} without on-time features"
        f"{by_rules}"
    )


def _show_training(name: str, facts: dict[str, Any]) -> None:
    rows = facts["rows"]
    say(f"  {name}: trained on {rows['training']} rows, judged on {rows['judged']} later rows; {_decision(facts)}")
    figures = sorted(facts["figures"].items(), key=lambda one: (one[0] != "challenger", one[0] != "champion", one[0]))
    lines = [[f"  {which}", _digits(one["auc"]), _digits(one["log_loss"])] for which, one in figures]
    show_table("", ["  on the judged rows", "auc", "log loss"], lines[:_FIGURES])
    if len(lines) > _FIGURES:
        say(f"  … {len(lines) - _FIGURES} more figures: the same command with --json")
    failed = facts["failed_bars"]
    bars = [("not passed", bar) for bar in failed] + [("passed", bar) for bar in facts["bars"] if bar not in failed]
    for word, bar in bars[:_BARS]:
        say(printable(f"  {word}: {bar}", _LONGEST))
    if len(bars) > _BARS:
        say(f"  … {len(bars) - _BARS} more bars: the same command with --json")


def _decision(facts: dict[str, Any]) -> str:
    before = facts["champion_before"]
    if not facts["registered"]:
        return "not registered, the champion stays"
    if facts["promoted"]:
        return f"registered as version {facts['version']} and promoted to champion (before: {before or 'none'})"
    stays = f"version {before} stays champion" if before != facts["version"] else "it is the champion already"
    return f"registered as version {facts['version']}, not promoted: {stays}"


def _digits(value: object) -> str:
    """Four digits; nothing for a figure that is not defined, such as the log loss of a score that is no probability."""
    return f"{value:.4f}" if isinstance(value, int | float) and value == value else ""
