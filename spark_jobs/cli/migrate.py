"""The command `migrate`: rewrite published tables whose columns were renamed, or have a type that needs it."""

from __future__ import annotations

from spark_jobs.cli.output import say, show_json
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.lake.changes import pending_changes, require_allowed
from spark_jobs.lake.migration import rewrite_table
from spark_jobs.ledger import Ledger


def migrate_tables(pipeline: str, env: str, *, as_json: bool) -> None:
    """Rewrite every table that needs it, one commit each; prints what was rewritten.

    Raises:
        UsageError: conf/ contradicts published rows, or a value cannot be cast without loss.
    """
    whole = load_pipeline(pipeline)
    _, places = load_environment(env)
    root = places.lake / pipeline
    changes = pending_changes(whole, root)
    require_allowed(whole, changes)
    ledger = Ledger.open(root)
    done = []
    for rewrite in changes.rewrites:
        files = rewrite_table(ledger, rewrite)
        done.append(
            {
                "table": rewrite.table,
                "files": files,
                "rows": rewrite.rows,
                "bytes": rewrite.bytes,
                "renamed": dict(rewrite.renames),
                "cast": dict(rewrite.casts),
            }
        )
        if not as_json:
            say(f"rewritten  {rewrite}")
    if as_json:
        show_json({"pipeline": pipeline, "rewritten": done})
    elif not done:
        say(f"{pipeline}: nothing to migrate, published tables hold what conf/ defines")
