"""The services' side of the demo, without starting them: ports, secrets, settings, the lines of a log."""

from __future__ import annotations

import configparser
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demo.airflow_services import MARKER, Airflow, _event_lines, free_port, marked
from spark_jobs.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def services(tmp_path):
    airflow = Airflow(tmp_path, CHECKOUT, port=18080)
    airflow._configure()
    return airflow


def test_a_taken_port_is_said_before_anything_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: is taken"):
            free_port(port)
    assert free_port(port) == port
    assert free_port(0) > 0


def test_secrets_are_private_kept_between_starts_and_different_elsewhere(services, tmp_path):
    for name in ("airflow.cfg", "keys.json", "passwords.json"):
        assert stat.S_IMODE((services.home / name).stat().st_mode) == 0o600
    before = (services.home / "airflow.cfg").read_text()
    services._configure()
    assert (services.home / "airflow.cfg").read_text() == before
    other = Airflow(tmp_path / "other", CHECKOUT, port=18080)
    other._configure()
    assert (other.home / "keys.json").read_text() != (services.home / "keys.json").read_text()


def test_everything_listens_on_this_machine_alone(services):
    cfg = configparser.RawConfigParser()
    cfg.read(services.home / "airflow.cfg")
    assert cfg["api"]["host"] == "127.0.0.1"
    assert cfg["core"]["execution_api_server_url"] == "http://127.0.0.1:18080/execution/"
    assert cfg["core"]["load_examples"] == "False"


def test_a_process_of_this_home_is_found_by_its_marker_and_no_other(services):
    waiting = [sys.executable, "-c", "input()"]
    ours = subprocess.Popen(waiting, stdin=subprocess.PIPE, env={**os.environ, MARKER: str(services.home)})
    theirs = subprocess.Popen(waiting, stdin=subprocess.PIPE, env={**os.environ, MARKER: "/elsewhere"})
    try:
        if sys.platform == "linux":
            assert marked(str(services.home)) == [ours.pid]
        services.stop()  # ends ours although this object never started it
        assert ours.wait(10) != 0
        assert theirs.poll() is None
    finally:
        for process in (ours, theirs):
            process.kill()
            process.communicate()


def test_a_failure_is_told_by_its_value_not_by_its_frames():
    event = {
        "event": "Task failed with exception",
        "error_detail": [{"exc_type": "E", "exc_value": "a\nb", "frames": [1]}],
    }
    assert _event_lines(event) == ["Task failed with exception", "E: a", "b"]
    assert _event_lines({"event": "::group::Pre Execute"}) == []


def test_opening_the_ui_on_a_history_makes_no_runs_of_its_own_unless_asked(services, monkeypatch):
    monkeypatch.delenv("TIDEGATE_CATCHUP", raising=False)
    assert services._environment()["TIDEGATE_CATCHUP"] == "false"
    assert services._environment()["TIDEGATE_DATA"] == str(services.home.parent)
    monkeypatch.setenv("TIDEGATE_CATCHUP", "true")
    assert services._environment()["TIDEGATE_CATCHUP"] == "true"
