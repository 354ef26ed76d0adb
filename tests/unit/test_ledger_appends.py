"""The ledger as a compare-and-swap log: every row stamped, every number given once, whoever writes at the same time."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from spark_jobs.invocation import Invocation
from spark_jobs.ledger import Ledger
from spark_jobs.ledger.schemas import SCHEMA_VERSION, SCHEMAS
from spark_jobs.ledger.store import LedgerStore
from spark_jobs.storage.delta import DeltaStorage

CALL = Invocation("p", "ingest", datetime(2013, 11, 1, 6, tzinfo=UTC), datetime(2013, 11, 1, 7, tzinfo=UTC), "run")
CHECKOUT = Path(__file__).parents[2]
WRITERS, ROWS = 4, 15

# Each line is one ledger that all writers make at once, by its first row.
FIRST = """
import sys
from pathlib import Path
from spark_jobs.ledger.store import LedgerStore
from spark_jobs.storage.delta import DeltaStorage
print("ready", flush=True)
for line in sys.stdin:
    store = LedgerStore(DeltaStorage(Path(sys.argv[1]) / line.strip()), by=sys.argv[2])
    print(store.append("promotions", lambda seq, rows: {"model": sys.argv[2]}), flush=True)
"""

# All writers have imported everything before the first may write, so that they do race.
SWAP = """
import sys
from pathlib import Path
from spark_jobs.ledger.store import LedgerStore
from spark_jobs.storage.delta import DeltaStorage
store = LedgerStore(DeltaStorage(Path(sys.argv[1])), by=sys.argv[2])
print("ready", flush=True)
for _, _ in zip(range(int(sys.argv[3])), sys.stdin):
    print(store.append("promotions", lambda seq, rows: {"model": sys.argv[2], "alias": str(seq)}), flush=True)
"""


def _start(script: str, folder: Path, rows: int) -> list[subprocess.Popen[str]]:
    """Writers that have imported everything and wait for a line before each row."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder), f"writer{n}", str(rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        for n in range(WRITERS)
    ]
    assert [writer.stdout.readline().strip() for writer in writers if writer.stdout] == ["ready"] * WRITERS
    return writers


def _go(writers: list[subprocess.Popen[str]], lines: int, word: str = "go") -> None:
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(f"{word}\n" * lines)
        writer.stdin.flush()


def _end(writers: list[subprocess.Popen[str]]) -> list[str]:
    """What the writers still had to say."""
    return [line for writer in writers for line in writer.communicate(timeout=60)[0].split()]


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_row_of_every_table_says_its_number_its_time_its_writer_and_its_schema(tmp_path, table):
    """The four columns that all ledger rows share are set by the store alone."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    store = LedgerStore(DeltaStorage(tmp_path, lambda: noon), by="someone")
    assert store.append(table, lambda seq, rows: {}) == 1
    (row,) = store.rows(table)
    assert (row["seq"], row["at"], row["by"], row["schema_version"]) == (1, noon, "someone", SCHEMA_VERSION)


def test_a_row_with_an_unknown_column_is_refused_and_nothing_is_written(tmp_path):
    store = LedgerStore(DeltaStorage(tmp_path), by="someone")
    with pytest.raises(KeyError, match="no column \\['coulmn'\\]"):
        store.append("promotions", lambda seq, rows: {"coulmn": 1})
    assert store.rows("promotions") == []


def test_a_build_that_raises_writes_nothing(tmp_path):
    """`build` decides on the rows before it; its refusal ends the attempt."""
    store = LedgerStore(DeltaStorage(tmp_path), by="someone")
    with pytest.raises(ZeroDivisionError):
        store.append("promotions", lambda seq, rows: {"model": str(1 // len(rows()))})
    assert store.rows("promotions") == []


def test_a_table_that_nobody_wrote_has_no_rows(tmp_path):
    assert LedgerStore(DeltaStorage(tmp_path), by="someone").rows("intervals") == []


def test_T5_rows_come_in_order_of_their_numbers_even_when_the_clock_runs_backwards(tmp_path):
    """Order comes from the sequence, never from a clock."""
    hours = iter([9, 3, 6])
    store = LedgerStore(DeltaStorage(tmp_path, lambda: datetime(2026, 1, 1, next(hours), tzinfo=UTC)), by="x")
    for model in "abc":
        store.append("promotions", lambda seq, rows, model=model: {"model": model})
    assert [row["model"] for row in store.rows("promotions")] == ["a", "b", "c"]


def test_a_publication_is_numbered_by_the_version_of_its_own_append(tmp_path):
    ledger = Ledger.open(tmp_path)
    ledger.record(CALL, "waiting", None)
    pub = ledger.start(CALL, "abc", "def", None)
    row = ledger.intervals()[-1]
    assert (pub, row["pub"], row["seq"], row["state"]) == (2, 2, 2, "started")
    ledger.record(CALL, "staged", pub)
    assert ledger.start(CALL, "abc", "def", None) == 4


def test_four_processes_at_once_share_no_number_and_lose_no_row(tmp_path):
    """Compare-and-swap: each number belongs to exactly one row; all of them make the table at once, and compact it."""
    writers = _start(SWAP, tmp_path, ROWS)
    _go(writers, ROWS)
    numbers = sorted(map(int, _end(writers)))
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    assert len({*numbers}) == len(numbers) == WRITERS * ROWS  # a compaction takes a number, too
    rows = LedgerStore(DeltaStorage(tmp_path), by="reader").rows("promotions")
    assert [(row["seq"], row["alias"]) for row in rows] == [(n, str(n)) for n in numbers]
    assert {row["model"] for row in rows if row["by"] == "writer2"} == {"writer2"}


def test_a_table_that_four_processes_make_at_once_is_made_once(tmp_path):
    """Its first version is the creation and no later one is: of four processes with retries, 122 of 150 tables had two."""
    writers = _start(FIRST, tmp_path, 0)
    for table in range(25):
        _go(writers, 1, f"ledger{table}")
        told = [int(writer.stdout.readline()) for writer in writers if writer.stdout]
        assert sorted(told) == list(range(1, WRITERS + 1))
    _end(writers)


def test_control_numbering_by_read_then_append_gives_one_number_to_four_writers(tmp_path):
    """Why compare-and-swap is there: plain appends never conflict, so that all four believe to be the second."""
    LedgerStore(DeltaStorage(tmp_path), by="setup").append("promotions", lambda seq, rows: {"model": "first"})
    tables = [DeltaTable(tmp_path / "ledger" / "promotions") for _ in range(WRITERS)]
    numbers = [1 + max(table.to_pyarrow_table()["seq"].to_pylist()) for table in tables]
    for table, seq in zip(tables, numbers, strict=True):
        row = {"seq": seq, "model": "next", "schema_version": 1}
        write_deltalake(table, pa.Table.from_pylist([row], schema=SCHEMAS["promotions"]), mode="append")
    assert [row["seq"] for row in LedgerStore(DeltaStorage(tmp_path), by="x").rows("promotions")] == [1, *[2] * WRITERS]
