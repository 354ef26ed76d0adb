"""Step `query` and `tidegate fetch` with a source whose files lie on another file system: a real FTP server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ftp_upstream import PASSWORD, USER, Upstream
from pyspark.sql import SparkSession

from spark_jobs.cli.fetch import fetch_drops
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.errors import EXIT_OK, EXIT_REFUSED, EXIT_RETRY, RetryError, UsageError
from spark_jobs.invocation import ASKED_AGAIN, HOUR, Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.result import Result
from spark_jobs.sources.drops import find_drops
from spark_jobs.sources.landing import land
from spark_jobs.stages import query
from spark_jobs.steps import StepRun

SMALL = Path(__file__).parents[1] / "faults" / "small"
TEN = datetime(2024, 5, 1, 22, tzinfo=UTC)
TEXT = (
    b"gauge,read_at,next_at,level\n"
    b"upper,2024-05-01T22:10:00Z,2024-05-02T02:10:00Z,1204\n"
    b"lower,2024-05-01T22:20:00Z,2024-05-02T02:20:00Z,980\n"
)


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A server whose user and password stand in the environment."""
    monkeypatch.setenv("RIVER_USER", USER)
    monkeypatch.setenv("RIVER_PASSWORD", PASSWORD)
    server = Upstream(tmp_path / "upstream")
    yield server
    server.close()


def section(upstream: Upstream) -> dict[str, Any]:
    options = {"fs.ftp.user.127.0.0.1": "RIVER_USER", "fs.ftp.password.127.0.0.1": "RIVER_PASSWORD"}
    return {"hadoop": {"root": upstream.root, "options_env": options}}


@pytest.fixture
def river(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, whose one source lies on the server."""
    folder = tmp_path / "project"
    shutil.copytree(SMALL, folder)
    monkeypatch.setenv("TIDEGATE_PROJECT", str(folder))
    monkeypatch.setenv("TIDEGATE_DATA", str(folder / "var"))
    change(folder, "river", readings=section(upstream))
    return folder


def change(folder: Path, pipeline: str, **sources: dict[str, Any]) -> None:
    path = folder / f"conf/pipelines/{pipeline}/sources.yaml"
    declared = yaml.safe_load(path.read_text())["sources"]
    for name, changes in sources.items():
        declared[name] |= changes
    path.write_text(yaml.safe_dump({"sources": declared}))


def run(spark: SparkSession, step: str = "query") -> Result:
    call = Invocation("river", step, TEN, TEN + HOUR, "run")
    return StepRun(call, lambda: spark).run()


def test_what_query_copied_is_read_and_judged_like_any_drop(
    spark: SparkSession, upstream: Upstream, river: Path
) -> None:
    """Its rows are counted, a second run counts the same ones."""
    upstream.deliver(TEN, TEXT, 2, TEN + HOUR, source="readings")
    for _ in range(2):
        result = run(spark)
        assert (result.exit_code, result.state, result.rows) == (EXIT_OK, "landed", {"readings": 2}), result.why
    prepared = run(spark, "prepare")
    assert (prepared.exit_code, prepared.rows["bronze/readings"]) == (EXIT_OK, 2), prepared.why


def test_files_are_waited_for_until_their_grace_is_over_and_then_it_is_the_hour_that_is_late(
    spark: SparkSession, upstream: Upstream, river: Path
) -> None:
    """A scheduler looks again after exit 75; later nothing but drops_ready says that the drop is missing."""
    assert (run(spark).exit_code, run(spark).rows) == (EXIT_OK, {"readings": 0})
    change(river, "river", readings={"grace": "36500d"})
    waiting = run(spark)
    assert waiting.exit_code == EXIT_RETRY
    assert "waiting: 1 hour(s) without whole files" in waiting.why
    assert f"no manifest {upstream.root}/readings/2024-05-01/22.manifest.json" in waiting.why
    manifest = upstream.deliver(TEN, TEXT, 2, TEN + HOUR, source="readings")
    assert run(spark).exit_code == EXIT_OK
    manifest.unlink()
    assert (run(spark).exit_code, run(spark).rows) == (EXIT_OK, {"readings": 2})  # what has landed is there


def test_a_broken_file_refuses_the_step_and_nobody_reads_it(
    spark: SparkSession, upstream: Upstream, river: Path
) -> None:
    manifest = upstream.deliver(TEN, TEXT, 2, TEN + HOUR, source="readings")
    manifest.with_name("22.csv").write_bytes(TEXT[:-1])
    refused = run(spark)
    assert (refused.exit_code, refused.state) == (EXIT_REFUSED, "refused")
    assert [path for path in (river / "var/landing").rglob("*") if path.is_file()] == []
    row = Ledger.open(river / "var/lake/river").step_row("run", "query")
    assert row is not None
    assert (row["state"], PASSWORD in row["why"]) == ("refused", False)


def test_a_database_that_has_answered_is_not_asked_again_because_files_are_looked_for(
    spark: SparkSession, upstream: Upstream, project: Path
) -> None:
    """Its drop is there, so that it may be gone by now; only `tidegate fetch` asks it again."""
    change(project, "nycflights13", departures=section(upstream))
    pipeline, (_, places) = load_pipeline("nycflights13"), load_environment("local")
    planes = pipeline.sources.sources["planes"]
    land("planes", planes, places.landing / "nycflights13", TEN, b"{}\n{}\n{}\n", 3, TEN + HOUR)
    call, now = Invocation("nycflights13", "query", TEN, TEN + HOUR, "by_key"), TEN + 2 * HOUR
    assert query.run(spark, pipeline, places, call, now) == {"departures": 0, "planes": 3}
    again = Invocation("nycflights13", "query", TEN, TEN + HOUR, f"{ASKED_AGAIN}now")
    with pytest.raises(RetryError, match="the database cannot be asked"):
        query.run(spark, pipeline, places, again, now)


def test_a_pipeline_without_such_sources_has_no_use_for_the_step(spark: SparkSession, river: Path) -> None:
    change(river, "river", readings={"hadoop": None})
    pipeline, (_, places) = load_pipeline("river"), load_environment("local")
    with pytest.raises(UsageError, match="no source whose drops this step lands"):
        query.run(spark, pipeline, places, Invocation("river", "query", TEN, TEN + HOUR, "run"), TEN)


def test_fetch_copies_by_an_application_of_its_own_and_then_writes_the_manifest(
    upstream: Upstream, river: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with its marker; the password goes by the environment and stands in no log and no file."""
    for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "PYSPARK_SUBMIT_ARGS"):
        monkeypatch.delenv(name, raising=False)  # of this process's session
    complete = {"by": "marker", "data": "readings/{day}/{hour}.csv", "marker": "readings/{day}/{hour}.done"}
    change(river, "river", readings={"complete": complete})
    for name, data in (("22.csv", TEXT), ("22.done", b"")):
        upstream.put(f"readings/2024-05-01/{name}", data, TEN + timedelta(hours=2))
    told = []
    for _ in range(2):
        assert fetch_drops("river", "2024-05-01T22", "2024-05-01T23", ["readings"], "local", as_json=True) == EXIT_OK
        told.append(json.loads(capsys.readouterr().out))
    assert [[(drop["rows"], drop["written"]) for drop in one["drops"]] for one in told] == [[(2, True)], [(2, False)]]
    assert (told[0]["query"]["state"], told[1]["query"]["rows"]) == ("landed", {"readings": 2})
    assert upstream.sent == ["22.csv"]
    assert find_drops(load_pipeline("river").sources, river / "var/landing/river", "readings", [TEN])[TEN].rows == 2
    written = [path for path in (river / "var").rglob("*") if path.is_file()]
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []
