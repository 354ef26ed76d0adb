"""Clocks that jump and hosts in other zones: the same bytes, the same rows, the same releases."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from lake_rows import KINDS, SILVER, at, publication

from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.sources import SourcesConf
from spark_jobs.invocation import HOUR, Invocation, format_hour, hours_between, parse_hour
from spark_jobs.lake.publish import publish
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger, folds
from spark_jobs.sources.drops import find_drops, known_at
from spark_jobs.sources.replay import replay
from spark_jobs.storage.delta import DeltaStorage

CHECKOUT = Path(__file__).resolve().parents[2]
PIPELINE = CHECKOUT / "conf" / "pipelines" / "nycflights13"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TWICE = datetime(2013, 11, 3, 5, tzinfo=UTC)  # this hour and the next one are one o'clock in New York
ASKED = "hour < '2013-11-01 02:00:00'"  # a reader's condition names no zone: it is meant in UTC


def published(root: Path, clock: Callable[[], datetime]) -> dict[str, Any]:
    """Hours 1 and 2, then hour 1 delivered again, under `clock`: what readers see, now and as known before."""
    ledger = Ledger(DeltaStorage(root, clock))
    for start, thing, amount in ((1, "a", 1), (2, "b", 2), (1, "a", 7)):
        call = Invocation("p", "ingest", at(start), at(start + 1), f"run-{amount}")
        pub = ledger.start(call, "code", "conf", None)
        publish(ledger, publication(root, ledger, pub, (start, start + 1), (thing, amount)))
        ledger.record(call, "published", pub)
    line = ledger.line()
    return {
        "line": [(one.release, one.pub, one.parent) for one in line],
        "cover": [(one.pub, str(one.start), str(one.end)) for one in folds.cover(line, SILVER)],
        "states": [(row["seq"], row["pub"], row["state"]) for row in ledger.intervals()],
        "rows": {table: [_text(row) for row in read_current(root, table, kind, line)] for table, kind in KINDS.items()},
        "asked": [row["thing"] for row in read_current(root, SILVER, KINDS[SILVER], line, where=ASKED)],
        "files": _digests(root, "*.parquet", "ledger"),
    }


def _text(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def _digests(folder: Path, pattern: str, without: str = "-") -> dict[str, str]:
    """sha256 of every file by its path, those below a folder `without` left out."""
    files = (path.relative_to(folder) for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {
        str(file): hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for file in files
        if without not in file.parts
    }


def delivered(landing: Path) -> dict[str, Any]:
    """Two hours of drops of the packaged history: their bytes, and from when on their rows are known."""
    sources = SourcesConf.model_validate(yaml.safe_load((PIPELINE / "sources.yaml").read_text()))
    conf = ReplayConf.model_validate(yaml.safe_load((PIPELINE / "replay.yaml").read_text()))
    replay(conf, landing, TWICE, TWICE + 2 * HOUR, arrived_minutes=70)
    known = {
        f"{name} {format_hour(hour)}": str(known_at(drop, one))
        for name, one in sources.sources.items()
        for hour, drop in find_drops(sources, landing, name, hours_between(TWICE, TWICE + 2 * HOUR)).items()
    }
    return {"bytes": _digests(landing, "*"), "known": known, "hour": str(parse_hour("2013-11-03T05:00:00"))}


def facts(folder: Path) -> str:
    """All of the above as text."""
    return json.dumps([published(folder / "lake", lambda: NOON), delivered(folder / "landing")])


def test_T4_a_host_in_another_zone_delivers_publishes_and_reads_the_same(tmp_path: Path) -> None:
    """Bytes of drops and of staged files, the times at which they are known, and rows as readers see them."""
    code = "import sys, pathlib, test_time_rows as t; print(t.facts(pathlib.Path(sys.argv[1])))"
    path = os.pathsep.join([str(Path(__file__).parent), str(CHECKOUT)])
    environment = {**os.environ, "TZ": "Pacific/Chatham", "PYTHONPATH": path}  # 13 h 45 min ahead of UTC in November
    words = [sys.executable, "-c", code, str(tmp_path / "there")]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    told = [json.loads(text) for text in (facts(tmp_path / "here"), ended.stdout.splitlines()[-1])]
    assert told[0] == told[1]
    rows, drops = told[0]
    assert [row["amount"] for row in rows["rows"][SILVER]] == ["2", "7"]
    assert rows["asked"] == ["a"]
    assert len(drops["bytes"]) == 2 * 2 * 4
    assert set(drops["known"].values()) == {f"2013-11-03 0{hour}:00:00+00:00" for hour in (8, 9)}


def test_T5_a_clock_that_jumps_two_hours_changes_neither_order_nor_rows(tmp_path: Path) -> None:
    """Releases, cover, states and rows follow the numbers of the ledger."""
    jumps = itertools.cycle([2, -2, 0, -2, 2])
    jumping = published(tmp_path / "jumping", lambda: NOON + timedelta(hours=next(jumps)))
    backwards = itertools.count()
    falling = published(tmp_path / "falling", lambda: NOON - timedelta(minutes=2 * next(backwards)))
    assert jumping == falling == published(tmp_path / "steady", lambda: NOON)
    assert [release for release, _, _ in jumping["line"]] == [1, 2, 3]
    assert sorted(row["amount"] for row in jumping["rows"][SILVER]) == ["2", "7"]
