"""`tidegate release`: what readers follow. Only `rollback` writes, one ledger row that readers follow; none starts a JVM."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from spark_jobs.cli.look import lake_root
from spark_jobs.cli.output import say, show_json, show_some, show_table
from spark_jobs.config import load_pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import format_hour
from spark_jobs.values import instant_text, printable

_TABLES, _RANGES, _NAMED = 12, 6, 4  # lines, lines and columns a line that people get; JSON has all
_DEAD, _LONGEST = 20, 1_000  # numbers, characters


def list_releases(pipeline: str, limit: int, env: str, *, as_json: bool) -> None:
    """The newest releases."""
    from spark_jobs.ledger import Ledger

    releases = Ledger.open(lake_root(pipeline, env)).releases()
    facts = [_release(release) for release in releases[::-1][:limit]]
    if as_json:
        show_json(facts)
        return
    show_table("", ["release", "kind", "from", "to", "pub", "rows", "at"],
               [[f["release"], f["kind"], f["from"], f["to"], f["pub"], sum(f["rows"].values()), f["at"]] for f in facts])  # fmt: skip
    if (left := len(releases) - len(facts)) > 0:
        say(f"… {left} older releases not shown: --limit {len(releases)} shows all")


def show_release(pipeline: str, number: int, env: str, *, as_json: bool) -> None:
    """One release, whole."""
    from spark_jobs.ledger import Ledger

    line = Ledger.open(lake_root(pipeline, env)).line(number)
    facts = {**_release(line[-1]), "parent": line[-1].parent, "dead": sorted(line[-1].dead), "why": line[-1].why,
             "covers": [[table, format_hour(a), format_hour(b)] for table, a, b in line[-1].covers]}  # fmt: skip
    if as_json:
        show_json(facts)
        return
    spans: dict[tuple[str, str], list[str]] = defaultdict(list)
    for table, start, end in facts["covers"]:
        spans[start, end].append(table)
    dead = ", ".join(map(str, facts["dead"][-_DEAD:])) or "none"
    told = {
        **{name: facts[name] for name in ("release", "kind", "from", "to", "pub", "at", "parent", "why")},
        "rows": ", ".join(f"{table} {count}" for table, count in facts["rows"].items()) or "none",
        "dead": f"{len(facts['dead'])} publications: {dead}" if facts["dead"] else "none",
    }  # fmt: skip
    for name, value in told.items():
        say(f"{name:>8}  {'none' if value is None else printable(str(value), _LONGEST)}".rstrip())
    covers = [[start, end, _tables(tables)] for (start, end), tables in sorted(spans.items())]
    if covers:
        show_some(
            "",
            ["covers from", "to", "of"],
            covers,
            _RANGES,
            f"tidegate release show {pipeline} {number} --env {env} --json",
        )


def _release(release: Any) -> dict[str, Any]:  # a ledger Release; its module is imported late
    from spark_jobs.ledger import hours_of

    span = hours_of(release)
    return {
        "release": release.release, "kind": release.kind, "from": format_hour(span[0]) if span else "",
        "to": format_hour(span[1]) if span else "", "pub": release.pub, "rows": release.rows,
        "at": instant_text(release.at),
    }  # fmt: skip


def roll_back(pipeline: str, to: int, why: str, env: str, *, as_json: bool) -> None:
    """Let readers see again what they saw at release `to`; say what became of which hours, and how to undo it.

    Raises:
        UsageError: no such release, readers see just that, or no reason is given.
    """
    from spark_jobs.ledger import Ledger

    if not why.strip():
        raise UsageError(
            "--why",
            "no reason",
            "a sentence that the ledger keeps",
            f"tidegate release show {pipeline} {to} --env {env}",
        )
    ledger = Ledger.open(lake_root(pipeline, env))
    before = ledger.line()
    done = ledger.rollback(pipeline, to, why)
    undo = f"tidegate release rollback {pipeline} {before[-1].release} --why 'undo' --env {env}"
    spans = {
        state: [[format_hour(start), format_hour(end)] for start, end in found]
        for state, found in (("withdrawn", done.withdrawn), ("published", done.published))
    }
    if as_json:
        show_json(
            {"release": done.release.release, "shows": to, "dead": sorted(done.release.dead), **spans, "undo": undo}
        )
        return
    say(f"release {done.release.release}: readers see the rows of release {to} again, and every score given since")
    for state, found in spans.items():
        shown = "; ".join(f"[{start}, {end})" for start, end in found[:_RANGES]) or "none"
        say(f"  {state:<9}  {shown}")
        if len(found) > _RANGES:
            compare = f"tidegate release diff {pipeline} {before[-1].release} {done.release.release} --env {env} --json"
            say(f"             {len(found) - _RANGES} more not shown: {compare}")
    say(f"  to undo    {undo}")


def diff_releases(pipeline: str, first: int, second: int, env: str, *, as_json: bool) -> None:
    """What readers of release `second` see that readers of `first` do not: publications, rows, hours."""
    from spark_jobs.lake.differences import differences
    from spark_jobs.lake.kinds import table_kinds
    from spark_jobs.ledger import Ledger, folds

    kinds, root = table_kinds(load_pipeline(pipeline)), lake_root(pipeline, env)
    ledger = Ledger.open(root)
    before, after = ledger.line(first), ledger.line(second)
    by_pub = {release.pub: release for release in (*before, *after)}
    only = {
        side: [{"pub": pub, "release": by_pub[pub].release, "kind": by_pub[pub].kind} for pub in sorted(pubs)]
        for side, pubs in (("only_in_a", folds.live(before) - folds.live(after)),
                           ("only_in_b", folds.live(after) - folds.live(before)))
    }  # fmt: skip
    tables = [
        {"table": found.table, "added": found.added, "removed": found.removed, "changed": found.changed,
         "columns": found.columns,
         "hours": [{"from": format_hour(h.start), "to": format_hour(h.end), "pub_a": h.pub_a, "pub_b": h.pub_b}
                   for h in found.hours]}
        for found in differences(root, kinds, before, after)
    ]  # fmt: skip
    facts = {"pipeline": pipeline, "a": first, "b": second, "publications": only, "tables": tables}
    show_json(facts) if as_json else _print_diff(facts)


def _print_diff(facts: dict[str, Any]) -> None:
    a, b, only = facts["a"], facts["b"], facts["publications"]
    say(f"{facts['pipeline']}: what readers of release {b} see that readers of release {a} do not")
    say(f"publications  only in {a}: {_listed(only['only_in_a'])}; only in {b}: {_listed(only['only_in_b'])}")
    differ = [t for t in facts["tables"] if t["added"] or t["removed"] or t["changed"]]
    if differ:
        shown = [[t["table"], t["added"], t["removed"], t["changed"], _most_changed(t["columns"])] for t in differ]
        show_table("", ["rows of", "added", "removed", "changed", "in columns"], shown[:_TABLES])
        _more(len(shown) - _TABLES, "tables")
    else:
        say("rows  the same in every table")
    ranges: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for table in facts["tables"]:
        for hours in table["hours"]:
            ranges[tuple(hours.values())].append(table["table"])
    if ranges:
        shown = [[start, end, pub_a or "none", pub_b or "none", _tables(names)]
                 for (start, end, pub_a, pub_b), names in sorted(ranges.items(), key=lambda one: one[0][:2])]  # fmt: skip
        show_table("", ["hours from", "to", f"pub in {a}", f"pub in {b}", "of"], shown[:_RANGES])
        _more(len(shown) - _RANGES, "ranges of hours")


def _listed(publications: list[dict[str, Any]]) -> str:
    shown = [f"{one['pub']} ({one['kind']})" for one in publications[:_NAMED]]
    rest = len(publications) - _NAMED
    return ", ".join(shown + ([f"{rest} more"] if rest > 0 else [])) or "none"


def _most_changed(columns: dict[str, int]) -> str:
    most = sorted(columns.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{name} {count}" for name, count in most[:_NAMED]) + (
        f", {len(most) - _NAMED} more" if len(most) > _NAMED else ""
    )


def _tables(names: list[str]) -> str:
    return ", ".join(names) if len(names) < _NAMED else f"{names[0]} and {len(names) - 1} more tables"


def _more(left: int, what: str) -> None:
    if left > 0:
        say(f"… {left} more {what}: the same command with --json")
