"""Each of the 44 mutators changes what it says and nothing else; the same seed gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
import random
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from spark_jobs.config import load_pipeline
from spark_jobs.config.tables import SilverTable
from spark_jobs.gate_test.delivery import Delivery, Record, delivery
from spark_jobs.gate_test.mutators import Case, Mutant, mutator, mutators
from spark_jobs.gate_test.roles import roles_of
from spark_jobs.invocation import parse_hour
from spark_jobs.sources.replay import clean_texts

TABLE = SilverTable.model_validate(
    yaml.safe_load("""
        source: orders
        grain: one row an order
        key: [placed_at, shop]
        event_at: {use: itself, columns: [placed_at]}
        columns:
          placed_at: {from: placed, type: timestamp, meaning: Instant.}
          shop: {type: string, meaning: Code.}
          city: {type: string, meaning: Code.}
          amount_eur: {from: amount, type: double, meaning: Measure.}
          pieces: {type: int, meaning: Measure.}
    """)
)
ROLES = roles_of(TABLE)
ROWS = 20
LIST = {one.number: one for one in mutators()}


def rows_of(hour: int) -> tuple[Record, ...]:
    """Twenty orders of an hour: shops AAA and BBB, cities of three letters, one amount missing."""
    return tuple(
        {
            "placed": f"2013-07-09T{hour:02}:{at:02}:00Z", "shop": "AAA" if at % 4 else "BBB", "city": f"C{at % 3}X",
            "amount": None if at == 7 else f"{at + 0.5}", "pieces": str(3 * at - 9), "note": f"{hour} {at}",
        }
        for at in range(ROWS)
    )  # fmt: skip


def drop_of(hour: int, form: Any = "csv") -> Delivery:
    names = ("placed", "shop", "city", "amount", "pieces", "note")
    return Delivery(form, names, rows_of(hour), bare=frozenset({"amount", "pieces"}))


def case_of(seed: int = 1, **changes: Any) -> Case:
    known = {name: frozenset(row[name] or "" for row in rows_of(12)) for name in ROLES.codes}
    case = Case(
        drop_of(12), drop_of(11), replace(drop_of(12), rows=rows_of(10)), drop_of(3), ROLES, random.Random(seed),
        ZoneInfo("America/New_York"), known.__getitem__,
    )  # fmt: skip
    return replace(case, **changes)


def made(number: int, **changes: Any) -> Mutant:
    mutant = LIST[number].make(case_of(**changes))
    assert mutant is not None
    return mutant


def pairs(number: int, **changes: Any) -> list[tuple[Record, Record]]:
    """Rows before and after, of a mutator that leaves rows where they are; it must have changed one."""
    after = made(number, **changes).drop.rows
    assert len(after) == ROWS
    assert after != rows_of(12)
    return list(zip(rows_of(12), after, strict=True))


def changed_cells(number: int, **changes: Any) -> list[tuple[str, str | None, str | None]]:
    """(column, value before, value after) of every changed cell."""
    return [(name, a[name], b[name]) for a, b in pairs(number, **changes) for name in a if a[name] != b[name]]


def test_roles_follow_types_and_the_key() -> None:
    assert ROLES.key == ("placed", "shop")
    assert ROLES.measures == ("amount", "pieces")
    assert ROLES.codes == ("shop", "city")
    assert ROLES.instants == ("placed",)
    assert ROLES.facts == ("city", "amount", "pieces")
    assert ROLES.key_codes == ("shop",)
    assert ROLES.whole == {"pieces"}


def test_the_list_has_the_44_faults_of_the_fault_matrix() -> None:
    assert sorted(LIST) == list(range(1, 45))
    assert {one.number for one in LIST.values() if one.loses} == {1, 2, 4, 37, 38, 39, 43}
    assert len({one.name for one in LIST.values()}) == 44
    assert all(one.meaning for one in LIST.values())


def test_a_number_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        mutator(1, "again")(lambda case: None)


@pytest.mark.parametrize("number", LIST)
def test_the_same_seed_gives_the_same_bytes_and_the_drop_itself_stays(number: int) -> None:
    case = case_of(3)
    first, second = LIST[number].make(case), LIST[number].make(case_of(3))
    assert first is not None
    assert second is not None
    assert first.drop.text() == second.drop.text() != drop_of(12).text()
    assert case.drop == drop_of(12)


@pytest.mark.parametrize("number", [2, 5, 6, 8, 15, 16, 18, 22, 26, 27, 37, 38, 44])
def test_another_seed_chooses_otherwise(number: int) -> None:
    assert len({made(number, chance=random.Random(seed)).drop.text() for seed in range(8)}) > 1


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("number", [n for n in LIST if n not in (26, 27)])
def test_what_is_written_is_a_file_of_its_form(number: int, form: Any) -> None:
    drop = made(number, drop=drop_of(12, form)).drop
    read = delivery(drop.text(), form, drop.names, [""])
    assert read.rows == drop.rows
    assert read.names == drop.names or not drop.rows


# whole rows
def test_rows_are_lost_doubled_or_from_elsewhere() -> None:
    assert made(1).drop.rows == ()
    assert len(made(2).drop.rows) == 2
    assert set(map(str, made(2).drop.rows)) <= set(map(str, rows_of(12)))
    assert made(3).drop.rows == rows_of(12) * 2
    assert made(4).drop.rows == rows_of(11)
    assert made(43).drop.rows == rows_of(10)
    half = made(37).drop.rows
    assert len(half) == ROWS
    assert sum(row in rows_of(12) for row in half) == sum(row in rows_of(3) for row in half) == ROWS / 2


def test_a_file_without_rows_is_not_delivered_again() -> None:
    empty = replace(drop_of(11), rows=())
    assert LIST[4].make(case_of(before=empty)) is None
    assert LIST[43].make(case_of(day_before=empty)) is None
    assert LIST[37].make(case_of(other=empty)) is None


def test_keys_are_repeated_with_other_facts_behind_the_rows() -> None:
    rows = made(5).drop.rows
    assert rows[:ROWS] == rows_of(12)
    assert len(rows) == ROWS + 4
    facts = {(row["placed"], row["shop"]): row for row in rows_of(12)}
    for row in rows[ROWS:]:
        first = facts[row["placed"], row["shop"]]
        assert [row[name] for name in ROLES.facts] != [first[name] for name in ROLES.facts]


@pytest.mark.parametrize(("number", "count"), [(6, 1), (7, ROWS)])
def test_a_key_loses_its_values(number: int, count: int) -> None:
    cells = changed_cells(number)
    assert len(cells) == count
    assert {(name in ROLES.key, after) for name, _, after in cells} == {(True, None)}
    assert len({name for name, _, _ in cells}) == 1


def test_only_or_all_but_the_rows_of_one_code_are_delivered() -> None:
    shops = Counter(row["shop"] for row in rows_of(12))
    for seed in range(4):
        only = Counter(row["shop"] for row in made(38, chance=random.Random(seed)).drop.rows)
        less = Counter(row["shop"] for row in made(39, chance=random.Random(seed)).drop.rows)
        assert len(only) == len(less) == 1
        assert shops == only + less  # both draw the same row


def test_the_coarsest_code_of_the_key_is_the_one_that_is_missing() -> None:
    """Two codes in the key, twenty values and two: the second tells where rows are from."""
    table = TABLE.model_copy(update={"key": ["city", "shop"]})
    rows = tuple({**row, "city": f"C{at}"} for at, row in enumerate(rows_of(12)))
    for number in (38, 39):
        mutant = made(number, drop=replace(drop_of(12), rows=rows), roles=roles_of(table))
        assert mutant.columns == ("shop",)


def test_facts_are_dealt_out_anew_and_keys_stay() -> None:
    rows = made(44).drop.rows
    assert [(row["placed"], row["shop"], row["note"]) for row in rows] == [
        (row["placed"], row["shop"], row["note"]) for row in rows_of(12)
    ]
    facts = [tuple(row[name] for name in ROLES.facts) for row in rows]
    assert Counter(facts) == Counter(tuple(row[name] for name in ROLES.facts) for row in rows_of(12))
    assert facts != [tuple(row[name] for name in ROLES.facts) for row in rows_of(12)]


# measures
COMPUTED: dict[int, Callable[[float], float]] = {
    11: lambda value: value * 100, 12: lambda value: value / 100, 13: lambda value: -value,
    14: lambda value: value / 60, 42: lambda value: value / 2,
}  # fmt: skip


@pytest.mark.parametrize("number", COMPUTED)
@pytest.mark.parametrize("seed", range(4))
def test_a_measure_comes_in_another_unit_and_whole_numbers_stay_whole(number: int, seed: int) -> None:
    chance = random.Random(seed)
    for name, before, after in changed_cells(number, chance=chance):
        wanted = COMPUTED[number](float(before or "nan"))
        assert name in ROLES.measures
        assert float(after or "nan") == pytest.approx(round(wanted) if name == "pieces" else wanted)
        assert name == "amount" or "." not in (after or ".")


def test_a_measure_loses_its_values() -> None:
    some, all_of_it = changed_cells(8), changed_cells(9)
    filled = {name: ROWS - (name == "amount") for name in ROLES.measures}
    assert len(some) == round(0.3 * filled[some[0][0]])
    assert len(all_of_it) == filled[all_of_it[0][0]]
    assert {after for _, _, after in some + all_of_it} == {None}


@pytest.mark.parametrize(
    ("number", "text", "count"), [(15, "NaN", 1), (16, "Infinity", 1), (17, "1e400", 1), (18, "unknown", 1)]
)
def test_a_measure_holds_what_is_no_number(number: int, text: str, count: int) -> None:
    cells = changed_cells(number)
    assert [after for _, _, after in cells] == [text] * count
    assert cells[0][0] in ROLES.measures


def test_a_decimal_comma_stands_in_every_value() -> None:
    for seed in range(4):
        cells = changed_cells(19, chance=random.Random(seed))
        assert len(cells) == ROWS - (cells[0][0] == "amount")
        assert all(float((after or "").replace(",", ".")) == float(before or "nan") for _, before, after in cells)


@pytest.mark.parametrize("seed", range(4))
def test_a_measure_is_constant_or_pushed_to_one_side(seed: int) -> None:
    for number, told in ((10, "one"), (40, "high"), (41, "low")):
        mutant = made(number, chance=random.Random(seed))
        [name] = mutant.columns
        before = sorted(float(row[name] or "nan") for row in rows_of(12) if row[name])
        after = [float(row[name] or "nan") for row in mutant.drop.rows if row[name]]
        tenth, ninetieth = statistics.quantiles(before, n=10, method="inclusive")[::8]
        if told == "one":
            assert set(after) == {before[len(before) // 2]}
        elif told == "high":
            assert min(after) == pytest.approx(ninetieth, abs=2.8)
            assert max(after) == before[-1]
        else:
            assert max(after) == pytest.approx(tenth, abs=2.8)
            assert min(after) == before[0]


def test_two_measures_and_two_codes_stand_in_each_others_column() -> None:
    assert all((a["amount"], a["pieces"]) == (b["pieces"], b["amount"]) for a, b in pairs(20))
    assert all((a["shop"], a["city"]) == (b["city"], b["shop"]) for a, b in pairs(21))


# codes
def test_codes_are_unknown_or_spelt_otherwise() -> None:
    unknown = changed_cells(22)
    assert len(unknown) == 2
    for name, before, after in unknown:
        assert after not in case_of().known(name)
        assert [one.isdigit() for one in after or ""] == [one.isdigit() for one in before or ""]
    spelt: dict[int, Callable[[str], str]] = {23: str.lower, 24: lambda t: f"{t} ", 25: lambda t: t[:2]}
    for number, spelling in spelt.items():
        cells = changed_cells(number)
        assert len(cells) == ROWS
        assert all(name in ROLES.codes and after == spelling(before or "") for name, before, after in cells)


def test_control_a_code_of_which_every_spelling_is_known_stays() -> None:
    digits = frozenset("0123456789")
    rows = tuple({**row, "shop": "1", "city": "2"} for row in rows_of(12))
    assert LIST[22].make(case_of(drop=replace(drop_of(12), rows=rows), known=lambda _: digits)) is None


# instants
@pytest.mark.parametrize(
    ("number", "first"),
    [
        (32, "2013-07-09T13:00:00Z"),
        (33, "2013-07-10T12:00:00Z"),
        (34, "2012-07-09T12:00:00Z"),
        (35, "2013-07-09T08:00:00Z"),
        (36, "1970-01-16T21:29:31Z"),
    ],
)
def test_every_instant_of_every_row_is_shifted(number: int, first: str) -> None:
    cells = changed_cells(number)
    assert [name for name, _, _ in cells] == ["placed"] * ROWS
    assert cells[0][2] == first


def test_what_is_no_instant_keeps_its_text() -> None:
    rows = tuple({**row, "placed": "noon"} for row in rows_of(12))
    assert LIST[32].make(case_of(drop=replace(drop_of(12), rows=rows))) is None


# files
def test_one_line_holds_a_byte_that_is_no_utf8() -> None:
    for form in ("csv", "jsonl"):
        lines = made(26, drop=drop_of(12, form)).drop.text().split(b"\n")
        assert sum(b"\xff" in line for line in lines) == 1
        with pytest.raises(UnicodeDecodeError):
            b"\n".join(lines).decode()


def test_a_quote_is_not_closed_in_one_line() -> None:
    text = made(27).drop.text().decode()
    assert [line.count('"') for line in text.splitlines() if '"' in line] == [1]
    broken = []
    for line in made(27, drop=drop_of(12, "jsonl")).drop.text().decode().splitlines():
        try:
            json.loads(line)
        except ValueError:
            broken.append(line)
    assert len(broken) == 1


def test_a_fault_of_the_file_is_none_of_a_column() -> None:
    assert {made(number).columns for number in range(26, 32)} == {()}
    assert all(made(number).columns for number in (5, 6, 8, 20, 22, 32, 38, 44))


def test_columns_are_missing_new_renamed_or_in_another_order() -> None:
    names = drop_of(12).names
    missing, added, reordered, renamed = (made(number).drop for number in (28, 29, 30, 31))
    assert len(set(names) - set(missing.names)) == 1
    assert set(added.names) - set(names) == {"added"}
    assert reordered.names == names[::-1]
    assert reordered.rows == drop_of(12).rows
    assert len(set(names) & set(renamed.names)) == len(names) - 1
    for drop in (missing, added, reordered, renamed):
        [header, *lines] = csv.reader(io.StringIO(drop.text().decode()))
        assert tuple(header) == drop.names
        assert len(lines) == ROWS


# what a table has not
def _without(*columns: str) -> Case:
    table = TABLE.model_copy(update={"columns": {n: c for n, c in TABLE.columns.items() if n not in columns}})
    return replace(case_of(), roles=roles_of(table))


@pytest.mark.parametrize(
    ("case", "numbers"),
    [
        (_without("pieces"), [20]),
        (_without("amount_eur", "pieces"), [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 40, 41, 42]),
        (_without("city"), [21]),
        (_without("shop"), [21, 38, 39]),
        (_without("placed_at"), [32, 33, 34, 35, 36]),
    ],
    ids=["one measure", "no measure", "one code", "no code in the key", "no instant"],
)
def test_a_fault_that_a_table_cannot_have_is_no_mutant(case: Case, numbers: list[int]) -> None:
    assert [number for number, one in LIST.items() if one.make(case) is None] == numbers


def test_control_a_change_that_changes_nothing_is_no_mutant() -> None:
    """One value in every row: constant already, and nothing to shuffle."""
    rows = tuple({**rows_of(12)[0], "amount": "1", "pieces": "0"} for _ in range(3))
    case = case_of(drop=replace(drop_of(12), rows=rows))
    assert [LIST[number].make(case) for number in (5, 10, 40, 41, 44)] == [None] * 5


@pytest.mark.parametrize("source", ["schedules", "weather", "planes"])
def test_a_real_drop_comes_out_byte_by_byte_as_it_went_in(source: str) -> None:
    """Quotes, numbers as delivered, nulls: what a mutator leaves alone is what the upstream wrote."""
    pipeline = load_pipeline("nycflights13")
    assert pipeline.replay is not None
    hour = pipeline.replay.start if source == "planes" else parse_hour("2013-02-09T00:00:00")
    text, rows = clean_texts(pipeline.replay, [source])[source].of_hour(hour)
    conf = pipeline.sources.sources[source]
    drop = delivery(text, pipeline.replay.sources[source].format, conf.columns, conf.nulls)
    assert len(drop.rows) == rows > 0
    assert drop.text() == text
