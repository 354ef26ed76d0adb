"""One seeded schedule: several actors on one disk, stopped, delayed, killed and repeated at random moments.

After every release and at random moments a reader compares all tables with the oracle of the release that it follows.
A broken promise raises `BrokenError`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

import toy_pipeline as toy
from greenlet import getcurrent, greenlet
from memory_storage import Disk, FileGoneError, MemoryStorage
from toy_pipeline import BEGAN, KEYS, Drop, at

from spark_jobs.errors import RefusedError, RetryError, UsageError
from spark_jobs.invocation import Invocation
from spark_jobs.lake import maintenance
from spark_jobs.ledger import MAY_RELEASE_FOR, Ledger, folds
from spark_jobs.verdict import Outcome

TABLES = tuple(KEYS)
BLOCKING = (Outcome.FAIL, Outcome.ERROR)
HOURS = 2
ATTEMPTS = 12  # of one actor; more means that it never gets through
MOMENTS = 6_000  # of one schedule; more means that nobody gets through


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass
class World:
    """The disk, the drops that were delivered, who runs, and the dice."""

    seed: int
    chance: random.Random = field(init=False)
    disk: Disk = field(init=False)
    drops: dict[int, Drop] = field(default_factory=dict)  # newest good or bad drop by hour
    inputs: dict[int, dict[int, Drop]] = field(default_factory=dict)  # by publication
    hours_of: dict[int, int] = field(default_factory=dict)  # publication of predictions -> that of their hours
    running: list[greenlet] = field(default_factory=list)
    asleep: list[greenlet] = field(default_factory=list)  # zombies: they wake up much later, or never
    ledger_class: type[Ledger] = Ledger
    moments: int = 0
    faults: bool = True
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.disk = Disk(BEGAN)

    def storage(self) -> MemoryStorage:
        """A hold of the disk for one actor."""
        return MemoryStorage(self.disk, self.moment)

    def ledger(self, by: str) -> Ledger:
        """A ledger of one actor."""
        return self.ledger_class(self.storage(), by)

    def moment(self) -> None:
        """Hand over to the schedule; outside an actor time stands still."""
        schedule = getcurrent().parent  # never the actor itself in a local: its own frame would keep it for ever
        if schedule is not None:
            schedule.switch()

    def start(self, act: Callable[[], None]) -> None:
        """Let an actor run beside the others."""

        def guarded() -> None:
            try:
                act()
            except Exception as error:
                self.failures.append(error)

        self.running.append(greenlet(guarded))

    def run(self) -> None:
        """Until nobody runs any more."""
        while self.running or self.asleep:
            self.moments += 1
            if self.moments > MOMENTS:
                raise BrokenError(f"seed {self.seed}: nobody gets through")
            if not self.running or (self.asleep and self.chance.random() < 0.004):
                self.running.append(self.asleep.pop(self.chance.randrange(len(self.asleep))))
            actor = self.chance.choice(self.running)
            actor.switch()
            if actor.dead:
                self.running.remove(actor)
            elif self.faults:
                self._fault(actor)
            if self.failures:
                raise self.failures[0]

    def _fault(self, actor: greenlet) -> None:
        dice = self.chance.random()
        if dice < 0.004:  # SIGSTOP, or a pause of the whole machine
            self.running.remove(actor)
            self.asleep.append(actor)
            if dice < 0.001:
                self.disk.clock += timedelta(hours=self.chance.choice([2, 30, 60]))
        elif dice < 0.010:  # SIGKILL: never resumed, nothing of it is cleaned up
            self.running.remove(actor)
            _KILLED.append(actor)
            self.chance.choice(RESTARTS)(self, actor)


_KILLED: list[greenlet] = []  # kept, so that no `finally` of theirs runs; emptied after each schedule


def drop(world: World, hour: int, version: int) -> Drop:
    """A delivery: rows of its hour, now and then one of an earlier hour, or a key that another hour had."""
    chance = world.chance
    rows = []
    for n in range(chance.randint(0, 3)):
        key = f"{chance.randrange(HOURS)}-{n}" if chance.random() < 0.3 else f"{hour}-{n}"
        rows.append((key, chance.choice("ab"), max(0, hour - chance.choice([0, 0, 0, 1])), chance.randint(1, 9)))
    unique = {row[0]: row for row in rows}
    known = hour + 1 if version == 0 else HOURS + version + chance.randint(0, 2)
    outcome = chance.choices([Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.ERROR], [80, 8, 8, 4])[0]
    return Drop(hour, version, known, tuple(unique.values()), outcome)


def runner(world: World, start: int, end: int, dag_run: str) -> Callable[[], None]:
    """What a scheduler does for one run: stage with or without predictions, publish, score; again after a transient fault."""

    def act() -> None:
        storage, ledger = world.storage(), world.ledger(dag_run)
        call = Invocation("toy", "build_features", at(start), at(end), dag_run)
        tried = 0
        while tried < ATTEMPTS:
            began = storage.now()
            try:
                row = ledger.step_row(dag_run, "build_features")
                if row is None or row["state"] != "staged" or world.chance.random() < 0.3:
                    drops = [world.drops[h] for h in range(start, end)]
                    hours_of = world.hours_of if world.chance.random() < 0.5 else None
                    toy.build(ledger, storage, call, drops, world.inputs, hours_of)
                toy.release(ledger, call)
                check(world, ledger, "after a release")
                if end - start == 1 and world.chance.random() < 0.5:
                    toy.score(ledger, storage, call, world.inputs)
                return
            except (RetryError, FileGoneError):
                ledger.record(call, "failed", None)
            except UsageError as error:
                if "was withdrawn by a rollback" not in str(error):
                    raise
                return
            except RefusedError as error:
                if "changed after" not in str(error):
                    return
                ledger.record(call, "failed", None)
            tried += storage.now() - began < MAY_RELEASE_FOR  # no attempt can get through a pause of a day
        raise BrokenError(f"seed {world.seed}: {dag_run} did not get through in {ATTEMPTS} attempts")

    return act


def roller(world: World) -> Callable[[], None]:
    """An operator who takes back to a release that was, and may undo it."""

    def act() -> None:
        ledger = world.ledger("operator")
        line = ledger.line()
        if len(line) < 2:
            return
        to = world.chance.choice(line[:-1]).release
        before, served = toy.expected(ledger.line(to), world.inputs), toy.expected(line, world.inputs)["scores"]
        try:
            made = ledger.rollback("toy", to, "a test")
        except UsageError:
            return
        after = toy.expected(ledger.line(made.release.release), world.inputs)
        if any(before[name] != after[name] for name in ("bronze", "silver", "tiles")):
            raise BrokenError(f"seed {world.seed}: a rollback to {to} shows other rows")
        if not set(served) <= set(after["scores"]):
            raise BrokenError(f"seed {world.seed}: a rollback to {to} forgets what was served")
        check(world, ledger, "after a rollback")

    return act


def keeper(world: World) -> Callable[[], None]:
    """Maintenance, whole."""

    def act() -> None:
        ledger = world.ledger("maintenance")
        if world.chance.random() < 0.5:
            world.disk.clock += timedelta(hours=world.chance.choice([1, 30, 60]))
        for _ in range(2):
            maintenance.remove_unreleased(ledger, TABLES)
            for table in TABLES:
                maintenance.compact_days(ledger, table, at(24 * 9).date())
            maintenance.vacuum(ledger, TABLES)
            ledger.store.compact("releases")
            check(world, ledger, "after maintenance")

    return act


def reader(world: World) -> Callable[[], None]:
    """Reads a release, old or new, table by table, while the others go on."""

    def act() -> None:
        for _ in range(3):
            check(world, world.ledger("reader"), "while others work")

    return act


def check(world: World, ledger: Ledger, when: str) -> None:
    """All tables at some release equal the oracle of that release."""
    line = ledger.line()
    if len(line) > 1 and world.chance.random() < 0.3:
        line = line[: world.chance.randint(1, len(line))]
    if len({r.pub for r in line}) < len(line):
        raise BrokenError(f"seed {world.seed}: a publication was released twice")
    for made in line:
        bad = [d for d in world.inputs.get(made.pub, {}).values() if d.outcome in BLOCKING]
        if bad:
            raise BrokenError(f"seed {world.seed}: publication {made.pub} was refused and is released")
    for before, made in pairwise(line):
        hours = world.hours_of.get(made.pub)
        if hours is not None and (
            hours in before.dead or hours not in {r.pub for r in line if r.release < made.release}
        ):
            raise BrokenError(f"seed {world.seed}: predictions {made.pub} for hours that readers do not see")
    try:
        found = toy.shown(ledger.storage, line)  # type: ignore[arg-type]
    except FileGoneError:
        return  # the log was read, then a vacuum two days later: the reader was gone long before
    wanted = toy.expected(line, world.inputs)
    if found != wanted:
        at_release = line[-1].release if line else None
        raise BrokenError(f"seed {world.seed}, release {at_release}, {when}:\n  shown  {found}\n  wanted {wanted}")


def _restart_runner(world: World, killed: Any) -> None:
    act = world.acts.get(killed)  # type: ignore[attr-defined]
    if act is not None:
        start_act(world, act)


def _leave(world: World, killed: Any) -> None:
    """Nobody starts it again; the last run of all will."""


RESTARTS: tuple[Callable[[World, Any], None], ...] = (_restart_runner, _restart_runner, _leave)


def start_act(world: World, act: Callable[[], None]) -> None:
    """Start an actor that is started again when it is killed."""
    world.start(act)
    world.acts[world.running[-1]] = act  # type: ignore[attr-defined]


def one(seed: int, ledger_class: type[Ledger] = Ledger) -> World:
    """Run one schedule to its end; raises BrokenError when a promise is broken."""
    world = World(seed, ledger_class=ledger_class)
    world.acts = {}  # type: ignore[attr-defined]
    chance = world.chance
    world.drops = {hour: drop(world, hour, 0) for hour in range(HOURS)}
    low = chance.randrange(HOURS)
    acts = [runner(world, hour, hour + 1, f"scheduled-{hour}") for hour in range(HOURS) if chance.random() < 0.6]
    others = [runner(world, low, low + 1, "manual"), runner(world, 0, HOURS, "backfill"), keeper(world), reader(world)]
    for act in [*acts, *chance.sample(others, 2)]:
        start_act(world, act)
    world.run()
    if chance.random() < 0.7:
        world.drops[low] = drop(world, low, 1)
        start_act(world, runner(world, low, low + 1, "again"))
        start_act(world, chance.choice([roller, keeper, reader])(world))
        world.run()
    finish(world)
    for left in (_KILLED, world.asleep, world.running, world.acts):  # type: ignore[attr-defined]
        left.clear()  # a suspended actor holds the world, and nobody collects such a circle
    return world


def finish(world: World) -> None:
    """Without faults every hour with a good drop gets published, from its newest drop; then all is compared once more."""
    world.faults = False
    world.disk.clock += timedelta(hours=1)
    ledger = world.ledger("end")
    cover = toy.cover_of(ledger.line())
    for hour, newest in world.drops.items():
        if hour not in cover or world.inputs[cover[hour]][hour] != newest:
            runner(world, hour, hour + 1, f"last-{hour}")()
    if world.chance.random() < 0.3:
        keeper(world)()
    line = ledger.line()
    check(world, ledger, "at the end")
    cover = toy.cover_of(line)
    for hour, newest in world.drops.items():
        used = world.inputs[cover[hour]][hour] if hour in cover else None
        if newest.outcome not in BLOCKING and used != newest:
            raise BrokenError(f"seed {world.seed}: hour {hour} shows {used}, delivered was {newest}")
    states = folds.hour_states(ledger.intervals(), line)
    if any((states[at(hour)] == "published") != (hour in cover) for hour in range(HOURS)):
        raise BrokenError(f"seed {world.seed}: states {states}, cover {cover}")
