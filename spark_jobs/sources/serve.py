"""Serves a packaged history over HTTP, page by page, as an upstream of a source of kind http would.

For demos and tests: `GET /<source>?from=…Z&to=…Z[&cursor=n]`. What the history is formatted as jsonl for comes as
`{"data": [rows], "next": "cursor of the next page" or null}`, csv as one page. `Last-Modified` says when the rows of the
newest hour asked for could first be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from spark_jobs.config.address import LOOPBACK
from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.sources import SourceConf
from spark_jobs.errors import TidegateError, UsageError
from spark_jobs.invocation import hours_between, parse_hour
from spark_jobs.sources.faults import FaultyText
from spark_jobs.sources.replay import ARRIVED_MINUTES, clean_texts

PAGE = 20  # rows; an hour of most upstreams takes more than one page, so that paging is always used


class HistoryServer(ThreadingHTTPServer):
    """Answers on an address of this machine until `shutdown`; port 0 takes any free one, see `server_port`.

    Raises:
        UsageError: the port is taken, or the address is none of this machine.
    """

    daemon_threads = True

    def __init__(self, conf: ReplayConf, sources: list[str], port: int, host: str = "127.0.0.1") -> None:
        self.conf, self.texts = conf, clean_texts(conf, sources)
        try:
            super().__init__((host, port), _Answer)
        except OSError as error:
            raise UsageError(
                f"port {port} of {host}",
                f"cannot be served on ({error.strerror})",
                "a free port of this machine",
                "end what listens there, or change the port in http.url of sources.yaml",
            ) from error


class _Answer(BaseHTTPRequestHandler):
    server: HistoryServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One page of one source's rows."""
        parts = urlsplit(self.path)
        name, words = parts.path.strip("/"), {key: values[0] for key, values in parse_qs(parts.query).items()}
        if name not in self.server.texts:
            self._send(404, b"no such source\n", "text/plain")
            return
        try:
            body, media, until = self._page(self.server.texts[name], self.server.conf.sources[name].format, words)
        except (KeyError, ValueError, TidegateError) as error:
            self._send(400, f"{error}\n".encode(), "text/plain")
            return
        self._send(200, body, media, until + timedelta(minutes=ARRIVED_MINUTES))

    def _page(self, text: FaultyText, form: str, words: Mapping[str, str]) -> tuple[bytes, str, datetime]:
        start, end = parse_hour(words["from"], "from"), parse_hour(words["to"], "to")
        drops = [text.of_hour(hour)[0] for hour in hours_between(start, end)]
        if form == "csv":
            header = drops[0].partition(b"\n")[0] + b"\n"
            return header + b"".join(drop.removeprefix(header) for drop in drops), "text/csv", end
        lines = [line for drop in drops for line in drop.splitlines(keepends=True)]
        first = int(words.get("cursor", "0"))
        rows = b",".join(line.rstrip(b"\n") for line in lines[first : first + PAGE])
        more = b'"%d"' % (first + PAGE) if first + PAGE < len(lines) else b"null"
        return b'{"data":[' + rows + b'],"next":' + more + b"}", "application/json", end

    def _send(self, status: int, body: bytes, media: str, modified: datetime | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        if modified:
            self.send_header("Last-Modified", format_datetime(modified, usegmt=True))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: callers log what they asked for."""


def local_port(sources: Mapping[str, SourceConf]) -> int:
    """The one port of this machine that the urls of `sources`, of kind http, name.

    Raises:
        UsageError: they name other machines, or several ports.
    """
    parts = {urlsplit(source.http.url) for source in sources.values() if source.http}
    ports = {part.port or 80 for part in parts if part.hostname in LOOPBACK}
    if len(ports) != 1:
        raise UsageError(
            "sources.yaml",
            f"{len(ports)} ports of 127.0.0.1 in http.url",
            "one",
            "give all sources that are to be served urls of one port of 127.0.0.1",
        )
    return ports.pop()
