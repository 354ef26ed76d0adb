"""One sweep over a pipeline's folders: what pipeline.yaml keeps no longer goes, what readers see stays. No Spark.

Every part may be interrupted anywhere and run again; readers and writers go on meanwhile.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from spark_jobs.config.environment import Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.failpoints import failpoint
from spark_jobs.invocation import HOUR
from spark_jobs.lake import maintenance
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.staging import staged_folder
from spark_jobs.learning.set_folder import set_folder
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.quality.accounts import drops_taken, published_accounts
from spark_jobs.sources.spent import remove_spent


def maintain(pipeline: Pipeline, places: Places, ledger: Ledger) -> dict[str, int]:
    """Sweep everything once; how many of what went, in the order of the work. Nothing for a pipeline that never ran.

    Raises:
        TimeoutError: a table was never free of other writers; the sweep may run again at any time.
    """
    if not ledger.store.exists("intervals"):
        return {}
    tables, line, keep = sorted(table_kinds(pipeline)), ledger.line(), pipeline.settings.retention
    root, now = places.lake / pipeline.name, ledger.storage.now()
    done = {"files of dead attempts": sum(maintenance.remove_unreleased(ledger, tables).values())}
    if line and keep.landing:
        done["landed files"] = _landing(pipeline, places, line, keep.landing)
    if line:
        done |= _days(pipeline, ledger, line)
        closed = _end(line).date()
        done["files less by compaction"] = sum(maintenance.compact_days(ledger, table, closed) for table in tables)
    if keep.training_sets:
        done["training sets"] = _training_sets(pipeline, root, ledger, keep.training_sets)
    if keep.logs:
        done["logs"] = _logs(pipeline, places.data / "logs", now - keep.logs)
    done["files deleted by vacuum"] = sum(maintenance.vacuum(ledger, tables).values())
    maintenance.compact_ledger(ledger)
    return done


def _end(line: list[Release]) -> datetime:
    """End of the newest hour that readers of the last release of `line` see."""
    return max(folds.covered_hours(line), default=min(a for r in line for _, a, _ in r.covers)) + HOUR


def _days(pipeline: Pipeline, ledger: Ledger, line: list[Release]) -> dict[str, int]:
    """Whole days of bronze and quarantine, counted back from where the oldest release inside the history ends."""
    keep = pipeline.settings.retention
    oldest = next((r for r in line if r.at >= ledger.storage.now() - keep.history), line[-1])
    end = _end([r for r in line if r.release <= oldest.release])
    ages = {"bronze files": keep.bronze, "quarantine files": keep.quarantine}
    tables = {
        "bronze files": [f"bronze/{name}" for name in pipeline.sources.sources],
        "quarantine files": ["quarantine"],
    }
    return {
        what: sum(maintenance.remove_days(ledger, table, (end - age).date()) for table in tables[what])
        for what, age in ages.items()
        if age is not None
    }


def _training_sets(pipeline: Pipeline, root: Path, ledger: Ledger, age: timedelta) -> int:
    """Sets that are old, not the newest of their model, and not of a run that promoted a version."""
    limit, removed = ledger.storage.now() - age, 0
    rows = ledger.store.rows("intervals", ["dag_run", "pub", "at"], {"step": "training_set", "state": "started"})
    for model in pipeline.model_settings:
        promoting = {row["by"] for row in ledger.promotions() if row["model"] == model}
        made = [row for row in rows if set_folder(root, model, row["pub"]).exists()]
        for row in made[:-1]:
            if row["at"] < limit and row["dag_run"] not in promoting:
                folder = set_folder(root, model, row["pub"])
                rows_folder = staged_folder(root, f"training_sets/{model}", row["pub"], None)
                shutil.rmtree(rows_folder, ignore_errors=True)  # lakes of former versions have none
                shutil.rmtree(folder)  # last: after a crash the next run finds it
                failpoint("maintenance.training_sets.removed")
                removed += 1
    return removed


def _landing(pipeline: Pipeline, places: Places, line: list[Release], age: timedelta) -> int:
    """Drops whose bytes are those behind the published accounts of their hour."""
    before, root = _end(line) - age, places.lake / pipeline.name
    first = min(start for release in line for _, start, _ in release.covers)
    taken = drops_taken(published_accounts(pipeline, root, line, first, before))
    hours = sorted({hour for _, hour in taken})
    return remove_spent(pipeline.sources, places.landing / pipeline.name, hours, taken)


def _logs(pipeline: Pipeline, folder: Path, limit: datetime) -> int:
    """Logs of this pipeline's steps that were last written before `limit`."""
    old = [path for path in folder.glob(f"{pipeline.name}-*.log") if path.stat().st_mtime < limit.timestamp()]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
