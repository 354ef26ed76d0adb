"""Which drops have landed, and whether each is what its manifest says; no Spark, used by the sensor and by bronze.

Nothing is found by wildcard: a file counts only because a manifest names it, whatever its own name is.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from spark_jobs.config.drop_files import manifest_names
from spark_jobs.config.sources import SourceConf, SourcesConf
from spark_jobs.errors import RefusedError, RetryError, UsageError, nearest
from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.sources.manifest import read_manifest
from spark_jobs.values import Lines


@dataclass(frozen=True)
class Drop:
    """One source's data for one hour, as stated by its newest manifest; `file` is its path below the landing folder."""

    source: str
    hour: datetime
    path: str
    file: str
    manifest: str
    version: int
    rows: int
    bytes: int
    sha256: str
    arrived_at: datetime


def find_drops(conf: SourcesConf, landing: Path, source: str, hours: Iterable[datetime]) -> dict[datetime, Drop]:
    """The drop of each hour that counts, the newest of `drops_of`; hours without a manifest are absent.

    A drop that came again with the same bytes is still the first of them, known since it came, as long as its file is
    whole; so an hour that is run anew has the rows that it had.
    """
    return {hour: _first_of_same(drops) for hour, drops in drops_of(conf, landing, source, hours).items()}


def _first_of_same(drops: list[Drop]) -> Drop:
    """Of the last of `drops` and those directly before it with the same bytes the first whose file is whole."""
    same = list(takewhile(lambda drop: drop.sha256 == drops[-1].sha256, reversed(drops)))[::-1]
    return next((drop for drop in same[:-1] if _look(drop)[1] is None), drops[-1])


def drops_of(conf: SourcesConf, landing: Path, source: str, hours: Iterable[datetime]) -> dict[datetime, list[Drop]]:
    """All versions of each hour's drop, the newest last: by arrival, then by version; hours without a manifest are absent.

    `landing` is the pipeline's own landing folder. The data files are not opened here.

    Raises:
        UsageError: no such source is declared.
        RefusedError: a manifest is malformed, arrives in the future, or a path leads out of `landing` (up to five of them in
            one report).
    """
    if source not in conf.sources:
        raise UsageError("sources.yaml", f"no source '{source}'", nearest(source, list(conf.sources)))
    root, template = Path(os.path.realpath(landing)), conf.sources[source].manifests
    days: dict[str, dict[tuple[str, str], list[tuple[int, str]]]] = {}
    found: dict[datetime, list[Drop]] = {}
    faults: list[RefusedError] = []
    latest = latest_arrival(conf.sources[source])
    for hour in hours:
        day = f"{hour:%Y-%m-%d}"
        try:
            if day not in days:
                days[day] = _manifests_of_day(root, template, day)
            key = (day, f"{hour:%H}")
            drops = [_drop(root, path, source, hour, version, latest) for version, path in days[day].get(key, [])]
        except RefusedError as fault:
            faults.append(fault)
            days.setdefault(day, {})
            continue
        if drops:
            found[hour] = sorted(drops, key=lambda drop: (drop.arrived_at, drop.version))
    if len(faults) > 1:
        listed = [f"  {fault.where}: {fault.found}" for fault in faults[:5]]
        listed += [f"  and {len(faults) - 5} more"] if len(faults) > 5 else []
        text = Lines.of([f"{len(faults)} broken drops", *listed])
        raise RefusedError(f"{landing}/{source}", text, faults[0].allowed, faults[0].todo)
    if faults:
        raise faults[0]
    return found


def _manifests_of_day(root: Path, template: str, day: str) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """(day, HH) -> [(version, path)] of the manifests in the folder that the template gives for `day`."""
    folder, pattern = root / template.replace("{day}", day).rpartition("/")[0], manifest_names(template, day)
    must_lie_below(folder, root)
    manifests: dict[tuple[str, str], list[tuple[int, str]]] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return manifests
    for entry in entries:
        if match := pattern.fullmatch(entry.name):
            manifests.setdefault((day, match[1]), []).append((int(match[2] or 1), entry.path))
    return manifests


def latest_arrival(conf: SourceConf) -> datetime:
    """The latest instant at which a drop can have arrived, by the clock of this machine and the skew that is allowed."""
    return datetime.now(UTC) + conf.clock_skew


def _drop(root: Path, manifest_path: str, source: str, hour: datetime, version: int, latest: datetime) -> Drop:
    if os.path.islink(manifest_path):
        must_lie_below(Path(manifest_path), root)
    facts = read_manifest(manifest_path, source, hour)
    if facts.arrived_at > latest:
        raise RefusedError(
            manifest_path,
            f"arrived_at {format_hour(facts.arrived_at)}Z lies in the future",
            f"at most {format_hour(latest)}Z, which is this machine's clock and clock_skew of sources.yaml",
            "have the manifest delivered again with the time at which the file arrived, or set this machine's clock",
        )
    path = os.path.join(os.path.dirname(manifest_path), facts.file)
    if os.path.islink(path):
        must_lie_below(Path(path), root)
    file = os.path.relpath(path, root)
    return Drop(
        source, hour, path, file, manifest_path, version, facts.rows, facts.bytes, facts.sha256, facts.arrived_at
    )


def must_lie_below(path: Path, root: Path) -> None:
    """Nothing, when `path`, its links followed, is `root` or below it; `root` has no links.

    Raises:
        RefusedError: it leads elsewhere.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        raise RefusedError(
            str(path), f"leads out of the landing folder, to {real}", f"paths below {root}", "remove the link"
        )


def known_at(drop: Drop, conf: SourceConf) -> datetime:
    """The hour boundary at which readers could first use the drop.

    The end of its hour when it arrived before that plus `grace`, or is the first version of an hour before `history_until`;
    otherwise the end of the hour in which it arrived. Source: docs/design/data-model.md.
    """
    end = drop.hour + HOUR
    is_history = conf.history_until is not None and drop.hour < conf.history_until and drop.version == 1
    if is_history or drop.arrived_at < end + conf.grace:
        return end
    return drop.arrived_at.replace(minute=0, second=0, microsecond=0) + HOUR


def require_drops(
    found: Mapping[datetime, Drop], conf: SourceConf, source: str, hours: Iterable[datetime], now: datetime
) -> None:
    """Nothing, when every hour has its drop.

    Raises:
        RetryError: hours without a drop; `found` starts with "late" when the grace of the oldest has ended at `now`,
            with "waiting" before.
    """
    missing = sorted(hour for hour in hours if hour not in found)
    if not missing:
        return
    due = missing[0] + HOUR + conf.grace
    state = "late" if now >= due else "waiting"
    names = ", ".join(format_hour(hour) for hour in missing[:5]) + (
        f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    )
    raise RetryError(
        f"{source} {format_hour(missing[0])}",
        f"{state}: no drop of {len(missing)} hour(s): {names}",
        f"{_awaited(conf)} by {format_hour(due)}Z",
        "ask the upstream for it; the same command goes on when it has landed",
    )


def drops_digest(found: Mapping[str, Mapping[datetime, Drop]]) -> dict[str, str]:
    """For each source one hash over the hashes of its drops, by which a re-delivery of the same bytes is known."""
    return {
        source: hashlib.sha256("".join(drop.sha256 for _, drop in sorted(drops.items())).encode()).hexdigest()
        for source, drops in found.items()
    }


def _awaited(conf: SourceConf) -> str:
    """What has to lie there for an hour to have its drop, for people."""
    complete = conf.complete
    if complete.by == "manifest":
        return f"a manifest {conf.manifests}"
    whole = f"its marker {complete.marker}" if complete.marker else "nobody writing to it any more"
    return f"{complete.data} with {whole}, of which drops_ready or `tidegate fetch` makes a manifest,"


def check_drop(drop: Drop, *, wait_seconds: float = 2.0, sleep: Callable[[float], None] = time.sleep) -> None:
    """Nothing, when the file is there, whole, and the one that its manifest speaks of; a fault is looked at twice.

    Raises:
        RefusedError: at the second look, too, the file is missing, still growing, or of other bytes.
    """
    first, fault = _look(drop)
    if not fault:
        return
    sleep(wait_seconds)
    second, fault = _look(drop)
    if not fault:
        return
    found, expected = fault
    if first is not None and second is not None and second != first:
        found = f"the file is still growing ({first}, then {second} bytes after {wait_seconds:g} s)"
    raise RefusedError(
        drop.path,
        found,
        f"{expected}, as {os.path.basename(drop.manifest)} says",
        f"have {drop.source} of {format_hour(drop.hour)} delivered again (as a new version), then re-run the hour",
    )


def _look(drop: Drop) -> tuple[int | None, tuple[str, str] | None]:
    """Size of the file (None when it is missing), and what is wrong with it as (found, expected), or None."""
    try:
        digest, size = hashlib.sha256(), 0
        with open(drop.path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
    except (FileNotFoundError, IsADirectoryError):
        return None, ("the file is missing", f"a file of {drop.bytes} bytes")
    if size != drop.bytes:
        return size, (f"{size} bytes", f"{drop.bytes} bytes")
    if digest.hexdigest() != drop.sha256:
        return size, (f"sha256 {digest.hexdigest()}", f"sha256 {drop.sha256}")
    return size, None
