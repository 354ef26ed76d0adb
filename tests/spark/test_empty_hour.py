"""An hour without a row in any drop, and without a prediction that is due, is staged, judged and published like any other."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.invocation import HOUR, format_hour
from spark_jobs.verdict import Outcome
from tests.spark.conftest import NOW

SOURCES = ("schedules", "departures", "weather", "planes")
EMPTY = NOW + 240 * HOUR  # ten days later: what was announced before is not predicted for any more


@pytest.fixture(scope="module")
def empty(past: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The empty hour is published; one of its drops came two hours late."""
    site = past.copy(tmp_path_factory.mktemp("empty") / "data")
    for source in SOURCES:
        conf = site.pipeline.sources.sources[source]
        head = b"" if conf.format == "jsonl" else (",".join(conf.columns) + "\n").encode()
        minutes = 130 if source == "weather" else 5
        site.hand_in(source, EMPTY, gzip.compress(head, mtime=0), 0, minutes)
    site.publish(EMPTY)
    return site


def test_its_release_covers_the_hour_and_has_only_accounts(empty: Any) -> None:
    release = empty.ledger.line()[-1]
    assert release.kind == "hour"
    assert {span for _, *span in map(tuple, release.covers) for span in [tuple(span)]} == {(EMPTY, EMPTY + HOUR)}
    assert {table: rows for table, rows in release.rows.items() if rows} == {"accounts": 4, "spine_accounts": 1}


def test_its_account_is_known_when_the_last_drop_had_come(empty: Any) -> None:
    asked = f"SELECT count(*), sum(manifest), max(known_at) FROM accounts WHERE hour = '{format_hour(EMPTY)}Z'"
    assert empty.ask(asked) == [(4, 0, EMPTY + 4 * HOUR)]


def test_every_gated_table_has_a_verdict(empty: Any) -> None:
    verdicts = empty.ledger.verdicts(empty.ledger.line()[-1].pub)
    assert len(verdicts) == 8
    assert not any(verdict.outcome.blocks for verdict in verdicts)
    silver = [verdict.outcome for verdict in verdicts if verdict.scope == "silver"]
    assert set(silver) <= {Outcome.PASS, Outcome.WARN}


def test_the_same_hour_again_changes_nothing(empty: Any, tmp_path: Path) -> None:
    site = empty.copy(tmp_path / "data")
    before = site.seen(without=("pub",))
    site.publish(EMPTY, dag_run="again")
    assert site.seen(without=("pub",)) == before
