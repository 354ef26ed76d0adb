"""A pipeline small enough to run twenty thousand times: one source, bronze, silver, tiles, scores and a gate.

What it stages is plain Python; everything from the first ledger row to the release is the code of `spark_jobs`.
Rows of bronze and silver: [hour, known, pub, key, place, event_hour, amount]; of tiles: [hour, known, pub, place, event_hour, n, sum];
of scores: [hour, known, pub, hour scored]. Times are hours since the world began.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from memory_storage import FileGoneError, MemoryStorage

from spark_jobs.errors import RefusedError, RetryError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.admission import publish_sealed, seal, sealed_row
from spark_jobs.lake.predictions import release_predictions, seal_predictions, sealed_predictions
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.lake.staging import Staged
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.verdict import Outcome, RuleResult, Verdict

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
BRONZE, SILVER, TILES, SCORES = "bronze/toys", "silver/toys", "tiles/toys", "predictions/toys"
KEYS = {BRONZE: None, SILVER: slice(3, 4), TILES: slice(3, 5), SCORES: slice(3, 4)}  # columns of the key
READ = frozenset({SILVER, TILES})
Rows = list[list[Any]]


@dataclass(frozen=True)
class Drop:
    """One delivery for an hour: (key, place, event_hour, amount) a row; known at an hour; what its gate will say."""

    hour: int
    version: int
    known: int
    rows: tuple[tuple[str, str, int, int], ...]
    outcome: Outcome


def at(hour: int) -> datetime:
    """The instant of an hour's start."""
    return BEGAN + hour * HOUR


def index(instant: datetime) -> int:
    """The hour that starts at an instant."""
    return int((instant - BEGAN) / HOUR)


def current(storage: MemoryStorage, table: str, line: list[Release], own: dict[str, Rows], span: range) -> Rows:
    """Rows of `table` that count at the last release of `line`, with `own` staged rows of a publication over `span`."""
    alive = folds.live(line)
    rows = [row for row in named_rows(storage, table) if row[2] in alive]
    return choose(table, rows, cover_of(line), own.get(table), span)


def cover_of(line: list[Release]) -> dict[int, int]:
    """For each hour the publication that counts in silver."""
    return {index(s.start) + n: s.pub for s in folds.cover(line, SILVER) for n in range(int((s.end - s.start) / HOUR))}


def named_rows(storage: MemoryStorage, table: str) -> Rows:
    """All rows that the table's newest log names, whatever their publication.

    Raises:
        FileGoneError: a file vanished three times while the log was read.
    """
    for attempt in range(3):
        opened = storage.file_table(table)
        try:
            return [row for path in (opened.sizes() if opened else ()) for row in storage.read_rows(table, path)]
        except FileGoneError:
            if attempt == 2:
                raise
    return []


def choose(table: str, rows: Rows, cover: dict[int, int], own: Rows | None, span: range) -> Rows:
    """The rows that count: of the covering publication, then of each key the newest (known, pub)."""
    if table in (BRONZE, SILVER):
        rows = [row for row in rows if cover.get(row[0]) == row[2] and (own is None or row[0] not in span)]
    rows = rows + (own or [])
    key = KEYS[table]
    if key is None:
        return sorted(rows)
    newest: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        found = newest.setdefault(tuple(row[key]), row)
        if rank(row) > rank(found):
            newest[tuple(row[key])] = row
    return sorted(newest.values())


def rank(row: list[Any]) -> tuple[int, int]:
    """Of two versions the one with the larger (known, pub) counts."""
    return row[1], row[2]


def stage(storage: MemoryStorage, line: list[Release], pub: int, drops: list[Drop], span: range) -> dict[str, Staged]:
    """Silver rows of the drops, and whole tiles for every place and hour that they change."""
    before = current(storage, SILVER, line, {}, span)
    own = {SILVER: [[d.hour, d.known, pub, *row] for d in drops for row in d.rows]}
    after = current(storage, SILVER, line, own, span)
    own[BRONZE] = own[SILVER]
    tiles = {(row[3], row[4]): row[1] for row in current(storage, TILES, line, {}, span)}
    own[TILES] = healed(before, after, pub, span.stop - 1, max(d.known for d in drops), tiles)
    return {table: write(storage, table, pub, rows) for table, rows in own.items()}


def healed(before: Rows, after: Rows, pub: int, hour: int, known: int, tiles: dict[tuple[str, int], int]) -> Rows:
    """New tiles of every (place, event_hour) that differs; n = 0 where nothing is left.

    A new tile is known no earlier than the one that it replaces (`tiles`), or the old one would still count.
    """
    old, new = ({tuple(row[1:]) for row in rows} for rows in (before, after))
    touched = {(row[3], row[4]) for row in old ^ new}
    made = []
    for place, event_hour in sorted(touched):
        rows = [row for row in after if (row[4], row[5]) == (place, event_hour)]
        newest = max(known, tiles.get((place, event_hour), known))
        made.append([hour, newest, pub, place, event_hour, len(rows), sum(row[6] for row in rows)])
    return made


def write(storage: MemoryStorage, table: str, pub: int, rows: Rows) -> Staged:
    """Staged files, one a day of the rows' hours."""
    days = sorted({at(row[0]).date() for row in rows})
    files = [
        storage.write_rows(table, f"pub-{pub}/day={day}/part.parquet", [r for r in rows if at(r[0]).date() == day])
        for day in days
    ]
    return Staged(table, pub, "{}", tuple(files))


def build(
    ledger: Ledger,
    storage: MemoryStorage,
    call: Invocation,
    drops: list[Drop],
    inputs: dict[int, Any],
    hours_of: dict[int, int] | None = None,
) -> None:
    """As `StepRun` does: start, stage, judge, predict, seal.

    `hours_of`: where the publication of the hours that were predicted is noted, by that of the predictions; none: no champion.

    Raises:
        RefusedError: the gate blocks.
    """
    line = ledger.line()
    pub = ledger.start(call, "code", "conf", line[-1].release if line else None)
    inputs[pub] = {d.hour: d for d in drops}
    span = range(index(call.start), index(call.end))
    staged = stage(storage, line, pub, drops, span)
    for table, files in staged.items():
        outcome = max((d.outcome for d in drops), key=list(Outcome).index) if table == SILVER else Outcome.PASS
        verdict = Verdict.of(table, "silver", [RuleResult("rule", outcome)], "suite", files.digest)
        ledger.add_verdict(call, pub, verdict)
        if verdict.outcome.blocks:
            ledger.record(call, "refused", pub, why="the gate")
            raise RefusedError("gate", str(verdict.outcome))
    sealed = [*staged.values()]
    if hours_of is not None:
        predicted = ledger.start(call.with_step("score"), "code", "conf", line[-1].release if line else None)
        inputs[predicted], hours_of[predicted] = {}, pub
        sealed.append(write(storage, SCORES, predicted, [[hour, hour + 1, predicted, hour] for hour in span]))
        seal_predictions(ledger, call, sealed[-1], "toys version 1")
    seal(ledger, call, pub, sealed, base=line[-1].release if line else None)


def release(ledger: Ledger, call: Invocation) -> None:
    """As `StepRun` does: release what was sealed, write it down."""
    step = call.with_step("publish")
    made = publish_sealed(ledger, step, "hour" if call.hours == 1 else "backfill", [SILVER, TILES], READ)
    ledger.record(step, "published", made.pub, why=f"release {made.release}", rows=made.rows)
    for predictions in sealed_predictions(ledger, sealed_row(ledger, step)).values():
        with suppress(RetryError):  # a day has passed: the hours are published without
            release_predictions(ledger, step, predictions, made)


def score(ledger: Ledger, storage: MemoryStorage, call: Invocation, inputs: dict[int, Any]) -> None:
    """A publication of its own that covers the predictions of the hour."""
    step, line = call.with_step("score"), ledger.line()
    pub = ledger.start(step, "code", "conf", line[-1].release)
    inputs[pub] = {}
    hour = index(call.start)
    staged = {SCORES: write(storage, SCORES, pub, [[hour, hour + 1, pub, hour]])}
    covers = {SCORES: (call.start, call.end)}
    publish(ledger, Publication(pub, "score", covers, staged, line[-1].release, frozenset()))


def expected(line: list[Release], inputs: dict[int, dict[int, Drop]]) -> dict[str, Any]:
    """The oracle: what the last release of `line` must show, from the drops that its live publications were made of.

    Written anew, without the folds of the ledger: hour by hour and row by row.
    """
    dead = line[-1].dead if line else frozenset()
    of_hour: dict[int, tuple[int, Drop]] = {}
    scores = set()
    for made in line:
        if made.pub in dead:
            continue
        for table, start, end in made.covers:
            if table == SCORES:
                scores |= {*range(index(start), index(end))}
        for hour, drop in inputs.get(made.pub, {}).items():
            if hour not in of_hour or of_hour[hour][0] < made.pub:
                of_hour[hour] = (made.pub, drop)
    newest: dict[str, tuple[tuple[int, int], tuple[Any, ...]]] = {}
    bronze = []
    for pub, drop in of_hour.values():
        for key, place, event_hour, amount in drop.rows:
            row = (drop.hour, drop.known, key, place, event_hour, amount)
            bronze.append(row)
            if key not in newest or (drop.known, pub) > newest[key][0]:
                newest[key] = ((drop.known, pub), row)
    tiles: dict[tuple[str, int], tuple[int, int]] = {}
    for _, (_, _, _, place, event_hour, amount) in newest.values():
        n, total = tiles.get((place, event_hour), (0, 0))
        tiles[place, event_hour] = (n + 1, total + amount)
    silver = sorted(row for _, row in newest.values())
    return {"bronze": sorted(bronze), "silver": silver, "tiles": tiles, "scores": sorted(scores)}


def shown(storage: MemoryStorage, line: list[Release]) -> dict[str, Any]:
    """What a reader of `line` sees now, in the shape of `expected`."""
    bronze, silver, tiles, scores = (current(storage, table, line, {}, range(0)) for table in KEYS)
    return {
        "bronze": sorted((row[0], row[1], *row[3:]) for row in bronze),
        "silver": sorted((row[0], row[1], *row[3:]) for row in silver),
        "tiles": {(row[3], row[4]): (row[5], row[6]) for row in tiles if row[5]},
        "scores": [row[3] for row in scores],
    }
