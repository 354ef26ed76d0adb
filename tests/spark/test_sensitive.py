"""Columns that tables.yaml calls sensitive: their values reach the lake's own tables and nothing that people are shown."""

from __future__ import annotations

import gzip
import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.cli.quarantine_list import list_held
from spark_jobs.cli.quarantine_refused import Refused, list_refused, show_refused
from spark_jobs.cli.quarantine_rows import Chosen, show_held
from spark_jobs.invocation import HOUR, Invocation, parse_hour
from spark_jobs.quality.message import message

NAME, NOW = "nycflights13", parse_hour("2013-06-14T09:00:00")  # end of `past`
SECRET = ("777.25", "1044.44", "QQX")  # a wind, a pressure, a part of the key
PEAK = """
  - id: peak
    type: expect_column_max_to_be_between
    column: pressure_hpa
    args: {max_value: 1040}
    scope: hour
    why: above was never seen
"""


def _marked(project: Path) -> Path:
    path = project / "conf/pipelines" / NAME / "tables.yaml"
    text = path.read_text()
    for old in ("wind_speed_mph: {", "pressure_hpa: {", "origin: {type: string, required: true, meaning: Airport.}"):
        assert text.count(old) == 1
        text = text.replace(old, old.replace("{", "{sensitive: true, "))
    path.write_text(text)
    suite = project / "expectations" / NAME / "weather.yaml"
    suite.write_text(suite.read_text() + PEAK)
    return project


def _weather(site: Any, hour: Any, *changed: dict[str, Any]) -> None:
    """The hour's weather with columns of its rows changed, the last row first."""
    rows = [json.loads(line) for line in gzip.decompress(site.file_of("weather", hour).read_bytes()).splitlines()]
    for row, columns in zip(reversed(rows), changed, strict=False):
        row |= columns
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    site.hand_in("weather", hour, gzip.compress(data, mtime=0), len(rows))


def _told(site: Any, project: Path) -> str:
    """All that people are shown of two hours: the messages of the one that is refused, the held row of the other."""
    _weather(site, NOW, {"wind_speed": 777.25, "origin": "QQX"})
    site.publish(NOW)
    _weather(
        site, NOW + HOUR, {"wind_speed": 777.25, "pressure": 1044.44}, {"wind_speed": 777.25}, {"pressure": 1044.44}
    )
    refused = site.stage(NOW + HOUR)
    assert refused.state == "refused"
    verdicts = [v for v in site.ledger.verdicts(refused.pub) if v.table == "silver/weather"]
    broken = {rule.rule for rule in verdicts[0].broken() if rule.outcome.blocks}
    assert broken == {"wind_speed", "peak"}
    shown = StringIO()
    with site.here(), redirect_stdout(shown):
        list_held(NAME, None, "local", as_json=True)
        for as_json in (True, False):
            list_refused(NAME, Refused(NOW + HOUR), "local", as_json=as_json)
            show_refused(NAME, Chosen("silver/weather"), Refused(NOW + HOUR), 10, "local", as_json=as_json)
        show_held(NAME, Chosen("silver/weather"), 10, "local", as_json=True)
        show_held(NAME, Chosen("silver/weather"), 10, "local", as_json=False)
    texts = [shown.getvalue(), refused.why, *(verdict.to_json() for verdict in verdicts)]
    texts += [
        message(verdicts[0], Invocation(NAME, "ingest", NOW, NOW + HOUR, "x"), 1),
        *(path.read_text() for path in site.data.rglob("alerts/**/*.json")),
    ]
    return "\n".join(texts)


@pytest.mark.parametrize("marked", [True, pytest.param(False, marks=pytest.mark.long)], ids=["sensitive", "control"])
def test_no_message_verdict_alert_or_quarantine_command_shows_a_value_of_a_sensitive_column(
    past: Any, new_project: Any, tmp_path: Path, marked: bool
) -> None:
    """The control, without the word `sensitive`, shows each of the values: the test would see them."""
    project = new_project(tmp_path / "project")
    if marked:
        _marked(project)
    else:
        suite = project / "expectations" / NAME / "weather.yaml"
        suite.write_text(suite.read_text() + PEAK)
    site = past.copy(tmp_path / "data", project)
    site.deliver(NOW, 2)
    told = _told(site, project)
    assert {value for value in SECRET if value in told} == (set() if marked else set(SECRET))
    assert ("•••" in told) == marked
    held = site.ask("SELECT business_key, cols['wind_speed_mph'] FROM quarantine WHERE \"table\" = 'silver/weather'")
    assert ("777.25" in held[-1][1], "QQX" in held[-1][0]) == (True, True)  # the lake keeps them for the replay
