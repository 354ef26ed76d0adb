"""Delivers a packaged history as an upstream would: one compressed file and one manifest a source and hour.

A second call changes nothing, a different content never overwrites what was delivered, and the same content has the
same bytes on every call.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from spark_jobs.config.replay import ReplayConf
from spark_jobs.errors import UsageError, nearest
from spark_jobs.invocation import HOUR, format_hour, hours_between
from spark_jobs.sources.history import HOUR_SECONDS, HourlyText, data_folder, hourly_text, read_history, source_columns
from spark_jobs.sources.manifest import Manifest, read_manifest, write_whole

ARRIVED_MINUTES = 0.5  # after the end of the hour
CORRECTION_MINUTES = 9.0  # later than that: still inside a grace of 15 minutes
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplayReport:
    """Hours, drops and rows that now lie in the landing folder for the call; `written` of the drops were new."""

    hours: int
    drops: int
    rows: int
    written: int


def replay(
    conf: ReplayConf,
    landing: Path,
    start: datetime,
    end: datetime,
    *,
    only: list[str] | None = None,
    scale: Mapping[str, float] | None = None,
    correction: bool = False,
    arrived_minutes: float = ARRIVED_MINUTES,
    progress: Progress | None = None,
) -> ReplayReport:
    """Put the drops of [start, end) below `landing`, the pipeline's own landing folder, oldest hour first.

    `only`: these sources. `scale`: factor by "source.column", such as {"orders.amount": 100}: a change of unit at the
    upstream. `correction`: deliver the next version of each drop whose newest version has other bytes, 9 minutes later.
    `arrived_minutes`: minutes from the end of the hour to the arrival. `progress(done, all)` counts drops.

    Raises:
        UsageError: hours outside of replay.yaml, an unknown source or column, or a drop that is there with other bytes.
    """
    names = _sources(conf, only)
    _check_hours(conf, start, end)
    texts = _texts(conf, names, _scales(conf, names, scale or {}))
    arrived = timedelta(minutes=arrived_minutes + (CORRECTION_MINUTES if correction else 0.0))
    hours = list(hours_between(start, end))
    rows = written = done = 0
    for name in names:
        suffix = f"{conf.sources[name].format}.gz"
        folders: dict[str, _Folder] = {}
        for hour in hours:
            day = f"{hour:%Y-%m-%d}"
            folder = folders.get(day) or folders.setdefault(day, _Folder(landing / name / day))
            data, count = texts[name].of_hour(int(hour.timestamp()) // HOUR_SECONDS)
            packed = gzip.compress(data, compresslevel=1, mtime=0)
            written += folder.deliver(name, hour, suffix, packed, count, hour + HOUR + arrived, correction)
            rows, done = rows + count, done + 1
            if progress:
                progress(done, len(hours) * len(names))
    return ReplayReport(len(hours), done, rows, written)


class _Folder:
    """One day of one source in the landing folder; knows which versions of each hour are there."""

    _MANIFEST = re.compile(r"(\d\d)(?:\.(\d+))?\.manifest\.json")

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.versions: dict[str, list[int]] = {}
        for name in os.listdir(path):
            if match := self._MANIFEST.fullmatch(name):
                self.versions.setdefault(match[1], []).append(int(match[2] or 1))

    def deliver(
        self, source: str, hour: datetime, suffix: str, data: bytes, rows: int, arrived_at: datetime, correction: bool
    ) -> bool:
        """Write file, then manifest; False when the drop is there already."""
        sha256 = hashlib.sha256(data).hexdigest()
        there = sorted(self.versions.get(f"{hour:%H}", []))
        for version in there[-1:] if correction else there:
            manifest = read_manifest(self.path / f"{_stem(hour, version)}.manifest.json", source, hour)
            if manifest.sha256 == sha256:
                return self._restore(manifest, data)
            if correction:
                arrived_at = max(arrived_at, manifest.arrived_at)  # the newest arrival is the one that counts
        if there and not correction:
            found = f"{source} of {format_hour(hour)} was delivered with other bytes"
            raise UsageError(str(self.path), found, "the same bytes, or a correction", "replay it as a correction")
        stem = _stem(hour, there[-1] + 1 if there else 1)
        manifest = Manifest(
            schema_version=1, source=source, hour=hour, file=f"{stem}.{suffix}", rows=rows, bytes=len(data),
            sha256=sha256, arrived_at=arrived_at,
        )  # fmt: skip
        write_whole(self.path / manifest.file, data)
        write_whole(self.path / f"{stem}.manifest.json", manifest.text().encode())
        return True

    def _restore(self, manifest: Manifest, data: bytes) -> bool:
        """Write the file of a delivered manifest again when it is gone or cut; False when it is as it should be."""
        try:
            whole = os.stat(self.path / manifest.file).st_size == manifest.bytes
        except FileNotFoundError:
            whole = False
        if not whole:
            write_whole(self.path / manifest.file, data)
        return not whole


def _stem(hour: datetime, version: int) -> str:
    return f"{hour:%H}" if version == 1 else f"{hour:%H}.{version}"


def _sources(conf: ReplayConf, only: list[str] | None) -> list[str]:
    for name in only or []:
        if name not in conf.sources:
            raise UsageError("replay", f"no source '{name}'", nearest(name, list(conf.sources)))
    return [name for name in conf.sources if only is None or name in only]


def _check_hours(conf: ReplayConf, start: datetime, end: datetime) -> None:
    if not conf.start <= start < end <= conf.end:
        found = f"hours {format_hour(start)} to {format_hour(end)}"
        raise UsageError("replay", found, f"an interval inside {format_hour(conf.start)} to {format_hour(conf.end)}")


def _scales(conf: ReplayConf, names: list[str], scale: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Factors by source and column.

    Raises:
        UsageError: a key is not "source.column" of a replayed source.
    """
    legal = [f"{name}.{column}" for name in names for column in conf.sources[name].columns]
    factors: dict[str, dict[str, float]] = {}
    for key, factor in scale.items():
        if key not in legal:
            raise UsageError("replay: scale", f"no column '{key}'", nearest(key, legal))
        name, _, column = key.partition(".")
        factors.setdefault(name, {})[column] = factor
    return factors


def _texts(conf: ReplayConf, names: list[str], scales: Mapping[str, Mapping[str, float]]) -> dict[str, HourlyText]:
    """The lines of each source; a file that several sources share is read once."""
    folder = data_folder(conf)
    needed: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name in names:
        source = conf.sources[name]
        needed.setdefault((source.file, tuple(source.nulls)), []).extend(source_columns(source))
    histories = {
        (file, nulls): read_history(folder / file, list(dict.fromkeys(columns)), list(nulls))
        for (file, nulls), columns in needed.items()
    }
    texts = {}
    for name in names:
        source = conf.sources[name]
        texts[name] = hourly_text(histories[(source.file, tuple(source.nulls))], source, scales.get(name, {}))
    return texts
