"""Which published hours were made under other definitions than today's: folds over releases, intervals and definitions.

Pure but for `Published.of`, which reads the ledger. Publications whose definitions were never recorded, as those of
former versions of this code, count as made under today's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from spark_jobs.config.definitions import Definitions, is_narrowed, is_row_rule, table_of
from spark_jobs.invocation import HOUR
from spark_jobs.ledger import Ledger, folds
from spark_jobs.ledger.folds import Release

Span = tuple[datetime, datetime]  # [from, to)
_PARTIAL = ("heal", "score")  # kinds that restate single rows of an hour and leave its others as they were


@dataclass(frozen=True)
class Change:
    """What became of definitions, by id: another meaning, only now, not any more."""

    changed: frozenset[str]
    added: frozenset[str]
    removed: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """Every id."""
        return self.changed | self.added | self.removed


@dataclass(frozen=True)
class Made:
    """The hours [start, end) of a table, and the configuration hash under which the publication behind them was made."""

    start: datetime
    end: datetime
    digest: str


@dataclass(frozen=True)
class Heal:
    """A heal that ended: the hours [start, end), the release that it looked at, its configuration hash."""

    start: datetime
    end: datetime
    base: int
    digest: str


def compare(before: Definitions, now: Definitions) -> Change:
    """How `now` differs in meaning from `before`; a type that holds fewer values than before is another meaning."""
    old, new = before.by_id, now.by_id
    both = old.keys() & new.keys()
    changed = {name for name in both if old[name].hash != new[name].hash or is_narrowed(old[name], new[name])}
    return Change(frozenset(changed), frozenset(new.keys() - old.keys()), frozenset(old.keys() - new.keys()))


def row_rules_changed(before: Definitions, now: Definitions, table: str) -> bool:
    """Whether other rules decide which rows of `table` are published, whatever the rules are called."""
    old, new = ({one.hash for one in side.of(table).values() if is_row_rule(one)} for side in (before, now))
    return old != new


def is_stale(table: str, before: Definitions, now: Definitions) -> bool:
    """Whether rows of `table` made under `before` may differ from those of a run under `now`."""
    return bool(stale_ids(table, before, now)) or row_rules_changed(before, now, table)


def stale_ids(table: str, before: Definitions, now: Definitions) -> set[str]:
    """The definitions of `table`, but for rules, whose values made under `before` are not those of `now`.

    A silver column that is new counts only where its source delivered it already and no default is declared: older
    drops do not have the others.
    """
    change = compare(before, now)
    found = {name for name in change.changed if table_of(name) == table and now.by_id[name].kind != "rule"}
    for name in change.added:
        one = now.by_id[name]
        if (
            table_of(name) == table
            and one.kind != "rule"
            and (not table.startswith("silver/") or _can_fill(one, before))
        ):
            found.add(name)
    return found


def _can_fill(column: object, before: Definitions) -> bool:
    """Whether a run over drops of that time finds values of a new silver column."""
    facts: Mapping[str, object] = getattr(column, "facts", {})
    if "default" in facts:
        return False
    if "drops" not in facts:
        return True  # a look-up, event_at or the table itself
    source = before.by_id.get(f"bronze/{facts['drops']}")
    return source is not None and facts["from"] in source.facts["columns"]


@dataclass(frozen=True)
class Published:
    """What readers of a release see, by the definitions that it was made under."""

    now: Definitions
    line: Sequence[Release]
    digest_of: Mapping[int, str]  # publication -> configuration hash
    recorded: Mapping[str, Definitions]
    heals: Sequence[Heal] = ()

    @staticmethod
    def of(ledger: Ledger, now: Definitions, line: Sequence[Release] | None = None) -> Published:
        """The newest release, or the last of `line`."""
        line = ledger.line() if line is None else line
        rows = ledger.store.rows("intervals", ["pub", "config_hash"], {"state": "started"})
        digests = {row["pub"]: row["config_hash"] for row in reversed(rows) if row["config_hash"]}
        healed = ledger.store.rows("intervals", ["pub", "state", "from_hour", "to_hour", "base"], {"step": "heal"})
        heals = [
            Heal(row["from_hour"], row["to_hour"], row["base"], digests.get(row["pub"], ""))
            for row in healed
            if row["state"] in ("published", "empty") and row["base"] is not None
        ]
        return Published(now, line, digests, ledger.definitions(), heals)

    @cached_property
    def former(self) -> dict[str, Definitions]:
        """The definitions behind anything that readers see, other than today's, by configuration hash."""
        alive = folds.live(self.line)
        seen = {self.digest_of.get(r.pub, "") for r in self.line if r.pub in alive and r.kind not in _PARTIAL}
        return {one: self.recorded[one] for one in sorted(seen & self.recorded.keys()) if one != self.now.digest}

    def made(self, table: str) -> list[Made]:
        """The published hours of `table`, oldest first; hours that were published without it count as made without it."""
        if table not in self._made:
            own = self._cover(table)
            covered = merged((one.start, one.end) for one in own)
            left = [gap for one in self._cover("accounts") for gap in _without(one, covered)]
            self._made[table] = sorted([*own, *left], key=lambda one: one.start)
        return self._made[table]

    @cached_property
    def _made(self) -> dict[str, list[Made]]:
        return {}

    @cached_property
    def _whole(self) -> list[Release]:
        return [release for release in self.line if release.kind not in _PARTIAL]

    @cached_property
    def _by_claims(self) -> dict[tuple[tuple[int, datetime, datetime], ...], list[Made]]:
        return {}

    @cached_property
    def _claims(self) -> dict[str, list[tuple[int, datetime, datetime]]]:
        claims: dict[str, list[tuple[int, datetime, datetime]]] = {}
        for release in self._whole:
            for table, start, end in release.covers:
                claims.setdefault(table, []).append((release.pub, start, end))
        return claims

    def _cover(self, table: str) -> list[Made]:
        """As `folds.cover`; tables of the same publications are folded once."""
        claims = tuple(self._claims.get(table, ()))
        if claims not in self._by_claims:
            cover = folds.cover(self._whole, table) if claims else []
            self._by_claims[claims] = [Made(s.start, s.end, self.digest_of.get(s.pub, "")) for s in cover]
        return self._by_claims[claims]

    def made_under(self, table: str, digest: str) -> bool:
        """Whether readers see hours of `table` that were made under the definitions `digest`."""
        return any(one.digest == digest for one in self.made(table))

    def stale(self, table: str) -> list[Span]:
        """The published hours of `table` that were made under definitions of another meaning."""
        old = {digest for digest, before in self.former.items() if is_stale(table, before, self.now)}
        return merged((one.start, one.end) for one in self.made(table) if one.digest in old)

    def made_otherwise(self, table: str, ids: Iterable[str], *, added: bool) -> dict[str, list[Span]]:
        """For each of the definitions `ids` of `table` the hours that were made under another one.

        `added`: also the hours made before there was one.
        """
        wanted, found = frozenset(ids), dict[str, list[Span]]()
        for digest, before in self.former.items():
            change = compare(before, self.now)
            differing = wanted & (change.changed | (change.added if added else frozenset()))
            for name in sorted(differing):
                found.setdefault(name, []).extend((m.start, m.end) for m in self.made(table) if m.digest == digest)
        return {name: merged(spans) for name, spans in found.items() if spans}

    def outlived(self, table: str) -> list[Span]:
        """Hours of a table of features in which a restated cell of a former definition may count, rebuilt or not.

        It is known later than the cell that it restated: so does one of a heal, or of an hour that was published again.
        A heal under definitions of today's meaning has put them right.
        """
        alive, found, seen = folds.live(self.line), list[Span](), list[Span]()
        for release in self.line:
            spans = merged((a, b) for name, a, b in release.covers if name == table)
            before = self.recorded.get(self.digest_of.get(release.pub, ""))
            if not spans or release.pub not in alive or before is None or not is_stale(table, before, self.now):
                continue
            left = spans if release.kind == "heal" else [cut for a, b in seen for cut in within(spans, a, b)]
            for heal in self.heals:
                done = self.recorded.get(heal.digest)
                if heal.base >= release.release and done is not None and not is_stale(table, done, self.now):
                    left = subtract(left, (heal.start, heal.end))
            found += left
            seen = merged([*seen, *spans])
        return merged(found)

    def unrecorded(self) -> list[Span]:
        """The published hours of which nobody recorded the definitions."""
        known = {*self.recorded, self.now.digest}
        return merged((one.start, one.end) for one in self._cover("accounts") if one.digest not in known)


def differing_inputs(trained: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Columns whose meaning is not the one of training, or that are not there any more."""
    return sorted(column for column, meaning in trained.items() if now.get(column) != meaning)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans` as disjoint spans, oldest first."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def within(spans: Iterable[Span], start: datetime | None, end: datetime | None) -> list[Span]:
    """What of `spans` lies in [start, end); none: no bound."""
    cut = ((max(a, start) if start else a, min(b, end) if end else b) for a, b in spans)
    return [(a, b) for a, b in cut if a < b]


def subtract(spans: Iterable[Span], away: Span) -> list[Span]:
    """What of `spans` lies outside of `away`."""
    left = [piece for a, b in spans for piece in ((a, min(b, away[0])), (max(a, away[1]), b))]
    return merged((a, b) for a, b in left if a < b)


def count_hours(spans: Iterable[Span]) -> int:
    """Number of hours in disjoint spans."""
    return sum(int((b - a) / HOUR) for a, b in spans)


def _without(made: Made, covered: Sequence[Span]) -> list[Made]:
    left = [(made.start, made.end)]
    for span in covered:
        left = subtract(left, span)
    return [Made(a, b, made.digest) for a, b in left]
