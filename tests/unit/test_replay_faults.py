"""Bad deliveries on purpose: each fault has its effect and no other, and depends on its seed, never on the interval."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.config.replay import ReplayConf
from spark_jobs.config.sources import SourcesConf
from spark_jobs.errors import RefusedError, UsageError
from spark_jobs.invocation import hours_between
from spark_jobs.sources.drops import Drop, check_drop, drops_of
from spark_jobs.sources.faults import Faults, Held, parse_faults
from spark_jobs.sources.replay import ReplayReport, replay

HOUR = timedelta(hours=1)
START = datetime(2013, 11, 1, 22, tzinfo=UTC)  # the third hour begins a day
WITH_ROWS, DRAIN = 5, 8  # hours with rows, and hours after them in which held-back rows still come
END = START + (WITH_ROWS + DRAIN) * HOUR
COLUMNS = {"id": "id", "placed_at": {"instant": "placed_at"}, "amount": "amount", "note": "note"}
HOUR_OF = {"of": {"instant": "placed_at"}}
CONF = ReplayConf.model_validate(
    {
        "package": "shop_history", "from": START, "to": END,
        "sources": {
            "orders": {"file": "orders.csv", "format": "csv", "columns": COLUMNS, "hour": HOUR_OF},
            "returns": {"file": "orders.csv", "format": "jsonl", "columns": COLUMNS, "hour": HOUR_OF},
        },
    }
)  # fmt: skip
SOURCES = SourcesConf.model_validate(
    {
        "sources": {
            name: {"kind": "files", "manifests": f"{name}/{{day}}/{{hour}}.manifest.json", "format": source.format,
                   "grace": "15m", "columns": list(COLUMNS)}
            for name, source in CONF.sources.items()
        }
    }
)  # fmt: skip
SECOND = START + HOUR
ORDERS, RETURNS = frozenset({("orders", SECOND)}), frozenset({("returns", SECOND)})
Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Row]]:
    """An installed package with 30 rows an hour; every seventh has no amount, notes need quotes."""
    root = tmp_path_factory.mktemp("site")
    data = root / "shop_history" / "data"
    data.mkdir(parents=True)
    rows = [
        {
            "id": f"{hour}-{number}", "placed_at": f"{START + hour * HOUR + number * timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}",
            "amount": "NA" if number % 7 == 0 else str(100 * hour + number), "note": ['say "a, b"', "plain", "NA"][number % 3],
        }
        for hour in range(WITH_ROWS) for number in range(30)
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    (data / "orders.csv").write_text(text.getvalue())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        yield rows


def deliver(landing: Path, faults: Faults | None = None, **options: Any) -> ReplayReport:
    start, end = options.pop("start", START), options.pop("end", END)
    return replay(CONF, landing, start, end, faults=faults, **options)


def files(landing: Path) -> dict[str, bytes]:
    return {path.relative_to(landing).as_posix(): path.read_bytes() for path in landing.rglob("*") if path.is_file()}


def changed(landing: Path, clean: dict[str, bytes]) -> list[str]:
    """Names of the files that differ from the clean delivery, are missing or are more."""
    found = files(landing)
    return sorted(name for name in found.keys() | clean.keys() if found.get(name) != clean.get(name))


def versions(landing: Path, source: str, hour: datetime = SECOND) -> list[Drop]:
    return drops_of(SOURCES, landing, source, [hour]).get(hour, [])


def rows_of(drop: Drop) -> list[Row]:
    text = gzip.decompress(Path(drop.path).read_bytes()).decode()
    rows: list[Row] = (
        [json.loads(line) for line in text.splitlines()]
        if drop.file.endswith(".jsonl.gz")
        else list(csv.DictReader(io.StringIO(text, newline="")))
    )
    assert drop.rows == len(rows)
    check_drop(drop, sleep=lambda _: None)
    return [{name: None if value == "" else value for name, value in row.items()} for row in rows]


def all_rows(landing: Path, source: str = "orders") -> list[tuple[datetime, Row]]:
    """(hour of the drop, row) of every row of the newest drops."""
    return [(hour, row) for hour in hours_between(START, END) for row in rows_of(versions(landing, source, hour)[-1])]


def hour_of(row: Row) -> datetime:
    return datetime.strptime(row["placed_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC, minute=0)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a delivery without any fault."""
    landing = tmp_path_factory.mktemp("clean")
    deliver(landing)
    return files(landing)


HELD = st.builds(Held, st.floats(0.01, 1.0), st.integers(1, DRAIN // 2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**64), st.none() | HELD, st.floats(0, 1), st.none() | HELD, st.sampled_from(list(CONF.sources)))
def test_no_row_is_lost_or_invented_whatever_is_held_back_repeated_and_corrected(
    seed: int, late: Held | None, repeat: float, correct: Held | None, source: str
) -> None:
    """Every row first comes in its hour or k hours later, once or twice, and at most once more, k hours after that, with
    an amount that is 1 higher; with all drops up to the end + k, that is the whole delivery."""
    again = {source: ("amount", correct)} if correct else {}
    with tempfile.TemporaryDirectory() as folder:
        clean, bad = Path(folder, "clean"), Path(folder, "bad")
        deliver(clean, only=[source])
        deliver(bad, Faults(seed, late, repeat, again), only=[source])
        expected, found = all_rows(clean, source), Counter((hour, *row.values()) for hour, row in all_rows(bad, source))
    for hour, row in expected:
        first = [at for at in (hour, hour + late.hours * HOUR if late else hour) if (at, *row.values()) in found]
        assert first, row
        count = found.pop((first[0], *row.values()))
        assert count == 1 or (count == 2 and repeat > 0)
        if correct and row["amount"]:
            amount = type(row["amount"])(int(row["amount"]) + 1)
            count = found.pop((first[0] + correct.hours * HOUR, *(row | {"amount": amount}).values()), 0)
            assert count == 1 or (count == 0 and correct.share < 1)
    assert not found


def test_late_rows_are_missing_in_their_hour_and_come_at_the_end_of_the_drop_k_hours_later(tmp_path: Path) -> None:
    """The others keep hour and order; a third of 150 rows is between 30 and 70 at this seed."""
    deliver(tmp_path / "clean")
    deliver(tmp_path / "late", Faults(late_rows=Held(0.33, 2)))
    rows = all_rows(tmp_path / "late")
    late = [(hour, row) for hour, row in rows if hour != hour_of(row)]
    assert {hour - hour_of(row) for hour, row in late} == {2 * HOUR}
    assert 30 < len(late) < 70
    assert [one for one in rows if one not in late] == [one for one in all_rows(tmp_path / "clean") if one in rows]
    third = [hour_of(row) for hour, row in rows if hour == START + 2 * HOUR]
    assert third == sorted(third, reverse=True)


def test_repeated_rows_stand_twice_in_their_own_drop_one_after_the_other(tmp_path: Path) -> None:
    """The manifest counts both."""
    deliver(tmp_path, Faults(repeat_rows=0.2))
    rows = all_rows(tmp_path)
    twice = [row for row, count in Counter(row["id"] for _, row in rows).items() if count == 2]
    assert 15 < len(twice) < 50
    assert len(rows) == 150 + len(twice)
    pairs = [one for one, next_one in pairwise(rows) if one == next_one]
    assert [row["id"] for _, row in pairs] == twice


def test_corrected_rows_come_again_k_hours_later_with_one_column_1_higher(tmp_path: Path) -> None:
    """A share of 1: every row that has an amount, none that has not, and the first delivery stays as it was."""
    deliver(tmp_path / "clean")
    deliver(tmp_path / "bad", Faults(correct_rows={"orders": ("amount", Held(1.0, 3))}))
    rows, before = all_rows(tmp_path / "bad"), all_rows(tmp_path / "clean")
    assert [one for one in rows if one[0] == hour_of(one[1])] == before
    assert [one for one in rows if one[0] != hour_of(one[1])] == [
        (hour + 3 * HOUR, row | {"amount": str(int(row["amount"]) + 1)}) for hour, row in before if row["amount"]
    ]
    assert all_rows(tmp_path / "bad", "returns") == all_rows(tmp_path / "clean", "returns")


ROWS = Faults(late_rows=Held(0.3, 2), repeat_rows=0.2, correct_rows={"orders": ("amount", Held(0.3, 3))})
ALL = replace(
    ROWS, skip=frozenset({("orders", START)}), reorder=ORDERS | RETURNS, cut=frozenset({("returns", START)}),
    flip=frozenset({("returns", START + 2 * HOUR)}), redeliver=ORDERS,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, WITH_ROWS + DRAIN - 1), unique=True), st.randoms(use_true_random=False))
def test_an_interval_in_pieces_in_any_order_gives_the_same_bytes_as_in_one(cuts: list[int], order: Any) -> None:
    """Rows that are held back from hours before a piece come in it; each source may be asked for alone."""
    edges = [START, *(START + cut * HOUR for cut in sorted(cuts)), END]
    pieces = [(a, b, name) for a, b in pairwise(edges) for name in CONF.sources]
    order.shuffle(pieces)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        deliver(whole, ALL)
        for start, end, name in pieces:
            deliver(parts, ALL, start=start, end=end, only=[name])
        assert files(parts) == files(whole)


def test_a_second_delivery_with_the_same_faults_writes_nothing(tmp_path: Path) -> None:
    """Nor does it repair what was cut or changed on purpose."""
    first = deliver(tmp_path, ALL)
    before = files(tmp_path)
    assert first.written == first.drops == 2 * (WITH_ROWS + DRAIN)  # one skipped, one twice
    assert deliver(tmp_path, ALL) == replace(first, written=0)
    assert files(tmp_path) == before


def test_the_seed_chooses_the_rows_and_each_source_and_fault_has_others(tmp_path: Path) -> None:
    """The rows of seed 1 are pinned: any machine and any later version chooses the same."""

    def late(seed: int, source: str) -> list[str]:
        landing = tmp_path / f"{source}-{seed}"
        deliver(landing, Faults(seed=seed, late_rows=Held(0.1, 1)), only=[source])
        return [row["id"] for hour, row in all_rows(landing, source) if hour != hour_of(row)]

    assert late(1, "orders")[:5] == ["0-3", "0-23", "1-4", "1-13", "1-22"]
    assert len({tuple(late(seed, source)) for seed in range(1, 6) for source in CONF.sources}) == 10
    more = Faults(repeat_rows=0.1, correct_rows={"orders": ("amount", Held(0.1, 5))})
    deliver(tmp_path / "more", more, only=["orders"])
    rows = all_rows(tmp_path / "more")
    twice = Counter(row["id"] for hour, row in rows if hour == hour_of(row))
    assert [one for one, count in twice.items() if count == 2][:5] == ["0-7", "0-18", "0-20", "0-24", "0-29"]
    assert [row["id"] for hour, row in rows if hour != hour_of(row)][:5] == ["0-25", "0-29", "1-16", "2-3", "2-12"]


@pytest.mark.parametrize("faults", [None, Faults(), Faults(seed=9)])
def test_without_a_fault_the_delivery_is_the_clean_one(
    tmp_path: Path, clean: dict[str, bytes], history: list[Row], faults: Faults | None
) -> None:
    """Every row of the package, in its hour, and no byte that depends on a seed."""
    deliver(tmp_path, faults)
    assert files(tmp_path) == clean
    assert [row["id"] for _, row in all_rows(tmp_path)] == [row["id"] for row in history]


def test_a_skipped_drop_is_not_there_until_it_is_delivered_without_the_fault(
    tmp_path: Path, clean: dict[str, bytes]
) -> None:
    """The other source and the other hours have what they always had."""
    report = deliver(tmp_path, Faults(skip=ORDERS))
    assert changed(tmp_path, clean) == ["orders/2013-11-01/23.csv.gz", "orders/2013-11-01/23.manifest.json"]
    assert versions(tmp_path, "orders") == []
    assert (report.drops, report.rows) == (2 * (WITH_ROWS + DRAIN) - 1, 2 * 150 - 30)
    assert deliver(tmp_path).written == 1
    assert files(tmp_path) == clean


@pytest.mark.parametrize(("source", "suffix"), [("orders", "csv"), ("returns", "jsonl")])
def test_reordered_columns_are_a_sound_drop_with_the_same_rows(
    tmp_path: Path, clean: dict[str, bytes], source: str, suffix: str
) -> None:
    """Header and values go together, quotes included; corrections and late rows come in the drop's own order too."""
    deliver(tmp_path / "bad", Faults(reorder=ORDERS | RETURNS), only=[source])
    own = {name: data for name, data in clean.items() if name.startswith(source)}
    names = [f"{source}/2013-11-01/23.{suffix}.gz", f"{source}/2013-11-01/23.manifest.json"]
    assert changed(tmp_path / "bad", own) == sorted(names)
    later = START + 3 * HOUR  # what was held back and corrected in the hours before is due here
    deliver(tmp_path / "rows", ROWS, only=[source])
    deliver(tmp_path / "both", replace(ROWS, reorder=frozenset({(source, later)})), only=[source])
    [bad], [rows], [both] = (
        versions(tmp_path / "bad", source), versions(tmp_path / "rows", source, later), versions(tmp_path / "both", source, later)
    )  # fmt: skip
    assert list(rows_of(bad)[0]) == list(rows_of(both)[0]) == list(reversed(COLUMNS))
    assert list(rows_of(rows)[0]) == list(COLUMNS)
    assert rows_of(both) == rows_of(rows)
    assert {hour_of(row) for row in rows_of(both)} >= {later, later - 2 * HOUR}


def test_a_cut_file_is_shorter_than_its_manifest_says_and_a_clean_delivery_makes_it_whole(
    tmp_path: Path, clean: dict[str, bytes]
) -> None:
    """Half of it: neither a gzip file nor of the stated size; the manifest is the honest one."""
    deliver(tmp_path, Faults(cut=ORDERS))
    name = "orders/2013-11-01/23.csv.gz"
    assert changed(tmp_path, clean) == [name]
    [drop] = versions(tmp_path, "orders")
    with pytest.raises(RefusedError, match=f"{drop.bytes // 2} bytes"):
        check_drop(drop, sleep=lambda _: None)
    assert files(tmp_path)[name] == clean[name][: drop.bytes // 2]
    assert deliver(tmp_path).written == 1
    assert files(tmp_path) == clean


def test_N3_a_flipped_byte_leaves_the_size_and_breaks_the_checksum(tmp_path: Path, clean: dict[str, bytes]) -> None:
    """Exactly one byte differs, another seed changes another one, and a clean delivery puts it right."""
    places = set()
    for seed in range(5):
        deliver(tmp_path, Faults(seed=seed, flip=RETURNS))
        name = "returns/2013-11-01/23.jsonl.gz"
        assert changed(tmp_path, clean) == [name]
        [at] = [at for at, (a, b) in enumerate(zip(files(tmp_path)[name], clean[name], strict=True)) if a != b]
        places.add(at)
        [drop] = versions(tmp_path, "returns")
        with pytest.raises(RefusedError, match="sha256"):
            check_drop(drop, sleep=lambda _: None)
    assert len(places) == 5
    assert deliver(tmp_path).written == 1
    assert files(tmp_path) == clean


def test_a_drop_delivered_twice_has_a_second_version_with_the_same_bytes_9_minutes_later(
    tmp_path: Path, clean: dict[str, bytes]
) -> None:
    """Whether both come in one call or the second in a later one; both are counted."""
    report = deliver(tmp_path / "once", Faults(redeliver=ORDERS))
    more = ["orders/2013-11-01/23.2.csv.gz", "orders/2013-11-01/23.2.manifest.json"]
    assert changed(tmp_path / "once", clean) == more
    assert (report.drops, report.rows) == (2 * (WITH_ROWS + DRAIN) + 1, 2 * 150 + 30)
    first, second = versions(tmp_path / "once", "orders")
    assert (first.version, second.version, second.sha256) == (1, 2, first.sha256)
    assert second.arrived_at - first.arrived_at == timedelta(minutes=9)
    assert rows_of(second) == rows_of(first)
    deliver(tmp_path / "later")
    for written in (1, 0):
        assert deliver(tmp_path / "later", Faults(redeliver=ORDERS)).written == written
    assert files(tmp_path / "later") == files(tmp_path / "once")


def test_a_correction_may_be_delivered_twice_too_and_is_the_newest(tmp_path: Path) -> None:
    """Wrong unit, then the right drop in two versions; asking again adds none."""
    deliver(tmp_path, scale={"orders.amount": 100}, only=["orders"])
    for written in (WITH_ROWS + 1, 0):
        report = deliver(tmp_path, Faults(redeliver=ORDERS), correction=True, only=["orders"])
        assert report.written == written
    wrong, right, again = versions(tmp_path, "orders")
    assert wrong.sha256 != right.sha256 == again.sha256
    assert [drop.arrived_at - wrong.arrived_at for drop in (right, again)] == [
        timedelta(minutes=9),
        timedelta(minutes=18),
    ]
    deliver(tmp_path, scale={"orders.amount": 100}, correction=True, only=["orders"])
    assert versions(tmp_path, "orders")[-1].version == 4  # what an older version has does not count
    assert versions(tmp_path, "orders")[-1].arrived_at == again.arrived_at


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Held(0.0, 5), "above 0 and up to 1"),
        (lambda: Held(float("nan"), 5), "above 0 and up to 1"),
        (lambda: Held(0.1, 0), "1 hour or more"),
        (lambda: Faults(repeat_rows=1.1), "0 to 1"),
        (lambda: Faults(skip=frozenset({("order", SECOND)})), "did you mean 'orders'"),
        (lambda: Faults(correct_rows={"order": ("amount", Held(0.1, 1))}), "did you mean 'orders'"),
        (lambda: Faults(correct_rows={"orders": ("amont", Held(0.1, 1))}), "did you mean 'amount'"),
        (lambda: Faults(correct_rows={"returns": ("note", Held(0.1, 1))}), "a delivered column of numbers"),
    ],
)
def test_a_fault_that_cannot_be_is_a_usage_error_and_nothing_is_delivered(tmp_path: Path, make: Any, said: str) -> None:
    """Shares, hours, sources and columns."""
    with pytest.raises(UsageError, match=said):
        deliver(tmp_path, make())
    assert not list(tmp_path.iterdir())


def test_the_words_of_the_command_line_are_these_faults() -> None:
    """One of each, and none."""
    words = {name: ["orders@2013-11-01T23"] for name in ("skip", "reorder", "cut", "flip", "redeliver")}
    found = parse_faults(7, "0.25:5h", "0.02", ["orders.amount=1:3h"], words)
    assert found == Faults(
        7, Held(0.25, 5), 0.02, {"orders": ("amount", Held(1.0, 3))}, skip=ORDERS, reorder=ORDERS, cut=ORDERS, flip=ORDERS,
        redeliver=ORDERS,
    )  # fmt: skip
    assert parse_faults(1, "", "0", [], {"skip": []}) == Faults()


@pytest.mark.parametrize(
    ("faults", "sources"),
    [(Faults(cut=ORDERS), ["returns"]), (Faults(flip=frozenset({("orders", END)})), ["orders"]),
     (Faults(correct_rows={"orders": ("amount", Held(0.1, 1))}), ["returns"])],
)  # fmt: skip
def test_a_named_drop_that_a_call_does_not_deliver_is_told(faults: Faults, sources: list[str]) -> None:
    """The command line asks for it; a caller in Python may hand the same faults to one call an hour."""
    with pytest.raises(UsageError, match="is not replayed by this call"):
        faults.require_replayed(sources, START, END)
    ALL.require_replayed(["orders", "returns"], START, END)
