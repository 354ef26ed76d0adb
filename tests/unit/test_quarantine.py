"""What quarantine holds, as people see it, and what a discard changes for good: lists, the account of rows, nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction
from held_lake import COUNTS, NAME, PLANES, WEATHER, Held, file_of, publish

from spark_jobs.cli.look import show_status
from spark_jobs.cli.quarantine_list import list_held
from spark_jobs.cli.quarantine_replay import replay_held, span_of
from spark_jobs.cli.quarantine_rows import Chosen, discard_held, show_held
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.ledger import Ledger

NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
LATER = NOON + HOUR
ROWS = [
    Held(NOON, 1, ("speed", "gust")), Held(NOON, 2, ("speed",)), Held(LATER, 1, ("speed",)),
    Held(LATER, 4, ("parse",), PLANES, raw='{"x": \x1b[2J' + 2_000 * "y"),
]  # fmt: skip


@pytest.fixture
def root(project: Path) -> Path:
    """Three hours in one publication; the first two hold rows."""
    root = project / "var/lake" / NAME
    publish(root, NOON, NOON + 3 * HOUR, ROWS)
    return root


def _told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def _listed(capsys: pytest.CaptureFixture[str]) -> Any:
    list_held(NAME, None, "local", as_json=True)
    return _told(capsys)


def _account(capsys: pytest.CaptureFixture[str], hour: datetime, table: str = WEATHER) -> tuple[int, int]:
    """Quarantined and discarded of one hour, as `status --hour` tells; every account adds up."""
    show_status(NAME, format_hour(hour), "local", as_json=True)
    accounts = {account["table"]: account for account in _told(capsys)["account"]}
    for account in accounts.values():
        manifest, *parts = (account[name] for name in COUNTS)
        assert manifest == sum(parts)
        assert min(parts) >= 0
    return accounts[table[7:]]["quarantined"], accounts[table[7:]]["discarded"]


def _discard(why: str = "a broken sensor", **chosen: Any) -> None:
    discard_held(NAME, Chosen(WEATHER, **chosen), why, "local", as_json=True)


def test_held_rows_are_counted_by_table_rule_and_hour_with_the_age_against_the_newest_hour(root, capsys):
    """A row that broke two rules stands under both and counts once."""
    facts = _listed(capsys)
    assert (facts["release"], facts["rows"], facts["discarded"], facts["refused_hours"]) == (1, 4, 0, [])
    shown = [
        (one["table"], one["rule"], one["hour"][11:13], one["rows"], one["age_hours"], one["example_key"])
        for one in facts["held"]
    ]
    assert shown == [
        (PLANES, "parse", "13", 1, 1, "key 4"), (WEATHER, "gust", "12", 1, 2, "key 1"),
        (WEATHER, "speed", "12", 2, 2, "key 1"), (WEATHER, "speed", "13", 1, 1, "key 1"),
    ]  # fmt: skip
    assert {one["owner"] for one in facts["held"]} == {"data-team"}
    list_held(NAME, None, "local", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nycflights13, release 1: rows held back 4, discarded 0"
    assert lines[1].split() == ["table", "rule", "hour", "rows", "age", "hours", "owner", "example", "key"]
    assert lines[3].split() == [WEATHER, "gust", "2013-11-01T12:00:00", "1", "2", "data-team", "key", "1"]


def test_many_hours_are_told_by_day_and_as_json_by_hour(root, capsys):
    day = [Held(NOON + n * HOUR, 1, ("speed",)) for n in range(30)]
    publish(root, NOON, NOON + 30 * HOUR, day)
    assert len(_listed(capsys)["held"]) == 30
    list_held(NAME, None, "local", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2:5] for line in lines[2:]] == [["2013-11-01", "12", "29"], ["2013-11-02", "18", "17"]]


def test_an_hour_that_a_gate_refused_is_not_in_it_and_is_said_with_the_command_to_look(root, capsys):
    refused = NOON + 3 * HOUR
    call, ledger = Invocation(NAME, "ingest", refused, refused + HOUR, "x"), Ledger.open(root)
    ledger.record(call, "refused", ledger.start(call, "v", "c", 1))
    assert _listed(capsys)["refused_hours"] == ["2013-11-01T15:00:00"]
    list_held(NAME, None, "local", as_json=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(
        "1 hours that a gate refused are not counted: tidegate quarantine list nycflights13 --refused --env local"
    )


def test_a_pipeline_that_never_ran_holds_nothing(project, capsys):
    facts = _listed(capsys)
    assert (facts["release"], facts["rows"], facts["held"]) == (None, 0, [])
    assert replay_held(NAME, None, (None, None), "local", as_json=False, run=_never) == 0
    assert "nothing to run again" in capsys.readouterr().out


def _never(call: Invocation) -> tuple[int, dict[str, object]]:
    raise AssertionError(call)


@pytest.mark.parametrize(
    ("chosen", "lines"),
    [({}, [1, 2, 1]), ({"rule": "gust"}, [1]), ({"hour": LATER}, [1]), ({"rule": "gust", "hour": LATER}, [])],
    ids=["table", "rule", "hour", "both"],
)
def test_rows_are_shown_by_table_rule_and_hour(root, capsys, chosen, lines):
    show_held(NAME, Chosen(WEATHER, **chosen), 20, "local", as_json=True)
    told = _told(capsys)
    assert [row["line"] for row in told["rows"]] == lines
    assert told["of"] == len(lines)


def test_a_row_is_shown_as_it_was_delivered_with_key_file_line_and_rules(root, capsys):
    """The text beside each typed column; the whole line where it was no row. The limit takes the oldest hours."""
    show_held(NAME, Chosen(WEATHER), 1, "local", as_json=False)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"2013-11-01T12:00:00  {file_of(WEATHER, NOON)} line 1  speed, gust", "    key   key 1", "    cols  speed=1.50",
    ]  # fmt: skip
    assert told.err == "1 of 3 rows; --limit 3 shows all\n"
    show_held(NAME, Chosen(PLANES), 20, "local", as_json=False)
    cols = capsys.readouterr().out.splitlines()[2]
    assert cols.startswith('    cols  fault=no JSON, raw={"x": \\x1b[2Jyyy')
    assert cols.endswith("yyy …")
    assert len(cols) < 1_100


def test_discarded_rows_are_listed_and_accounted_for_as_discarded_once_and_for_all(root, capsys):
    """By rule over all hours; asked again it writes nothing. Rows of other tables and rules stay held."""
    assert _account(capsys, NOON) == (2, 0)
    _discard(rule="gust")
    _discard(rule="speed")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"pipeline": NAME, "discarded": 1, "already": 0}, {"pipeline": NAME, "discarded": 2, "already": 1},
    ]  # fmt: skip
    actions = Ledger.open(root).quarantine_actions("discarded")
    _discard(rule="speed", why="again")
    assert _told(capsys) == {"pipeline": NAME, "discarded": 0, "already": 3}
    assert Ledger.open(root).quarantine_actions("discarded") == actions
    assert [(a["pub"], a["table"], a["file"], a["line"], a["drop_sha256"], a["why"]) for a in actions] == [
        (1, WEATHER, file_of(WEATHER, hour), line, "first", "a broken sensor") for hour, line in ((NOON, 1), (NOON, 2), (LATER, 1))
    ]  # fmt: skip
    facts = _listed(capsys)
    assert (facts["rows"], facts["discarded"], [one["table"] for one in facts["held"]]) == (1, 3, [PLANES])
    assert (_account(capsys, NOON), _account(capsys, LATER), _account(capsys, LATER, PLANES)) == (
        (0, 2),
        (0, 1),
        (1, 0),
    )


def test_one_row_is_discarded_by_file_and_line_and_is_shown_with_its_reason(root, capsys):
    _discard(file=file_of(WEATHER, NOON), line=2)
    capsys.readouterr()
    assert (_account(capsys, NOON), _account(capsys, LATER)) == ((1, 1), (1, 0))
    show_held(NAME, Chosen(WEATHER, hour=NOON), 20, "local", as_json=False)
    assert [line.strip() for line in capsys.readouterr().out.splitlines() if "discarded" in line] == [
        "discarded: a broken sensor"
    ]


@pytest.mark.parametrize(("sha256", "after"), [("first", (1, 1)), ("other bytes", (2, 0))])
def test_a_discard_holds_when_the_hour_is_published_anew_from_the_same_drop_alone(root, capsys, sha256, after):
    """The same line of a file of the same name is another row in a drop of other bytes. A rollback brings it back."""
    _discard(file=file_of(WEATHER, NOON), line=2)
    publish(root, NOON, LATER, [Held(NOON, 2, ("speed",)), Held(NOON, 3, ("speed",))], sha256)
    capsys.readouterr()
    assert _account(capsys, NOON) == after
    assert _listed(capsys)["discarded"] == after[1]
    Ledger.open(root).rollback(NAME, 1, "a test")
    assert _account(capsys, NOON) == (1, 1)


def test_a_discarded_row_that_is_held_no_more_is_not_counted_as_discarded(root, capsys):
    """Its hour was published anew from the same drop under a looser rule."""
    _discard(file=file_of(WEATHER, NOON), line=2)
    publish(root, NOON, LATER, [Held(NOON, 1, ("gust",))])
    capsys.readouterr()
    assert _account(capsys, NOON) == (1, 0)


def test_the_account_of_a_discard_outlives_the_row(root, capsys):
    """`retention.quarantine` takes the days of the table; what was decided stands in the ledger."""
    _discard(hour=NOON)
    log = DeltaTable(root / "quarantine")
    gone = [RemoveAction(path, False, 0, 1, {"day": path.split("=")[1][:10]}) for path in log.get_add_actions().column("path").to_pylist()]  # fmt: skip  # noqa: E501
    log.create_write_transaction(gone, "append", log.schema(), ["day"])
    capsys.readouterr()
    assert _listed(capsys)["rows"] == 0
    assert (_account(capsys, NOON), _account(capsys, LATER)) == ((0, 2), (1, 0))


def _sums(capsys: pytest.CaptureFixture[str]) -> dict[str, list[int]]:
    show_status(NAME, None, "local", as_json=True)
    return {table: [account[name] for name in COUNTS] for table, account in _told(capsys)["account"].items()}


def test_the_sums_of_all_hours_count_each_hour_once_and_discarded_rows_as_such(root, capsys):
    """By the ledger while each hour was published once, else by the accounts that readers see; a rollback ends in both."""
    first = {"planes": [10, 6, 1, 3, 0], "weather": [12, 6, 3, 3, 0]}
    assert _sums(capsys) == first
    publish(root, NOON, LATER, [Held(NOON, 1, ("gust",))])
    assert _sums(capsys) == first | {"weather": [11, 6, 2, 3, 0]}
    Ledger.open(root).rollback(NAME, 1, "a test")
    assert _sums(capsys) == first
    _discard(rule="speed")
    capsys.readouterr()
    assert _sums(capsys) == first | {"weather": [12, 6, 0, 3, 3]}


def test_the_sums_of_all_hours_leave_out_one_that_was_withdrawn(root, capsys):
    before, later = _sums(capsys), NOON + 3 * HOUR
    publish(root, later, later + HOUR, [Held(later, 1, ("gust",))])
    assert _sums(capsys)["weather"] == [16, 8, 4, 4, 0]
    Ledger.open(root).rollback(NAME, 1, "a test")
    assert _sums(capsys) == before


def test_a_discard_alone_changes_the_sums(root, capsys):
    _discard(rule="gust")
    capsys.readouterr()
    assert _sums(capsys)["weather"] == [12, 6, 2, 3, 1]


@pytest.mark.parametrize(
    ("chosen", "why", "said"),
    [
        (Chosen(WEATHER, "speed"), " ", "no reason"),
        (Chosen(WEATHER), "w", "a whole table"),
        (Chosen(WEATHER, file="weather/2013-11-01/12.csv"), "w", "--file or --line alone"),
        (Chosen(WEATHER, line=1), "w", "--file or --line alone"),
        (Chosen(WEATHER, "sped"), "w", "did you mean 'speed'? legal: gust, speed"),
        (Chosen(WEATHER, "speed", NOON + 2 * HOUR), "w", "no held row is meant"),
        (Chosen("silver/wether", "speed"), "w", "did you mean 'silver/weather'"),
        (Chosen("features/weather", "bounds"), "w", "come from no drop"),
    ],
    ids=["no reason", "no words", "no line", "no file", "no such rule", "no such hour", "no such table", "features"],
)
def test_a_discard_without_reason_or_match_is_refused_and_nothing_is_written(root, chosen, why, said):
    publish(root, NOON + 3 * HOUR, NOON + 4 * HOUR, [Held(NOON + 3 * HOUR, 1, ("bounds",), "features/weather")])
    with pytest.raises(UsageError) as told:
        discard_held(NAME, chosen, why, "local", as_json=True)
    assert said in str(told.value)
    assert told.value.allowed
    assert told.value.todo
    assert Ledger.open(root).quarantine_actions("discarded") == []


def test_the_hours_to_replay_are_one_or_an_interval_or_all():
    assert span_of(NAME, None, None, None) == (None, None)
    assert span_of(NAME, "2013-11-01T12", None, None) == (NOON, LATER)
    assert span_of(NAME, None, "2013-11-01T12", "2013-11-01T13") == (NOON, LATER)


def test_rows_that_were_discarded_ask_for_no_replay(root, capsys):
    _discard(rule="speed")
    capsys.readouterr()
    assert replay_held(NAME, WEATHER, (None, None), "local", as_json=False, run=_never) == 0
    assert "nothing to run again" in capsys.readouterr().out
