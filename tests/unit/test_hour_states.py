"""The state of an hour, folded from what steps recorded and what readers see: true after any order of events."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from lake_rows import at

from spark_jobs.errors import RetryError, SupersededError, TidegateError
from spark_jobs.invocation import Invocation
from spark_jobs.ledger import Ledger, Release, folds
from spark_jobs.steps.request import state_of

NONE: frozenset[int] = frozenset()
Row = tuple[str, int, int, str]  # step, from, to, state


def _release(number: int, pub: int, start: int, end: int, kind: str = "hour", dead: frozenset[int] = NONE) -> Release:
    covers = (("silver/things", at(start), at(end)),) if end > start else ()
    return Release(number, pub, number - 1 or None, kind, covers, dead, {}, "", datetime(2026, 1, 1, tzinfo=UTC))


def _states(rows: list[Row], line: list[Release]) -> dict[int, str]:
    keys = ("step", "from_hour", "to_hour", "state")
    intervals = [dict(zip(keys, (step, at(a), at(b), state), strict=True)) for step, a, b, state in rows]
    return {hour.hour: state for hour, state in folds.hour_states(intervals, line).items()}


ONE, TWO = _release(1, 1, 1, 2), _release(2, 2, 3, 4)
HEAL = _release(3, 3, 1, 4, "heal")
BACK = _release(4, 4, 0, 0, "rollback", frozenset({2, 3}))
UNDONE = _release(5, 5, 0, 0, "rollback", NONE)
RAN: list[Row] = [
    ("ingest", 1, 2, "staged"), ("publish", 1, 2, "published"), ("ingest", 2, 3, "refused"),
    ("ingest", 3, 4, "staged"), ("publish", 3, 4, "published"),
]  # fmt: skip
ROLLED: Row = ("rollback", 1, 4, "withdrawn")


@pytest.mark.parametrize(
    ("rows", "line", "expected"),
    [
        pytest.param(RAN, [ONE, TWO], {1: "published", 2: "refused", 3: "published"}, id="refused between published"),
        pytest.param([*RAN, ROLLED], [ONE, TWO, HEAL, BACK], {1: "published", 2: "refused", 3: "withdrawn"},
                     id="a rollback of a heal over a refused hour leaves it refused"),
        pytest.param([*RAN, ROLLED, ("rollback", 1, 4, "published")], [ONE, TWO, HEAL, BACK, UNDONE],
                     {1: "published", 2: "refused", 3: "published"}, id="the undo publishes no refused hour"),
        pytest.param([*RAN, ("heal", 1, 4, "published")], [ONE, TWO, HEAL], {1: "published", 2: "refused", 3: "published"},
                     id="a heal publishes no hour"),
        pytest.param([*RAN, ("heal", 1, 4, "refused")], [ONE, TWO], {1: "published", 2: "refused", 3: "published"},
                     id="a refused heal refuses no hour"),
        pytest.param([*RAN, ("ingest", 1, 2, "refused")], [ONE, TWO], {1: "published", 2: "refused", 3: "published"},
                     id="published while readers see it, though a later attempt was refused"),
        pytest.param([*RAN, ("ingest", 3, 4, "refused"), ROLLED], [ONE, TWO, HEAL, BACK],
                     {1: "published", 2: "refused", 3: "withdrawn"}, id="refused again, then taken back"),
        pytest.param([*RAN, ROLLED, ("ingest", 3, 4, "refused")], [ONE, TWO, HEAL, BACK],
                     {1: "published", 2: "refused", 3: "refused"}, id="taken back, then refused"),
        pytest.param([*RAN, ROLLED, ("ingest", 3, 4, "staged")], [ONE, TWO, HEAL, BACK],
                     {1: "published", 2: "refused", 3: "staged"}, id="staged again after a rollback"),
        pytest.param([*RAN, ("ingest", 4, 5, "failed"), ("ingest", 5, 6, "late"), ("rollback", 1, 6, "withdrawn")],
                     [ONE, TWO, HEAL, BACK], {1: "published", 2: "refused", 3: "withdrawn", 4: "failed", 5: "late"},
                     id="failed and late hours stay what they are"),
        pytest.param([("ingest", 1, 4, "refused"), ("publish", 1, 2, "published")], [ONE],
                     {1: "published", 2: "refused", 3: "refused"}, id="a backfill refused, one stretch published"),
        pytest.param([*RAN, ("training_set", 1, 4, "refused"), ("query", 1, 4, "failed")], [ONE, TWO],
                     {1: "published", 2: "refused", 3: "published"}, id="a refused week refuses no hour"),
        pytest.param([], [], {}, id="nothing ran"),
    ],
)  # fmt: skip
def test_the_state_of_an_hour_is_what_happened_to_it(rows, line, expected):
    assert _states(rows, line) == expected


def test_rollback_reports_only_hours_that_readers_lost(tmp_path: Path):
    """Hours 1 and 3 are published, 2 is refused, a heal reaches over all: back before hour 3."""
    ledger = Ledger.open(tmp_path)
    for start, kind in ((1, "hour"), (2, ""), (3, "hour"), (1, "heal")):
        end = start + (3 if kind == "heal" else 1)
        call = Invocation("p", "heal" if kind == "heal" else "ingest", at(start), at(end), f"run {start} {kind}")
        pub = ledger.start(call, "v", "c", None)
        if kind:
            ledger.release(_release(1, pub, start, end, kind), None, [])
        ledger.record(call, "published" if kind else "refused", pub)
    states = lambda: {h.hour: s for h, s in folds.hour_states(ledger.intervals(), ledger.line()).items()}  # noqa: E731
    done = ledger.rollback("p", 1, "wrong rows")
    assert done.withdrawn == [(at(3), at(4))]
    assert done.published == [(at(1), at(2))]  # its cells are those before the heal again
    assert states() == {1: "published", 2: "refused", 3: "withdrawn"}
    undone = ledger.rollback("p", 3, "undo")
    assert (undone.withdrawn, undone.published) == ([], [(at(1), at(2)), (at(3), at(4))])
    assert states() == {1: "published", 2: "refused", 3: "published"}


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (RetryError("orders", "late: no drop of 1 hour(s)"), "late"),
        (RetryError("orders", "waiting: 2 hour(s) without whole files"), "waiting"),
        (RetryError("mlflow", "no answer"), "failed"), (SupersededError("pub 4", "release 7 came first"), "superseded"),
        (TidegateError("x", "late: but no drop"), "failed"),
    ],
)  # fmt: skip
def test_only_missing_drops_make_an_hour_late(fault, state):
    assert state_of(fault) == state
