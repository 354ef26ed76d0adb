"""The same hours through both groupings make the same lake: rows, verdicts, accounts, releases, states of hours.

A backfill, then hours one by one: late, corrected, repeated and held rows, an hour that its gate blocks until a corrected
drop comes, a drop that comes again with other rows when newer hours are published. Left out: publication numbers, names
and digests of files, the clock's times.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from spark_jobs import plan
from spark_jobs.cli.backfill import run_backfill
from spark_jobs.config import load_pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.ledger import Ledger, releasing
from spark_jobs.report.facts import pipeline_facts
from spark_jobs.result import Result
from spark_jobs.sources.replay import _Folder
from spark_jobs.stages import handover
from spark_jobs.stages.short import conclude_without_spark
from tests.spark.visits import FIRST, NAME, PROJECT, SOURCES, Harbour, Upstream, write_history

SEED, PAST = 41, 10  # hours of the backfill; then four hours more
NEXT = FIRST + PAST * HOUR
BLOCKED, EMPTY = NEXT + 2 * HOUR, NEXT + 30 * HOUR
GATED = ("silver/landings", "silver/plans", "features/landings", "features/last_landing")
STEPS = [step.name for step in plan.hour_steps("split")]
LAST = NEXT + 3 * HOUR  # of all that are delivered; run by the tests about single steps
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Both:
    """The lakes of the two groupings; `early`: the split one before its last publication."""

    fused: Harbour
    split: Harbour
    early: Harbour
    refused: dict[str, Result]


@pytest.fixture(scope="module")
def both(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("groupings")
    write_history(folder / "harbour_history", SEED, PAST + 6)
    shutil.copytree(PROJECT, folder / "project")  # outside of any checkout: its code is never dirty
    lakes = {env: Harbour(folder / env, spark, env, folder / "project") for env in ("local", "split")}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        refused = {env: begin(lake) for env, lake in lakes.items()}
        early = copy_of(lakes["split"], folder / "early")
        for lake in lakes.values():
            come_again(lake)
        yield Both(lakes["local"], lakes["split"], early, refused)


def begin(lake: Harbour) -> Result:
    """All hours but the one that comes again; what the blocked one ended with at first."""
    upstream = Upstream(lake.landing, SEED, PAST + 4, 6)
    upstream._replay(FIRST, PAST + 4, skip=frozenset({("landings", BLOCKED)}))
    lake.publish(FIRST, PAST, "backfill")
    lake.publish(NEXT)
    lake.publish(NEXT + HOUR)
    hand_in(lake, BLOCKED, [f"b{n:03},{BLOCKED:%FT%TZ},5" for n in range(201)], minutes=1)
    result = lake.run(plan.hour_steps(grouping_of(lake))[0].name, BLOCKED)
    upstream._replay(BLOCKED, only=["landings"], minutes=40, seed=SEED)
    lake.publish(BLOCKED)
    return result


def come_again(lake: Harbour) -> None:
    """The hour before the blocked one is delivered with other rows, hours later."""
    Upstream(lake.landing, SEED, PAST + 4, 6)._replay(NEXT + HOUR, minutes=130, seed=SEED + 1)
    lake.publish(NEXT + HOUR, dag_run="again")


def hand_in(lake: Harbour, hour: datetime, lines: list[str], source: str = "landings", minutes: float = 1.0) -> None:
    head = ",".join(load_pipeline(NAME, PROJECT).sources.sources[source].columns)
    data = gzip.compress("\n".join([head, *lines, ""]).encode(), mtime=0)
    arrived = hour + HOUR + timedelta(minutes=minutes)
    _Folder(lake.landing / source / f"{hour:%F}").deliver(source, hour, "csv.gz", data, len(lines), arrived, True)


def grouping_of(lake: Harbour) -> Any:
    return "split" if lake.env == "split" else "fused"


def copy_of(lake: Harbour, data: Path) -> Harbour:
    shutil.copytree(lake.data, data)
    return replace(lake, data=data)


def readers_see(lake: Harbour, known_by: datetime | None = None) -> Rows:
    """Every row of every table, all columns but pub."""
    with lake.reader(known_by) as (connection, tables):
        return {t: connection.execute(f'SELECT * EXCLUDE (pub) FROM "{t}" ORDER BY ALL').fetchall() for t in tables}


def facts(lake: Harbour) -> dict[str, Any]:
    """Verdicts, accounts, releases and states of hours, without what differs by nature."""
    ledger, at = Ledger.open(lake.root), FIRST
    intervals, releases = ledger.intervals(), ledger.releases()
    sealed = [row for row in intervals if row["step"] in plan.SEALS and row["state"] == "staged"]
    started = [row for row in intervals if row["state"] == "started" and row["seq"] == row["pub"]]
    rank = {row["pub"]: number for number, row in enumerate(started)}
    return {
        "verdicts": [[replace(v, staged_digest="") for v in ledger.verdicts(row["pub"])] for row in started],
        "ledger": [(r["from_hour"], r["to_hour"], r["rows"], r["drops"], r["base"], rank[r["pub"]],
                    sorted(json.loads(r["staged"]))) for r in sealed],
        "releases": [replace(r, pub=rank[r.pub], at=at, dead=frozenset(rank[p] for p in r.dead)) for r in releases],
        "status": pipeline_facts(lake.root, load_pipeline(NAME, PROJECT)),
        "drops": [(r["from_hour"], r["state"]) for r in intervals if r["state"] == "refused"],
        "incidents": [(i["event"], i["severity"]) for i in ledger.incidents()],
    }  # fmt: skip


def differences(a: Harbour, b: Harbour) -> dict[str, list[str]]:
    """What is not equal: tables now and as known at three instants, and kinds of facts; with the first that differ."""
    seen = []
    for lake in (a, b):
        tables = {
            f"{table} {known_by or 'now'}": rows
            for known_by in (None, NEXT, NEXT + 2 * HOUR, BLOCKED + 2 * HOUR)
            for table, rows in readers_see(lake, known_by).items()
        }
        seen.append({**tables, **{what: list(map(repr, _listed(told))) for what, told in facts(lake).items()}})
    here, there = seen
    return {
        what: [str(one)[:300] for one in (*here.get(what, []), *there.get(what, []))
               if (one in here.get(what, [])) != (one in there.get(what, []))][:6] or ["order or number of rows"]
        for what in here.keys() | there.keys() if here.get(what) != there.get(what)
    }  # fmt: skip


def _listed(told: Any) -> list[Any]:
    return sorted(told.items()) if isinstance(told, dict) else list(told)


def test_both_groupings_make_the_same_lake(both: Both) -> None:
    assert differences(both.fused, both.split) == {}


def test_the_lakes_hold_what_could_make_them_differ(both: Both) -> None:
    with both.split.reader(None) as (connection, tables):
        [counts] = connection.execute(
            """SELECT (FROM "silver/landings" SELECT count(*) FILTER (known_at > hour + INTERVAL 1 HOUR)),
                      (FROM "silver/landings" SELECT count(*) FILTER (due_at < hour - INTERVAL 1 HOUR)),
                      (FROM quarantine SELECT count(*)), (FROM "features/landings" SELECT count(*) FILTER (hour >= $1)),
                      (FROM "features/last_landing" SELECT count(*)), (FROM "silver/landings" SELECT count(quay))""",
            [NEXT],
        ).fetchall()
    assert min(counts) > 0, counts
    assert {"accounts", "quarantine", *GATED, "tiles/landings", *(f"bronze/{name}" for name in SOURCES)} <= {*tables}
    for result in both.refused.values():
        assert (result.state, result.exit_code) == ("refused", 65)
        assert "landings_an_hour" in result.why
    assert both.refused["split"].step == "ingest"
    steps = {row["step"] for row in Ledger.open(both.split.root).intervals()}
    assert steps == {"ingest", "build_features", "publish"}  # and no score: the harbour has no model


def test_control_features_built_as_if_every_drop_had_come_in_time_differ(
    both: Both, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the second application must not forget of the first; everything else of that hour is equal."""
    wrong = copy_of(both.early, tmp_path / "wrong")
    known = handover._known_hours
    monkeypatch.setattr(handover, "_known_hours", lambda *args: {hour: hour + HOUR for hour in known(*args)})
    come_again(wrong)
    found = {what.partition(" ")[0] for what in differences(both.fused, wrong)}
    assert found >= {"tiles/landings", "features/landings"}
    assert found & {"silver/landings", "bronze/landings", "accounts", "quarantine", "releases"} == set()


def test_an_empty_hour_starts_no_jvm_in_either_grouping(
    both: Both, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tidegate backfill` runs the steps that the environment has, in order; each is concluded without Spark."""
    lakes = [copy_of(lake, tmp_path / lake.env) for lake in (both.fused, both.split)]
    for lake in lakes:
        for source in SOURCES:
            hand_in(lake, EMPTY, [], source)
        with lake.here():
            assert run_backfill(NAME, f"{EMPTY:%FT%T}", f"{EMPTY + HOUR:%FT%T}", "empty", lake.env, as_json=True) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["step"], one["state"]) for one in told] == [
        ("prepare", "staged"), ("publish_and_score", "published"),
        ("ingest", "staged"), ("build_features", "staged"), ("publish", "published"), ("score", "published"),
    ]  # fmt: skip
    assert differences(*lakes) == {}
    split = lakes[1]
    assert Ledger.open(split.root).line()[-1].rows["accounts"] == 2
    assert [shortly(split, step).state for step in STEPS] == ["published"] * 4  # once more: nothing to do


def shortly(lake: Harbour, step: str, hour: datetime = EMPTY) -> Result:
    with lake.here():
        done = conclude_without_spark(Invocation(NAME, step, hour, hour + HOUR, f"run {hour}", lake.env))
    assert done is not None, step
    return done


@pytest.fixture(scope="module")
def ingested(both: Both, tmp_path_factory: pytest.TempPathFactory) -> Harbour:
    """The split lake with one hour more, ingested alone. Copy it, never write to it."""
    lake = copy_of(both.split, tmp_path_factory.mktemp("ingested") / "data")
    assert lake.run("ingest", LAST).state == "staged"
    return lake


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


def test_a_step_that_the_grouping_does_not_have_is_refused_with_those_it_has(ingested: Harbour) -> None:
    with pytest.raises(
        UsageError, match=r"'prepare' where spark\.grouping is split(.|\n)*build_features, heal, ingest, publish"
    ):
        ingested.run("prepare", LAST)


def test_what_was_overtaken_by_another_release_is_staged_again_by_the_step_that_publishes(
    ingested: Harbour, tmp_path: Path
) -> None:
    """And then features cannot be built under the released number, nor scores asked for before it is released."""
    lake = copy_of(ingested, tmp_path / "data")
    built = lake.run("build_features", LAST)
    assert built.state == "staged", built.why
    early = lake.run("score", LAST)
    assert (early.exit_code, "is not released" in early.why) == (75, True)
    ledger = Ledger.open(lake.root)
    ledger.rollback(NAME, ledger.line()[-1].release - 1, "overtakes")
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
    assert shortly(lake, "build_features", LAST).release == published.release
    assert lake.run("score", LAST).release == published.release
