"""Alerts by email and webhook, against servers on this machine: told once, in time, and without a secret anywhere.

What is asked of every channel is asked of both; what goes wrong is a row `send_failed` and never an error of the data.
"""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hour_lake
import pytest
from receivers import Answer, SmtpSink, Webhook, closed_port

from spark_jobs.alerts import channels
from spark_jobs.alerts.incidents import Desk
from spark_jobs.alerts.sending import ChannelError
from spark_jobs.cli.app import app
from spark_jobs.config.environment import Environment
from spark_jobs.config.load import load_environment, load_pipeline
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.quality.message import message
from spark_jobs.steps.without_spark import conclude_without_spark
from spark_jobs.verdict import Outcome, RuleResult, Verdict

NAME = hour_lake.NAME
NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
PREPARE = Invocation(NAME, "ingest", NOON, NOON + HOUR, "run")
PUBLISH = PREPARE.with_step("publish")
CANARY = "canary-7F3a"
PASSWORD, PATH = f"{CANARY}.pass", f"/services/T0/B0/{CANARY}"
RULE = RuleResult(
    "delay_in_minutes", Outcome.FAIL, "delay", "max 5400", "-60 to 1440", 35, 52, ("3660", "3540", "1620")
)
BROKEN = message(Verdict.of("silver/rides", "silver", [RULE]), PREPARE, 2)


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    server = SmtpSink()
    yield server
    server.close()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Webhook]:
    """One that nobody should ask."""
    server = Webhook()
    yield server
    server.close()


def email(port: int, **changes: Any) -> dict[str, Any]:
    section = {"kind": "email", "host": "127.0.0.1", "port": port, "tls": "none", "from": "tidegate@example.com"}
    return section | {"to": ["a@example.com", "b@example.com"], "timeout_s": 10} | changes


def slack(**changes: Any) -> dict[str, Any]:
    return {"kind": "slack", "url_env": "OPS_WEBHOOK", "timeout_s": 10} | changes


DeskOf = Callable[..., Desk]


@pytest.fixture
def desk_of(project: Path, monkeypatch: pytest.MonkeyPatch) -> DeskOf:
    """A desk whose pipeline alerts these sections, as channels c0, c1 and so on; the webhook's url is `url`."""

    def make(*sections: dict[str, Any], url: str = "") -> Desk:
        monkeypatch.setenv("OPS_WEBHOOK", url)
        monkeypatch.setenv("OPS_USER", "ops")
        monkeypatch.setenv("OPS_PASSWORD", PASSWORD)
        named = {f"c{number}": section for number, section in enumerate(sections)}
        environment, places = load_environment("local")
        environment = Environment.model_validate(environment.model_dump(exclude={"channels"}) | {"channels": named})
        pipeline = load_pipeline(NAME)
        settings = pipeline.settings.model_copy(update={"alerts": list(named)})
        pipeline = pipeline.model_copy(update={"settings": settings})
        return Desk(pipeline, environment, places, Ledger.open(places.lake / NAME))

    return make


def events(desk: Desk) -> list[str]:
    return [row["event"] for row in desk.ledger.incidents()]


def failed(desk: Desk) -> str:
    """Why the only message was not sent."""
    opened, row = desk.ledger.incidents()
    assert (opened["event"], row["event"], row["channel"]) == ("opened", "send_failed", "c0")
    return str(row["body"])


def hang_up(out: Any) -> None:
    raise ConnectionResetError


# what people get
def told_by_mail(sink: SmtpSink) -> list[tuple[str, str]]:
    return [(mail["Subject"], mail.get_content().replace("\r\n", "\n").strip()) for mail in sink.mails]


def told_by_webhook(hook: Webhook) -> list[tuple[str, str]]:
    """Subject, and what stands inside of the block of code."""
    texts = [content.pop("text") for _, content in hook.posts]
    assert all(content == {} for _, content in hook.posts)
    assert all(text.endswith("\n```") for text in texts)
    return [tuple(text.removesuffix("\n```").split("\n```\n")) for text in texts]  # type: ignore[misc]


def test_a_blocked_hour_and_its_recovery_are_each_told_once_by_every_channel(
    desk_of: DeskOf, sink: SmtpSink, hook: Webhook
) -> None:
    """What broke, where, by how much, up to three examples; who owns it; what to type to look and to run it again."""
    desk = desk_of(email(sink.port), slack(), url=hook.home + PATH)
    for _ in range(3):
        desk.blocked(PREPARE, BROKEN)
    for _ in range(2):
        desk.published(PUBLISH, 3)
    assert events(desk) == ["opened", "sent", "sent", "signal", "signal", "recovered", "sent", "sent"]
    assert [path for path, _ in hook.posts] == [PATH, PATH]
    assert len(sink.mails) == 2
    by_mail = told_by_mail(sink)
    assert by_mail == told_by_webhook(hook)
    (subject, body), (after, closed) = by_mail
    assert subject == "[nycflights13] blocked: 2013-11-01T12:00:00"
    assert after == "[nycflights13] recovered: 2013-11-01T12:00:00"
    at, span = "2013-11-01T12:00:00", "--from 2013-11-01T12:00:00 --to 2013-11-01T13:00:00 --env local"
    assert body.splitlines() == [
        f"FAIL: nycflights13/silver/rides {at} to 2013-11-01T13:00:00 refused",
        "FAIL silver/rides.delay, rule delay_in_minutes: max 5400 (bad 35 of 52)",
        "    allowed: -60 to 1440",
        "    examples: 3660, 3540, 1620",
        "readers still see release 2",
        f"see the rows that were held back: tidegate quarantine list nycflights13 --refused --hour {at} --env local",
        "owner: data-team",
        f"see its runs and verdicts: tidegate status nycflights13 --hour {at} --env local",
        "rows held back in published hours: tidegate quarantine list nycflights13 --env local",
        f"run it again when the drop or the rule is fixed: tidegate run nycflights13 ingest {span}",
        f"or all of its steps: tidegate backfill nycflights13 {span}",
    ]
    assert closed.splitlines() == [
        f"published after all: {at} to 2013-11-01T13:00:00, release 3",
        "owner: data-team",
        f"see its runs and verdicts: tidegate status nycflights13 --hour {at} --env local",
    ]


def test_commands_of_a_message_are_ones_that_there_are(desk_of: DeskOf, sink: SmtpSink) -> None:
    """Also of late drops, which no step of the command line waits for, and of a week, which no backfill makes."""
    from typer.testing import CliRunner

    desk = desk_of(email(sink.port))
    for step in ("ingest", "drops_ready", "training_set"):
        desk.blocked(PREPARE.with_step(step), "bad")
    said = [body.splitlines() for _, body in told_by_mail(sink)]
    assert [len(lines) for lines in said] == [6, 6, 5]
    for line in (line for lines in said for line in lines if "tidegate" in line):
        words = line.partition("tidegate ")[2].split()
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
        assert words[1] not in ("drops_ready",)
    assert all(" drops_ready" not in line for line in said[1])


def test_a_mail_has_one_key_an_event_and_a_message_id_of_its_own(desk_of: DeskOf, sink: SmtpSink) -> None:
    """A repeat is known by the key; an hour that is blocked again must not be taken for a copy by the mailbox."""
    desk = desk_of(email(sink.port))
    desk.blocked(PREPARE, "bad")
    desk.published(PUBLISH, 3)
    desk.blocked(PREPARE, "bad again")
    keys = [mail["X-Tidegate-Key"] for mail in sink.mails]
    incident = desk.ledger.incidents()[0]["incident"]
    assert keys == [f"{incident}/{event}" for event in ("opened", "recovered", "opened")]
    assert keys[0] == desk.ledger.incidents()[0]["message_key"]
    assert len({mail["Message-ID"] for mail in sink.mails}) == 3
    first = sink.mails[0]
    assert (first["From"], first["To"]) == ("tidegate@example.com", "a@example.com, b@example.com")
    assert first["Auto-Submitted"] == "auto-generated"
    assert sink.envelopes[0] == ["rcpt TO:<a@example.com>", "rcpt TO:<b@example.com>"]


HOSTILE = "a\r\nBcc: x@example.com\r\n\r\nhello \x1b[2J\x00 \udcff ``` <!channel> <http://x|y> & ключ"


def test_nothing_of_conf_or_data_becomes_a_header_or_markup(desk_of: DeskOf, sink: SmtpSink, hook: Webhook) -> None:
    """Line ends in owner, subject and incident; signs that no one sees; what a chat would take for a mention or a link."""
    desk = desk_of(email(sink.port), slack(), url=hook.home)
    settings = desk.pipeline.settings.model_copy(update={"owner": HOSTILE.replace("\udcff", "")})
    desk = replace(desk, pipeline=desk.pipeline.model_copy(update={"settings": settings}))
    told = {"incident": HOSTILE, "event": "opened", "subject": HOSTILE, "owner": HOSTILE, "body": "fine"}
    for name in ("c0", "c1"):
        channels.send(desk.environment, desk.places, name, told)
    desk.blocked(PREPARE, HOSTILE.replace("\udcff", ""))
    assert events(desk) == ["opened", "sent", "sent"]
    for mail in sink.mails:
        assert sorted(mail.keys()) == sorted(
            ["Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Tidegate-Key", "MIME-Version",
             "Content-Type", "Content-Transfer-Encoding"]
        )  # fmt: skip
        assert all(value.isprintable() for value in mail.values())
        assert len(mail["Subject"]) <= 120
    assert "owner: a Bcc: x@example.com hello \\x1b[2J\\x00 ``` <!channel>" in sink.mails[1].get_content()
    assert "ключ" in sink.mails[1].get_content()
    for _, content in hook.posts:
        assert not set("<>\x1b\x00") & set(content["text"])
    assert hook.posts[1][1]["text"].count("```") == 2
    assert "&lt;!channel&gt; &lt;http://x|y&gt; &amp; ключ" in hook.posts[1][1]["text"]


def test_a_long_text_is_cut_and_its_commands_stay(desk_of: DeskOf, sink: SmtpSink, hook: Webhook) -> None:
    desk = desk_of(email(sink.port), slack(), url=hook.home)
    desk.blocked(PREPARE, "x" * 5_000 + "\n" + "y" * 90_000)
    assert len(hook.posts[0][1]["text"]) < 4_000
    for _, text in (*told_by_webhook(hook), *told_by_mail(sink)):
        assert (
            "x\n… 92001 more characters are not shown: tidegate status nycflights13 --hour 2013-11-01T12:00:00" in text
        )
        assert "tidegate run nycflights13 ingest" in text


# mail
@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that nobody has signed, and the side of a server that shows it."""
    folder = tmp_path_factory.mktemp("trust")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*words.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


LOGIN = {"user_env": "OPS_USER", "password_env": "OPS_PASSWORD"}


@pytest.mark.parametrize("tls", ["starttls", "tls"])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_login_goes_to_a_server_with_a_certificate_that_is_trusted_and_to_no_other(
    tls: str, trusted: bool, desk_of: DeskOf, trust: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, context = trust
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    sink = SmtpSink(context, tls=tls)
    try:
        desk = desk_of(email(sink.port, host="localhost", tls=tls, **LOGIN))
        desk.blocked(PREPARE, "bad")
        assert sink.logins == ([("ops", PASSWORD)] if trusted else [])
        assert len(sink.mails) == trusted
        if not trusted:
            assert "TLS: self-signed certificate" in failed(desk)
    finally:
        sink.close()


def test_a_server_without_starttls_gets_neither_login_nor_mail(desk_of: DeskOf, sink: SmtpSink) -> None:
    """Somebody in between may have taken the offer away."""
    desk = desk_of(email(sink.port, tls="starttls", **LOGIN))
    desk.blocked(PREPARE, "bad")
    assert "no STARTTLS" in failed(desk)
    assert (sink.logins, sink.mails) == ([], [])


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"AUTH": f"535 5.7.8 no, {PASSWORD} is wrong"}, "login refused, 535 5.7.8"),
        ({"CONNECT": f"554 {PASSWORD}"}, "refused, 554"),
        ({"MAIL": "451 4.7.1 later"}, "refused, 451 4.7.1"),
        ({"RCPT": f"550 5.1.1 {PASSWORD}"}, "2 of 2 recipients refused, 550 5.1.1"),
        ({"<b@example.com>": "550 unknown"}, "1 of 2 recipients refused, 550"),
        ({"DATA": "552 5.3.4 too large"}, "refused, 552 5.3.4"),
        ({"MAIL-END": "554 5.6.0 spam"}, "refused, 554 5.6.0"),
        ({"CONNECT": "SSH-2.0-what"}, "refused, -1"),
        ({"CONNECT": "2" * 20_000}, "refused, 500"),
    ],
)
def test_a_mail_that_is_refused_says_at_what_and_with_which_code_and_not_in_the_servers_words(
    says: dict[str, str], told: str, desk_of: DeskOf, sink: SmtpSink
) -> None:
    sink.says |= says
    desk = desk_of(email(sink.port, **LOGIN))
    desk.blocked(PREPARE, "bad")
    said = failed(desk)
    assert f"channel c0: 127.0.0.1 port {sink.port}: {told}" in said.splitlines()[0]
    assert CANARY not in said
    assert len(sink.mails) == ("<b@example.com>" in says or "MAIL-END" in says)


def test_a_mail_that_was_taken_is_sent_whatever_the_server_does_next(desk_of: DeskOf, sink: SmtpSink) -> None:
    sink.stalls = "QUIT"
    desk = desk_of(email(sink.port))
    desk.blocked(PREPARE, "bad")
    assert events(desk) == ["opened", "sent"]


def test_a_server_that_hangs_up_is_told_as_that(desk_of: DeskOf, sink: SmtpSink) -> None:
    sink.says["MAIL"] = hang_up
    desk = desk_of(email(sink.port))
    desk.blocked(PREPARE, "bad")
    assert "the server hung up" in failed(desk)


@pytest.mark.parametrize("at", ["CONNECT", "EHLO", "AUTH", "RCPT", "DATA", "MAIL-END", "drip"])
def test_a_mail_server_that_is_slow_holds_nobody_up(at: str, desk_of: DeskOf, sink: SmtpSink) -> None:
    """By silence at any command, or by a reply that never ends while no single wait is long."""
    if at == "drip":
        sink.says["EHLO"] = sink.drip
    else:
        sink.stalls = at
    desk = desk_of(email(sink.port, timeout_s=0.3, **LOGIN))
    desk.blocked(PREPARE, "bad")
    assert "no end within 0.3 s" in failed(desk)


# webhook
@pytest.mark.parametrize("status", [400, 403, 404, 410, 429, 500, 503])
def test_a_post_that_is_refused_says_its_status_and_is_not_tried_again(
    status: int, desk_of: DeskOf, hook: Webhook
) -> None:
    """Whatever Retry-After asks for: the data do not wait."""
    hook.answer = Answer(status, {"Retry-After": "3600"}, CANARY.encode())
    desk = desk_of(slack(), url=hook.home + PATH)
    desk.blocked(PREPARE, "bad")
    said = failed(desk)
    assert said.splitlines()[0] == f"channel c0: status {status}"
    assert "OPS_WEBHOOK" in said
    assert CANARY not in said
    assert len(hook.posts) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["other", "own"])
def test_a_redirect_is_not_followed(place: str, status: int, desk_of: DeskOf, hook: Webhook, other: Webhook) -> None:
    to = other.home if place == "other" else hook.home
    hook.answer = Answer(status, {"Location": f"{to}/{CANARY}"})
    desk = desk_of(slack(), url=hook.home + PATH)
    desk.blocked(PREPARE, "bad")
    assert f"status {status}: a redirect, which is not followed" in failed(desk)
    assert (hook.asked, other.asked) == ([f"POST {PATH}"], [])


def test_an_answer_without_end_is_not_read(desk_of: DeskOf, hook: Webhook) -> None:
    """Its status counts; we hang up, as the receiver notices."""
    hook.answer = Answer(then=hook.pour)
    desk = desk_of(slack(), url=hook.home)
    desk.blocked(PREPARE, "bad")
    assert events(desk) == ["opened", "sent"]
    assert hook.left.wait(30)


@pytest.mark.parametrize("how", ["silent", "slow head", "endless head", "no http"])
def test_a_receiver_that_is_slow_or_mad_holds_nobody_up(how: str, desk_of: DeskOf, hook: Webhook) -> None:
    hook.answer = Answer(
        instead={
            "silent": lambda out: hook.closing.wait(),
            "slow head": hook.drip,
            "endless head": lambda out: (out.write(b"HTTP/1.1 200 OK\r\nX: "), hook.pour(out)),
            "no http": lambda out: out.write(f"{CANARY}\r\n\r\n".encode()),
        }[how]  # type: ignore[arg-type]
    )
    late = how in ("silent", "slow head")
    desk = desk_of(slack(timeout_s=0.3 if late else 10), url=hook.home)
    desk.blocked(PREPARE, "bad")
    said = failed(desk)
    assert ("no end within 0.3 s" if late else "the post failed: RemoteProtocolError") in said
    assert CANARY not in said


def test_plain_http_goes_by_no_proxy(
    desk_of: DeskOf, hook: Webhook, other: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would read the url."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other.home)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    desk = desk_of(slack(), url=hook.home)
    desk.blocked(PREPARE, "bad")
    assert (events(desk), len(hook.posts), other.asked) == (["opened", "sent"], 1, [])


# both
FAULTS = ["closed port", "unset", "refused", "redirect", "no name", "not ascii", "hang up", "slow", "fine"]


@pytest.mark.parametrize("how", FAULTS)
def test_A5_a_secret_of_a_channel_is_nowhere_to_be_found(
    how: str, desk_of: DeskOf, sink: SmtpSink, hook: Webhook, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Not in a row, an error with its causes and all that hangs on them, a log of any level, or what is printed."""
    caplog.set_level(logging.DEBUG)
    port, url, seconds = sink.port, hook.home + PATH, 0.3 if how == "slow" else 10
    if how == "closed port":
        port = closed_port()
        url = f"http://127.0.0.1:{port}{PATH}"
    if how == "refused":
        sink.says["AUTH"], hook.answer = f"535 {PASSWORD}", Answer(403, {"X": PATH}, PATH.encode())
    if how == "redirect":
        hook.answer = Answer(302, {"Location": PATH})
    if how == "no name":
        url = f"https://{CANARY}.invalid.{'x' * 70}{PATH}"
    if how == "hang up":
        sink.says["AUTH"] = hook.answer.instead = hang_up
    if how == "slow":
        sink.stalls, hook.answer.instead = "AUTH", lambda out: hook.closing.wait()
    desk = desk_of(email(port, timeout_s=seconds, **LOGIN), slack(timeout_s=seconds), url=url)
    if how == "unset":
        monkeypatch.delenv("OPS_PASSWORD")
        monkeypatch.delenv("OPS_WEBHOOK")
    if how == "not ascii":
        monkeypatch.setenv("OPS_PASSWORD", f"{PASSWORD}é")
        monkeypatch.setenv("OPS_WEBHOOK", f"{url}é")
    desk.blocked(PREPARE, "bad")
    told = "".join(repr(error) for error in errors_of(desk))
    sent = {"fine": 2, "redirect": 1, "no name": 1}.get(how, 0)
    assert sorted(events(desk)) == ["opened", *["send_failed"] * (2 - sent), *["sent"] * sent]
    out, err = capfd.readouterr()
    everything = told + caplog.text + out + err + json.dumps(desk.ledger.incidents(), default=str)
    assert CANARY.lower() not in everything.lower()
    assert how == "fine" or "alert not sent" in caplog.text


def errors_of(desk: Desk) -> Iterator[object]:
    """What is raised by each channel, its causes, and what those carry: a request has its url."""
    told = {"incident": "i", "event": "opened", "subject": "s", "owner": "o", "body": "b"}
    for name in desk.environment.channels:
        try:
            channels.send(desk.environment, desk.places, name, told)
        except ChannelError as error:
            cause: BaseException | None = error
            while cause is not None:
                yield cause
                yield str(cause)
                yield vars(cause)
                cause = cause.__cause__ or cause.__context__


@pytest.mark.parametrize("kind", ["email", "slack"])
def test_A1_a_closed_port_is_told_as_that(kind: str, desk_of: DeskOf) -> None:
    port = closed_port()
    desk = desk_of(email(port) if kind == "email" else slack(), url=f"http://127.0.0.1:{port}{PATH}")
    desk.blocked(PREPARE, "bad")
    assert "cannot be reached: Connection refused" in failed(desk)


def test_an_unforeseen_error_of_a_channel_is_recorded_by_its_name_alone(
    desk_of: DeskOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever breaks there: the data go on, and the text may hold anything."""

    def breaks(*words: object) -> None:
        raise RuntimeError(CANARY)

    desk = desk_of(slack(), url="https://x.example")
    monkeypatch.setitem(channels._KINDS, "slack", breaks)
    desk.blocked(PREPARE, "bad")
    assert "channel c0: slack failed: RuntimeError" in failed(desk)
    assert CANARY not in failed(desk)


def test_A1_one_dead_channel_keeps_no_message_from_another(desk_of: DeskOf, sink: SmtpSink) -> None:
    desk = desk_of(slack(), email(sink.port), slack(), url=f"http://127.0.0.1:{closed_port()}/")
    desk.blocked(PREPARE, "bad")
    rows = desk.ledger.incidents()[1:]
    assert [(row["channel"], row["event"]) for row in rows] == [
        ("c0", "send_failed"), ("c1", "sent"), ("c2", "send_failed"),
    ]  # fmt: skip
    assert len(sink.mails) == 1


def test_A1_data_are_published_while_every_channel_is_dead_and_status_shows_those_channels(
    desk_of: DeskOf, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real stage: blocked, corrected, published; both messages failed, and a later one that is sent clears it."""
    from typer.testing import CliRunner

    text = f"  ops: {json.dumps(email(closed_port()))}\n  chat: {json.dumps(slack())}\n"
    local, settings = project / "conf/environments/local.yaml", project / f"conf/pipelines/{NAME}/pipeline.yaml"
    local.write_text(local.read_text() + text)
    settings.write_text(settings.read_text().replace("[data_team, data_team_chat]", "[ops, data_team, chat]"))
    monkeypatch.delenv("OPS_WEBHOOK", raising=False)
    environment, places = load_environment("local")
    root = places.lake / NAME
    desk = Desk(load_pipeline(NAME), environment, places, Ledger.open(root))
    desk.blocked(PREPARE, "bad")
    hour_lake.publish_hour(root, desk.ledger, NOON, ("departures", "schedules", "weather", "planes"))
    for call in (PREPARE, PREPARE.with_step("build_features"), PUBLISH):
        done = conclude_without_spark(replace(call, dag_run="again"))
        assert done is not None
        assert (done.state, done.release, done.exit_code) == ("published", 1, 0)
    assert events(desk) == [
        "opened",
        "send_failed",
        "sent",
        "send_failed",
        "recovered",
        "send_failed",
        "sent",
        "send_failed",
    ]
    shown = CliRunner().invoke(app, ["status", NAME]).stdout
    lines = [line.split(" (")[0] for line in shown.splitlines() if line.startswith("  alerts")]
    assert [line.partition("not sent: ")[2].partition(" port")[0] for line in lines] == [
        "channel ops: 127.0.0.1", "channel chat: OPS_WEBHOOK is not set; do: look at the url in OPS_WEBHOOK",
    ]  # fmt: skip
    row = {"incident": "i", "message_key": "i/opened", "severity": "critical", "owner": "o", "body": "s"}
    for name in ("ops", "chat"):
        desk.ledger.add_incident(row | {"event": "sent", "channel": name})
    assert "not sent" not in CliRunner().invoke(app, ["status", NAME]).stdout
    assert json.loads(CliRunner().invoke(app, ["status", NAME, "--json"]).stdout)["failed_channels"] == []
