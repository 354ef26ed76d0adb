"""Incidents: opened by recorded state, told once a channel, closed by a recovery message; kept in the ledger.

Grouping, repeats and an outbox for dead channels are not built yet; a channel that fails is recorded as send_failed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from spark_jobs.alerts import message
from spark_jobs.alerts.channels import send
from spark_jobs.alerts.message import Message
from spark_jobs.alerts.sending import ChannelError
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import Invocation, format_hour, hours_between, parse_hour
from spark_jobs.ledger import Ledger, Row, folds
from spark_jobs.steps import plan

CHAMPION = "champion"  # in the place of a step: an incident of a model, not of an interval
_log = logging.getLogger(__name__)  # not structlog, which takes 0.2 s to import and, where nobody sets it up, stdout


@dataclass(frozen=True)
class Desk:
    """Where incidents of one pipeline are written down and told."""

    pipeline: Pipeline
    environment: Environment
    places: Places
    ledger: Ledger

    def blocked(self, call: Invocation, body: str) -> None:
        """Open the incident of this interval and tell it; when it is open already, only note the signal."""
        incident = incident_key(call)
        event: list[str] = []  # of the attempt that won

        def signal(rows: list[Row]) -> Row:
            event[:] = ["signal" if incident in open_incidents(rows) else "opened"]
            return self._row(incident, event[0], "", body)

        self.ledger.add_incident_after(signal)
        if event == ["opened"]:
            # what is not a step, the wait for drops, is followed by the first one
            again = call if call.step in plan.STEPS else call.with_step(plan.HOUR_STEPS[0].name)
            self._tell(message.opened(incident, self.pipeline.owner, again, body))

    def published(self, call: Invocation, release: int) -> None:
        """Close the open incidents that are over now, whichever step of the run met what blocked them, and tell each.

        Of this interval; of a shorter one within it; and, of the steps of an hour, of a longer one that holds it, when the
        last of its hours became readable.
        """
        steps = plan.OF_HOURS if call.step in plan.OF_HOURS else {call.step}
        for incident in open_incidents(self.ledger.incidents()):
            if incident.count("/") != incident_key(call).count("/"):
                continue  # of a model, not of an interval
            pipeline, step, start, end = incident.split("/")
            blocked = Invocation(pipeline, step, parse_hour(start), parse_hour(end), call.dag_run, call.env)
            if step in steps and self._is_over(blocked, call):
                body = f"published after all: {start} to {end}, release {release}"
                self._note(incident, "recovered", "", body)
                over = replace(blocked, step=call.step)
                self._tell(message.recovered(incident, self.pipeline.owner, over, body))

    def registry(self, model: str, problem: str, env: str) -> None:
        """Open the incident of a model whose registry and ledger disagree, or close it when `problem` is empty."""
        incident = f"{self.pipeline.name}/registry/{model}"
        is_open = incident in open_incidents(self.ledger.incidents())
        if is_open == bool(problem):
            return
        self._note(incident, "opened" if problem else "recovered", "", problem or "registry and ledger agree again")
        self._tell(message.of_registry(incident, self.pipeline.owner, problem, env))

    def unscored(self, call: Invocation, model: str, body: str) -> None:
        """Open a warning that a champion does not score, once for all hours until it scores again or another one does."""
        incident = f"{call.pipeline}/{CHAMPION}/{model}"
        event: list[str] = []

        def signal(rows: list[Row]) -> Row:
            event[:] = ["signal" if incident in open_incidents(rows) else "opened"]
            return {**self._row(incident, event[0], "", body), "severity": "warning"}

        self.ledger.add_incident_after(signal)
        if event == ["opened"]:
            self._tell(message.unscored(incident, self.pipeline.owner, call, model, body))

    def open_since(self, model: str) -> datetime | None:
        """When the open warning that the champion of `model` does not score was opened; None: there is none."""
        row = open_incidents(self.ledger.incidents()).get(f"{self.pipeline.name}/{CHAMPION}/{model}")
        return row["at"] if row else None

    def scored(self, call: Invocation, model: str, version: str) -> None:
        """Close the warnings that a champion of `model` did not score."""
        incident = f"{call.pipeline}/{CHAMPION}/{model}"
        if incident in open_incidents(self.ledger.incidents()):
            body = f"model {model} version {version} scores: {format_hour(call.start)} to {format_hour(call.end)}"
            self._note(incident, "recovered", "", body)
            self._tell(message.recovered(incident, self.pipeline.owner, call, body, f"model {model} predicts"))

    def _is_over(self, blocked: Invocation, call: Invocation) -> bool:
        if (blocked.start, blocked.end) == (call.start, call.end):
            return True
        is_within_call = call.start <= blocked.start and blocked.end <= call.end
        if call.step not in plan.OF_HOURS:  # what a heal or a training works on are hours that are readable anyway
            return is_within_call
        if not is_within_call and not (blocked.start <= call.start and call.end <= blocked.end):
            return False
        return {*hours_between(blocked.start, blocked.end)} <= folds.covered_hours(self.ledger.line())

    def _tell(self, told: Message) -> None:
        incident = told["incident"]
        for name in dict.fromkeys(self.pipeline.settings.alerts):
            try:
                send(self.environment, self.places, name, told)
            except ChannelError as error:  # a dead or missing channel never fails the data
                _log.warning(
                    "event='alert not sent' channel=%r alert=%r why=%r", name, f"{incident}/{told['event']}", str(error)
                )
                self._note(incident, "send_failed", name, str(error))
            else:
                self._note(incident, "sent", name, told["subject"])

    def _note(self, incident: str, event: str, channel: str, body: str) -> None:
        self.ledger.add_incident(self._row(incident, event, channel, body))

    def _row(self, incident: str, event: str, channel: str, body: str) -> Row:
        return {
            "incident": incident,
            "event": event,
            "channel": channel,
            "message_key": f"{incident}/{event}",
            "severity": "critical",
            "owner": self.pipeline.owner,
            "body": body,
        }


def incident_key(call: Invocation) -> str:
    """What makes two signals the same incident: pipeline, step, interval."""
    return f"{call.pipeline}/{call.step}/{format_hour(call.start)}/{format_hour(call.end)}"


def open_incidents(rows: Iterable[Row]) -> dict[str, Row]:
    """Incidents that were opened and not recovered since, by key, with the row that opened them."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["event"] == "opened":
            found.setdefault(row["incident"], row)
        elif row["event"] == "recovered":
            found.pop(row["incident"], None)
    return found


def failed_channels(rows: Iterable[Row]) -> dict[str, Row]:
    """Channels whose newest message was not sent, by name, with the row that says why."""
    newest = {row["channel"]: row for row in rows if row["event"] in ("sent", "send_failed")}
    return {channel: row for channel, row in newest.items() if row["event"] == "send_failed"}
