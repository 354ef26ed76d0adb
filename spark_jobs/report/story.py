"""What the HTML page tells, as plain data: the latest hours with their gates, the feature tables, the newest model."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from spark_jobs.config.whole import Pipeline, lake_table
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.ledger import Ledger, Row, folds
from spark_jobs.report.facts import Sums, pipeline_facts
from spark_jobs.steps.plan import JUDGED, SEALS
from spark_jobs.verdict import MASKED, Verdict

LATEST = 40  # runs on the page


def story(root: Path, pipeline: Pipeline, samples: dict[str, list[Row]], account: Sums | None = None) -> dict[str, Any]:
    """Facts of the page; `samples` are published rows by table (features, predictions), of which sensitive values are masked.

    `account` as in `pipeline_facts`.
    """
    tables = [lake_table(name) for name in pipeline.suites]
    hidden = {name for table in tables for name in pipeline.sensitive(table)}  # in any table, in all
    ledger = Ledger.open(root)
    line = ledger.line()
    releases, alive = {release.pub: release.release for release in line}, folds.live(line)
    verdicts: dict[int, list[Verdict]] = {}
    for row in ledger.store.rows("verdicts"):
        verdicts.setdefault(row["pub"], []).append(Verdict.from_json(row["verdict"]))
    ended = [
        r
        for r in ledger.intervals()
        if (r["step"] in JUDGED | {"training_set"} and r["state"] == "refused")
        or (r["step"] in SEALS | {"training_set"} and r["state"] == "staged")
    ]
    return {
        **pipeline_facts(root, pipeline, account),
        "config_hash": pipeline.config_hash,
        "runs": [_run(row, releases, alive, verdicts.get(row["pub"] or -1, [])) for row in ended[-LATEST:]][::-1],
        "runs_not_shown": max(0, len(ended) - LATEST),
        "rules": {table: len(suite.rules) for table, suite in sorted(pipeline.suites.items())},
        "tables": {table: rows for table, rows in (line[-1].rows if line else {}).items()},
        "models": [json.loads(path.read_text()) for path in sorted((root / "models").glob("*.json"))],
        "samples": {table: _shown(rows, hidden) for table, rows in samples.items()},
    }


def _shown(rows: list[Row], hidden: set[str]) -> list[Row]:
    return [{name: MASKED if name in hidden else value for name, value in row.items()} for row in rows]


def _run(row: Row, releases: dict[int, int], alive: Collection[int], verdicts: list[Verdict]) -> dict[str, Any]:
    released = "published" if row["pub"] in alive else "withdrawn"  # by a rollback
    account = json.loads(row["rows"] or "{}") if row["state"] == "staged" and row["step"] in SEALS else {}
    return {
        "step": row["step"], "from": format_hour(row["from_hour"]), "to": format_hour(row["to_hour"]), "pub": row["pub"],
        "state": released if row["pub"] in releases else row["state"], "hours": _hours(row),
        "release": releases.get(row["pub"]), "why": row["why"] or "",
        "rows_in": sum(a["manifest"] for a in account.values()),
        "spine_missed": next(
            (f"{v.rules[0].bad:,} of {v.rules[0].total:,}" for v in verdicts if v.table == "spine_accounts"), ""
        ),
        "rows_held": sum(a["quarantined"] for a in account.values()),
        "gates": [
            {"table": v.table, "outcome": v.outcome.value, "rules": len(v.rules), "digest": v.staged_digest[:12],
             "broken": [{"rule": r.rule, "column": r.column, "observed": r.observed, "allowed": r.allowed, "bad": r.bad,
                         "total": r.total, "examples": list(r.examples[:3]), "why": r.why} for r in v.broken()]}
            for v in verdicts
        ],
    }  # fmt: skip


def _hours(row: Row) -> int:
    return int((row["to_hour"] - row["from_hour"]) / HOUR)
