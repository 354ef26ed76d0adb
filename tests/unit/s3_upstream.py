"""A real S3 server on this machine: SeaweedFS from PyPI, with a user who may do all and one who may do nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KEY, SECRET = "tidegate", "sk-canary-s3-51H8"
STRANGER = ("stranger", "sk-canary-stranger")
PROGRAM = Path(sys.executable).with_name("weed")


class S3Upstream:
    """The server with one bucket `deliveries`; `system` is an s3fs file system of its owner."""

    def __init__(self, folder: Path) -> None:
        import s3fs

        folder.mkdir(parents=True)
        ports = [_free_port() for _ in range(7)]
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        identities = [
            {"name": "owner", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
             "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
            {"name": "stranger", "credentials": [{"accessKey": STRANGER[0], "secretKey": STRANGER[1]}], "actions": ["Read:other"]},
        ]  # fmt: skip
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        words = ["server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}",
                 "-volume.max=3", "-master.volumeSizeLimitMB=64", f"-s3.port={ports[0]}", f"-master.port={ports[1]}",
                 f"-volume.port={ports[2]}", f"-filer.port={ports[3]}", f"-master.port.grpc={ports[4]}",
                 f"-volume.port.grpc={ports[5]}", f"-filer.port.grpc={ports[6]}", f"-s3.port.grpc={_free_port()}"]  # fmt: skip
        self._log = (folder / "log").open("wb")
        self._server = subprocess.Popen([PROGRAM, *words], stdout=self._log, stderr=self._log, cwd=folder)
        options: dict[str, Any] = {"key": KEY, "secret": SECRET, "endpoint_url": self.endpoint}
        self.system = s3fs.S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False)
        end = time.monotonic() + 90
        while True:
            try:
                self.system.mkdir("deliveries")
                self.system.pipe("deliveries/ready", b"1")
                return
            except Exception:
                if time.monotonic() > end or self._server.poll() is not None:
                    self.close()
                    raise AssertionError((folder / "log").read_text()[-2000:]) from None
                time.sleep(1)

    def put(self, name: str, data: bytes) -> None:
        """An object of the bucket."""
        self.system.pipe(f"deliveries/{name}", data)

    def close(self) -> None:
        """End the server."""
        self._server.kill()
        self._server.wait(30)
        self._log.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
