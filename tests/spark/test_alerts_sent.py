"""A gate that refuses, as people hear of it: by a mail that has what the gate found, while another channel is dead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from spark_jobs.invocation import HOUR, format_hour
from tests.spark.conftest import NAME, NOW
from tests.unit.receivers import SmtpSink, closed_port


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    """The mail server of the channel that lives."""
    server = SmtpSink()
    yield server
    server.close()


def test_a_refused_hour_and_its_publication_are_mailed_while_a_dead_channel_holds_up_nothing(
    past: Any, new_project: Any, sink: SmtpSink, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_WEBHOOK", f"http://127.0.0.1:{closed_port()}/canary-7F3a")
    site = past.copy(tmp_path / "data", new_project(tmp_path / "project"))
    mails = {
        "kind": "email",
        "host": "127.0.0.1",
        "port": sink.port,
        "tls": "none",
        "from": "t@x.example",
        "to": ["o@x.example"],
    }
    chat = {"kind": "slack", "url_env": "OPS_WEBHOOK"}
    local, settings = (
        site.project / "conf/environments/local.yaml",
        site.project / f"conf/pipelines/{NAME}/pipeline.yaml",
    )
    local.write_text(f"{local.read_text()}  chat: {json.dumps(chat)}\n  mails: {json.dumps(mails)}\n")
    settings.write_text(settings.read_text().replace("[data_team, data_team_chat]", "[chat, mails]"))
    site.deliver(NOW, only=["departures"], scale={"departures.dep_delay": 60}, correction=True)
    assert site.stage(NOW).exit_code == 65
    site.deliver(NOW, only=["departures"], correction=True)
    published = site.publish(NOW)
    rows = [(row["event"], row["channel"]) for row in site.ledger.incidents()]
    told = [("send_failed", "chat"), ("sent", "mails")]
    assert rows == [("opened", ""), *told, ("recovered", ""), *told]
    assert all("Connection refused" in row["body"] for row in site.ledger.incidents() if row["event"] == "send_failed")
    assert "canary" not in json.dumps(site.ledger.incidents(), default=str)
    (refused, body), (after, closed) = [(mail["Subject"], mail.get_content()) for mail in sink.mails]
    at, span = format_hour(NOW), f"--from {format_hour(NOW)} --to {format_hour(NOW + HOUR)} --env local"
    assert (refused, after) == (f"[{NAME}] blocked: {at}", f"[{NAME}] recovered: {at}")
    for part in ("silver/departures.departure_delay_min, rule delay_in_minutes", "(bad ", "allowed: ", "examples: ",
                 f"tidegate status {NAME} --hour {at} --env local", f"tidegate run {NAME} ingest {span}"):  # fmt: skip
        assert part in body
    assert f"release {published.release}" in closed
