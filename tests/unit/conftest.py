"""Upstreams over HTTP on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_upstream import Server


@pytest.fixture
def upstream() -> Iterator[Server]:
    """The one that a source names."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Server]:
    """One that nobody should ask."""
    server = Server()
    yield server
    server.close()
