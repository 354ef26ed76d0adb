"""Drivers killed at named places of a real hour, or hung: readers see it whole or not at all, the next try converges.

C5 and C6 of the fault matrix; P1 and P12 on the way. The oracle is the same drops run without a kill. `make test` kills
at a few places, `make test-long` at every one that the source names.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from driver import Driver
from lakes import HOUR_HIT, HOUR_NEXT, STEPS, RiverLake, Watch, word_for

CHECKOUT = Path(__file__).resolve().parents[2]
ELSEWHERE = (
    "rollback.",
    "maintenance.",
    "fetch.",
    "migration.",
    "predictions.",
    "storage.schema.",
)  # failpoints whose own tests kill there

HANGS_AT = "stage.tiles.before"
STAGING = ["stage.silver.after", "audit.features/readings.judged"]  # in tries of one run, one after the other
PUBLISHING = [
    "publish.before_append",
    "publish.appended.silver/readings",
    "publish.read_back.silver/readings",
    "publish.before_release",
    "publish.after_release",
    "publish.recorded",
]


@cache
def patterns() -> dict[str, re.Pattern[str]]:
    """Every failpoint that the source names: its text with {} for what is filled in, and the names that it may have.

    Raises:
        TypeError: a failpoint's name is not written where it is called.
    """
    found = {}
    for path in sorted((CHECKOUT / "spark_jobs").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text if "failpoint(" in text else "")):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "failpoint":
                parts = list(_parts(node.args[0]))
                legal = "".join(re.escape(part) if part else ".+" for part in parts)
                found["".join(part or "{}" for part in parts)] = re.compile(legal)
    return found


def _parts(name: ast.expr) -> Iterator[str]:
    """The constant parts of a name, empty for one that is filled in."""
    for part in name.values if isinstance(name, ast.JoinedStr) else [name]:
        if isinstance(part, ast.FormattedValue):
            yield ""
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        else:
            raise TypeError(f"a failpoint is called with {ast.unparse(name)}")


def own_patterns() -> dict[str, re.Pattern[str]]:
    return {text: pattern for text, pattern in patterns().items() if not text.startswith(ELSEWHERE)}


def kill(lake: RiverLake, name: str, steps: tuple[str, ...], oracle: Any) -> str:
    """Run `steps` of the hour until the driver dies at `name`; what readers see then: 'before' or 'after'."""
    line = lake.ledger.line()
    with Watch(lake) as watch:
        driver = lake.start(HOUR_HIT, steps, kill_at=name).end()
    assert driver.killed, f"{name} was not reached: {driver.results}"
    words = [word_for(shown, before=oracle.before, after=oracle.after) for shown in watch.states]
    assert words in (["before"], ["before", "after"])
    assert word_for(lake.seen(line), before=oracle.before) == "before"  # who reads the old release sees it still
    return words[-1]


def assert_retry_converges(lake: RiverLake, steps: tuple[str, ...], oracle: Any) -> None:
    lake.run(HOUR_HIT, steps)
    assert word_for(lake.seen(), before=oracle.before, after=oracle.after) == "after"


def assert_next_hour_shows_nothing(lake: RiverLake, steps: tuple[str, ...], oracle: Any) -> None:
    """The next hour, directly after the crash: staged before it (publish only), or anew."""
    lake.run(HOUR_NEXT, steps, dag_run="next")
    known = {"before": oracle.before, "after": oracle.after, "skipped": oracle.skipped}
    assert word_for(lake.seen(), **known) == "skipped"


@dataclass
class Tries:
    """One run of the hour: its first driver hangs while staging, the next ones are killed, the last one publishes."""

    lake: RiverLake
    hung: Driver
    words: list[str]  # what readers saw last during each killed try
    copies: list[RiverLake]  # as each killed try left it


@pytest.fixture(scope="module")
def tries(ready: RiverLake, oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tries]:
    folder = tmp_path_factory.mktemp("tries")
    lake = ready.copy(folder / "data")
    tried = Tries(lake, lake.start(HOUR_HIT, stop_at=HANGS_AT).stopped(), [], [])
    try:
        for number, name in enumerate(STAGING):
            tried.words.append(kill(lake, name, STEPS, oracle))
            tried.copies.append(lake.copy(folder / f"{number}"))
        yield tried
    finally:
        tried.hung.process.kill()


def test_C6_a_driver_killed_again_and_again_while_staging_shows_nothing_and_the_next_try_converges(
    tries: Tries, oracle: Any
) -> None:
    assert tries.words == ["before"] * len(STAGING)
    for copy in tries.copies:
        assert_next_hour_shows_nothing(copy, STEPS[-1:], oracle)
    assert_retry_converges(tries.lake, STEPS, oracle)


def test_C5_a_driver_that_hung_while_staging_cannot_release_what_it_staged(tries: Tries, oracle: Any) -> None:
    """Its successor has published the hour; it goes on, stages under its old base, and must stage anew or end."""
    if word_for(tries.lake.seen(), before=oracle.before, after=oracle.after) == "before":  # the test before did not run
        assert_retry_converges(tries.lake, STEPS, oracle)
    assert word_for(tries.lake.seen(), before=oracle.before, after=oracle.after) == "after"
    with Watch(tries.lake) as watch:
        tries.hung.go_on().end()
    assert [word_for(shown, before=oracle.before, after=oracle.after) for shown in watch.states] == ["after"]
    _, built, published = tries.hung.results
    assert (built.state, built.exit_code) == ("staged", 0)
    assert built.pub not in {release.pub for release in tries.lake.ledger.releases()}
    assert published.exit_code == 75 or published.pub not in (None, built.pub)


@pytest.mark.parametrize("name", PUBLISHING)
def test_C6_a_driver_killed_while_publishing_shows_all_or_nothing_and_the_next_try_converges(
    name: str, staged: Any, oracle: Any, tmp_path: Path
) -> None:
    lake = staged[0].copy(tmp_path / "killed")
    if kill(lake, name, STEPS[-1:], oracle) == "before":
        assert_next_hour_shows_nothing(lake.copy(tmp_path / "next"), STEPS[-1:], oracle)
    assert_retry_converges(lake, STEPS[-1:], oracle)


def test_C6_the_next_hour_computes_nothing_from_rows_that_a_dead_driver_appended(
    staged: Any, oracle: Any, tmp_path: Path
) -> None:
    lake = staged[0].copy(tmp_path / "killed")
    assert kill(lake, "publish.before_release", STEPS[-1:], oracle) == "before"
    assert_next_hour_shows_nothing(lake, STEPS, oracle)


@pytest.mark.long
@pytest.mark.parametrize("text", own_patterns())
def test_C6_a_kill_at_every_failpoint_of_the_source(
    text: str, ready: RiverLake, staged: Any, oracle: Any, tmp_path: Path
) -> None:
    for number, (step, name) in enumerate(_passed(own_patterns()[text], oracle)):
        steps, start = (STEPS, ready) if step != "publish" else (STEPS[-1:], staged[0])
        lake = start.copy(tmp_path / f"{number}")
        if kill(lake, name, steps, oracle) == "before":
            assert_next_hour_shows_nothing(lake.copy(tmp_path / f"{number} next"), STEPS, oracle)
        assert_retry_converges(lake, steps, oracle)


def _passed(pattern: re.Pattern[str], oracle: Any) -> list[tuple[str, str]]:
    return [(step, name) for step in STEPS for name in dict.fromkeys(oracle.passed[step]) if pattern.fullmatch(name)]


def test_every_failpoint_that_an_hour_passes_is_killed_at(oracle: Any) -> None:
    """By the long test, which finds them in the source: a new one that an hour of the small pipeline passes needs no list."""
    assert [text for text, pattern in own_patterns().items() if not _passed(pattern, oracle)] == []
    known = {name for step in STEPS for name in oracle.passed[step]}
    assert known >= {HANGS_AT, *STAGING, *PUBLISHING}
    assert all(any(pattern.fullmatch(name) for pattern in patterns().values()) for name in known)


def test_every_other_failpoint_is_named_by_a_test_of_its_own() -> None:
    others = [path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py") if path != Path(__file__)]
    named = [text for text in patterns().keys() - own_patterns().keys() if any(text in other for other in others)]
    assert sorted(patterns().keys() - own_patterns().keys() - set(named)) == []
