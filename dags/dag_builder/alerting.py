"""Incidents of what no Spark step sees: drops that are late or broken. How and to whom is told is `spark_jobs/alerts`.

A refused step opens its own incident before its gate goes red. Nothing here hangs on Airflow's callbacks: those
fire early, twice or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dag_builder.partition import environment_name

if TYPE_CHECKING:
    from spark_jobs.alerts.incidents import Desk
    from spark_jobs.invocation import Invocation
    from spark_jobs.ledger import Ledger


def desk(pipeline: str, ledger: Ledger) -> Desk:
    """Where incidents of `pipeline` are written down and told."""
    from spark_jobs.alerts.incidents import Desk
    from spark_jobs.config.load import load_environment, load_pipeline

    environment, places = load_environment(environment_name())
    return Desk(load_pipeline(pipeline), environment, places, ledger)


def not_ready(call: Invocation, ledger: Ledger, state: str, text: str) -> None:
    """The drops of these hours are late or refused: the ledger has it first, then the pipeline's channels."""
    ledger.record(call, state, None, text)
    desk(call.pipeline, ledger).blocked(call, text)


def ready_after_all(call: Invocation, ledger: Ledger) -> None:
    """Close the incident of these hours' drops, if one is open; to be called when the hours are published."""
    from spark_jobs.alerts.incidents import incident_key, open_incidents

    waiting = call.with_step("drops_ready")
    if incident_key(waiting) in open_incidents(ledger.incidents()):
        desk(call.pipeline, ledger).published(waiting, ledger.line()[-1].release)
