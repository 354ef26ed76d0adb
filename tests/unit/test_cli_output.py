"""What commands that look print, and that they leave the lake alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import write_deltalake

from spark_jobs.cli.output import show_table
from spark_jobs.config import load_pipeline
from spark_jobs.errors import EXIT_OK, EXIT_USAGE, UsageError
from spark_jobs.invocation import Invocation
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger, Release
from spark_jobs.verdict import Outcome, RuleResult, Verdict
from tests.unit.test_cli_words import HOURS, _run

LOW, HIGH = datetime(2013, 11, 1, 12, tzinfo=UTC), datetime(2013, 11, 1, 13, tzinfo=UTC)
WEATHER = "silver/weather"


@pytest.fixture
def lake(project: Path) -> Path:
    """One released hour of silver/weather with two rows, and the verdict on it: one rule more than conf/ has, one less."""
    import pyarrow as pa

    root = project / "var/lake/nycflights13"
    ledger, call = Ledger.open(root), Invocation("nycflights13", "prepare", LOW, HIGH, "a")
    suite = load_pipeline("nycflights13", project).suites["weather"]
    pub = ledger.start(call, "v", "c", None)
    ids = [*(rule.id for rule in suite.rules if rule.id != "pressure"), "old_rule", "parse", "finite:wind_gust_mph"]
    ledger.add_verdict(call, pub, Verdict.of(WEATHER, "silver", [RuleResult(one, Outcome.PASS) for one in ids], "old"))
    rows = {
        "origin": ["JFK", "EWR"], "temperature_f": [50.0, 51.0], "hour": pa.array([LOW, LOW], pa.timestamp("us", "UTC")),
        "observed_at": pa.array([LOW, LOW], pa.timestamp("us", "UTC")),
        "known_at": pa.array([HIGH, HIGH], pa.timestamp("us", "UTC")), "pub": pa.array([pub, pub], pa.int64()),
    }  # fmt: skip
    write_deltalake(root / WEATHER, pa.table(rows))
    ledger.release(Release(0, pub, None, "hour", ((WEATHER, LOW, HIGH),), frozenset(), {WEATHER: 2}, "", LOW), None, [])
    ledger.record(call, "published", pub)
    return root


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


def _plan(*words: str) -> Any:
    return json.loads(_run("plan", "nycflights13", "prepare", *HOURS, "--json", *words).stdout)


def test_plan_tells_hours_tables_schema_changes_and_checks_and_leaves_the_lake_as_it_was(lake: Path) -> None:
    """ease.md lines 5 and 12: the number of checks, and what changed since the newest verdict."""
    before = _listing(lake)
    facts = _plan()
    assert _listing(lake) == before
    assert (facts["hours"], facts["hours_published"], facts["missing_drops"]["weather"]) == (1, 1, 1)
    assert facts["checks"]["now"] == sum(facts["rules"].values())
    assert facts["checks"]["change since the last run"] == {
        "added": ["silver/weather.pressure"], "removed": ["silver/weather.old_rule"], "rewritten": [],
    }  # fmt: skip
    assert "+dew_point_f" in facts["schema_changes"][WEATHER]
    assert "+origin" not in facts["schema_changes"][WEATHER]


def test_plan_of_a_pipeline_that_never_ran_makes_no_folder(project: Path) -> None:
    """The data folder itself is not made either."""
    assert _plan()["checks"]["change since the last run"] == "nothing was judged yet"
    assert not (project / "var").exists()


@pytest.mark.parametrize(
    "words",
    [["validate"], ["plan", "nycflights13", "prepare", *HOURS], ["status"], ["status", "nycflights13", "--hour", "2013-11-01T12"],
     ["release", "list", "nycflights13"], ["release", "show", "nycflights13", "1"], ["read", "nycflights13", WEATHER],
     ["doctor", "--quick"]],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_json_is_the_only_thing_on_stdout(words: list[str], lake: Path) -> None:
    """One JSON value; under FORCE_COLOR too."""
    done = _run(*words, "--json", FORCE_COLOR="1")
    assert json.loads(done.stdout) is not None
    assert "\x1b" not in done.stdout + done.stderr


def test_faults_of_conf_are_json_too(project: Path) -> None:
    """validate --json: the faults with their parts on stdout, for people on stderr, exit 64."""
    path = project / "conf/environments/local.yaml"
    path.write_text(path.read_text().replace("master: local[2]", "master: yarn"))
    done = _run("validate", "--json")
    assert done.returncode == EXIT_USAGE
    [fault] = json.loads(done.stdout)["faults"]
    assert (fault["place"], fault["path"]) == ("conf/environments/local.yaml:7:3", "spark.master")


@pytest.mark.parametrize(
    "words", [["status"], ["release", "list", "nycflights13"], ["plan", "nycflights13", "prepare", *HOURS]]
)
def test_text_has_no_escape_codes_in_a_terminal_under_no_color(words: list[str], lake: Path) -> None:
    """A pseudo-terminal of 80 columns; what is printed is plain in a pipe and in a terminal alike."""
    command = " ".join([sys.executable, "-m", "spark_jobs.cli", *words])
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=False,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == EXIT_OK
    assert "\x1b" not in done.stdout


def test_a_table_is_as_wide_as_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Never wrapped, no trailing spaces, none is empty."""
    show_table("", ["a", "b"], [["x" * 150, None], [1, "end"]])
    assert capsys.readouterr().out.splitlines() == [f"a{' ' * 149}  b", "x" * 150, f"1{' ' * 149}  end"]


def _read(root: Path, where: str) -> list[dict[str, Any]]:
    kind = table_kinds(load_pipeline("nycflights13"))[WEATHER]
    return read_current(root, WEATHER, kind, Ledger.open(root).line(), where=where)


@pytest.mark.parametrize(
    "where", ["origin = 'JFK'", "temperature_f < 51 and hour >= TIMESTAMPTZ '2013-11-01'", "origin = 'JFK' --"]
)
def test_where_is_a_condition_on_the_columns(where: str, lake: Path) -> None:
    """The lake's own parquet files stay readable after everything else is shut."""
    assert [row["origin"] for row in _read(lake, where)] == ["JFK"]


@pytest.mark.parametrize(
    "where",
    [
        "true; COPY (SELECT 1) TO '{out}'",
        "true) ; COPY (SELECT 1) TO '{out}' ; SELECT (1",
        "true) UNION ALL SELECT * FROM read_csv('/etc/passwd') WHERE (true",
        "origin IN (SELECT content FROM read_text('/etc/passwd'))",
        "EXISTS (FROM '/etc/passwd')",
        "origin = (SELECT max(origin) FROM read_parquet('{lake}/silver/weather/*.parquet'))",
        "true; INSTALL httpfs; LOAD httpfs",
        "true; ATTACH '{out}' AS other",
        "true; SET enable_external_access = true",
        "true) ORDER BY (1",
        "no_such_column = 1",
        "origin::int = 1",
        "origin =",
    ],
)
def test_where_can_read_and_write_nothing_else(where: str, lake: Path, tmp_path: Path) -> None:
    """No second statement, other file, unpublished row, extension or setting; each is refused and leaves no file."""
    out = tmp_path / "out.csv"
    with pytest.raises(UsageError) as told:
        _read(lake, where.format(out=out, lake=lake))
    assert told.value.allowed
    assert told.value.todo
    assert "root:" not in str(told.value)
    assert not out.exists()


def test_the_connection_itself_refuses_other_files_once_it_is_shut(lake: Path) -> None:
    """Should a condition ever slip through, DuckDB is told as well: one folder, no extension, no change of settings."""
    import duckdb

    from spark_jobs.lake.reading import _shut, connect

    with connect() as connection:
        _shut(connection, lake / WEATHER)
        for query in (
            "FROM read_text('/etc/passwd')", "COPY (SELECT 1) TO '/tmp/never.csv'", "LOAD httpfs", "INSTALL httpfs",
            "SET enable_external_access = true", "SET allowed_directories = ['/']", "ATTACH '/tmp/never.db' AS other",
            f"FROM read_text('{lake}/ledger/releases/_delta_log/*.json')",
        ):  # fmt: skip
            with pytest.raises(duckdb.Error):
                connection.execute(query).fetchall()
