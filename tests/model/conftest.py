"""Tests of the protocol over a disk in memory."""

import os

import pytest


@pytest.fixture
def schedules_asked_for() -> int:
    """How many schedules to run: 20,000, or what TIDEGATE_SCHEDULES says (`make test-long`: a million)."""
    return int(os.environ.get("TIDEGATE_SCHEDULES", "20000"))
