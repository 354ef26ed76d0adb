"""A receiver of webhooks for trying alerts: POST keeps a JSON message, GET gives all of them, the newest last."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST_BYTES, MOST_MESSAGES = 65_536, 1_000
messages: list[object] = []


class Sink(BaseHTTPRequestHandler):
    """One request."""

    def do_GET(self) -> None:
        """All messages."""
        self._answer(200, json.dumps(messages).encode())

    def do_POST(self) -> None:
        """Keep one."""
        size = int(self.headers.get("Content-Length") or 0)
        if size > MOST_BYTES or len(messages) >= MOST_MESSAGES:
            self._answer(413, b'"too much"')
            return
        messages.append(json.loads(self.rfile.read(size)))
        self._answer(200, b'"ok"')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8090), Sink).serve_forever()
