"""Channels of an environment: each kind taken with every key, refused at its line, and its secrets asked for early."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spark_jobs.cli.app import app
from spark_jobs.config import ConfigError, load
from spark_jobs.config.channels import EmailChannel, FileChannel, SlackChannel
from spark_jobs.config.faults import Fault

FILE = "conf/environments/local.yaml"
EMAIL = """  ops:
    kind: email
    host: smtp.example.com
    port: 465
    tls: tls
    user_env: OPS_USER
    password_env: OPS_PASSWORD
    from: tidegate@example.com
    to:
    - ops@example.com
    timeout_s: 5
"""
SLACK = """  ops:
    kind: slack
    url_env: OPS_WEBHOOK
    plain_http: false
    timeout_s: 5
"""
KINDS = {"file": "  ops:\n    kind: file\n    path: alerts/ops.jsonl\n", "email": EMAIL, "slack": SLACK}
MODELS = {"file": FileChannel, "email": EmailChannel, "slack": SlackChannel}
CANARY = "canary-7F3a"
HOOK = f"https://hooks.slack.com/services/T0/B0/{CANARY}"


def with_channel(project: Path, section: str, old: str = "", new: str = "") -> str:
    """The text of local.yaml with one channel more, which the pipeline alerts, too."""
    assert not old or section.count(old) == 1
    path, pipeline = project / FILE, project / "conf/pipelines/nycflights13/pipeline.yaml"
    path.write_text(path.read_text() + (section.replace(old, new) if old else section))
    pipeline.write_text(pipeline.read_text().replace("[data_team, data_team_chat]", "[data_team, ops]"))
    return path.read_text()


def faults_of(project: Path) -> list[Fault]:
    try:
        load.check_channels("nycflights13", "local", project)
    except ConfigError as error:
        return error.faults
    return []


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All variables are set."""
    for name, value in (("OPS_USER", "me"), ("OPS_PASSWORD", CANARY), ("OPS_WEBHOOK", HOOK)):
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_of_each_kind_is_taken(kind: str, project: Path) -> None:
    with_channel(project, KINDS[kind])
    assert faults_of(project) == []
    environment, _ = load.load_environment("local", project)
    assert type(environment.channels["ops"]) is MODELS[kind]


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (kind, key)
        for kind, keys in (
            ("file", "kind path"),
            ("email", "kind host port tls user_env password_env from to timeout_s"),
            ("slack", "kind url_env plain_http timeout_s"),
        )
        for key in keys.split()
    ],
)
def test_a_misspelt_key_of_a_channel_is_refused_with_the_key_that_was_meant(kind: str, key: str, project: Path) -> None:
    """Of the kind that is written, or most like it; no shipped file has all of them."""
    slip = key + key[-1]
    text = with_channel(project, KINDS[kind], f" {key}:", f" {slip}:")
    line = text[: text.index(f" {slip}:")].count("\n") + 1
    [fault] = faults_of(project)
    assert fault.found == f"unknown key '{slip}'"
    assert fault.place.startswith(f"{FILE}:{line}:")
    assert f"did you mean '{key}'" in fault.allowed


@pytest.mark.usefixtures("secrets")
def test_keys_of_another_kind_are_unknown_to_the_kind_that_is_written(project: Path) -> None:
    """However many there are: the kind says what was meant."""
    with_channel(
        project, EMAIL.replace("kind: email", "kind: slack\n    url_env: OPS_WEBHOOK").replace("    timeout_s: 5\n", "")
    )
    faults = faults_of(project)
    assert {fault.path for fault in faults} == {
        f"channels.ops.{key}" for key in ("host", "port", "tls", "user_env", "password_env", "from", "to")
    }
    assert all("legal: plain_http, timeout_s" in fault.allowed for fault in faults)


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    ("kind", "old", "new", "key", "said"),
    [
        (
            "email",
            "kind: email",
            "kind: emial",
            "kind",
            "no kind 'emial'; did you mean 'email'? legal: email, file, slack",
        ),
        ("email", "    kind: email\n", "", "ops", "key 'kind' is missing"),
        ("slack", "kind: slack", "kind: [slack]", "kind", "no kind"),
        ("file", "    path: alerts/ops.jsonl\n", "", "ops", "key 'path' is missing"),
        ("email", "smtp.example.com", "'smtp example'", "host", "should match"),
        ("email", "465", "0", "port", "greater than or equal to 1"),
        ("email", "tls: tls", "tls: ssl", "tls", "'none', 'starttls' or 'tls'"),
        ("email", "tls: tls", "tls: none", "tls", "would send the password readable"),
        ("email", "    password_env: OPS_PASSWORD\n", "", "user_env", "a login needs password_env beside it"),
        ("email", "    user_env: OPS_USER\n", "", "password_env", "a login needs user_env beside it"),
        ("email", "tidegate@example.com", "Tidegate <tidegate@example.com>", "from", "is not a mail address"),
        ("email", "- ops@example.com", '- "ops@example.com\\nBcc: x@example.com"', "-", "is not a mail address"),
        ("email", "    to:\n    - ops@example.com", "    to: []", "to", "at least 1 item"),
        ("email", "timeout_s: 5", "timeout_s: 0", "timeout_s", "greater than 0"),
        ("slack", "timeout_s: 5", "timeout_s: 31", "timeout_s", "less than or equal to 30"),
        ("slack", "OPS_WEBHOOK", HOOK, "url_env", "is not the name of a variable"),
        ("slack", "plain_http: false", "plain_http: perhaps", "plain_http", "valid boolean"),
    ],
)
def test_a_fault_of_a_channel_is_told_once_at_its_line(
    kind: str, old: str, new: str, key: str, said: str, project: Path
) -> None:
    text = with_channel(project, KINDS[kind], old, new)
    [fault] = faults_of(project)
    assert fault.place.startswith(FILE)
    assert text.splitlines()[int(fault.place.split(":")[1]) - 1].strip().startswith(key)
    assert said in fault.found
    assert CANARY not in str(fault)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_login_without_tls_is_for_this_machine_only(host: str, project: Path, secrets: pytest.MonkeyPatch) -> None:
    """What the refusal above leaves legal, beside a server that asks for no login."""
    with_channel(project, EMAIL.replace("tls: tls", "tls: none"), "smtp.example.com", f'"{host}"')
    assert faults_of(project) == []


def test_variables_that_are_not_set_are_told_all_at_once_and_before_any_spark_starts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two channels, three variables, and a channel that is not there; by `validate` as by `run`."""
    for name in ("OPS_USER", "OPS_PASSWORD", "HOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPS_PASSWORD", " \n")
    with_channel(project, EMAIL + SLACK.replace("ops:", "chat:").replace("OPS_WEBHOOK", "HOOK_URL"))
    pipeline = project / "conf/pipelines/nycflights13/pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("[data_team, ops]", "[chat, ops, chatt]"))
    found = {fault.path: fault.found for fault in faults_of(project)}
    assert set(found) == {
        "alerts[2]",
        "channels.ops.user_env",
        "channels.ops.password_env",
        "channels.chat.url_env",
    }
    assert found["channels.ops.password_env"] == "OPS_PASSWORD is not set"
    assert found["channels.chat.url_env"] == "HOOK_URL is not set"
    hours = ["--from", "2013-11-01T12:00:00", "--to", "2013-11-01T13:00:00"]
    for words in (["validate", "nycflights13"], ["run", "nycflights13", "ingest", *hours]):
        ended = CliRunner().invoke(app, words)
        assert isinstance(ended.exception, ConfigError)
        assert "HOOK_URL is not set" in str(ended.exception)
    assert not (project / "var").exists()


def test_a_channel_that_the_pipeline_does_not_alert_needs_no_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another team's."""
    monkeypatch.delenv("OPS_WEBHOOK", raising=False)
    path = project / FILE
    path.write_text(path.read_text() + SLACK)
    assert faults_of(project) == []


@pytest.mark.parametrize(
    ("url", "plain", "said"),
    [
        (HOOK, False, ""),
        (f"{HOOK}\n", False, ""),
        (f"http://127.0.0.1:8065/hooks/{CANARY}", False, ""),
        (f"http://localhost/{CANARY}", False, ""),
        (f"http://[::1]:8065/{CANARY}", False, ""),
        (f"http://chat.example.com/{CANARY}", True, ""),
        (f"http://chat.example.com/{CANARY}", False, "holds an http url; write https, or plain_http: true"),
        (f"http://127.0.0.1.example.com/{CANARY}", False, "holds an http url"),
        (f"ftp://chat.example.com/{CANARY}", True, "holds no url"),
        (f"hooks.slack.com/{CANARY}", False, "holds no url"),
        (f"https:///{CANARY}", False, "holds no url"),
        (f"https://chat.example.com:{CANARY}/", False, "holds no url"),
        (f"https://chat.example.com/{CANARY} {CANARY}", False, "holds no url"),
        (f"https://[{CANARY}/", False, "holds no url"),
    ],
)
def test_a_webhook_is_https_or_near_and_its_url_is_never_told(
    url: str, plain: bool, said: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_WEBHOOK", url)
    with_channel(project, SLACK, "plain_http: false", f"plain_http: {str(plain).lower()}")
    faults = faults_of(project)
    assert len(faults) == bool(said)
    assert CANARY not in str(faults)
    if said:
        assert faults[0].path == "channels.ops.url_env"
        assert f"OPS_WEBHOOK {said}" in faults[0].found


@pytest.mark.parametrize(
    "line",
    [
        f"    url: {HOOK}",
        f'    path: "https://chat.example.com/hooks/{CANARY}"',
        f"    path: x, https://hooks.slack.com/services/{CANARY}/hook/x",
        f"    webhook: {CANARY}",
        f"    pasword_env: x\n    password: {CANARY}",
    ],
)
def test_a_secret_pasted_into_a_channel_is_not_repeated(line: str, project: Path) -> None:
    """Neither in the fault nor in the line that it shows, nor as JSON."""
    with_channel(project, f"  ops:\n    kind: slack\n    url_env: OPS_WEBHOOK\n{line}\n")
    faults = faults_of(project)
    assert any("unknown key" in fault.found for fault in faults)
    assert CANARY not in str(faults) + "".join(map(str, faults))
    assert CANARY not in CliRunner().invoke(app, ["validate", "--json"]).output
