"""Which pages are generated, and where they are."""

from __future__ import annotations

from pathlib import Path

from spark_jobs.config.load import ROOT
from spark_jobs.reference import command_line, exit_codes, ledger, tables
from spark_jobs.reference.heading import WRITE
from spark_jobs.storage.files import write_whole

__all__ = ["FOLDER", "WRITE", "pages", "write"]

FOLDER = ROOT / "docs/reference"


def pages() -> dict[Path, str]:
    """The text of each generated page by its path."""
    return {
        FOLDER / "cli.md": command_line.page(),
        FOLDER / "tables.md": tables.page(),
        FOLDER / "ledger.md": ledger.page(),
        FOLDER / "exit-codes.md": exit_codes.page(),
    }


def write() -> None:
    """Write every page; each is whole or as it was."""
    for path, text in pages().items():
        write_whole(path, text)
