"""Log lines: key=value on stderr, so that stdout carries data only; JSON when TIDEGATE_LOG=json."""

from __future__ import annotations

import os
import sys

import structlog


def log_to_stderr() -> None:
    """Set structlog up for a process of ours."""
    as_json = os.environ.get("TIDEGATE_LOG") == "json"
    renderer = (
        structlog.processors.JSONRenderer() if as_json else structlog.processors.KeyValueRenderer(key_order=["event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
