"""Words, help, exit codes and errors of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from spark_jobs.cli.app import EXIT_CODES, app
from spark_jobs.errors import EXIT_BUG, EXIT_OK, EXIT_REFUSED, EXIT_RETRY, EXIT_USAGE

HOURS = ["--from", "2013-11-01T12", "--to", "2013-11-01T13"]
HEAVY = ("pyspark", "delta", "great_expectations", "mlflow", "xgboost", "sklearn", "airflow", "py4j")
_DISCARD = ["quarantine", "discard", "nycflights13", "--table", "silver/weather"]
_TELL = """
import os, sys
leave = os._exit
def tell(code):
    print("MODULES", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr, flush=True)
    leave(code)
os._exit = tell
from spark_jobs.cli import main
main(sys.argv[1:])
"""


def _run(
    *words: str, code: str = "from spark_jobs.cli import main; main()", **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env={**os.environ, **environ}, timeout=120,
        check=False,
    )  # fmt: skip


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*words, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_every_option_says_what_it_does(words: tuple[str, ...]) -> None:
    """An undocumented command, option or argument fails here."""
    command = COMMANDS[words]
    assert command.help
    silent = [one.name for one in command.params if not getattr(one, "help", None)]
    assert [name for name in silent if name != "help"] == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_in_a_pipe_is_whole_plain_and_light(words: tuple[str, ...]) -> None:
    """Nothing cut with dots, nothing wrapped, no colour, no heavy import."""
    done = _run(*words, "--help", code=_TELL, FORCE_COLOR="1")
    assert done.returncode == EXIT_OK
    assert "\x1b" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.endswith("...") and "ARGS" not in line]
    assert (COMMANDS[words].help or "").splitlines()[0] in done.stdout
    assert _heavy(done.stderr) == []


def _heavy(told: str) -> list[str]:
    [line] = [line for line in told.splitlines() if line.startswith("MODULES ")]
    return sorted(set(line.split()) & set(HEAVY))


@pytest.mark.parametrize(
    "words",
    [["validate"], ["plan", "nycflights13", "ingest", *HOURS], ["status"], ["doctor", "--quick"],
     ["status", "nycflights13", "--hour", "2013-11-01T12"], ["release", "list", "nycflights13"],
     ["read", "nycflights13", "silver/weather"], ["quarantine", "list", "nycflights13"],
     ["quarantine", "show", "nycflights13", "--table", "silver/weather"], ["quarantine", "replay", "nycflights13"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_commands_that_look_import_nothing_heavy_and_start_no_process(words: list[str], project: Path) -> None:
    """Asserted on the modules that the process ends with; a JVM could only be started by py4j, pyspark or a process.

    pyarrow imports pandas where it is installed, for 0.2 s of CPU.
    """
    no_process = "import subprocess\ndef refuse(*a, **k): raise SystemExit('a process')\nsubprocess.Popen = refuse\n"
    done = _run(*words, code=no_process + _TELL)
    assert _heavy(done.stderr) == []
    assert "a process" not in done.stderr
    if words[0] != "doctor":  # its exit code speaks of this machine
        assert done.returncode == EXIT_OK, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["valdate"], "No such command 'valdate'"),
        (["plan", "nycflights13", "ingest", "--form", "2013"], "--from"),
        (["plan", "nycflights13", "ingest"], "--from"),
        (["plan", "nycflights13", "ingst", *HOURS], "did you mean 'ingest'"),
        (["plan", "nycflight13", "ingest", *HOURS], "did you mean 'nycflights13'"),
        (["plan", "nycflights13", "ingest", "--from", "yesterday", "--to", "2013-11-01"], "whole UTC hour"),
        (["plan", "nycflights13", "ingest", "--from", "2013-11-02", "--to", "2013-11-01"], "holds no hour"),
        (["plan", "nycflights13", "ingest", *HOURS, "--env", "locl"], "did you mean 'local'"),
        (["run", "nycflights13", "tran", *HOURS], "did you mean 'train'"),
        (["backfill", "nycflights13", "--from", "2013-11-01T12:30", "--to", "2013-11-01T13"], "not a whole hour"),
        (["status", "nycflight13"], "did you mean 'nycflights13'"),
        (["status", "--hour", "2013-11-01"], "--hour needs a pipeline"),
        (["read", "nycflights13", "silver/wether"], "did you mean 'silver/weather'"),
        (["read", "nycflights13", "silver/weather", "--release", "7"], "no release 7"),
        (["read", "nycflights13", "silver/weather", "--where", "1; DROP TABLE x"], "one condition"),
        (["read", "nycflights13", "silver/weather", "--as-known", "2013-11-01T12:30"], "not a whole hour"),
        (["read", "nycflights13", "silver/weather", "--as-known", "yesterday"], "whole UTC hour"),
        (["release", "show", "nycflights13", "9"], "no release 9"),
        (["serve", "nycflight13"], "did you mean 'nycflights13'"),
        (["serve", "nycflights13", "--port", "http"], "'--port'"),
        (["maintain", "nycflight13"], "did you mean 'nycflights13'"),
        (["release", "rollback", "nycflights13", "9", "--why", "wrong unit"], "no release 9"),
        (["release", "rollback", "nycflights13", "9"], "Missing option '--why'"),
        (["release", "rollback", "nycflights13", "9", "--why", " "], "no reason"),
        (["release", "diff", "nycflights13", "1", "2"], "no release 1"),
        (["release", "diff", "nycflights13", "1"], "Missing argument 'B'"),
        (["release", "diff", "nycflights13", "first", "2"], "Invalid value for 'A'"),
        (["release", "dif", "nycflights13", "1", "2"], "No such command 'dif'"),
        (["views", "nycflights13"], "--to"),
        (["views", "nycflights13", "--to", "/nowhere/x.duckdb"], "nothing is released yet"),
        (["views", "nycflights13", "--to", "/nowhere/x.duckdb", "--release", "3"], "no release 3"),
        (["views", "nycflights13", "--to", "/nowhere/x.duckdb", "--as-known", "2013-11-01T12:30"], "not a whole hour"),
        (["views", "nycflight13", "--to", "/nowhere/x.duckdb"], "did you mean 'nycflights13'"),
        (["quarantine", "list", "nycflight13"], "did you mean 'nycflights13'"),
        (["quarantine", "show", "nycflights13"], "Missing option '--table'"),
        (["quarantine", "show", "nycflights13", "--table", "silver/wether"], "did you mean 'silver/weather'"),
        (["quarantine", "show", "nycflights13", "--table", "silver/weather", "--hour", "noon"], "whole UTC hour"),
        (["quarantine", "show", "nycflights13", "--table", "silver/weather", "--limit", "0"], "'--limit'"),
        ([*_DISCARD, "--rule", "wind_speed"], "Missing option '--why'"),
        ([*_DISCARD, "--why", "w"], "a whole table"),
        ([*_DISCARD, "--file", "08.csv", "--why", "w"], "--file or --line alone"),
        ([*_DISCARD, "--rule", "wind_speed", "--why", "w"], "no held row is meant"),
        (["quarantine", "replay", "nycflights13", "--from", "2013-11-01"], "no interval is named"),
        (["quarantine", "replay", "nycflights13", "--hour", "2013-11-01", *HOURS], "no interval is named"),
        (["quarantine", "replay", "nycflights13", "--from", "2013-11-02", "--to", "2013-11-01"], "holds no hour"),
        (["quarantine", "replay", "nycflights13", "--table", "silver/wether"], "did you mean 'silver/weather'"),
        (["quarantine", "replay", "nycflight13"], "did you mean 'nycflights13'"),
        (["quarantine", "dicard", "nycflights13"], "No such command 'dicard'"),
        (["gate", "test", "nycflights13"], "Missing argument 'TABLE'"),
        (["gate", "test", "nycflights13", "wether"], "did you mean 'weather'"),
        (["gate", "test", "nycflight13", "weather"], "did you mean 'nycflights13'"),
        (["gate", "test", "nycflights13", "weather", "--clean", "-1"], "'--clean'"),
        (["gate", "test", "nycflights13", "weather", "--env", "locl"], "did you mean 'local'"),
        (["gate", "tset", "nycflights13", "weather"], "No such command 'tset'"),
        (["replay", "nycflights13", *HOURS, "--scale", "departures.dep_delay"], "source.column=factor"),
        (["fetch", "nycflights13", *HOURS, "--source", "departures"], "source 'departures' is of kind files"),
        (["fetch", "nycflights13", *HOURS, "--source", "wether"], "did you mean 'weather'"),
        (["fetch", "nycflight13", *HOURS], "did you mean 'nycflights13'"),
        (["fetch", "nycflights13", "--from", "2013-11-02", "--to", "2013-11-01"], "holds no hour"),
        (["fetch", "nycflights13", "--from", "2013-11-01"], "--to"),
        (["replay", "nycflights13", *HOURS, "--scale", "departures.dep_delay=inf"], "source.column=factor"),
        (["replay", "nycflights13", *HOURS, "--scale", "departures.carrier=2"], "a delivered column of numbers"),
        (["replay", "nycflights13", *HOURS, "--late-rows", "0.1"], "share:hours"),
        (["replay", "nycflights13", *HOURS, "--late-rows", "1.5:5h"], "above 0 and up to 1"),
        (["replay", "nycflights13", *HOURS, "--repeat-rows", "some"], "'some' is no share of rows"),
        (["replay", "nycflights13", *HOURS, "--repeat-rows", "2"], "a share of 2"),
        (["replay", "nycflights13", *HOURS, "--correct-rows", "departures=0.1:5h"], "source.column=share:hours"),
        (["replay", "nycflights13", *HOURS, "--correct-rows", "departures.dep_dealy=0.1:5h"], "did you mean 'dep_delay'"),
        (["replay", "nycflights13", *HOURS, "--correct-rows", "weather.temp=1:5h", "--correct-rows", "weather.dewp=1:5h"],
         "one column a source"),
        (["replay", "nycflights13", *HOURS, "--skip", "weather"], "source@hour"),
        (["replay", "nycflights13", *HOURS, "--reorder", "wether@2013-11-01T12"], "did you mean 'weather'"),
        (["replay", "nycflights13", *HOURS, "--cut", "weather@noon"], "whole UTC hour"),
        (["replay", "nycflights13", *HOURS, "--flip", "weather@2013-11-01T13"], "is not replayed by this call"),
        (["replay", "nycflights13", *HOURS, "--redeliver", "weather@2013-11-01T12", "--source", "departures"],
         "is not replayed by this call"),
        (["replay", "nycflights13", *HOURS, "--seed", "x"], "'--seed'"),
    ],
    ids=lambda one: " ".join(one[:4]) if isinstance(one, list) else None,
)  # fmt: skip
def test_a_wrong_command_exits_64_and_says_where_what_allowed_and_what_to_do(
    words: list[str], said: str, project: Path
) -> None:
    """Four parts, no traceback, nothing on stdout."""
    done = _run(*words)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    ours = "  allowed: " in done.stderr and "  do: " in done.stderr
    assert ours or ("Try 'tidegate" in done.stderr and "Error: " in done.stderr)


@pytest.mark.parametrize("gone", ["section trial", "replay.yaml"])
def test_a_gate_without_a_history_to_be_tried_on_is_refused_before_any_spark(gone: str, project: Path) -> None:
    path = project / "conf/pipelines/nycflights13/replay.yaml"
    conf = {name: part for name, part in yaml.safe_load(path.read_text()).items() if name != "trial"}
    path.unlink() if gone == "replay.yaml" else path.write_text(yaml.safe_dump(conf))
    done = _run("gate", "test", "nycflights13", "weather")
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert done.stderr.startswith("conf/pipelines/nycflights13/replay.yaml: ")
    assert "has no section trial" in done.stderr if gone == "section trial" else "is not there" in done.stderr
    assert "  allowed: " in done.stderr
    assert "  do: " in done.stderr
    assert not (project / "var/logs").exists()


def test_a_misspelt_key_exits_64_with_line_caret_and_the_key_that_was_meant(project: Path) -> None:
    """As a person sees it; with --json the faults are data on stdout."""
    path = project / "conf/pipelines/nycflights13/pipeline.yaml"
    path.write_text(path.read_text().replace("owner:", "onwer:"))
    done = _run("validate")
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "conf/pipelines/nycflights13/pipeline.yaml:2:1: onwer: unknown key 'onwer'" in done.stderr
    assert "    onwer: data-team\n    ^\n    did you mean 'owner'?" in done.stderr
    assert "  do: " in done.stderr


def test_a_folder_that_is_no_pipeline_is_told(project: Path) -> None:
    """A misspelt pipeline.yaml would otherwise make its pipeline vanish, and validate say ok."""
    (project / "conf/pipelines/nycflights13/pipeline.yaml").rename(project / "conf/pipelines/nycflights13/pipelin.yaml")
    done = _run("validate")
    assert done.returncode == EXIT_USAGE
    assert "conf/pipelines/nycflights13: is no pipeline" in done.stderr


@pytest.mark.parametrize(
    ("fault", "code"),
    [("UsageError('w', 'f')", EXIT_USAGE), ("RefusedError('w', 'f')", EXIT_REFUSED), ("RetryError('w', 'f')", EXIT_RETRY),
     ("ValueError('a bug')", EXIT_BUG)],
)  # fmt: skip
def test_a_fault_of_a_command_ends_with_its_own_exit_code(fault: str, code: int) -> None:
    """A bug keeps its traceback; the others have none."""
    more = f"from spark_jobs.cli.app import app, main\nfrom spark_jobs.errors import *\n@app.command()\ndef fail():\n    raise {fault}\nmain(['fail'])"  # noqa: E501
    done = _run(code=more)
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == (code == EXIT_BUG)


def test_the_exit_codes_stand_in_help() -> None:
    """0, 1, 64, 65, 75, each with its meaning."""
    assert [line.split()[0] for line in EXIT_CODES.splitlines()[3:]] == ["0", "1", "64", "65", "75"]
    assert "75  not there yet" in _run("--help").stdout


def test_a_reader_that_leaves_a_pipe_early_sees_no_traceback() -> None:
    """As in `tidegate --help | head -1`."""
    command = f"{sys.executable} -m spark_jobs.cli --help | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
