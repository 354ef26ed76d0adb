"""Features as of an hour, for the keys that the spine asks for, and the account of the spine's rows."""

from __future__ import annotations

from spark_jobs.features import spine, spine_accounts
from spark_jobs.features.groups import stage_group
from spark_jobs.invocation import HOUR
from spark_jobs.quality import gate
from spark_jobs.steps.context import Work


def run(work: Work) -> None:
    """Stage features/<group> for as_of in (start, end] and judge each; grain entity, key, as_of.

    A run for hour H computes as of H + 1, for the spine rows whose prediction time lies in [H + 1, H + 2).
    """
    rows = spine.spine_rows(work, work.call.start + HOUR, work.call.end).persist()
    named = work.pipeline.features.groups
    judged = work.together(lambda name: stage_group(work, name, named[name], rows), named)
    for verdict, held in judged:
        gate.record(work, verdict)
        work.held.append(held)
    spine_accounts.run(work, rows, [held for _, held in judged])
    rows.unpersist()
