"""A random history of one lake: hours, corrections, heals, rollbacks and maintenance, between them changes of definitions.

Ledger, publishing, migration, maintenance and readers are those of production, on a disk. Only the steps' work is replaced: rows are
random and staged by pyarrow, with columns in any order, required or not, some dictionary-encoded, as engines write them. The
oracle keeps every row in Python, by what a column is and not by what it is called, and chooses by the rules of
docs/design/data-model.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from spark_jobs.config.schemas import table_schemas
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import RetryError, UsageError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake import maintenance, publish, staging
from spark_jobs.lake.changes import pending_changes, require_publishable
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.migration import rewrite_table
from spark_jobs.lake.reading import register_current
from spark_jobs.lake.staging import Staged
from spark_jobs.lake.versions import TableKind
from spark_jobs.ledger import Ledger, Release
from spark_jobs.storage.damage import open_log
from spark_jobs.storage.delta import DeltaStorage
from spark_jobs.storage.evolution import planned
from spark_jobs.storage.parquet import arrow_schema

BEGAN = datetime(2026, 3, 1, 21, tzinfo=UTC)  # the hours of a history cross midnight
WIDER = {"int": ["bigint", "double"], "bigint": ["double"], "date": ["timestamp"]}
TYPES = ["int", "bigint", "double", "date", "timestamp", "string", "boolean"]
Row = dict[str, Any]  # by what a column is: see World.names


class BrokenError(AssertionError):
    """A reader does not agree with the oracle."""


@dataclass
class World:
    """A lake, what conf/ says of it now, and every row that was ever written."""

    seed: int
    root: Path
    chance: random.Random = field(init=False)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)  # silver/b: settings by name
    windows: list[str] = field(default_factory=lambda: ["1h"])
    sums: list[str] = field(default_factory=list)  # names of aggregations of the measure
    joined: list[str] = field(default_factory=lambda: ["v0"])
    more_table: bool = False
    names: dict[str, dict[str, str]] = field(default_factory=dict)  # table -> what a column is -> its name in the log
    rows: dict[str, list[Row]] = field(default_factory=dict)
    kinds: dict[str, TableKind] = field(default_factory=dict)  # of every table that ever was
    hours: int = 0
    made: int = 0  # columns so far
    log: list[str] = field(default_factory=list)  # what was done, for the report of a failure

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.columns = {"id": {"type": "int", "is": "id"}, "at": {"type": "timestamp", "is": "at"}}
        for _ in range(3):
            self._new_column(
                self.chance.choice(TYPES) if self.made else self.chance.choice(["int", "bigint", "double"])
            )
        self.derived = self.chance.sample(["tiles/b", "features/w", "features/j"], 1)

    @property
    def ledger(self) -> Ledger:
        """Opened anew, as each command does."""
        return Ledger(DeltaStorage(self.root), "test")

    def pipeline(self) -> Pipeline:
        """What conf/ would say."""
        shown = {
            name: {k: v for k, v in one.items() if k != "is"} | {"meaning": "A value."}
            for name, one in self.columns.items()
        }
        key = {"id": {"type": "int", "meaning": "Key."}, "at": {"type": "timestamp", "meaning": "Instant."}}
        table = {"source": "s", "grain": "one row", "key": ["id"], "event_at": {"use": "itself", "columns": ["at"]}}
        tables = {"a": {**table, "columns": key}, "b": {**table, "columns": shown}}
        if self.more_table:
            tables["more"] = {**table, "columns": key}
        sums = [{"name": one, "op": "sum", "of": "m"} for one in self.sums]
        group = {
            "table": "b", "entities": ["e"], "windows": self.windows,
            "measures": {"m": {"use": "itself", "columns": [self._measured()]}},
            "aggregations": [{"name": "n", "op": "count"}, *sums],
        }  # fmt: skip
        source = {
            "kind": "files",
            "manifests": "s/{day}/{hour}.manifest.json",
            "format": "csv",
            "columns": ["id", "at"],
        }
        spine = {"table": "a", "event_at": "at", "predict_before": "1h", "entities": {"e": ["id"]}}
        joined = {"j": {"table": "b", "entity": "e", "columns": self.joined}}
        return Pipeline.model_validate(
            {"settings": {"name": "toy", "owner": "tests", "start": BEGAN},
             "sources": {"sources": {"s": source}},
             "tables": {"tables": tables}, "features": {"spine": spine, "windows": {"w": group}, "as_of": joined},
             "suites": {}, "config_hash": "x"}
        )  # fmt: skip

    def _measured(self) -> str:
        return next(name for name, one in self.columns.items() if one["is"] == "v0")

    def _new_column(self, kind: str) -> None:
        name = f"v{self.made}"
        place = self.chance.randrange(len(self.columns) + 1)
        items = list(self.columns.items())
        items.insert(place, (name, {"type": kind, "is": name, "required": self.chance.random() < 0.2}))
        self.columns, self.made = dict(items), self.made + 1

    def tables(self) -> list[str]:
        """Tables that a publication writes."""
        return ["silver/b", *(["silver/more"] if self.more_table else []), *self.derived, "accounts"]


def what(world: World, table: str, name: str) -> str:
    """What the column `name` of `table` is, by conf/ as it is now: a name does not say, it may have been renamed."""
    if table in ("silver/b", "features/j") and name in world.columns:
        return str(world.columns[name]["is"])
    return name


# what a step would stage
def value(world: World, kind: Any) -> Any:
    """A random value of a log's type."""
    chance = world.chance
    if not isinstance(kind, str):
        return None
    return {
        "integer": lambda: chance.choice([0, -5, 2**31 - 1, -(2**31)]),
        "long": lambda: chance.choice([7, -(2**31) - 1, 2**53, 2**40 + 1]),
        "float": lambda: chance.choice([0.5, -1.25, 1e6]), "double": lambda: chance.choice([0.1, -1e300, 2.0]),
        "date": lambda: date(2020, 1, 1) + timedelta(days=chance.randrange(-9000, 9000)),
        "timestamp": lambda: BEGAN + timedelta(seconds=chance.randrange(10**6), microseconds=chance.randrange(10**6)),
        "string": lambda: chance.choice(["", "a", "é|\"'"]), "boolean": lambda: chance.random() < 0.5,
    }[kind]()  # fmt: skip


def stage(world: World, table: str, pub: int, hours: range, known: int) -> tuple[Staged, list[Row]]:
    """Files of `pub`, and their rows by what their columns are. They are those of conf/, in the types of the log."""
    chance, expected = world.chance, table_schemas(world.pipeline())[table]
    log = open_log(world.root / table)
    target = planned(log.schema().to_json(), expected) if log else expected
    wanted = {field.name for field in arrow_schema(expected)}
    schema = pa.schema([field for field in arrow_schema(target) if field.name in wanted])
    rows, files_schema = [], target
    for hour in hours:
        at, seen = BEGAN + hour * HOUR, set()
        for _ in range(1 if table == "accounts" else chance.randrange(1, 4)):
            row: Row = {
                field.name: None if chance.random() < 0.15 else value(world, _kind(field.type)) for field in schema
            }
            row |= {"hour": at, "known_at": BEGAN + max(known, hour + 1) * HOUR, "pub": pub}
            for name in world.kinds[table].key:
                row[name] = {"entity": "e", "key": str(chance.randrange(3)), "id": chance.randrange(4)}.get(name, at)
            if (key := tuple(row[name] for name in world.kinds[table].key)) not in seen or not key:
                seen.add(key)
                rows.append(row)
    for day in sorted({row["hour"].date() for row in rows}):
        of_day = [row for row in rows if row["hour"].date() == day]
        path = world.root / table / f"pub-{pub}" / f"day={day}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(world, path, of_day, schema)
    staged = staging.staged_files(world.root, table, pub, files_schema)
    return staged, [{what(world, table, name): one for name, one in row.items()} for row in rows]


def _kind(kind: pa.DataType) -> Any:
    plain = {
        "int32": "integer",
        "int64": "long",
        "float": "float",
        "double": "double",
        "date32[day]": "date",
        "bool": "boolean",
    }
    text = str(kind)
    return "timestamp" if text.startswith("timestamp") else plain.get(text, "string" if "string" in text else None)


def _write(world: World, path: Path, rows: list[Row], schema: pa.Schema) -> None:
    """One file, as one of several engines would write it."""
    chance, fields = world.chance, list(schema)
    chance.shuffle(fields)
    fields = [one.with_nullable(any(row[one.name] is None for row in rows) or chance.random() < 0.5) for one in fields]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    for place, one in enumerate(fields):
        if pa.types.is_string(one.type) and chance.random() < 0.3:
            table = table.set_column(place, one.name, table.column(place).dictionary_encode())
    pq.write_table(table, path)


def _keep(world: World, table: str, rows: list[Row]) -> None:
    world.rows.setdefault(table, []).extend(rows)
    names = world.names.setdefault(table, {})
    for name in arrow_schema(table_schemas(world.pipeline())[table]).names:
        names.setdefault(what(world, table, name), name)


# what happens
def publish_hours(world: World, hours: range, kind: str = "hour", tables: list[str] | None = None) -> None:
    """One publication of `hours`, released."""
    ledger = world.ledger
    world.kinds |= table_kinds(world.pipeline())
    require_publishable(world.pipeline(), world.root, "local")
    call = Invocation("toy", "ingest", BEGAN + hours.start * HOUR, BEGAN + hours.stop * HOUR, f"run {len(world.log)}")
    line = ledger.line()
    base = line[-1].release if line else None
    pub = ledger.start(call, "code", "conf", base)
    known = world.hours + world.chance.randrange(2)
    made = {table: stage(world, table, pub, hours, known) for table in tables or world.tables()}
    staged = {table: files for table, (files, _) in made.items()}
    publish.publish(
        ledger, publish.Publication(pub, kind, dict.fromkeys(staged, (call.start, call.end)), staged, base, frozenset())
    )
    for table, (_, rows) in made.items():
        _keep(world, table, rows)


def next_hour(world: World) -> None:
    """The hours that follow: one, or two at once."""
    count = world.chance.choice([1, 1, 2])
    world.hours += count
    publish_hours(world, range(world.hours - count, world.hours), "hour" if count == 1 else "backfill")


def corrected_hour(world: World) -> None:
    """An hour is published again, with late and corrected rows."""
    hour = world.chance.randrange(world.hours)
    publish_hours(world, range(hour, hour + 1))


def heal(world: World) -> None:
    """Cells of older hours are restated."""
    if world.derived[0].startswith("features/"):
        publish_hours(world, range(world.hours), "heal", world.derived)


def abandoned(world: World) -> None:
    """A publication dies between its commits and its release: its rows are in the logs, and nobody sees them."""
    ledger, table = world.ledger, world.chance.choice(world.tables())
    world.kinds |= table_kinds(world.pipeline())
    require_publishable(world.pipeline(), world.root, "local")
    call = Invocation("toy", "ingest", BEGAN, BEGAN + HOUR, f"dead {len(world.log)}")
    pub = ledger.start(call, "code", "conf", None)
    staged, rows = stage(world, table, pub, range(1), 1)
    publish._append(ledger, pub, [staged])
    _keep(world, table, [])
    world.log.append(f"  pub {pub} of {len(rows)} rows is not released")


def roll_back(world: World) -> None:
    """To any release; scores are none here."""
    line = world.ledger.line()
    try:
        world.ledger.rollback("toy", world.chance.choice(line).release, "a test")
    except UsageError:
        return  # it shows the same rows


def maintain(world: World) -> None:
    """One file a day, of every table that ever was."""
    for table in world.kinds:
        maintenance.compact_days(world.ledger, table, date(2027, 1, 1))


def stale(world: World) -> None:
    """A publication was staged before a column is renamed, and commits afterwards: it must stage again."""
    name = world.chance.choice([name for name in world.columns if name not in ("id", "at")])
    former = dict(world.columns)
    world.kinds |= table_kinds(world.pipeline())
    require_publishable(world.pipeline(), world.root, "local")
    staged, rows = stage(world, "silver/b", 10_000 + len(world.log), range(1), 1)
    logged = {field.name for field in open_log(world.root / "silver/b").schema().fields}
    if name not in logged or not rows:
        return
    _rename(world, name)
    if world.columns == former:
        return
    try:
        DeltaStorage(world.root).make_file_table("silver/b", staged.schema)
    except RetryError:
        return
    raise BrokenError(f"{_told(world)}\n  staged under {name}, which was renamed, and not refused")


# what changes
def _try(world: World, change: Callable[[], None]) -> None:
    """Make a change; one that published rows do not allow is taken back; one that needs a rewrite is migrated."""
    before = {name: dict(one) for name, one in world.columns.items()}
    others = list(world.windows), list(world.sums), list(world.joined), world.more_table
    change()
    pipeline = world.pipeline()
    changes = pending_changes(pipeline, world.root)
    if changes.refusals:
        world.columns = before
        world.windows, world.sums, world.joined, world.more_table = others
        world.log.append("  refused")
        return
    if changes.rewrites:
        with suppress(UsageError):
            require_publishable(pipeline, world.root, "local")
            raise BrokenError(f"{_told(world)}\n  a step starts though {changes.rewrites} are pending")
        for rewrite in changes.rewrites:
            rewrite_table(world.ledger, rewrite)
            names = world.names[rewrite.table]
            names.update({one: rewrite.renames[name] for one, name in names.items() if name in rewrite.renames})
        require_publishable(pipeline, world.root, "local")


def _rename(world: World, name: str) -> None:
    new = f"r{world.made}"
    world.made += 1

    def change() -> None:
        logged = open_log(world.root / "silver/b")
        known = logged is not None and name in {field.name for field in logged.schema().fields}
        settings = {**world.columns[name], **({"renamed_from": name} if known else {"is": new})}
        if not known:
            settings.pop("renamed_from", None)
        world.columns = {
            new if one == name else one: settings if one == name else s for one, s in world.columns.items()
        }
        world.joined = [new if one == name else one for one in world.joined]

    if world.columns[name]["is"] == "v0" and open_log(world.root / "silver/b") is None:
        return
    _try(world, change)


def change_definitions(world: World) -> None:
    """One or several changes at once, as a commit to conf/ has."""
    for _ in range(world.chance.choice([1, 1, 2, 3])):
        _change(world)


def _change(world: World) -> None:
    chance, own = world.chance, [name for name in world.columns if name not in ("id", "at")]
    free = [name for name in own if world.columns[name]["is"] != "v0" and name not in world.joined]
    kind = chance.choice(
        ["add", "drop", "rename", "widen", "widen", "reorder", "required", "window", "sum", "join", "table", "forget"]
    )
    world.log.append(f"  {kind}")
    if kind == "add":
        _try(world, lambda: world._new_column(chance.choice(TYPES)))
    elif kind == "drop" and free:
        _try(world, lambda: world.columns.pop(chance.choice(free)))
    elif kind == "rename":
        _rename(world, chance.choice(own))
    elif kind == "widen":
        name = chance.choice(own)
        if wider := WIDER.get(world.columns[name]["type"]):
            _try(world, lambda: world.columns[name].update(type=chance.choice(wider)))
    elif kind == "reorder":
        world.columns = dict(chance.sample(list(world.columns.items()), len(world.columns)))
    elif kind == "required":
        world.columns[chance.choice(own)].update(required=chance.random() < 0.5)
    elif kind == "window":
        world.windows = chance.sample(["1h", "2h", "3h"], chance.randrange(1, 4))
    elif kind == "sum":
        world.sums = chance.sample(["s", "t"], chance.randrange(3))
    elif kind == "join":
        _try(world, lambda: setattr(world, "joined", chance.sample(own, chance.randrange(1, len(own) + 1))))
    elif kind == "table":
        world.more_table = not world.more_table
    elif kind == "forget":  # renamed_from may be removed once it is done
        for settings in world.columns.values():
            settings.pop("renamed_from", None)


# what the oracle says
def expected(world: World, table: str, line: list[Release], known_by: datetime | None) -> list[tuple[Any, ...]]:
    """Rows of `table` that count at the last release of `line`, by the names of the log; as known at `known_by`, where given."""
    kind, names = world.kinds[table], world.names[table]
    live = {release.pub for release in line} - line[-1].dead
    rows = [row for row in world.rows.get(table, []) if row["pub"] in live]
    if kind.covered:
        rows = [row for row in rows if row["pub"] == _cover(world, table, line, live, row["hour"], known_by)]
    if known_by:
        rows = [row for row in rows if row["known_at"] <= known_by]
    if kind.key:
        newest: dict[Any, Row] = {}
        for row in sorted(rows, key=lambda row: (row["known_at"], row["hour"] if kind.covered else row["pub"])):
            newest[tuple(row[name] for name in kind.key)] = row
        rows = list(newest.values())
    return [tuple(row.get(one) for one in names if one != "day") for row in rows]


def _cover(
    world: World, table: str, line: list[Release], live: set[int], hour: datetime, known_by: datetime | None
) -> int | None:
    """The publication whose rows of `hour` count: the newest, or at an instant the newest that was known."""
    pubs = [r.pub for r in line if r.pub in live and any(t == table and a <= hour < b for t, a, b in r.covers)]
    if not known_by:
        return max(pubs, default=None)
    known = {
        row["pub"]: row["known_at"] for row in world.rows["accounts"] if row["hour"] == hour and row["pub"] in live
    }
    return max((pub for pub in known if known[pub] <= known_by), default=None)


# what readers say
@cache
def reader() -> duckdb.DuckDBPyConnection:
    """One connection a process: opening one costs more than a history's reads."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def check(world: World, *, everything: bool = False) -> None:
    """Readers without a JVM agree with the oracle: at the newest release, at another, as known at some hour, and delta-rs."""
    line = world.ledger.line()
    if not line:
        return
    instant = BEGAN + world.chance.randrange(world.hours + 4) * HOUR
    asked = [(line, None), (line[: world.chance.randrange(1, len(line) + 1)], None), (line, instant)]
    tables = list(world.names)
    for table in tables if everything else world.chance.sample(tables, 1):
        for of, known_by in [asked[0], world.chance.choice(asked[1:])] if everything else world.chance.sample(asked, 1):
            _compare(world, table, of, known_by)
        if everything or world.chance.random() < 0.3:
            _compare_delta_rs(world, table)


def _compare(world: World, table: str, line: list[Release], known_by: datetime | None) -> None:
    connection = reader()
    if not register_current(connection, world.root, table, world.kinds[table], line, "rows", known_by=known_by):
        raise BrokenError(f"{_told(world)}\n  {table} cannot be read")
    seen = connection.execute("FROM rows")
    found, columns = seen.fetchall(), [column[0] for column in seen.description or []]
    _agree(
        world,
        f"{table} at release {line[-1].release} as known at {known_by}",
        table,
        columns,
        found,
        expected(world, table, line, known_by),
    )


def _compare_delta_rs(world: World, table: str) -> None:
    """All released rows of the table in all their versions, as the log's schema shows them to anybody."""
    rows = DeltaTable(world.root / table).to_pyarrow_dataset().to_table()
    columns = [name for name in rows.column_names if name != "day"]
    known = {row["pub"] for row in world.rows.get(table, [])}
    found = [tuple(row[name] for name in columns) for row in rows.to_pylist() if row["pub"] in known]
    wanted = [tuple(row.get(one) for one in world.names[table] if one != "day") for row in world.rows.get(table, [])]
    _agree(world, f"{table} by delta-rs", table, columns, found, wanted)


def _agree(world: World, where: str, table: str, columns: list[str], found: list[Any], wanted: list[Any]) -> None:
    names = [name for name in world.names[table].values() if name != "day"]
    if sorted(columns) != sorted(names):
        raise BrokenError(f"{_told(world)}\n  {where}: columns {sorted(columns)}, expected {sorted(names)}")
    order = [columns.index(name) for name in names]
    here = sorted((_plain(row[place] for place in order) for row in found), key=repr)
    there = sorted((_plain(row) for row in wanted), key=repr)
    if here != there:
        only = [row for row in here if row not in there][:2], [row for row in there if row not in here][:2]
        raise BrokenError(
            f"{_told(world)}\n  {where}, columns {names}:\n  only read {only[0]}\n  only expected {only[1]}"
        )


def _plain(row: Any) -> tuple[Any, ...]:
    """A row whose values are equal when they mean the same: 1 and 1.0, a day and its midnight."""
    return tuple(
        float(one) if isinstance(one, int) and not isinstance(one, bool)
        else one.astimezone(UTC).isoformat() if isinstance(one, datetime)
        else datetime(one.year, one.month, one.day, tzinfo=UTC).isoformat() if isinstance(one, date)
        else one
        for one in row
    )  # fmt: skip


def _told(world: World) -> str:
    return f"seed {world.seed}:\n" + "\n".join(world.log)


ACTS: dict[Callable[[World], None], int] = {
    next_hour: 30, corrected_hour: 12, heal: 8, roll_back: 7, maintain: 10, abandoned: 4, stale: 4, change_definitions: 40,
}  # fmt: skip


def run(seed: int, root: Path, steps: int = 6) -> World:
    """A history of `steps` acts.

    Raises:
        BrokenError: a reader disagrees with the oracle.
    """
    world = World(seed, root)
    for number in range(steps):
        act = next_hour if number in (0, steps - 1) else world.chance.choices(list(ACTS), list(ACTS.values()))[0]
        world.log.append(act.__name__)
        act(world)
        if act is not change_definitions or world.chance.random() < 0.5:
            check(world, everything=number == steps - 1)
    return world


__all__ = ["BrokenError", "World", "run"]
