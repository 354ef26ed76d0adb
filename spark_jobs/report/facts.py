"""What the pages and `status` show, as plain data folded from the ledger and the accounts; no JVM."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from spark_jobs.alerts.incidents import failed_channels, open_incidents
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import HOUR, format_hour, hours_between
from spark_jobs.ledger import Ledger, Release, Row, folds
from spark_jobs.steps.plan import JUDGED, SEALS
from spark_jobs.verdict import Outcome, Verdict

FIELDS = ("manifest", "silver", "quarantined", "duplicates", "discarded")


Sums = dict[str, dict[str, int]]  # rows by table and by where they went


def pipeline_facts(root: Path, pipeline: Pipeline, account: Sums | None = None) -> dict[str, Any]:
    """Hours by state, account of rows, latest release, champions, open incidents, channels that failed.

    `account`: the sums over what readers see, where those of the ledger's publications are others.
    """
    ledger = Ledger.open(root)
    intervals, releases = ledger.intervals("step", "from_hour", "to_hour", "state", "pub", "rows"), ledger.releases()
    states = folds.hour_states(intervals, folds.chain(releases))
    newest = releases[-1] if releases else None
    seen = [hour for hour, state in states.items() if state == "published"]
    seen_to = format_hour(max(seen) + HOUR) if seen else ""
    models = pipeline.model_settings
    incidents = ledger.incidents()
    return {
        "schema_version": 1, "pipeline": pipeline.name, "owner": pipeline.owner,
        "hours": dict(Counter(states.values())),
        "latest_hours": [{"hour": format_hour(h), "state": states[h]} for h in sorted(states)[-24:]],
        "blocked_hours": [format_hour(h) for h in sorted(blocked_hours(intervals))],
        "account": _account(intervals) if account is None else account,
        "release": {"release": newest.release, "kind": newest.kind, "to": seen_to} if newest else None,
        "champions": {name: ledger.champion(name) for name in models},
        "warnings": _warnings(ledger, folds.chain(releases)),
        "open_incidents": [
            {"incident": key, "owner": row["owner"], "since": row["at"]} for key, row in open_incidents(incidents).items()
        ],
        "failed_channels": [
            {"channel": name, "since": row["at"], "why": row["body"]} for name, row in failed_channels(incidents).items()
        ],
    }  # fmt: skip


def _warnings(ledger: Ledger, line: list[Release]) -> list[dict[str, Any]]:
    """Rules that broke and did not block, of the newest publication of hours that readers see."""
    alive = folds.live(line)
    newest = next((r for r in reversed(line) if r.kind in ("hour", "backfill") and r.pub in alive), None)
    return [
        {"table": verdict.table, "rule": rule.rule, "observed": rule.observed, "release": newest.release}
        for verdict in (ledger.verdicts(newest.pub) if newest else [])
        for rule in verdict.rules if newest and rule.outcome is Outcome.WARN
    ]  # fmt: skip


def blocked_hours(intervals: list[Row]) -> set[datetime]:
    """Hours that a gate refused at least once, whatever became of them later."""
    rows = [row for row in intervals if row["state"] == "refused" and row["step"] in JUDGED]
    return {hour for row in rows for hour in hours_between(row["from_hour"], row["to_hour"])}


def _account(intervals: list[Row]) -> Sums:
    """Sums by table over the publications that were released."""
    published = {row["pub"] for row in intervals if row["state"] == "published"}
    sums: Sums = {}
    sealed = {row["pub"]: row["rows"] for row in intervals if row["step"] in SEALS and row["state"] == "staged"}
    for pub in sealed.keys() & published:
        for table, account in json.loads(sealed[pub]).items():
            total = sums.setdefault(table, dict.fromkeys(FIELDS, 0))
            for field in FIELDS:
                total[field] += account[field]
    return sums


def hour_facts(
    root: Path, pipeline: Pipeline, hour: datetime, account: list[Row], spine: list[Row] | None = None
) -> dict[str, Any]:
    """Runs, verdicts and accounts of one hour; `account` and `spine` are its published rows of `accounts` and `spine_accounts`."""
    ledger = Ledger.open(root)
    runs = [r for r in ledger.intervals() if r["from_hour"] <= hour < r["to_hour"]]
    pubs = {row["pub"] for row in runs if row["pub"]}
    verdicts = [row for pub in sorted(pubs) for row in ledger.store.rows("verdicts", where={"pub": pub})]
    line = ledger.line()
    state, alive = folds.hour_states(runs, line).get(hour, "none"), folds.live(line)
    covering = [
        r for r in line if r.kind != "score" and r.pub in alive and any(a <= hour < b for _, a, b in r.covers)
    ]  # fmt: skip
    told = [(r["pub"], r["seq"], Verdict.from_json(r["verdict"])) for r in verdicts]
    return {
        "schema_version": 1, "pipeline": pipeline.name, "hour": format_hour(hour),
        "state": state,
        "release": covering[-1].release if covering and state == "published" else None,
        "blocked": any(row["state"] == "refused" and row["step"] in JUDGED for row in runs),
        "account": account, "spine": spine or [],
        "runs": [{k: r[k] for k in ("seq", "dag_run", "step", "state", "pub", "why", "at")} for r in runs],
        "verdicts": [
            {"pub": pub, "seq": seq, "table": v.table, "outcome": v.outcome.value,
             "rules": len(v.rules), "broken": [f"{r.rule}: {r.observed}" for r in v.broken()],
             "broken_rules": [
                 {"rule": r.rule, "outcome": r.outcome.value, "column": r.column, "observed": r.observed, "allowed": r.allowed,
                  "bad": r.bad, "total": r.total, "examples": list(r.examples), "why": r.why} for r in v.broken()
             ]}
            for pub, seq, v in told
        ],
    }  # fmt: skip
