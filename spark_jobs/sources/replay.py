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
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from spark_jobs.config.replay import ReplayConf
from spark_jobs.errors import UsageError, nearest
from spark_jobs.invocation import HOUR, format_hour, hours_between
from spark_jobs.sources.database import Database
from spark_jobs.sources.faults import Faults, FaultyText
from spark_jobs.sources.history import HourlyText, data_folder, hourly_text, read_history, source_columns
from spark_jobs.sources.manifest import Manifest, read_manifest
from spark_jobs.storage.files import write_whole

ARRIVED_MINUTES = 0.5  # after the end of the hour
AGAIN_MINUTES = 9.0  # later than that, for a correction or a second delivery: still inside a grace of 15 minutes
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplayReport:
    """Hours, drops and rows that now lie in the landing folder for the call; `written` of the drops were new.

    `outside`: by source, rows of the history that no call delivers, because their hours (late rows: the hours in which they
    are due) lie outside of `from` and `to` of replay.yaml; sources without such rows are absent.
    """

    hours: int
    drops: int
    rows: int
    written: int
    outside: Mapping[str, int] = field(default_factory=dict)


def replay(
    conf: ReplayConf, landing: Path, start: datetime, end: datetime, *, only: list[str] | None = None,
    scale: Mapping[str, float] | None = None, correction: bool = False, arrived_minutes: float = ARRIVED_MINUTES,
    faults: Faults | None = None, databases: Mapping[str, Database] | None = None, progress: Progress | None = None,
) -> ReplayReport:  # fmt: skip
    """Put the drops of [start, end) below `landing`, the pipeline's own landing folder, oldest hour first.

    `only`: these sources. `scale`: factor by "source.column", such as {"orders.amount": 100}: a change of unit at the
    upstream. `correction`: deliver the next version of each drop whose newest version has other bytes, 9 minutes later.
    `arrived_minutes`: minutes from the end of the hour to the arrival. `databases`: where the rows of a source go instead,
    which has no drops then. `faults`: what is delivered badly; those of drops
    that this call does not deliver are left alone. `progress(done, all)` counts drops, skipped ones too.

    Raises:
        UsageError: hours outside of replay.yaml, an unknown source or column, or a drop that is there with other bytes.
    """
    faults, names = faults or Faults(), _sources(conf, only)
    _check_hours(conf, start, end)
    faults.check(conf)
    texts = _texts(conf, names, _scales(conf, names, scale or {}), faults)
    arrived = HOUR + timedelta(minutes=arrived_minutes + (AGAIN_MINUTES if correction else 0.0))
    hours = list(hours_between(start, end))
    folders: dict[Path, _Folder] = {}
    drops = rows = written = 0
    for name, table in (databases or {}).items():
        if name in names:
            changed, count = table.deliver({hour: texts[name].of_hour(hour)[0] for hour in hours})
            written, rows = written + changed, rows + count
    names = [name for name in names if name not in (databases or {})]
    for done, (name, hour) in enumerate(((name, hour) for name in names for hour in hours), start=1):
        if (name, hour) not in faults.skip:
            data, count = texts[name].of_hour(hour)
            path, suffix = landing / name / f"{hour:%Y-%m-%d}", f"{conf.sources[name].format}.gz"
            folder = folders.get(path) or folders.setdefault(path, _Folder(path))
            packed, copies = gzip.compress(data, compresslevel=1, mtime=0), 1 + ((name, hour) in faults.redeliver)
            spoilt = faults.spoilt(name, hour, packed)
            written += folder.deliver(name, hour, suffix, packed, count, hour + arrived, correction, copies, spoilt)
            drops, rows = drops + copies, rows + count * copies
        if progress:
            progress(done, len(hours) * len(names))
    outside = {name: count for name in texts if (count := texts[name].rows_outside(conf.start, conf.end))}
    return ReplayReport(len(hours), drops, rows, written, outside)


def deliver(landing: Path, source: str, form: str, hour: datetime, text: bytes, rows: int) -> None:
    """Put one drop of `rows` rows below `landing` as `replay` would: packed, with a manifest that agrees, in time."""
    folder = _Folder(landing / source / f"{hour:%Y-%m-%d}")
    arrived = hour + HOUR + timedelta(minutes=ARRIVED_MINUTES)
    folder.deliver(source, hour, f"{form}.gz", gzip.compress(text, compresslevel=1, mtime=0), rows, arrived, False)


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
        self, source: str, hour: datetime, suffix: str, data: bytes, rows: int, arrived_at: datetime, correction: bool,
        copies: int = 1, on_disk: bytes | None = None,
    ) -> int:  # fmt: skip
        """Write each file, then its manifest; how many files were not there already.

        `copies` versions of these bytes lie there in the end, 9 minutes apart. `on_disk`: what the files hold, if that
        is not what their manifests say.
        """
        sha256, content = hashlib.sha256(data).hexdigest(), data if on_disk is None else on_disk
        versions = sorted(self.versions.get(f"{hour:%H}", []))
        there = [
            read_manifest(self.path / f"{_stem(hour, version)}.manifest.json", source, hour) for version in versions
        ]
        same = [manifest for manifest in there if manifest.sha256 == sha256]
        if there and not correction and not same:
            found = f"{source} of {format_hour(hour)} was delivered with other bytes"
            raise UsageError(str(self.path), found, "the same bytes, or a correction", "replay it as a correction")
        if there and correction and there[-1].sha256 != sha256:
            same = []  # an older version does not count: readers follow the newest
        written = sum(self._restore(manifest, content) for manifest in same)
        newest = max((manifest.arrived_at for manifest in there), default=arrived_at)  # the one that counts
        version = versions[-1] if versions else 0
        for copy in range(len(same), copies):
            version, at = version + 1, max(newest, arrived_at + copy * timedelta(minutes=AGAIN_MINUTES))
            stem = _stem(hour, version)
            manifest = Manifest(
                schema_version=1, source=source, hour=hour, file=f"{stem}.{suffix}", rows=rows, bytes=len(data),
                sha256=sha256, arrived_at=at,
            )  # fmt: skip
            write_whole(self.path / manifest.file, content, durable=False)
            write_whole(self.path / f"{stem}.manifest.json", manifest.text(), durable=False)
            written += 1
        return written

    def _restore(self, manifest: Manifest, content: bytes) -> bool:
        """Write the file of a delivered manifest again when it does not hold `content`; False when it does."""
        try:
            whole = (self.path / manifest.file).read_bytes() == content
        except FileNotFoundError:
            whole = False
        if not whole:
            write_whole(self.path / manifest.file, content, durable=False)
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


def clean_texts(conf: ReplayConf, names: list[str]) -> dict[str, FaultyText]:
    """What these sources deliver when nothing goes wrong."""
    return _texts(conf, names, {}, Faults())


def _texts(
    conf: ReplayConf, names: list[str], scales: Mapping[str, Mapping[str, float]], faults: Faults
) -> dict[str, FaultyText]:
    """The drops of each source; a file that several sources share is read once."""
    folder = data_folder(conf)
    needed: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name in names:
        source = conf.sources[name]
        needed.setdefault((source.file, tuple(source.nulls)), []).extend(source_columns(source))
    histories = {
        (file, nulls): read_history(folder / file, list(dict.fromkeys(columns)), list(nulls))
        for (file, nulls), columns in needed.items()
    }

    def text(name: str, corrected: str | None, backwards: bool) -> HourlyText:
        source = conf.sources[name]
        history = histories[(source.file, tuple(source.nulls))]
        return hourly_text(history, source, scales.get(name, {}), conf.start, higher=corrected, backwards=backwards)

    return {name: FaultyText(name, faults, partial(text, name), conf.sources[name].stamp) for name in names}
