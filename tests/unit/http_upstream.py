"""An upstream over HTTP on this machine for tests of kind http, and what is asked of a fetch from it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import TidegateError
from spark_jobs.sources.drops import Drop, check_drop, find_drops
from spark_jobs.sources.http import fetch_drop
from spark_jobs.sources.http_client import Patience
from spark_jobs.sources.landing import FetchedDrop

HOUR = datetime(2013, 11, 1, 12, tzinfo=UTC)
ARRIVED = datetime(2013, 11, 1, 13, 0, 30, tzinfo=UTC)
TOKEN = "canary-7F3a.TOKEN"  # also the name of a host


@dataclass
class Answer:
    """What the server says to one request; `then` goes on talking after `body`, `head` inside of the head's first line."""

    body: bytes = b"[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    then: Callable[[Any], None] | None = None
    head: Callable[[Any], None] | None = None


class Server:
    """An upstream on a port of its own; `answer` gets the path and the number of the request, from 0."""

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Answer] = lambda path, number: Answer()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()  # a talk that never ends waits for it
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each body waits 40 ms for the head to be acknowledged

            def do_GET(self) -> None:
                answer = owner.answer(self.path, len(owner.asked))
                owner.asked.append((self.path, {name.lower(): text for name, text in self.headers.items()}))
                if answer.head:
                    with suppress(OSError):
                        self.wfile.write(b"HTTP/1.1 200 OK")
                        answer.head(self.wfile)
                    return
                self.send_response_only(answer.status)
                length = {} if answer.then else {"Content-Length": str(len(answer.body))}
                for name, text in {**length, **answer.headers}.items():
                    self.send_header(name, text)
                with suppress(OSError):  # the client may leave early
                    self.end_headers()
                    self.wfile.write(answer.body)
                    if answer.then:
                        self.close_connection = True
                        answer.then(self.wfile)

            def log_message(self, *words: object) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def home(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.http.server_port}"

    def says(self, *answers: Answer) -> None:
        """One answer after the other, the last one for ever."""
        self.answer = lambda path, number: answers[min(number, len(answers) - 1)]

    def close(self) -> None:
        """End all talk."""
        self.closing.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def source_at(upstream: Server, http: dict[str, Any] | None = None, **changes: Any) -> SourceConf:
    section = {"url": f"{upstream.home}/orders?from={{from}}&to={{to}}", **(http or {})}
    return SourceConf.model_validate(
        {
            "kind": "http",
            "manifests": "orders/{day}/{hour}.manifest.json",
            "format": "jsonl",
            "columns": ["id", "amount"],
            "http": section,
        }
        | changes
    )


class Waits(list[float]):
    """Seconds that a fetch would have waited."""

    async def __call__(self, seconds: float) -> None:
        """Wait for nothing."""
        self.append(seconds)


def fetch_hour(source: SourceConf, landing: Path, arrived_at: datetime = ARRIVED, **patience: Any) -> FetchedDrop:
    return fetch_drop("orders", source, landing, HOUR, arrived_at, patience=Patience(**{"sleep": Waits()} | patience))


def newest_drop(source: SourceConf, landing: Path) -> Drop | None:
    drop = find_drops(SourcesConf(sources={"orders": source}), landing, "orders", [HOUR]).get(HOUR)
    if drop:
        check_drop(drop, wait_seconds=0)
    return drop


def landed_bytes(source: SourceConf, landing: Path) -> bytes:
    drop = newest_drop(source, landing)
    assert drop is not None
    return Path(drop.path).read_bytes()


def files_in(landing: Path) -> dict[str, bytes]:
    return {path.relative_to(landing).as_posix(): path.read_bytes() for path in landing.rglob("*") if path.is_file()}


def refused_fetch(
    kind: type[TidegateError], said: str, source: SourceConf, landing: Path, **patience: Any
) -> TidegateError:
    """The error of a fetch, which has four parts and lands nothing."""
    with pytest.raises(kind, match=said) as told:
        fetch_hour(source, landing, **patience)
    assert told.value.where.startswith("orders 2013-11-01T12:00:00")
    assert all((told.value.found, told.value.allowed, told.value.todo))
    assert files_in(landing) == {}
    return told.value
