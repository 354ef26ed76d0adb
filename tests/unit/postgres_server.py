"""A PostgreSQL server of the test's own on this machine, from the binaries of Debian's package."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def binaries() -> Path | None:
    """The folder of the newest installed server; none where there is none, or where root cannot become postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or (os.getuid() == 0 and not _account()):
        return None
    return found[-1].parent


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


class PostgresServer:
    """The server on a free port of 127.0.0.1, with passwords by scram; `sql` runs as its owner."""

    def __init__(self, password: str) -> None:
        folder = binaries()
        assert folder
        self._bin, self._root = folder, Path(tempfile.mkdtemp(prefix="tidegate-postgres-", dir="/tmp"))
        account = _account() if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        if account:
            os.chown(self._root, account.pw_uid, account.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self._data = str(self._root / "data")
        try:
            self._run("initdb", "-D", self._data, "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256",
                      "--no-sync", "-E", "UTF8", "--locale=C")  # fmt: skip
            options = f"-p {self.port} -k {self._root} -c listen_addresses=127.0.0.1 -c fsync=off -c TimeZone=America/New_York"
            self._run("pg_ctl", "-D", self._data, "-o", options, "-l", str(self._root / "log"), "-w", "start")
            self.sql(f"CREATE ROLE reader LOGIN PASSWORD '{password}'")
        except BaseException:
            self.close()
            raise

    def sql(self, text: str) -> None:
        """Run statements as the owner."""
        self._run("psql", "-h", str(self._root), "-p", str(self.port), "-U", "postgres", "--no-psqlrc", "-qv",
                  "ON_ERROR_STOP=1", "postgres", text=text)  # fmt: skip

    def close(self) -> None:
        """Stop it and remove its data."""
        subprocess.run(self._command("pg_ctl", "-D", self._data, "-m", "immediate", "stop"), capture_output=True, check=False,
                       cwd="/tmp", **self._user)  # type: ignore[call-overload]  # fmt: skip
        shutil.rmtree(self._root, ignore_errors=True)

    def _command(self, program: str, *words: str) -> Sequence[str]:
        return [str(self._bin / program), *words]

    def _run(self, program: str, *words: str, text: str = "") -> None:
        log = self._root / "output"
        with log.open("a+b") as output:  # a pipe would stay open with the server
            done = subprocess.run(self._command(program, *words), input=text.encode(), stdout=output, stderr=output,
                                  check=False, cwd="/tmp", **self._user)  # type: ignore[call-overload]  # fmt: skip
        assert done.returncode == 0, log.read_text()
