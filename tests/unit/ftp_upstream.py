"""A real FTP server on this machine over a folder of the test, and what it was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

USER, PASSWORD = "orders", "sk-canary-51H8"


class Upstream:
    """The server; `sent` has the names of the files that it was asked to send, `before_sending` is called with each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sent = folder, list[str]()
        self.before_sending: Callable[[Path], object] = lambda _: None
        folder.mkdir()
        users = DummyAuthorizer()
        users.add_user(USER, PASSWORD, str(folder), perm="elr")
        asked = self

        class Handler(FTPHandler):
            """Notes what it sends."""

            authorizer = users
            auth_failed_timeout = 0

            def ftp_RETR(self, file: str) -> Any:
                asked.sent.append(Path(file).name)
                asked.before_sending(Path(file))
                return super().ftp_RETR(file)

        self._server, self._ended = FTPServer(("127.0.0.1", 0), Handler), threading.Event()
        self.root = f"ftp://127.0.0.1:{self._server.address[1]}/deliveries"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            self._server.serve_forever(timeout=0.05, blocking=False, handle_exit=False)
        self._server.close_all()

    def close(self) -> None:
        """End the server."""
        self._ended.set()
        self._thread.join(30)

    def put(self, name: str, data: bytes, at: datetime) -> Path:
        """A file below its root, last changed at `at`."""
        path = self.folder / "deliveries" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    def deliver(
        self,
        hour: datetime,
        data: bytes,
        rows: int,
        at: datetime,
        version: int = 1,
        source: str = "orders",
        facts: dict[str, Any] | None = None,
    ) -> Path:
        """A drop, arrived and last changed at `at`: the file, then its manifest, which may say other `facts`; its path."""
        mark = f"{hour:%H}" + ("" if version == 1 else f".{version}")
        self.put(f"{source}/{hour:%Y-%m-%d}/{mark}.csv", data, at)
        manifest = {
            "schema_version": 1,
            "source": source,
            "hour": f"{hour:%Y-%m-%dT%H:%M:%S}",
            "file": f"{mark}.csv",
            "rows": rows,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "arrived_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        }
        return self.put(
            f"{source}/{hour:%Y-%m-%d}/{mark}.manifest.json", json.dumps(manifest | (facts or {})).encode(), at
        )
