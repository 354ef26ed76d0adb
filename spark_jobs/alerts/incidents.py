"""Incidents: opened by recorded state, told once a channel, closed by a recovery message; kept in the ledger.

Grouping, repeats and an outbox for dead channels are not built yet; a channel that fails is recorded as send_failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spark_jobs.alerts.channels import send
from spark_jobs.config.environment import Environment, Places
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.ledger import Ledger, Row


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
            self._tell(incident, "opened", f"[{self.pipeline.name}] blocked: {format_hour(call.start)}", body)

    def published(self, call: Invocation, release: int) -> None:
        """Close the incident of this interval, if one is open, and tell that it is over."""
        for step in ("prepare", call.step):
            incident = incident_key(call.with_step(step))
            if incident in open_incidents(self.ledger.incidents()):
                body = f"published after all: {format_hour(call.start)} to {format_hour(call.end)}, release {release}"
                self._note(incident, "recovered", "", body)
                self._tell(incident, "recovered", f"[{self.pipeline.name}] recovered: {format_hour(call.start)}", body)

    def _tell(self, incident: str, event: str, subject: str, body: str) -> None:
        message = {
            "incident": incident, "event": event, "subject": subject, "owner": self.pipeline.owner, "body": body,
        }  # fmt: skip
        for name in self.pipeline.settings.alerts:
            try:
                send(self.environment, self.places, name, message)
            except (OSError, LookupError) as error:  # a dead or missing channel never fails the data
                self._note(incident, "send_failed", name, str(error))
            else:
                self._note(incident, "sent", name, subject)

    def _note(self, incident: str, event: str, channel: str, body: str) -> None:
        self.ledger.add_incident(self._row(incident, event, channel, body))

    def _row(self, incident: str, event: str, channel: str, body: str) -> Row:
        return {
            "incident": incident, "event": event, "channel": channel, "message_key": f"{incident}/{event}",
            "severity": "critical", "owner": self.pipeline.owner, "body": body,
        }  # fmt: skip


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
