"""Odd but legal input on the command line: bounded, true and useful answers; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from held_lake import NAME, Held, publish
from lake_rows import at

from spark_jobs.cli.app import app
from spark_jobs.errors import TidegateError, UsageError
from spark_jobs.invocation import HOUR, MAX_HOURS, Invocation, parse_hour
from spark_jobs.ledger import Ledger, Release
from spark_jobs.verdict import Outcome, RuleResult, Verdict


@pytest.fixture
def root(project: Path) -> Path:
    """Two hours, of which the first holds a row; forty rules warn of the second publication."""
    root = project / "var/lake" / NAME
    publish(root, at(1), at(3), [Held(at(1), 1, ("speed",))])
    pub = publish(root, at(3), at(4), [])
    rules = [RuleResult(f"rule_{n}", Outcome.WARN, "", f"{n} rows") for n in range(40)]
    call = Invocation(NAME, "ingest", at(3), at(4), "x")
    Ledger.open(root).add_verdict(call, pub, Verdict.of("silver/weather", "silver", rules))
    return root


def _run(*words: str) -> int:
    """The exit code of a command, run in this process."""
    try:
        app(args=list(words), prog_name="tidegate")
    except SystemExit as end:
        return int(str(end.code or 0))
    except TidegateError as fault:
        return fault.exit_code
    return 0


FAR = "9999-12-31T23:00:00"


@pytest.mark.parametrize(
    "words",
    [
        ["status", NAME, "--hour", FAR],
        ["status", NAME, "--hour", "0001-01-01"],
        ["quarantine", "list", NAME, "--hour", FAR],
        ["quarantine", "list", NAME, "--refused", "--hour", "2199-12-31T23:00:00"],
        ["quarantine", "show", NAME, "--table", "silver/weather", "--hour", FAR],
        ["release", "show", NAME, "99"],
        ["quarantine", "list", NAME, "--run", "x"],
        ["release", "rollback", NAME, "99", "--why", "x"],
        ["plan", NAME, "ingest", "--from", "1900-01-01", "--to", "2199-12-31"],
        ["read", NAME, "silver/weather", "--as-known", FAR],
        ["status", "nothing"],
        ["quarantine", "list", "nothing", "--refused"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_before_anything_is_read(words: list[str], root: Path) -> None:
    assert _run(*words) == 64


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["status", NAME],
        ["status", NAME, "--hour", "2199-12-31T23:00:00"],
        ["quarantine", "list", NAME, "--refused"],
        ["quarantine", "list", NAME],
        ["release", "list", NAME],
        ["release", "show", NAME, "1"],
        ["quarantine", "show", NAME, "--table", "silver/weather", "--rule", "nonsense"],
        ["read", NAME, "accounts", "--limit", "1000000000"],
    ],
    ids=" ".join,
)
def test_every_command_answers_in_json_and_text(words: list[str], root: Path, capsys: Any) -> None:
    assert _run(*words) == 0
    assert capsys.readouterr().out.strip() or "nonsense" in words
    assert _run(*words, *([] if words[0] == "read" else ["--json"])) == 0
    json.loads(capsys.readouterr().out)


def test_an_hour_of_a_year_that_no_lake_has_is_refused():
    for text in ("1899-12-31T23", "2200-01-01", FAR):
        with pytest.raises(UsageError, match="1900 to 2199"):
            parse_hour(text)
    with pytest.raises(UsageError, match="50 years"):
        Invocation(NAME, "ingest", at(1), at(1) + (MAX_HOURS + 1) * HOUR, "x")


def test_status_shows_warnings_of_the_newest_hours_and_counts_the_others(root, capsys):
    assert _run("status", NAME) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("  warning ")]) == 10
    assert f"             30 more warnings not shown: tidegate status {NAME} --env local --json" in lines
    assert _run("status", NAME, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 40


def test_a_list_of_releases_says_how_many_it_leaves_out(root, capsys):
    assert _run("release", "list", NAME, "--limit", "1") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "… 1 older releases not shown: --limit 2 shows all"


def test_a_release_with_many_tables_and_dead_publications_fits_on_a_screen(root, capsys):
    ledger = Ledger.open(root)
    pub = ledger.start(Invocation(NAME, "ingest", at(5), at(6), "x"), "v", "c", None)
    covers = tuple((f"silver/t{n}", at(n % 20), at(n % 20 + 1)) for n in range(400))
    ledger.release(
        Release(0, pub, None, "hour", covers, frozenset(range(1000, 2000)), {}, "y" * 9_000, at(5)), None, []
    )
    assert _run("release", "show", NAME, "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 25
    assert max(map(len, lines)) < 1_100
    assert lines[-1] == f"… 14 more not shown: tidegate release show {NAME} 3 --env local --json"


def test_commands_that_a_command_names_are_about_the_same_environment(root, project, capsys):
    local = project / "conf/environments/local.yaml"
    (project / "conf/environments/other.yaml").write_text(local.read_text())
    assert _run("release", "rollback", NAME, "1", "--why", "x", "--env", "other") == 0
    assert f"tidegate release rollback {NAME} 2 --why 'undo' --env other" in capsys.readouterr().out
