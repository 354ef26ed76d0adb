"""What people are told of an incident: a short subject, and a body with what broke, who owns it and what to type next.

Pure. What broke comes from the gate in words that are bounded and masked already.
"""

from __future__ import annotations

from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.steps import plan
from spark_jobs.values import Lines, printable

Message = dict[str, str]  # incident, event, subject, owner, body
_MAX_SUBJECT = 120  # characters
_MAX_BODY = 3_000  # of what broke: Slack cuts a text of more than 4,000


def opened(incident: str, owner: str, call: Invocation, what: str) -> Message:
    """The message of an interval that was blocked; `what` broke, at most 3,000 characters of it; `call` is to be run again."""
    lines = [_cut(_plain(what), call), f"owner: {on_one_line(owner)}", *_commands(call)]
    return _message(incident, "opened", owner, f"[{call.pipeline}] blocked: {_hours(call)}", lines)


def recovered(incident: str, owner: str, call: Invocation, what: str, subject: str = "") -> Message:
    """The message that an incident is over; without a `subject`: an interval was published after all."""
    lines = [_plain(what), f"owner: {on_one_line(owner)}", _look(call)]
    return _message(incident, "recovered", owner, f"[{call.pipeline}] recovered: {subject or _hours(call)}", lines)


def unscored(incident: str, owner: str, call: Invocation, model: str, what: str) -> Message:
    """The warning that the champion of `model` does not predict; `what` says why, and the command that predicts later."""
    published = "hours are published without its predictions until it predicts again, or another version is champion"
    lines = [_cut(_plain(what), call), published, f"owner: {on_one_line(owner)}", _look(call)]
    return _message(
        incident, "opened", owner, f"[{call.pipeline}] model {model} does not predict: {_hours(call)}", lines
    )


def of_registry(incident: str, owner: str, problem: str, env: str) -> Message:
    """The message of a model whose registry and ledger disagree; of one on which they agree again without a `problem`."""
    pipeline, _, model = incident.split("/")
    look = f"see the champions: tidegate status {pipeline} --env {env}"
    if not problem:
        subject, text = f"recovered: registry and ledger agree on model {model}", "registry and ledger agree again"
    else:
        subject, text = f"registry and ledger disagree on model {model}", _plain(problem)
    lines = [text, f"owner: {on_one_line(owner)}", look]
    return _message(incident, "opened" if problem else "recovered", owner, f"[{pipeline}] {subject}", lines)


def on_one_line(text: str, limit: int = _MAX_SUBJECT) -> str:
    """`text` on one printable line, fit for a header."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _message(incident: str, event: str, owner: str, subject: str, lines: list[str]) -> Message:
    return {
        "incident": incident,
        "event": event,
        "subject": on_one_line(subject),
        "owner": on_one_line(owner),
        "body": "\n".join(lines),
    }


def _commands(call: Invocation) -> list[str]:
    """How to look, and how to run the interval again."""
    again = [f"run it again when the drop or the rule is fixed: {call.command()}"]
    if plan.step(call.step).cadence == "hourly":
        hours = f"--from {format_hour(call.start)} --to {format_hour(call.end)}"
        again.append(f"or all of its steps: tidegate backfill {call.pipeline} {hours} --env {call.env}")
    held = f"rows held back in published hours: tidegate quarantine list {call.pipeline} --env {call.env}"
    return [_look(call), held, *again]


def _look(call: Invocation) -> str:
    return f"see its runs and verdicts: {call.look()}"


def _hours(call: Invocation) -> str:
    more = f" to {format_hour(call.end)}" if call.hours > 1 else ""
    return f"{format_hour(call.start)}{more}"


def _plain(text: str) -> str:
    """`text`, each line of it printable. Line ends stay: whoever made the text escaped those of its values (`values.Lines`)."""
    return Lines.of(text.split("\n"))


def _cut(text: str, call: Invocation) -> str:
    """The first 3,000 characters, then how many are not shown and the command that shows all."""
    if len(text) <= _MAX_BODY:
        return text
    left = len(text) - _MAX_BODY
    return f"{text[:_MAX_BODY]}\n… {left} more characters are not shown: {call.look()} --json"
