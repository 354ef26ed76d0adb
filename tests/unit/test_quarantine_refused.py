"""Rows of hours that a gate refused: which command shows them, what it says when they are gone, what stays masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from held_lake import NAME, QUARANTINE, WEATHER, Held, _held, publish
from lake_rows import at

from spark_jobs.cli.look import show_status
from spark_jobs.cli.quarantine_list import list_held
from spark_jobs.cli.quarantine_refused import Refused, list_refused, refused_of, show_refused
from spark_jobs.cli.quarantine_rows import Chosen
from spark_jobs.errors import UsageError
from spark_jobs.invocation import Invocation, format_hour
from spark_jobs.ledger import Ledger
from spark_jobs.quality.refusals import refused_attempts
from spark_jobs.verdict import Outcome, RuleResult, Verdict

RUN = "nightly run"  # needs quotes in a shell


@pytest.fixture
def root(project: Path) -> Path:
    """Hours 1 and 2 published, of which 1 holds a row; hours 3 to 5 refused by one run with three held rows and twelve rules."""
    root = project / "var/lake" / NAME
    publish(root, at(1), at(3), [Held(at(1), 1, ("speed",))])
    refuse(root, 3, 6, [Held(at(3), 2, ("speed", "gust")), Held(at(4), 1, ("speed",)), Held(at(4), 7, ("gust",))])
    return root


def refuse(root: Path, start: int, end: int, held: list[Held] | None, run: str = RUN, folder: str = "") -> int:
    """One refused run; `held`: its staged rows, none where no file was staged."""
    ledger, call = Ledger.open(root), Invocation(NAME, "ingest", at(start), at(end), run)
    pub = ledger.start(call, "v", "c", 1)
    if held is not None:
        path = root / "quarantine" / f"pub-{pub}" / folder / f"day={at(start):%F}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([_held(one, pub, "x") for one in held], schema=QUARANTINE), path)
    rules = [RuleResult(f"rule_{n}", Outcome.FAIL, "", f"{n} of 9 rows", "none") for n in range(12)]
    ledger.add_verdict(call, pub, Verdict.of(WEATHER, "silver", rules))
    ledger.record(call, "refused", pub, why="gate of silver/weather")
    return pub


def _json(capsys: Any) -> Any:
    return json.loads(capsys.readouterr().out)


def test_rows_of_refused_hours_are_counted_by_rule_and_hour(root, capsys):
    list_refused(NAME, Refused(), "local", as_json=True)
    [facts] = _json(capsys)["refused"]
    assert (facts["run"], facts["rows"], facts["hours"]) == (RUN, 3, [format_hour(at(h)) for h in (3, 4, 5)])
    assert len(facts["broken"]) == 12
    assert [(g["rule"], g["hour"][11:13], g["rows"]) for g in facts["held"]] == [
        ("gust", "03", 1),
        ("gust", "04", 1),
        ("speed", "03", 1),
        ("speed", "04", 1),
    ]
    list_refused(NAME, Refused(at(4)), "local", as_json=False)
    text = capsys.readouterr().out
    assert "2013-11-01T04:00:00: publication" in text
    assert "rows held back 2" in text
    assert f"… 2 more broken rules: tidegate status {NAME} --hour 2013-11-01T04:00:00 --env local --json" in text
    assert f"tidegate quarantine show {NAME} --table {WEATHER} --refused --hour 2013-11-01T04:00:00 --env local" in text
    list_refused(NAME, Refused(run=RUN), "local", as_json=False)
    assert f"--refused --run '{RUN}' --env local" in capsys.readouterr().out


def test_rows_of_refused_hours_are_shown_one_by_one(root, capsys):
    show_refused(NAME, Chosen(WEATHER, "gust"), Refused(run=RUN), 1, "local", as_json=False)
    shown = capsys.readouterr()
    assert "2013-11-01T03:00:00  weather/2013-11-01/03.csv line 2  speed, gust" in shown.out
    assert "1 of 2 rows; --limit 2 shows all" in shown.err
    show_refused(NAME, Chosen(WEATHER), Refused(at(5)), 9, "local", as_json=True)
    assert _json(capsys)["rows"] == []


def test_published_rows_are_listed_without_refused_ones_and_the_reverse(root, capsys):
    list_held(NAME, None, "local", as_json=False)
    text = capsys.readouterr().out
    assert "rows held back 1" in text
    assert f"3 hours that a gate refused are not counted: tidegate quarantine list {NAME} --refused --env local" in text
    list_held(NAME, at(2), "local", as_json=True)
    assert _json(capsys)["rows"] == 0


@pytest.mark.parametrize(
    ("held", "note"), [(None, "two days after the refusal"), ([], "no row broke a rule on rows")], ids=["gone", "none"]
)
def test_a_refused_hour_without_rows_says_why(held, note, root, capsys):
    refuse(root, 7, 8, held, "other")
    list_refused(NAME, Refused(at(7)), "local", as_json=False)
    assert note in capsys.readouterr().out
    if held is None:
        with pytest.raises(UsageError, match="two days"):
            show_refused(NAME, Chosen(WEATHER), Refused(at(7)), 5, "local", as_json=True)


def test_a_later_attempt_settles_an_hour_unless_the_hour_is_named(root, capsys):
    """Hour 4 is published after all: refused rows stay to be looked up for who names the hour."""
    publish(root, at(4), at(5), [])
    call = Invocation(NAME, "publish", at(4), at(5), "again")
    Ledger.open(root).record(call, "published", 99)
    assert [a.hours for a in refused_attempts(Ledger.open(root))] == [(at(3), at(5))]
    assert [a.hours for a in refused_attempts(Ledger.open(root), at(4))] == [(at(4),)]
    assert refused_attempts(Ledger.open(root), run="nobody") == []


def test_only_the_newest_attempt_at_a_shared_publication_counts(root, capsys):
    pub = refuse(root, 7, 8, [Held(at(7), 1, ("speed",))], "split", folder="attempt-9")
    path = root / "quarantine" / f"pub-{pub}" / "attempt-10" / "day=2013-11-01" / "part-0.parquet"
    path.parent.mkdir(parents=True)
    rows = [_held(Held(at(7), line, ("speed",)), pub, "x") for line in (1, 2)]
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE), path)
    list_refused(NAME, Refused(at(7)), "local", as_json=True)
    assert _json(capsys)["refused"][0]["rows"] == 2


def test_an_hour_or_run_that_was_not_refused_is_a_usage_error(root):
    with pytest.raises(UsageError, match="no gate refused hour 2013-11-01T01"):
        list_refused(NAME, Refused(at(1)), "local", as_json=True)
    with pytest.raises(UsageError, match="no gate refused run 'x'"):
        list_refused(NAME, Refused(run="x"), "local", as_json=True)
    with pytest.raises(UsageError, match="without --refused"):
        refused_of(False, None, "x")


def test_sensitive_columns_of_refused_rows_stay_masked(root, project, capsys):
    path = project / "conf/pipelines" / NAME / "tables.yaml"
    path.write_text(path.read_text().replace("wind_speed_mph: {", "wind_speed_mph: {sensitive: true, "))
    pub = refuse(root, 7, 8, None, "secret")
    folder = root / "quarantine" / f"pub-{pub}" / "day=2013-11-01"
    folder.mkdir(parents=True)
    row = _held(Held(at(7), 1, ("speed",)), pub, "x") | {
        "cols": [("wind_speed_mph", "777.25"), ("_wind_speed_mph", "777.25")]
    }
    pq.write_table(pa.Table.from_pylist([row], schema=QUARANTINE), folder / "part-0.parquet")
    for as_json in (True, False):
        show_refused(NAME, Chosen(WEATHER), Refused(at(7)), 5, "local", as_json=as_json)
        assert "777.25" not in capsys.readouterr().out


def test_status_of_a_refused_hour_shows_every_broken_rule_and_the_way_to_its_rows(root, capsys):
    show_status(NAME, format_hour(at(4)), "local", as_json=False)
    text = capsys.readouterr().out
    assert all(f"rule_{n} " in text for n in range(12))
    assert f"tidegate quarantine list {NAME} --refused --hour 2013-11-01T04:00:00" in text
    show_status(NAME, format_hour(at(4)), "local", as_json=True)
    [verdict] = _json(capsys)["verdicts"]
    assert len(verdict["broken_rules"]) == 12
