"""Drivers killed and hung between the applications of an hour; the oracle is the run without kills.

A retried `ingest` begins a publication of its own; a retried `build_features` goes on with the one that `ingest` sealed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from driver import Driver
from lakes import HOUR_HIT, RiverLake, Watch, word_for
from test_kills import kill

INGEST, BUILD, PUBLISH = ("ingest",), ("build_features",), ("publish",)


@dataclass
class Tries:
    """One run of the hour until its features are to be built for the last time."""

    lake: RiverLake
    hung: Driver  # while building
    words: list[str]  # what readers saw last during each killed try
    early: Driver  # a publishing that came before the features were sealed


@pytest.fixture(scope="module")
def tries(ready: RiverLake, oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tries]:
    lake = ready.copy(tmp_path_factory.mktemp("steps") / "data")
    words = [kill(lake, "stage.recorded", INGEST, oracle)]
    lake.run(HOUR_HIT, INGEST)
    hung = lake.start(HOUR_HIT, BUILD, stop_at="stage.features.before").stopped()
    try:
        words.append(kill(lake, "stage.manifest.after", BUILD, oracle))
        yield Tries(lake, hung, words, lake.start(HOUR_HIT, PUBLISH).end())
    finally:
        hung.process.kill()


def pubs(lake: RiverLake, step: str, state: str) -> list[int]:
    found = [row for row in lake.ledger.intervals() if row["dag_run"] == f"run {HOUR_HIT}"]
    return [row["pub"] for row in found if (row["step"], row["state"]) == (step, state)]


def test_a_killed_application_shows_nothing_and_what_it_left_unsealed_is_not_published(
    tries: Tries, oracle: Any
) -> None:
    assert tries.words == ["before", "before"]
    [early] = tries.early.results
    assert (early.exit_code, "build_features is in state 'started'" in early.why) == (75, True)
    assert "do: tidegate run river build_features --from" in early.why


def test_the_next_try_goes_on_with_the_same_publication_and_a_driver_that_hung_harms_nothing(
    tries: Tries, oracle: Any
) -> None:
    """It wakes when its successor has published: its files lie elsewhere, and it may not seal."""
    lake = tries.lake
    assert word_for(lake.seen(), before=oracle.before, after=oracle.after) == "before"
    lake.run(HOUR_HIT, BUILD + PUBLISH)
    assert word_for(lake.seen(), before=oracle.before, after=oracle.after) == "after"
    released = lake.ledger.line()[-1]
    first, second = pubs(lake, "ingest", "started")
    assert first != second == released.pub
    assert pubs(lake, "build_features", "started") == [second] * 3
    assert pubs(lake, "build_features", "staged") == [second]
    with Watch(lake) as watch:
        [woken] = tries.hung.go_on().end().results
    assert [word_for(shown, before=oracle.before, after=oracle.after) for shown in watch.states] == ["after"]
    assert (woken.exit_code, woken.state, "another attempt" in woken.why) == (75, "superseded", True)
    assert pubs(lake, "build_features", "staged") == [second]
    assert lake.ledger.storage.read_text(f"staging/{second}.json") is None
