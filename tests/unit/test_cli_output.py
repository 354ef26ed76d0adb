"""What commands that look print, and that they leave the lake alone."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import write_deltalake
from http_upstream import TOKEN, Answer, Server

from spark_jobs.cli.output import show_table
from spark_jobs.cli.planning import checks_line
from spark_jobs.config import load_pipeline
from spark_jobs.errors import EXIT_OK, EXIT_REFUSED, EXIT_RETRY, EXIT_USAGE, UsageError
from spark_jobs.invocation import HOUR, Invocation
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger, Release
from spark_jobs.verdict import Outcome, RuleResult, Verdict
from tests.unit.test_cli_words import _TELL, HOURS, _heavy, _run

LOW, HIGH = datetime(2013, 11, 1, 12, tzinfo=UTC), datetime(2013, 11, 1, 13, tzinfo=UTC)
WEATHER = "silver/weather"


@pytest.fixture
def lake(project: Path) -> Path:
    """One released hour of silver/weather with two rows, and the verdict on it: one rule more than conf/ has, one less."""
    import pyarrow as pa

    root = project / "var/lake/nycflights13"
    ledger, call = Ledger.open(root), Invocation("nycflights13", "ingest", LOW, HIGH, "a")
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
    write_deltalake(root / "accounts", pa.table({name: rows[name] for name in ("hour", "known_at", "pub")}))
    ledger.release(Release(0, pub, None, "hour", ((WEATHER, LOW, HIGH),), frozenset(), {WEATHER: 2}, "", LOW), None, [])
    ledger.record(call, "published", pub)
    return root


def _listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


def _plan(*words: str) -> Any:
    return json.loads(_run("plan", "nycflights13", "ingest", *HOURS, "--json", *words).stdout)


def test_plan_tells_hours_tables_schema_changes_and_checks_and_leaves_the_lake_as_it_was(lake: Path) -> None:
    """The number of checks, and what changed since the newest verdict."""
    before = _listing(lake)
    facts = _plan()
    assert _listing(lake) == before
    assert (facts["hours"], facts["hours_published"], facts["missing_drops"]["weather"]) == (1, 1, 1)
    assert facts["checks"]["now"] == sum(facts["rules"].values())
    assert facts["checks"]["change since the last run"] == {
        "added": ["silver/weather.pressure"], "removed": ["silver/weather.old_rule"], "rewritten": [],
    }  # fmt: skip
    assert checks_line("nycflights13", "local") == (
        f"checks: {facts['checks']['now']}; since the last run added: silver/weather.pressure;"
        " removed: silver/weather.old_rule; rewritten: none"
    )
    assert "+dew_point_f" in facts["schema_changes"][WEATHER]
    assert "+origin" not in facts["schema_changes"][WEATHER]


def test_plan_of_a_pipeline_that_never_ran_makes_no_folder(project: Path) -> None:
    """The data folder itself is not made either."""
    assert _plan()["checks"]["change since the last run"] == "nothing was judged yet"
    assert not (project / "var").exists()


@pytest.mark.parametrize(
    "words",
    [["validate"], ["plan", "nycflights13", "ingest", *HOURS], ["status"], ["status", "nycflights13", "--hour", "2013-11-01T12"],
     ["release", "list", "nycflights13"], ["release", "show", "nycflights13", "1"], ["read", "nycflights13", WEATHER],
     ["read", "nycflights13", WEATHER, "--as-known", "2013-11-01T12"], ["release", "diff", "nycflights13", "1", "1"],
     ["quarantine", "list", "nycflights13"], ["quarantine", "show", "nycflights13", "--table", WEATHER],
     ["quarantine", "replay", "nycflights13"], ["doctor", "--quick"]],
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
    "words", [["status"], ["release", "list", "nycflights13"], ["plan", "nycflights13", "ingest", *HOURS]]
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


def _set_sources(project: Path, **changes: dict[str, Any]) -> None:
    path = project / "conf/pipelines/nycflights13/sources.yaml"
    declared = yaml.safe_load(path.read_text())["sources"]
    for name, source in declared.items():
        source.pop("http", None)
        source.pop("database", None)
        source |= {"kind": "files"} | changes.get(name, {})
    path.write_text(yaml.safe_dump({"sources": declared}))


@pytest.fixture
def http_source(project: Path, upstream: Server) -> Server:
    """The shipped project, whose weather alone comes from an upstream of kind http, with a token."""
    section = {"url": f"{upstream.home}/weather/{{day}}/{{hour}}", "token_env": "WEATHER_TOKEN"}
    _set_sources(project, weather={"kind": "http", "http": section})
    upstream.says(Answer(b'[{"origin": "JFK", "temp": 50.00}, {"origin": "EWR"}]'))
    return upstream


def test_fetch_lands_the_drops_of_kind_http_and_says_so(http_source: Server, project: Path) -> None:
    """Two hours, the oldest first; for people and as JSON; a second call writes nothing; nothing heavy, no token."""
    words = ["fetch", "nycflights13", "--from", "2013-11-01T12", "--to", "2013-11-01T14"]
    done = _run(*words, code=_TELL, WEATHER_TOKEN=TOKEN)
    assert (done.returncode, _heavy(done.stderr)) == (EXIT_OK, [])
    assert done.stdout.splitlines() == [
        "source   hour                 version  rows  bytes  pages  written",
        "weather  2013-11-01T12:00:00  1        2     51     1      yes",
        "weather  2013-11-01T13:00:00  1        2     51     1      yes",
    ]
    assert [path for path, _ in http_source.asked] == ["/weather/2013-11-01/12", "/weather/2013-11-01/13"]
    again = _run(*words, "--source", "weather", "--json", WEATHER_TOKEN=TOKEN)
    landing = project / "var/landing/nycflights13/weather/2013-11-01"
    facts = {"source": "weather", "version": 1, "rows": 2, "bytes": 51, "pages": 1, "written": False}
    assert json.loads(again.stdout)["drops"] == [
        facts | {"hour": f"2013-11-01T{hour}:00:00Z", "manifest": str(landing / f"{hour}.manifest.json")}
        for hour in (12, 13)
    ]
    assert {path.name for path in landing.iterdir()} == {
        f"{hour}.{kind}" for hour in (12, 13) for kind in ("jsonl", "manifest.json")
    }
    assert TOKEN not in done.stdout + done.stderr + again.stdout + again.stderr
    plan = json.loads(_run("plan", "nycflights13", "ingest", *HOURS, "--json").stdout)
    assert (plan["missing_drops"]["weather"], plan["missing_drops"]["departures"]) == (0, 1)


def test_fetch_asks_only_for_the_sources_that_are_named(project: Path, upstream: Server) -> None:
    """Another source of kind http is left alone; a pipeline without any is told so."""
    others = {"kind": "http", "http": {"url": f"{upstream.home}/{{from}}"}}
    _set_sources(project, schedules=others, departures=others)
    upstream.says(Answer(b"", status=204))
    done = _run("fetch", "nycflights13", *HOURS, "--source", "departures", "--json")
    assert [drop["source"] for drop in json.loads(done.stdout)["drops"]] == ["departures"]
    assert len(upstream.asked) == 1
    _set_sources(project)
    none = _run("fetch", "nycflights13", *HOURS)
    assert (none.returncode, none.stdout) == (EXIT_USAGE, "")
    assert all(part in none.stderr for part in ("no source of kind http or database", "  allowed: ", "  do: "))


def test_fetch_makes_drops_of_whole_files_without_manifests(project: Path) -> None:
    """The first hour has its marker, the second has not: 75, and what landed before stays; a second call writes nothing."""
    complete = {"by": "marker", "data": "departures/{day}/{hour}.csv", "marker": "departures/{day}/{hour}.done"}
    _set_sources(project, departures={"complete": complete})
    folder = project / "var/landing/nycflights13/departures/2013-11-01"
    folder.mkdir(parents=True)
    for name, data in (("12.csv", b"x\n1\n2\n"), ("12.done", b""), ("13.csv", b"x\n1\n")):
        (folder / name).write_bytes(data)
    done = _run("fetch", "nycflights13", *HOURS, code=_TELL)
    assert (done.returncode, _heavy(done.stderr)) == (EXIT_OK, [])
    assert done.stdout.splitlines() == [
        "source      hour                 version  rows  bytes  pages  written",
        "departures  2013-11-01T12:00:00  1        2     6      0      yes",
    ]
    again = _run("fetch", "nycflights13", "--from", "2013-11-01T12", "--to", "2013-11-01T14", "--json")
    assert (again.returncode, again.stdout) == (EXIT_RETRY, "")
    told = ("departures 2013-11-01T13:00:00: waiting: no marker 13.done", "  allowed: ", "  do: ")
    assert all(part in again.stderr for part in told)
    assert sorted(path.name for path in folder.iterdir()) == ["12.csv", "12.done", "12.manifest.json", "13.csv"]
    again = _run("fetch", "nycflights13", *HOURS, "--source", "departures", "--json")
    assert [(drop["hour"], drop["written"]) for drop in json.loads(again.stdout)["drops"]] == [
        ("2013-11-01T12:00:00Z", False)
    ]


@pytest.mark.parametrize(
    ("answer", "token", "code", "said"),
    [
        (Answer(status=404), TOKEN, EXIT_USAGE, "status 404"),
        (Answer(), "", EXIT_USAGE, "WEATHER_TOKEN is not set"),
        (Answer(b"{}"), TOKEN, EXIT_REFUSED, "no list at the top"),
        (Answer(status=429, headers={"Retry-After": "0"}), TOKEN, EXIT_RETRY, "status 429, 6 time(s)"),
    ],
)
def test_a_fetch_that_fails_ends_with_its_own_exit_code(
    answer: Answer, token: str, code: int, said: str, http_source: Server, project: Path
) -> None:
    """Four parts on stderr, nothing on stdout, nothing landed, no token."""
    http_source.says(answer)
    done = _run("fetch", "nycflights13", *HOURS, "--json", WEATHER_TOKEN=token)
    assert (done.returncode, done.stdout) == (code, "")
    assert all(part in done.stderr for part in (said, "weather 2013-11-01T12:00:00", "  allowed: ", "  do: "))
    assert TOKEN not in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(project.glob("var/landing/**/*.json*"))


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


def test_a_connection_is_locked_to_its_folder_when_it_is_opened(lake: Path) -> None:
    """The second barrier behind the check of a condition: one folder, no extension, no change of settings."""
    import duckdb

    from spark_jobs.lake.reading import connect

    with connect(lake / WEATHER) as connection:
        for query in (
            "FROM read_text('/etc/passwd')", "COPY (SELECT 1) TO '/tmp/never.csv'", "LOAD httpfs", "INSTALL httpfs",
            "SET enable_external_access = true", "SET allowed_directories = ['/']", "ATTACH '/tmp/never.db' AS other",
            f"FROM read_text('{lake}/ledger/releases/_delta_log/*.json')",
        ):  # fmt: skip
            with pytest.raises(duckdb.Error):
                connection.execute(query).fetchall()


def _correct(lake: Path, covers: tuple[tuple[str, datetime, datetime], ...] = ((WEATHER, LOW, HIGH),)) -> None:
    """Release 2: the hour again, known an hour later, JFK's temperature corrected and EWR gone."""
    import pyarrow as pa

    at = {"hour": LOW, "observed_at": LOW, "known_at": HIGH + HOUR}
    rows = {name: pa.array([value], pa.timestamp("us", "UTC")) for name, value in at.items()} | {"pub": [2]}
    write_deltalake(lake / WEATHER, pa.table({"origin": ["JFK"], "temperature_f": [55.0], **rows}), mode="append")
    write_deltalake(
        lake / "accounts", pa.table({name: rows[name] for name in ("hour", "known_at", "pub")}), mode="append"
    )
    Ledger.open(lake).release(Release(0, 2, None, "hour", covers, frozenset(), {WEATHER: 1}, "", LOW), None, [])


@pytest.mark.parametrize(
    ("words", "rows", "as_known"),
    [([], [("JFK", 55.0)], None), (["--release", "1"], [("EWR", 51.0), ("JFK", 50.0)], None),
     (["--as-known", "2013-11-01T13"], [("EWR", 51.0), ("JFK", 50.0)], "2013-11-01T13:00:00Z"),
     (["--as-known", "2013-11-01T14:00:00Z"], [("JFK", 55.0)], "2013-11-01T14:00:00Z"),
     (["--as-known", "2013-11-01T14", "--release", "1"], [("EWR", 51.0), ("JFK", 50.0)], "2013-11-01T14:00:00Z"),
     (["--as-known", "2013-11-01T12"], [], "2013-11-01T12:00:00Z")],
    ids=["newest", "older", "as_known", "as_known_later", "older_as_known", "before_all"],
)  # fmt: skip
def test_read_and_views_tell_rows_of_a_release_as_known_then(
    words: list[str], rows: list[tuple[str, float]], as_known: str | None, lake: Path, tmp_path: Path
) -> None:
    """The same words give the same rows as JSON and in the DuckDB file, which plain duckdb opens read-only."""
    import duckdb

    _correct(lake)
    told = json.loads(_run("read", "nycflights13", WEATHER, *words).stdout)
    assert sorted((row["origin"], row["temperature_f"]) for row in told["rows"]) == rows
    assert told.get("as_known") == as_known
    file = tmp_path / "views.duckdb"
    done = _run("views", "nycflights13", "--to", str(file), "--json", *words, code=_TELL)
    assert (done.returncode, _heavy(done.stderr)) == (EXIT_OK, [])
    release = told["release"]
    assert json.loads(done.stdout) == {
        "file": str(file), "release": release, "as_known": as_known, "views": ["silver_weather", "accounts"],
    }  # fmt: skip
    with duckdb.connect(str(file), read_only=True) as notebook:
        asked = "SELECT origin, temperature_f FROM silver_weather ORDER BY origin"
        assert notebook.execute(asked).fetchall() == rows
        assert notebook.execute("SELECT pipeline, release FROM release").fetchall() == [("nycflights13", release)]


def test_views_for_people_say_that_the_file_is_of_one_release(lake: Path, tmp_path: Path) -> None:
    """Nothing but the file is written, and a file of another origin stays as it was, with exit 64."""
    before, file = _listing(lake), tmp_path / "views.duckdb"
    done = _run("views", "nycflights13", "--to", str(file), "--as-known", "2013-11-01T13")
    told = f"{file}: 2 views of release 1, as known at 2013-11-01T13:00:00; a later release needs the command again\n"
    assert (done.returncode, done.stdout) == (EXIT_OK, told)
    file.write_text("precious")
    refused = _run("views", "nycflights13", "--to", str(file))
    assert (refused.returncode, refused.stdout, file.read_text()) == (EXIT_USAGE, "", "precious")
    assert "was not written by this command" in refused.stderr
    assert _listing(lake) == before


def test_diff_tells_publications_rows_columns_and_hours(lake: Path) -> None:
    """For people and as JSON; no heavy import."""
    _correct(lake)
    done = _run("release", "diff", "nycflights13", "1", "2", code=_TELL)
    assert (done.returncode, _heavy(done.stderr)) == (EXIT_OK, [])
    assert done.stdout.splitlines() == [
        "nycflights13: what readers of release 2 see that readers of release 1 do not",
        "publications  only in 1: none; only in 2: 2 (hour)",
        "rows of         added  removed  changed  in columns",
        "silver/weather  0      1        1        known_at 1, temperature_f 1",
        "hours from           to                   pub in 1  pub in 2  of",
        "2013-11-01T12:00:00  2013-11-01T13:00:00  1         2         silver/weather",
    ]
    facts = json.loads(_run("release", "diff", "nycflights13", "1", "2", "--json").stdout)
    assert facts["publications"] == {"only_in_a": [], "only_in_b": [{"pub": 2, "release": 2, "kind": "hour"}]}
    assert len(facts["tables"]) == len(table_kinds(load_pipeline("nycflights13")))
    [weather] = [table for table in facts["tables"] if table["table"] == WEATHER]
    assert weather == {
        "table": WEATHER, "added": 0, "removed": 1, "changed": 1, "columns": {"temperature_f": 1, "known_at": 1},
        "hours": [{"from": "2013-11-01T12:00:00", "to": "2013-11-01T13:00:00", "pub_a": 1, "pub_b": 2}],
    }  # fmt: skip


def test_a_long_diff_fits_on_a_screen_and_says_what_it_left_out(lake: Path) -> None:
    """Twenty hours that are not one range; JSON has them all. Nothing differs between a release and itself."""
    _correct(lake, tuple((WEATHER, LOW + 2 * n * HOUR, HIGH + 2 * n * HOUR) for n in range(20)))
    lines = _run("release", "diff", "nycflights13", "1", "2").stdout.splitlines()
    assert len(lines) <= 25
    assert lines[-1] == "… 14 more ranges of hours: the same command with --json"
    facts = json.loads(_run("release", "diff", "nycflights13", "1", "2", "--json").stdout)
    assert sum(len(table["hours"]) for table in facts["tables"]) == 20
    same = _run("release", "diff", "nycflights13", "2", "2").stdout.splitlines()
    assert same[1:] == ["publications  only in 2: none; only in 2: none", "rows  the same in every table"]


def test_a_rollback_says_which_hours_are_withdrawn_and_how_to_undo_it(lake: Path) -> None:
    """One hour more is released, taken back and brought again; its state says so each time."""
    ledger, nine = Ledger.open(lake), Invocation("nycflights13", "ingest", HIGH, HIGH + HOUR, "b")
    pub = ledger.start(nine, "v", "c", 1)
    ledger.release(
        Release(0, pub, None, "hour", ((WEATHER, HIGH, HIGH + HOUR),), frozenset(), {WEATHER: 0}, "", LOW), 1, []
    )
    ledger.record(nine, "published", pub)
    back = _run("release", "rollback", "nycflights13", "1", "--why", "wrong unit")
    assert (back.returncode, back.stdout.splitlines()) == (
        EXIT_OK,
        [
            "release 3: readers see the rows of release 1 again, and every score given since",
            "  withdrawn  [2013-11-01T13:00:00, 2013-11-01T14:00:00)",
            "  published  none",
            "  to undo    tidegate release rollback nycflights13 2 --why 'undo' --env local",
        ],
    )
    assert json.loads(_run("status", "nycflights13", "--json").stdout)["hours"] == {"published": 1, "withdrawn": 1}
    undone = json.loads(_run("release", "rollback", "nycflights13", "2", "--why", "undo", "--json").stdout)
    assert (undone["release"], undone["dead"], undone["withdrawn"]) == (4, [], [])
    assert undone["published"] == [["2013-11-01T13:00:00", "2013-11-01T14:00:00"]]
    assert json.loads(_run("status", "nycflights13", "--json").stdout)["hours"] == {"published": 2}
    shown = json.loads(_run("release", "show", "nycflights13", "3", "--json").stdout)
    assert (shown["kind"], shown["why"], shown["dead"]) == ("rollback", "wrong unit", [pub])


def test_replay_delivers_badly_what_its_options_name(project: Path) -> None:
    """Every option in one call over four hours: one in two versions, one skipped, one cut, one with a changed byte."""
    drop = "weather@2013-11-01T"
    done = _run(
        "replay", "nycflights13", "--from", "2013-11-01T12", "--to", "2013-11-01T16", "--source", "weather", "--json",
        "--redeliver", f"{drop}12", "--reorder", f"{drop}12", "--skip", f"{drop}13", "--cut", f"{drop}14", "--flip", f"{drop}15",
        "--late-rows", "0.1:1h", "--repeat-rows", "0.1", "--correct-rows", "weather.temp=1:1h", "--seed", "7",
    )  # fmt: skip
    assert done.returncode == EXIT_OK, done.stderr
    report = json.loads(done.stdout)
    assert {name: report[name] for name in ("hours", "drops", "written")} == {"hours": 4, "drops": 4, "written": 4}
    assert report["rows"] > 4 * 3  # corrected rows come again
    folder = project / "var/landing/nycflights13/weather/2013-11-01"
    files = [folder / f"{stem}.jsonl.gz" for stem in ("12", "12.2", "14", "15")]
    assert sorted(folder.glob("*.gz")) == sorted(files)
    facts = [json.loads(file.with_name(file.name.replace("jsonl.gz", "manifest.json")).read_text()) for file in files]
    assert [file.stat().st_size for file in files] == [
        fact["bytes"] // 2 if fact["file"] == "14.jsonl.gz" else fact["bytes"] for fact in facts
    ]
    sound = [
        hashlib.sha256(file.read_bytes()).hexdigest() == fact["sha256"] for file, fact in zip(files, facts, strict=True)
    ]
    assert sound == [True, True, False, False]
    assert facts[0]["sha256"] == facts[1]["sha256"]
    assert gzip.decompress(files[0].read_bytes()).startswith(b'{"visib":')


def test_a_trial_is_told_as_a_table_with_misses_idle_rules_and_one_line_of_sums(capsys: Any) -> None:
    """Written by hand: one fault caught, one missed with its reason, one false alarm."""
    from spark_jobs.cli.gate_test import show_trial

    hour = "2013-11-01T12:00:00"
    caught = {"number": 9, "name": "nulls", "hour": hour, "columns": ["b"], "outcome": "blocked", "rules": ["r1", "r2"],
              "reason": ""}  # fmt: skip
    missed = {**caught, "number": 44, "name": "mixed", "outcome": "missed", "rules": [], "reason": "2 rows are wrong"}
    show_trial(
        {
            "pipeline": "p", "table": "t", "seed": 7, "caught": 1, "total": 2, "false_alarms": 1, "clean_hours": 42,
            "clean_rows_held": 3, "mutants": [caught, missed], "not_applicable": [{"number": 20, "name": "swapped"}],
            "false_alarm_hours": [{"hour": hour, "rules": ["r3"]}], "idle_rules": ["r3"], "unguarded_columns": [],
        }
    )  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "fault     hour                 outcome  caught by",
        "9 nulls   2013-11-01T12:00:00  blocked  r1, r2",
        "44 mixed  2013-11-01T12:00:00  missed",
        "",
        "missed",
        "fault     columns  why",
        "44 mixed  b        2 rows are wrong",
        "",
        "false alarm        2013-11-01T12:00:00: r3",
        "caught nothing     r3",
        "nobody guards      none",
        "not applicable     20 swapped",
        "p/silver/t, seed 7: 1 of 2 faults caught, 1 false alarms on 42 clean hours (3 of their rows held)",
    ]
