"""A secret pasted into conf/ by mistake is never repeated: not in the line shown, not in the fault, not as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spark_jobs.cli.app import app
from spark_jobs.config import ConfigError, load_pipeline
from spark_jobs.config.secrets import masked

SECRET = "sk-live-51H8canary"
FILE = "conf/pipelines/nycflights13/sources.yaml"
URL = "url: http://127.0.0.1:8137/weather?from={from}&to={to}"


def _with(project: Path, line: str) -> str:
    """What is said of the project when `line` stands in the section http of a source."""
    path = project / FILE
    text = path.read_text()
    url = next(one for one in text.splitlines() if one.strip().startswith("url:"))
    return _told(project, text.replace(url, url.replace(url.strip(), line)))


def _told(project: Path, text: str) -> str:
    (project / FILE).write_text(text)
    with pytest.raises(ConfigError) as told:
        load_pipeline("nycflights13", project)
    return str(told.value)


@pytest.mark.parametrize(
    ("line", "shown", "said"),
    [
        (f"{URL}\n      token_env: {SECRET}", "token_env: ***", "'***': is not the name of a variable"),
        (f"{URL}\n      token_env: 'a, {SECRET}'", "token_env: ***", "is not the name of a variable"),
        (f"{URL}\n      token: {SECRET}", "token: ***", "unknown key 'token'"),
        (f'{URL}\n      "api_key":   "{SECRET}"', '"api_key":   ***', "unknown key 'api_key'"),
        (f"{URL}\n      password: {SECRET}: x", "password: ***", "not YAML"),
        (
            f"url: https://me:{SECRET}@a.example/{{from}}",
            "url: https://***@a.example/{from}",
            "holds a user or password",
        ),
        (f"url: https://me:{SECRET} !@a.example/{{from}}", "url: https://***@a.example/{from}", "is not a url"),
        (f"url: https://a.example/?key={SECRET}", "url: https://a.example/?key=***", "must name the hour"),
        (f"{URL}\n      max_bytes: {{token_env: {SECRET}}}", "max_bytes: {token_env: ***", "valid integer"),
    ],
)
def test_a_fault_beside_a_secret_names_its_place_and_not_the_secret(
    line: str, shown: str, said: str, project: Path
) -> None:
    told = _with(project, line)
    assert SECRET not in told
    assert f"{FILE}:" in told
    assert shown in told
    assert said in told
    printed = CliRunner().invoke(app, ["validate", "--json"])
    assert SECRET not in printed.output
    assert FILE in json.loads(printed.stdout)["faults"][0]["place"]


@pytest.mark.parametrize(
    ("section", "shown", "said"),
    [
        (f"{{root: 'ftp://me:{SECRET}@a'}}", "ftp://***@a", "holds a user or password"),
        (f"{{root: s3://a, options_env: {{key: {SECRET}}}}}", "options_env: ***", "not the name"),
        (
            f"\n      root: s3://a\n      options_env:\n        key: {SECRET}",
            "key: ***",
            "is not the name of a variable",
        ),
        (f"\n      root: s3://a\n      options_env:\n        x: {SECRET}", "x: ***", "is not the name of a variable"),
        (f"\n      root: s3://a\n      options:\n        account_key: {SECRET}", "account_key: ***", "in options_env"),
        (f"\n      root: s3://a\n      options:\n        fs.x: {SECRET}", "fs.x: ***", "is an option of Hadoop"),
        (f"\n      root: s3://a\n      options:\n        key: {SECRET}: x", "key: ***", "not YAML"),
        (f"{{root: s3://a, root_env: {SECRET}}}", "root_env: ***", "is not the name of a variable"),
    ],
)
def test_a_fault_of_another_file_systems_options_shows_no_value(
    section: str, shown: str, said: str, project: Path
) -> None:
    """Few names of options say that their values are secret, so that none is shown."""
    text = (project / FILE).read_text()
    told = _told(project, text.replace("  departures:\n", f"  departures:\n    remote: {section}\n", 1))
    assert SECRET not in told
    assert shown in told
    assert said in told


def test_a_caret_stays_below_its_key(project: Path) -> None:
    lines = _with(project, f"{URL}\n      token_env: {SECRET}").splitlines()
    at = next(number for number, line in enumerate(lines) if "token_env: ***" in line)
    assert lines[at + 1].index("^") == lines[at].index("token_env")


@pytest.mark.parametrize(
    "line",
    [
        "    columns: [id, amount]",
        "url: https://a.example/orders?from={from}&to={to}",
        "  token_env:",
        "owner: me@a.example",
        "key: [scheduled_at]",
    ],
)
def test_other_lines_are_shown_as_they_are(line: str) -> None:
    assert masked(line) == line
