"""The host key of an SFTP server: known from sources.yaml or ~/.ssh/known_hosts, else nothing is sent to the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import paramiko

_KNOWN_HOSTS = Path("~/.ssh/known_hosts")


class HostKeyError(paramiko.SSHException):  # type: ignore[misc]  # paramiko has no types
    """The server has another key than the one it is known by, or it is not known."""


class KnownHost(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    """Accepts a server whose key is one of `keys`, or without them the one of ~/.ssh/known_hosts; fsspec would accept any."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Nothing, when the server is known.

        Raises:
            HostKeyError: it is not.
        """
        shown = f"{key.get_name()} {key.get_base64()}"
        if self._keys:
            known = shown in self._keys
        else:
            file = _KNOWN_HOSTS.expanduser()
            known = file.is_file() and paramiko.HostKeys(str(file)).check(hostname, key)
        if not known:
            raise HostKeyError(
                f"the host key of {hostname} is not known; compare it with the server's, then add it to remote.host_keys: {shown}"
            )
