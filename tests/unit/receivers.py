"""Receivers of alerts on this machine: an SMTP server and a webhook, each as good or as bad as a test wants it."""

from __future__ import annotations

import base64
import json
import socketserver
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from typing import Any


def closed_port() -> int:
    """A port on which nobody listens."""
    with create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


class Served:
    """A server that runs in a thread until it is closed; `closing` ends every talk that has no end."""

    server: socketserver.BaseServer

    def start(self, server: socketserver.BaseServer) -> None:
        """Serve until closed."""
        self.server, self.closing = server, threading.Event()
        self.thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.server_address[1]  # type: ignore[index, return-value]

    def close(self) -> None:
        """End all talk."""
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def drip(self, out: Any, sign: bytes = b"x") -> None:
        """A sign each twentieth of a second: no wait is long, all of them are."""
        with suppress(OSError):
            while not self.closing.wait(0.05):
                out.write(sign)
                out.flush()


class _Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class SmtpSink(Served):
    """Takes mails; `says` has other replies by command (`RCPT <b@x>` or `RCPT`), `stalls` those that get none at all."""

    def __init__(self, trust: ssl.SSLContext | None = None, *, tls: str = "none") -> None:
        self.says: dict[str, str | Callable[[Any], None]] = {}
        self.stalls = ""
        self.mails: list[EmailMessage] = []
        self.envelopes: list[list[str]] = []
        self.logins: list[tuple[str, str]] = []
        self.heard: list[str] = []
        owner = self

        class Talk(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    if tls == "tls" and trust:
                        self.wrap()
                    owner.talk(self)

            def wrap(self) -> None:
                assert trust
                self.connection = trust.wrap_socket(self.request, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

        self.offers = ["AUTH PLAIN LOGIN", *(["STARTTLS"] if tls == "starttls" else [])]
        self.start(_Threads(("127.0.0.1", 0), Talk))

    def talk(self, to: Any) -> None:
        """One connection."""
        rcpts: list[str] = []
        self._reply(to, "CONNECT", "220 sink ESMTP")
        while line := to.rfile.readline():
            text = line.decode().strip()
            verb = text.upper().partition(" ")[0]
            self.heard.append(text)
            if verb == "EHLO":
                self._reply(to, verb, "\r\n".join(["250-sink", *(f"250-{one}" for one in self.offers), "250 HELP"]))
            elif verb == "STARTTLS":
                self._reply(to, verb, "220 go on")
                to.wrap()
            elif verb == "AUTH":
                if text.startswith("AUTH PLAIN "):
                    _, user, password = base64.b64decode(text.split()[2]).decode().split("\0")
                    self.logins.append((user, password))
                self._reply(to, verb, "235 2.7.0 welcome")
            elif verb == "RCPT":
                reply = self._reply(
                    to, text[text.index("<") :] if text[text.index("<") :] in self.says else verb, "250 ok"
                )
                rcpts += [text] if reply.startswith("250") else []
            elif verb == "DATA":
                self._reply(to, verb, "354 go on")
                lines = []
                while (part := to.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(part)
                if not part:  # hung up in the middle
                    return
                data = b"".join(lines)
                self.mails.append(BytesParser(policy=policy.default).parsebytes(data))  # type: ignore[arg-type]
                self.envelopes.append(rcpts)
                self._reply(to, "MAIL-END", "250 2.0.0 taken")
            else:
                self._reply(to, verb, "250 ok")
                if verb == "QUIT":
                    return

    def _reply(self, to: Any, verb: str, usual: str) -> str:
        if self.stalls == verb:
            self.closing.wait()
        said = self.says.get(verb, usual)
        if callable(said):
            said(to.wfile)
            return ""
        to.wfile.write(said.encode() + b"\r\n")
        return said


@dataclass
class Answer:
    """What a webhook says; `instead` talks in place of it, from the first byte on, `then` after the body."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    instead: Callable[[Any], None] | None = None
    then: Callable[[Any], None] | None = None


class Webhook(Served):
    """Takes posts; `answer` is what each gets. `left` is set when a client hung up while it was talked to."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.posts: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        self.left = threading.Event()
        owner = self

        class Talk(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.asked.append(f"{self.command} {self.path}")
                owner.posts.append((self.path, json.loads(body)))
                try:
                    owner.speak(self)
                except OSError:
                    owner.left.set()

            def do_GET(self) -> None:
                owner.asked.append(f"{self.command} {self.path}")
                self.send_error(405)

            do_CONNECT = do_GET

            def log_message(self, *words: object) -> None:
                """Nothing."""

        self.start(ThreadingHTTPServer(("127.0.0.1", 0), Talk))

    @property
    def home(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def speak(self, talk: Any) -> None:
        """The answer."""
        answer = self.answer
        if answer.instead:
            answer.instead(talk.wfile)
            return
        talk.send_response_only(answer.status)
        length = {} if answer.then else {"Content-Length": str(len(answer.body))}
        for name, text in {**length, **answer.headers}.items():
            talk.send_header(name, text)
        talk.end_headers()
        talk.wfile.write(answer.body)
        if answer.then:
            answer.then(talk.wfile)

    def pour(self, out: Any) -> None:
        """Bytes without end, until the client hangs up."""
        while not self.closing.is_set():
            out.write(b"x" * 65536)
