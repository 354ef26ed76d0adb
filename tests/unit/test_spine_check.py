"""Spines of which no row can be known at its prediction time are refused by name; those that may be are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_jobs.config import load
from spark_jobs.config.faults import ConfigError

CONF = "conf/pipelines/nycflights13"
TABLE = "event_at: {use: hours_before, columns: [scheduled_at], options: {hours: 24}}"


def _load(project: Path, event_at: str, within: str = "", **spine: str) -> None:
    """The example with another event_at of its spine table, another event_within and other settings of the spine."""
    tables, features = project / CONF / "tables.yaml", project / CONF / "features.yaml"
    text = tables.read_text()
    first, _, rest = text.partition("  schedules:")
    body, separator, after = rest.partition("  departures:")
    assert "event_at: {" in body
    lines = [line for line in body.splitlines() if "event_within" not in line]
    lines = [f"    event_at: {event_at}" if line.strip().startswith("event_at:") else line for line in lines]
    lines = [*lines, f"    event_within: {within}"] if within else lines
    tables.write_text(first + "  schedules:" + "\n".join([*lines, ""]) + separator + after)
    settings = "\n".join(f"  {name}: {value}" for name, value in spine.items())
    features.write_text(features.read_text().replace("  predict_before: 2h", settings or "  predict_before: 2h"))
    load.load_pipeline("nycflights13", project)


PICKUP, NOTICE = (
    "{use: itself, columns: [scheduled_at]}",
    "{{use: hours_before, columns: [scheduled_at], options: {{hours: {}}}}}",
)


@pytest.mark.parametrize(
    ("event_at", "within", "spine", "said"),
    [
        (PICKUP, "", {"predict_before": "0m"}, "is ever known 0m before its scheduled_at"),
        (PICKUP, "", {"predict_before": "2h"}, "is ever known 2h before"),
        (PICKUP, "{ahead: 2h}", {"predict_before": "2h"}, "less than 2h"),
        (NOTICE.format(2), "", {"predict_before": "2h"}, "less than 2h"),
        (NOTICE.format(1), "{lateness: 24h}", {"predict_before": "90m"}, "less than 1h"),
        (NOTICE.format(24), "", {"predict_before": "2h", "announced_within": "30m"}, "1h or more"),
        (NOTICE.format(240), "", {"predict_before": "2h"}, "238h or more before its prediction"),
    ],
)
def test_spine_that_can_never_be_known_in_time_is_refused(
    project: Path, event_at: str, within: str, spine: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as told:
        _load(project, event_at, within, **spine)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("event_at", "within", "spine"),
    [
        (PICKUP, "{ahead: 3h}", {"predict_before": "2h"}),
        (NOTICE.format(1), "", {"predict_before": "30m"}),  # half of the rows: the gate counts them
        (NOTICE.format(3), "", {"predict_before": "2h"}),
        (NOTICE.format(240), "{lateness: 70h}", {"predict_before": "2h"}),
        ("{use: minutes_after, columns: [scheduled_at, distance_mi]}", "", {"predict_before": "2h"}),
    ],
)
def test_spine_that_may_be_known_in_time_is_accepted(
    project: Path, event_at: str, within: str, spine: dict[str, str]
) -> None:
    _load(project, event_at, within, **spine)
