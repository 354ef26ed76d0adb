"""A real SFTP server on this machine over a folder of the test: paramiko's own server side behind a socket."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import paramiko

USER, PASSWORD = "orders", "sk-canary-8K2s"


class _Login(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if (username, password) == (USER, PASSWORD) else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def get_allowed_auths(self, username: str) -> str:
        return "password"


class _Files(paramiko.SFTPServerInterface):
    """Read-only; a file without the right to be read is denied, whoever runs the test."""

    root: Path

    def _path(self, path: str) -> str:
        return str(self.root / self.canonicalize(path).lstrip("/"))

    def list_folder(self, path: str) -> Any:
        try:
            entries = list(os.scandir(self._path(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return [paramiko.SFTPAttributes.from_stat(entry.stat(), entry.name) for entry in entries]

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._path(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            if not os.stat(self._path(path)).st_mode & 0o444:
                return paramiko.SFTP_PERMISSION_DENIED
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = open(self._path(path), "rb")  # noqa: SIM115  # closed by the handle
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return handle


class SftpUpstream:
    """The server; `root` is its url, `host_key` the line by which it is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = paramiko.RSAKey.generate(2048)
        self.host_key = f"{self._key.get_name()} {self._key.get_base64()}"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.root = f"sftp://127.0.0.1:{self._socket.getsockname()[1]}/deliveries"
        self._transports: list[paramiko.Transport] = []
        self._files = type("Files", (_Files,), {"root": folder})
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self._key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, self._files)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Login())
            except (paramiko.SSHException, EOFError):
                transport.close()

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        for transport in self._transports:
            transport.close()
