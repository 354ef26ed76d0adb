"""An hour without rows and without predictions: the way without Spark leaves what the ordinary way leaves, or is not taken."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.result import Result
from spark_jobs.stages import asked
from spark_jobs.stages.asked import Asked
from spark_jobs.stages.empty import conclude_empty
from spark_jobs.stages.short import conclude_without_spark
from tests.spark.conftest import CHECKOUT, NAME, NOW
from tests.spark.delta_reader import seen_by_delta

SOURCES, MODEL = ("schedules", "departures", "weather", "planes"), "late_departure"
WITH_ROWS = NOW + 240 * HOUR  # ten days later: nothing that was announced before is predicted for any more
EMPTY = WITH_ROWS + HOUR
STEPS = ("prepare", "publish_and_score")
BY_COMMAND = """
import os, subprocess, sys
def refuse(words, *more, **most):
    if words[0] != "git":
        raise RuntimeError("a process")
    return real(words, *more, **most)
def tell(code):
    print("MODULES", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr, flush=True)
    leave(code)
real, subprocess.Popen, leave, os._exit = subprocess.Popen, refuse, os._exit, tell
from spark_jobs.cli import main
main(sys.argv[1:])
"""


def nothing_delivered(site: Any, source: str, hour: Any, minutes: float = 5.0) -> None:
    conf = site.pipeline.sources.sources[source]
    head = b"" if conf.format == "jsonl" else (",".join(conf.columns) + "\n").encode()
    site.hand_in(source, hour, gzip.compress(head, mtime=0), 0, minutes)


@pytest.fixture(scope="module")
def sealed(past: Any, new_project: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An hour with weather alone is staged, in a project outside of any checkout: its code is never dirty."""
    project = new_project(tmp_path_factory.mktemp("project"))
    site = past.copy(tmp_path_factory.mktemp("sealed") / "data", project)
    site.deliver(WITH_ROWS, only=["weather"])
    for source in ("schedules", "departures", "planes"):
        nothing_delivered(site, source, WITH_ROWS)
    assert site.run("prepare", WITH_ROWS, dag_run="again").state == "staged"
    return site


@pytest.fixture(scope="module")
def before(sealed: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That hour is published; the next is delivered without a row, one source two hours late."""
    site = sealed.copy(tmp_path_factory.mktemp("before") / "data")
    assert site.run("publish_and_score", WITH_ROWS, dag_run="again").state == "published"
    for source in SOURCES:
        nothing_delivered(site, source, EMPTY, minutes=130 if source == "weather" else 5)
    return site


@pytest.fixture(scope="module")
def both(before: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, subprocess.CompletedProcess[str]]:
    """Two copies in which the empty hour was published: the ordinary way, and by the command; what that said."""
    ordinary, short = (before.copy(tmp_path_factory.mktemp(name) / "data") for name in ("ordinary", "short"))
    ordinary.publish(EMPTY, dag_run="empty")
    words = ["--from", format_hour(EMPTY), "--to", format_hour(EMPTY + HOUR), "--dag-run", "empty", "--json"]
    environ = {**os.environ, "TIDEGATE_PROJECT": str(short.project), "TIDEGATE_DATA": str(short.data)}
    done = subprocess.run(
        [sys.executable, "-c", BY_COMMAND, "backfill", NAME, *words],
        cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return ordinary, short, done


def shortly(site: Any, step: str = "prepare", hour: Any = EMPTY, hours: int = 1) -> Result | None:
    with site.here():
        return conclude_without_spark(Invocation(NAME, step, hour, hour + hours * HOUR, "again"))


def test_no_process_is_started_and_no_spark_imported(both: Any) -> None:
    modules = both[2].stderr.rpartition("MODULES")[2].split()
    assert "spark_jobs" in modules
    assert {"pyspark", "delta", "great_expectations", "mlflow", "pandas", "py4j"} & set(modules) == set()
    results = [json.loads(line) for line in both[2].stdout.splitlines()]
    assert [(result["state"], result["release"]) for result in results] == [("staged", None), ("published", 3)]


def test_the_release_is_the_same(both: Any) -> None:
    ordinary, short = (replace(site.ledger.line()[-1], at=NOW) for site in both[:2])
    assert short == ordinary
    assert (short.kind, short.rows["accounts"], sum(short.rows.values())) == ("hour", 4, 5)
    assert len(short.covers) == 15


def test_readers_see_the_same_rows(both: Any) -> None:
    ordinary, short, _ = both
    assert short.seen() == ordinary.seen()
    asked = f"SELECT count(*), sum(manifest), max(known_at) FROM accounts WHERE hour = '{format_hour(EMPTY)}Z'"
    assert short.ask(asked) == [(4, 0, EMPTY + 4 * HOUR)]


def test_spark_reads_the_accounts_as_if_it_had_written_them(both: Any) -> None:
    for table, rows in (("accounts", 4), ("spine_accounts", 1)):
        ordinary, short = seen_by_delta(*[site.root / table for site in both[:2]])
        assert short == ordinary
        assert len(short["rows"]) > rows


def test_the_verdicts_are_the_same_word_by_word(both: Any) -> None:
    ordinary, short = (site.ledger.verdicts(site.ledger.line()[-1].pub) for site in both[:2])
    assert short == ordinary
    assert len(short) == 8
    assert sum(len(verdict.rules) for verdict in short) > 50


def test_the_ledger_says_the_same_of_the_run_so_that_gates_and_announcements_are_the_same(both: Any) -> None:
    def rows(site: Any) -> list[dict[str, Any]]:
        """Without times, and the digest of the one file that another writer wrote."""
        found = [{**row, "at": None, "seconds": None} for row in site.ledger.intervals() if row["dag_run"] == "empty"]
        staged = json.loads(found[1]["staged"])
        for table in ("accounts", "spine_accounts"):
            assert staged.pop(table)
        return [found[0], {**found[1], "staged": staged}, *found[2:]]

    assert [row["state"] for row in rows(both[1])] == ["started", "staged", "published"]
    assert rows(both[1]) == rows(both[0])


def test_the_status_of_the_hour_prints_its_account(both: Any) -> None:
    def status(site: Any) -> str:
        environ = {**os.environ, "TIDEGATE_PROJECT": str(site.project), "TIDEGATE_DATA": str(site.data)}
        words = [sys.executable, "-m", "spark_jobs.cli", "status", NAME, "--hour", format_hour(EMPTY)]
        return subprocess.run(words, cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=True).stdout

    ordinary, short = (status(site) for site in both[:2])
    assert short == ordinary
    assert "published, release 3" in short
    assert [line.split() for line in short.splitlines() if line.split()[:1] == ["weather"]] == [["weather", *"00000"]]


def test_the_same_empty_drops_again_are_nothing_to_do(both: Any, tmp_path: Any) -> None:
    site = both[1].copy(tmp_path / "data")
    done = [shortly(site, step) for step in STEPS]
    assert [(result.state, result.release) for result in done if result] == [("published", 3)] * 2


def test_a_champion_that_has_nothing_to_score_has_scored_the_hour(before: Any, tmp_path: Any) -> None:
    """No model is loaded: there is none behind this alias."""
    site = before.copy(tmp_path / "data")
    site.ledger.add_promotion({"model": MODEL, "alias": "champion", "to_version": "7"})
    assert [result and result.state for result in (shortly(site, step) for step in STEPS)] == ["staged", "published"]
    scored = site.ledger.line()[-1]
    assert (scored.kind, scored.why, scored.rows) == ("score", f"{MODEL} version 7", {f"predictions/{MODEL}": 0})
    assert scored.covers == ((f"predictions/{MODEL}", EMPTY, EMPTY + HOUR),)
    assert [row["state"] for row in site.ledger.intervals() if row["step"] == "score"][-2:] == ["started", "published"]
    assert shortly(site) is not None  # unchanged, scores and all


def _columns_renamed(site: Any) -> None:
    site.hand_in("weather", EMPTY, gzip.compress(b"a,b\n"), 0, minutes=140)


def _cut(site: Any) -> None:
    file = site.file_of("weather", EMPTY)
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-1])


def _a_row(site: Any) -> None:
    site.deliver(EMPTY, only=["weather"], correction=True)
    file, manifest = site.file_of("weather", EMPTY), json.loads(site.manifest_of("weather", EMPTY).read_text())
    site.hand_in("weather", EMPTY, file.read_bytes(), manifest["rows"], minutes=200)


def _no_drop(site: Any) -> None:
    for path in (site.landing / "weather" / f"{EMPTY:%F}").glob(f"{EMPTY:%H}*.manifest.json"):
        path.unlink()


def _gone(site: Any) -> None:
    site.file_of("weather", EMPTY).unlink()


@pytest.mark.parametrize("spoil", [_columns_renamed, _cut, _a_row, _no_drop, _gone])
def test_drops_that_are_not_plainly_empty_take_the_ordinary_way(
    before: Any, tmp_path: Any, spoil: Callable[[Any], None]
) -> None:
    site = before.copy(tmp_path / "data")
    spoil(site)
    _is_left_to_spark(site)


def _is_left_to_spark(site: Any, hour: Any = EMPTY, hours: int = 1) -> None:
    rows = len(site.ledger.intervals())
    assert shortly(site, hour=hour, hours=hours) is None
    assert len(site.ledger.intervals()) == rows
    assert not list(site.root.rglob("part-0.parquet"))


def test_P9_an_hour_that_had_rows_takes_the_ordinary_way(before: Any, tmp_path: Any) -> None:
    site = before.copy(tmp_path / "data")
    nothing_delivered(site, "weather", WITH_ROWS, minutes=30)
    _is_left_to_spark(site, WITH_ROWS)


def test_an_hour_for_whose_end_a_prediction_is_due_takes_the_ordinary_way(before: Any, tmp_path: Any) -> None:
    """Flights that depart soon were announced days before; 72 hours on, nobody has announced any."""
    site = before.copy(tmp_path / "data")
    for hour in (NOW, NOW + 72 * HOUR):
        for source in SOURCES:
            nothing_delivered(site, source, hour, minutes=30)
    _is_left_to_spark(site, NOW)
    assert shortly(site, hour=NOW + 72 * HOUR) is not None


def test_several_hours_at_once_take_the_ordinary_way(before: Any, tmp_path: Any) -> None:
    site = before.copy(tmp_path / "data")
    for source in SOURCES:
        nothing_delivered(site, source, EMPTY + HOUR)
    _is_left_to_spark(site, hours=2)


def test_rules_that_this_code_never_ran_take_the_ordinary_way(
    before: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = before.copy(tmp_path / "data")
    monkeypatch.setattr(asked, "code_version", lambda project: "another")
    _is_left_to_spark(site)


def test_a_rule_that_asks_for_rows_is_left_to_the_gate(before: Any, tmp_path: Any) -> None:
    site = before.copy(tmp_path / "data")
    with site.here():
        call = Asked.of(Invocation(NAME, "prepare", EMPTY, EMPTY + HOUR, "again"))
    suite = call.pipeline.suites["departures"]
    rules = [
        rule.model_copy(update={"args": {"min_value": 1}}) if rule.id == "departures_an_hour" else rule
        for rule in suite.rules
    ]
    suites = {**call.pipeline.suites, "departures": suite.model_copy(update={"rules": rules})}
    asking = replace(call, pipeline=call.pipeline.model_copy(update={"suites": suites}))
    assert conclude_empty(asking) is None
    assert conclude_empty(call) is not None


def test_a_publication_with_rows_is_published_by_its_step(sealed: Any, tmp_path: Any) -> None:
    site = sealed.copy(tmp_path / "data")
    assert shortly(site, "publish_and_score", WITH_ROWS) is None
    assert len(site.ledger.releases()) == 1
