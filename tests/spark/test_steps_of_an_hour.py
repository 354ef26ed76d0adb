"""The steps of an hour, one after the other: what each continues, and what it refuses to continue."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.publish import Publication, publish
from spark_jobs.ledger import Ledger, releasing
from spark_jobs.result import Result
from spark_jobs.steps.without_spark import conclude_without_spark
from tests.spark.visits import FIRST, NAME, PROJECT, Harbour, Upstream, write_history

SEED, PAST = 41, 6  # hours of the backfill
LAST = FIRST + PAST * HOUR


def copy_of(lake: Harbour, data: Path) -> Harbour:
    shutil.copytree(lake.data, data)
    return replace(lake, data=data)


def without_spark(lake: Harbour, step: str) -> Result | None:
    with lake.here():
        return conclude_without_spark(Invocation(NAME, step, LAST, LAST + HOUR, f"run {LAST}", lake.env))


@pytest.fixture(scope="module")
def ingested(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """A lake of some published hours, and one hour more that is ingested. Copy it, never write to it."""
    folder = tmp_path_factory.mktemp("steps")
    write_history(folder / "harbour_history", SEED, PAST + 2)
    shutil.copytree(PROJECT, folder / "project")  # outside of any checkout: its code is never dirty
    lake = Harbour(folder / "data", spark, "local", folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        Upstream(lake.landing, SEED, PAST, 2)._replay(FIRST, PAST + 1)
        lake.publish(FIRST, PAST, "backfill")
        assert lake.run("ingest", LAST).state == "staged"
        yield lake


def _bytes_changed(lake: Harbour) -> None:
    path = _staged(lake)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def _file_added(lake: Harbour) -> None:
    shutil.copy2(_staged(lake), _staged(lake).with_name("another.parquet"))


def _file_gone(lake: Harbour) -> None:
    _staged(lake).unlink()


def _staged(lake: Harbour) -> Path:
    pub = Ledger.open(lake.root).step_row(f"run {LAST}", "ingest")["pub"]
    [path] = (lake.root / "silver/landings" / f"pub-{pub}").rglob("part*.parquet")
    return path


def _refused(lake: Harbour) -> None:
    Ledger.open(lake.root).record(_ingest(lake), "refused", None, why="a rule")


def _of_another_interval(lake: Harbour) -> None:
    wider = replace(_ingest(lake), end=LAST + 2 * HOUR)
    Ledger.open(lake.root).record(wider, "staged", 1)


def _not_there(lake: Harbour) -> None:
    shutil.rmtree(lake.root / "ledger/intervals")


def _manifest_gone(lake: Harbour) -> None:
    shutil.rmtree(lake.root / "staging")


def _ingest(lake: Harbour) -> Invocation:
    return Invocation(NAME, "ingest", LAST, LAST + HOUR, f"run {LAST}", lake.env)


@pytest.mark.parametrize(
    ("spoil", "code", "found"),
    [
        (_not_there, 75, "nothing is staged for this interval"),
        (_of_another_interval, 75, "nothing is staged for this interval"),
        (_manifest_gone, 75, "its manifest is gone"),
        (_refused, 65, "its gate refused it: a rule"),
        (_bytes_changed, 65, "silver/landings: the staged files of 1 table(s) changed since ingest recorded them"),
        (_file_added, 65, "changed since ingest recorded them"),
        (_file_gone, 65, "changed since ingest recorded them"),
    ],
)
def test_features_are_built_of_nothing_but_what_ingest_of_the_same_run_staged(
    ingested: Harbour, tmp_path: Path, spoil: Callable[[Harbour], None], code: int, found: str
) -> None:
    lake = copy_of(ingested, tmp_path / "data")
    spoil(lake)
    result = lake.run("build_features", LAST)
    assert (result.exit_code, found in result.why) == (code, True), result.why
    assert "tidegate run harbour ingest --from" in result.why  # what to do


def test_features_are_not_built_under_another_configuration(ingested: Harbour, tmp_path: Path) -> None:
    shutil.copytree(ingested.project, tmp_path / "project")
    suite = tmp_path / "project/expectations/harbour/features_last_landing.yaml"
    suite.write_text(suite.read_text().replace("max_value: 85", "max_value: 84"))
    lake = replace(copy_of(ingested, tmp_path / "data"), project=tmp_path / "project")
    result = lake.run("build_features", LAST)
    assert (result.exit_code, "under another configuration" in result.why) == (64, True), result.why


def test_features_are_not_built_of_what_may_not_be_released_any_more(
    ingested: Harbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "MAY_RELEASE_FOR", timedelta(0))
    result = copy_of(ingested, tmp_path / "data").run("build_features", LAST)
    assert result.exit_code == 75
    assert "do: tidegate run harbour ingest" in result.why


def test_publish_needs_no_spark(ingested: Harbour, tmp_path: Path) -> None:
    lake = copy_of(ingested, tmp_path / "data")
    assert lake.run("build_features", LAST).state == "staged"
    done = without_spark(lake, "publish")
    assert done is not None
    assert (done.state, done.exit_code) == ("published", 0)
    assert done.release == Ledger.open(lake.root).line()[-1].release


def test_publish_before_features_are_built_asks_for_them(ingested: Harbour, tmp_path: Path) -> None:
    done = without_spark(copy_of(ingested, tmp_path / "data"), "publish")
    assert done is not None
    assert (done.exit_code, done.state) == (75, "failed")
    assert "do: tidegate run harbour build_features" in done.why


def test_work_that_another_release_overtook_is_staged_again_by_publish(ingested: Harbour, tmp_path: Path) -> None:
    lake = copy_of(ingested, tmp_path / "data")
    built = lake.run("build_features", LAST)
    assert built.state == "staged", built.why
    ledger = Ledger.open(lake.root)
    other = Invocation(NAME, "heal", FIRST, LAST, "overtakes")
    pub = ledger.start(other, "", "", ledger.line()[-1].release)
    covers = {"silver/landings": (FIRST, FIRST + HOUR)}
    publish(ledger, Publication(pub, "heal", covers, {}, None, frozenset()))
    assert without_spark(lake, "publish") is None  # Spark has to stage again
    published = lake.run("publish", LAST)
    assert (published.state, published.pub != built.pub) == ("published", True), published.why
    rows = [
        (row["step"], row["pub"])
        for row in ledger.intervals()
        if row["dag_run"] == f"run {LAST}" and row["state"] == "staged"
    ]
    assert rows == [(step, pub) for pub in (built.pub, published.pub) for step in ("ingest", "build_features")]
    again = lake.run("build_features", LAST)
    assert (again.exit_code, "is released; its rows never change" in again.why) == (64, True)
    done = without_spark(lake, "build_features")
    assert done is not None
    assert done.release == published.release
