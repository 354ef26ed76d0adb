"""Drops whose rows are published and that are older than what is declared: removed from the landing folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.failpoints import failpoint
from spark_jobs.sources.drops import drops_of, must_lie_below
from spark_jobs.sources.landing import hour_path


def remove_spent(
    conf: SourcesConf, landing: Path, hours: Iterable[datetime], published: Mapping[tuple[str, datetime], str]
) -> int:
    """Remove the drops of `hours`, with their older versions, that are published; how many files went.

    `published` gives the sha256 of the drop behind the rows that readers see, by source and hour. A drop of other bytes
    has not been taken yet and stays, with all its versions. The data file goes before the manifest that names it, the
    newest version last, so that an interruption leaves nothing that would be taken for another drop.

    Raises:
        RefusedError: a manifest is malformed or a path leads out of `landing`.
    """
    wanted, removed = list(hours), 0
    for source in conf.sources:
        for hour, versions in drops_of(conf, landing, source, wanted).items():
            if versions[-1].sha256 != published.get((source, hour)):
                continue
            for drop in versions:
                for path in (*_marker(conf.sources[source], landing, hour), drop.path, drop.manifest):
                    removed += _remove(path)
                    failpoint("maintenance.landing.removed")
            _remove_empty(Path(versions[-1].manifest).parent)
    return removed


def _marker(source: SourceConf, landing: Path, hour: datetime) -> list[str]:
    """The marker of an hour, where the source has markers: it goes first, else it would speak of a file that is gone."""
    if source.complete.marker is None:
        return []
    root = Path(os.path.realpath(landing))
    path = root / hour_path(source.complete.marker, hour)
    must_lie_below(path.parent, root)
    return [str(path)]


def _remove(path: str) -> int:
    try:
        os.unlink(path)
    except FileNotFoundError:  # by an attempt that was interrupted
        return 0
    return 1


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # other hours of the day are in it
        return
