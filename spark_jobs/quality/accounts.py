"""`accounts`: for each hour and table where the rows of which drop went; how a row is made and how it is read. No Spark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from spark_jobs.config.schemas import ACCOUNTS, SPINE_ACCOUNTS, Types
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import hours_between, parse_hour
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger, Release
from spark_jobs.quality.decide import Account, SpineAccount, same_hours
from spark_jobs.quality.quarantine import ALL, Line, discards, held_rows, hours_condition, line_of
from spark_jobs.sources.drops import Drop
from spark_jobs.storage import Row


def _columns(types: Types) -> str:
    """The columns of a row of accounts, as Spark's DDL writes them."""
    return ", ".join(f"{name} {kind}" for name, kind in {**types, "hour": "timestamp", "known_at": "timestamp"}.items())


ACCOUNT_COLUMNS, SPINE_COLUMNS = _columns(ACCOUNTS), _columns(SPINE_ACCOUNTS)
_COUNTS = ("manifest", "silver", "quarantined", "duplicates", "discarded")  # rows


def account_row(table: str, drop: Drop, account: Account, known_at: datetime) -> Row:
    """The account of one hour of silver table `table`, columns in the order of ACCOUNT_COLUMNS."""
    origin = {
        "source": drop.source,
        "table": table,
        "drop_sha256": drop.sha256,
        "file": drop.file,
        "arrived_at": drop.arrived_at,
    }
    return {**origin, **account_totals([account]), "hour": account.hour, "known_at": known_at}


def spine_account_row(account: SpineAccount, known_at: datetime) -> Row:
    """A row of `spine_accounts`, columns in the order of SPINE_COLUMNS."""
    facts = {name: getattr(account, name) for name in SPINE_ACCOUNTS}
    return {**facts, "hour": account.hour, "known_at": known_at}


def published_spine_accounts(
    pipeline: Pipeline, root: Path, line: Sequence[Release], start: datetime, end: datetime
) -> list[Row]:
    """Spine rows that the hours [start, end) account for, by hour and as_of, as of the last release of `line`."""
    hours = hours_condition(start, end)
    kind = table_kinds(pipeline)["spine_accounts"]
    rows = read_current(root, "spine_accounts", kind, line, where=hours, limit=ALL)
    return sorted(rows, key=lambda row: (row["hour"], row["as_of"], row["too_early"]))


def account_totals(accounts: Sequence[Account]) -> dict[str, int]:
    """Rows of all hours by where they went, as `intervals.rows` keeps them."""
    return {count: sum(getattr(account, count) for account in accounts) for count in _COUNTS}


def published_accounts(
    pipeline: Pipeline, root: Path, line: Sequence[Release], start: datetime, end: datetime
) -> list[Row]:
    """Accounts of the hours [start, end) as the last release of `line` booked them, the latest hours first.

    Rows that were discarded since are still among the quarantined: see `settled_accounts`.
    """
    hours = hours_condition(start, end)
    return read_current(root, "accounts", table_kinds(pipeline)["accounts"], line, where=hours, limit=ALL)


def known_times(
    pipeline: Pipeline, root: Path, line: Sequence[Release], start: datetime, end: datetime
) -> dict[datetime, datetime]:
    """For each published hour of [start, end) when its drops were known: the latest of all sources."""
    known: dict[datetime, datetime] = {}
    for row in published_accounts(pipeline, root, line, start, end):
        hour, known_at = (parse_hour(row[name]) for name in ("hour", "known_at"))
        known[hour] = max(known_at, known.get(hour, known_at))
    return known


def rows_before(
    pipeline: Pipeline, root: Path, line: Sequence[Release], start: datetime, end: datetime
) -> dict[str, dict[datetime, int]]:
    """Rows that drops had, by silver table and hour, in the hours against which the volume of [start, end) is judged."""
    wanted = {
        at
        for table in pipeline.silver.values()
        for hour in hours_between(start, end)
        for at in same_hours(hour, table.volume.weeks, table.volume.zone)
        if at < start
    }
    known: dict[str, dict[datetime, int]] = {name: {} for name in pipeline.silver}
    for row in read_current(root, "accounts", table_kinds(pipeline)["accounts"], line, hours=wanted, limit=ALL):
        known.setdefault(row["table"], {})[parse_hour(row["hour"])] = row["manifest"]
    return known


def settled_accounts(pipeline: Pipeline, root: Path, ledger: Ledger, start: datetime, end: datetime) -> list[Row]:
    """Accounts of the hours [start, end) as of the newest release; held rows that somebody discarded count as such.

    Manifest rows stay silver + quarantined + duplicates + discarded: rows only move from the second to the last.
    """
    line, gone = ledger.line(), discards(ledger)
    accounts = published_accounts(pipeline, root, line, start, end)
    if not gone:
        return accounts
    held = {line_of(row) for row in held_rows(pipeline, root, ledger, line, start, end)}
    of_drop: dict[tuple[str, str | None], list[tuple[Line, int]]] = defaultdict(list)
    for discarded, row in gone.items():
        of_drop[discarded[:2]].append((discarded, row["pub"]))
    for account in accounts:
        # held by this very publication, or by one before and by this one again; the first outlives the row itself, which
        # `retention.quarantine` may have taken
        mine = of_drop[f"silver/{account['table']}", account["file"]]
        moved = sum(pub == account["pub"] or discarded in held for discarded, pub in mine)
        account["quarantined"] -= moved
        account["discarded"] += moved
    return accounts


def settled_totals(pipeline: Pipeline, root: Path, ledger: Ledger) -> dict[str, dict[str, int]] | None:
    """Settled accounts of all hours that readers see, summed by table and by where the rows went.

    None when the ledger's sums of each publication say the same for less: no hour was published twice or withdrawn, and
    no row discarded.
    """
    line = ledger.line()
    spans = sorted((start, end) for release in line for table, start, end in release.covers if table == "accounts")
    twice = any(start < end for (_, end), (start, _) in pairwise(spans))
    if not spans or not (twice or line[-1].dead or discards(ledger)):
        return None
    sums: dict[str, dict[str, int]] = {}
    for account in settled_accounts(pipeline, root, ledger, spans[0][0], max(end for _, end in spans)):
        total = sums.setdefault(account["table"], dict.fromkeys(_COUNTS, 0))
        for count in _COUNTS:
            total[count] += account[count]
    return dict(sorted(sums.items()))


def drops_taken(accounts: list[Row]) -> dict[tuple[str, datetime], str]:
    """The sha256 of the drop behind the published rows, by source and hour."""
    return {(row["source"], parse_hour(row["hour"])): row["drop_sha256"] for row in accounts}
