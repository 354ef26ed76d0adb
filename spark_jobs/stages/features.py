"""Features as of an hour, for the keys that the spine asks for, and the account of the spine's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame

from spark_jobs.features import spine, spine_accounts
from spark_jobs.features.groups import stage_group
from spark_jobs.invocation import HOUR
from spark_jobs.lake.staging import Staged
from spark_jobs.quality import gate
from spark_jobs.steps.context import Context
from spark_jobs.verdict import Verdict


@dataclass(frozen=True)
class FeaturesOutput:
    """What was staged by table, how each was judged, and the rows held back of each group."""

    staged: Mapping[str, Staged]
    verdicts: tuple[Verdict, ...]
    held: tuple[DataFrame, ...]


def run(context: Context) -> FeaturesOutput:
    """Stage features/<group> for as_of in (start, end] and judge each; grain entity, key, as_of.

    A run for hour H computes as of H + 1, for the spine rows whose prediction time lies in [H + 1, H + 2).
    """
    rows = spine.spine_rows(context, context.call.start + HOUR, context.call.end).persist()
    groups = context.pipeline.features.groups
    judged = context.together(lambda name: stage_group(context, name, groups[name], rows), groups)
    for judgement in judged:
        gate.record(context, judgement.verdict)
    held = tuple(judgement.held for judgement in judged)
    account, verdict = spine_accounts.stage_accounts(context, rows, held)
    gate.record(context, verdict)
    rows.unpersist()
    staged = [*(judgement.staged for judgement in judged), account]
    return FeaturesOutput(
        {one.table: one for one in staged}, (*(judgement.verdict for judgement in judged), verdict), held
    )
