"""Features as of an hour, for the keys that the spine asks for, and the account of the spine's rows."""

from __future__ import annotations

from dataclasses import replace

from spark_jobs.features import spine, spine_accounts
from spark_jobs.features.groups import stage_group
from spark_jobs.invocation import HOUR
from spark_jobs.quality import gate
from spark_jobs.quality.gate import JudgedTables
from spark_jobs.steps.context import Context


def run(context: Context) -> JudgedTables:
    """Stage features/<group> for as_of in (start, end] and judge each; grain entity, key, as_of.

    A run for hour H computes as of H + 1, for the spine rows whose prediction time lies in [H + 1, H + 2).
    """
    rows = spine.spine_rows(context, context.call.start + HOUR, context.call.end).persist()
    groups = context.pipeline.features.groups
    judged = gate.recorded(
        context, context.together(lambda name: stage_group(context, name, groups[name], rows), groups)
    )
    account, verdict = spine_accounts.stage_accounts(context, rows, judged.held)
    gate.record(context, verdict)
    rows.unpersist()
    return replace(judged, staged={**judged.staged, account.table: account}, verdicts=(*judged.verdicts, verdict))
