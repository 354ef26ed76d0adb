"""Landed drops -> one frame of lines in one Spark job; every fault of a file is data, and the other files are read."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Row, SparkSession

from spark_jobs.config.sources import SourceConf
from spark_jobs.sources.drops import Drop
from spark_jobs.sources.files import bronze_schema, read_drops

HOUR = timedelta(hours=1)
H0 = datetime(2013, 11, 1, tzinfo=UTC)
CONF = SourceConf.model_validate(
    {"kind": "files", "manifests": "orders/{day}/{hour}.manifest.json", "format": "csv", "columns": ["id", "n"]}
)
CLEAN = b"id,n\n1,2\n3,NA\n"


def land(
    landing: Path,
    at: int,
    text: bytes,
    rows: int,
    data: bytes | None = None,
    name: str = "",
    late: timedelta = HOUR * 0,
) -> Drop:
    """The drop of hour `at`, packed unless `data` gives the file's bytes; manifest facts are those of the file."""
    hour = H0 + at * HOUR
    file = f"orders/{hour:%Y-%m-%d}/{name or f'{hour:%H}.csv.gz'}"
    path = landing / file
    path.parent.mkdir(parents=True, exist_ok=True)
    data = gzip.compress(text, mtime=0) if data is None else data
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    arrived = hour + HOUR + timedelta(seconds=30) + late
    return Drop("orders", hour, str(path), file, f"{path}.json", 1, rows, len(data), digest, arrived)


def by_hour(rows: list[Row]) -> dict[int, list[tuple[object, ...]]]:
    """Hour -> (id, n, line, raw, fault) in the order of lines."""
    found: dict[int, list[tuple[object, ...]]] = {}
    for row in sorted(rows, key=lambda row: (row.hour, row.line)):
        at = int((row.hour.astimezone(UTC) - H0) / HOUR)
        found.setdefault(at, []).append((row.id, row.n, row.line, row.raw, row.fault))
    return found


CLEAN_ROWS = [("1", "2", 2, None, None), ("3", None, 3, None, None)]


def test_a_clean_drop_is_its_lines_as_text_with_their_origin(spark: SparkSession, tmp_path: Path) -> None:
    """File, line, hash, arrival, hour and known time come from the manifest."""
    on_time, late = land(tmp_path, 0, CLEAN, 2), land(tmp_path, 1, CLEAN, 2, late=HOUR)
    frame = read_drops(spark, [on_time, late], CONF)
    assert frame.schema == bronze_schema(CONF)
    rows = frame.selectExpr("*", "cast(known_at as string) k", "cast(arrived_at as string) a").collect()
    assert by_hour(rows) == {0: CLEAN_ROWS, 1: CLEAN_ROWS}
    assert {(row.file, row.drop_sha256, row.k, row.a) for row in rows} == {
        ("orders/2013-11-01/00.csv.gz", on_time.sha256, "2013-11-01 01:00:00", "2013-11-01 01:00:30"),
        ("orders/2013-11-01/01.csv.gz", late.sha256, "2013-11-01 04:00:00", "2013-11-01 03:00:30"),
    }


def test_no_drops_are_no_rows(spark: SparkSession) -> None:
    """An hour without a drop has a schema all the same."""
    frame = read_drops(spark, [], CONF)
    assert frame.schema == bronze_schema(CONF)
    assert frame.collect() == []


def test_N1_gzip_cut_short_or_not_gzip_refuses_its_file_by_name(spark: SparkSession, tmp_path: Path) -> None:
    """Spark with ignoreCorruptFiles would give a part of the rows without a word."""
    packed = gzip.compress(CLEAN, mtime=0)
    drops = [
        land(tmp_path, 0, b"", 2, packed[:-6]),
        land(tmp_path, 1, b"", 2, b"random bytes"),
        replace(land(tmp_path, 2, b"", 2, packed[:-6]), bytes=len(packed)),
        replace(land(tmp_path, 3, CLEAN, 2), sha256="0" * 64),
        land(tmp_path, 4, CLEAN, 2),
    ]
    rows = read_drops(spark, drops, CONF).collect()
    found = by_hour(rows)
    assert {at: [(row[2], str(row[4]).split(" ")[0]) for row in found[at]] for at in range(4)} == {
        0: [(0, "gzip:")],
        1: [(0, "gzip:")],
        2: [(0, "bytes:")],
        3: [(0, "sha256:")],
    }
    assert found[4] == CLEAN_ROWS
    assert {row.file for row in rows if row.line == 0} == {drop.file for drop in drops[:4]}


def test_N2_an_empty_file_is_refused_unless_its_manifest_says_so(spark: SparkSession, tmp_path: Path) -> None:
    """0 bytes or a header alone."""
    drops = [
        land(tmp_path, 0, b"", 2, b""),
        land(tmp_path, 1, b"id,n\n", 2),
        land(tmp_path, 2, b"id,n\n", 0),
        land(tmp_path, 3, b"", 0, b""),
    ]
    assert by_hour(read_drops(spark, drops, CONF).collect()) == {
        0: [(None, None, 0, None, "gzip: the file is empty")],
        1: [(None, None, 0, None, "rows: 0 found, the manifest says 2")],
    }


def test_N4_reordered_columns_are_taken_by_name_and_missing_or_new_ones_refuse_the_drop(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The header is compared before any value is placed."""
    drops = [
        land(tmp_path, 0, b"n,id\n2,1\nNA,3\n", 2),
        land(tmp_path, 1, b"id\n1\n", 1),
        land(tmp_path, 2, b"id,n,m\n1,2,3\n", 1),
    ]
    assert by_hour(read_drops(spark, drops, CONF).collect()) == {
        0: CLEAN_ROWS,
        1: [(None, None, 0, None, "header: missing column n")],
        2: [(None, None, 0, None, "header: new column m")],
    }


def test_N5_a_row_with_too_many_or_too_few_fields_keeps_its_text_and_its_reason(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Text where a number is meant is a value still: silver judges it."""
    drop = land(tmp_path, 0, b"id,n\n1,2\n3\n4,5,6\n7,many\n", 4)
    assert by_hour(read_drops(spark, [drop], CONF).collect())[0] == [
        ("1", "2", 2, None, None),
        (None, None, 3, "3", "fields: 1 found, the header has 2"),
        (None, None, 4, "4,5,6", "fields: 3 found, the header has 2"),
        ("7", "many", 5, None, None),
    ]


def test_N8_bad_bytes_and_a_misplaced_quote_break_their_own_row_only(spark: SparkSession, tmp_path: Path) -> None:
    """A byte-order mark breaks nothing; a line break inside quotes is text; a quote that is not closed refuses its file."""
    drop = land(tmp_path, 0, b'\xef\xbb\xbfid,n\n1,2\n\xff,3\n\x00,4\n"5"x,6\n7,8\n"9\n9",\n', 6)
    unclosed = land(tmp_path, 1, b'id,n\n1,2\n"5,6\n7,8\n', 2)
    found = by_hour(read_drops(spark, [drop, unclosed], CONF).collect())
    assert [(row[2], str(row[4])[:54]) for row in found[1]] == [
        (0, "csv: record that begins on line 3: a quote is not clos")
    ]
    assert found[0] == [
        ("1", "2", 2, None, None),
        (None, None, 3, "\\xff,3", "bad UTF-8 at byte 1"),
        (None, None, 4, "\\x00,4", "NUL character"),
        (None, None, 5, '"5"x,6', "csv: text after a closing quote"),
        ("7", "8", 6, None, None),
        ("9\n9", None, 7, None, None),
    ]


@pytest.mark.parametrize("name", ["_00.csv.gz", ".00.csv.gz"])
def test_N10_a_file_is_read_whatever_its_name_because_its_manifest_names_it(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    """Spark's own readers skip both names silently; a file that is gone is a fault, not 0 rows."""
    drop = land(tmp_path, 0, CLEAN, 2, name=name)
    gone = land(tmp_path, 1, CLEAN, 2)
    Path(gone.path).unlink()
    found = by_hour(read_drops(spark, [drop, gone], CONF).collect())
    assert found == {0: CLEAN_ROWS, 1: [(None, None, 0, None, "file: not there any more")]}


def test_N5_a_broken_json_line_keeps_its_text_and_the_others_are_read(spark: SparkSession, tmp_path: Path) -> None:
    """The same for the other format."""
    conf = CONF.model_copy(update={"format": "jsonl"})
    drop = land(tmp_path, 0, b'{"id":1,"n":null}\n{"id":1\n[3]\n{"n":2.50,"id":"x"}\n', 4)
    rows = by_hour(read_drops(spark, [drop], conf).collect())[0]
    assert [row[:4] for row in rows] == [
        ("1", None, 1, None),
        (None, None, 2, '{"id":1'),
        (None, None, 3, "[3]"),
        ("x", "2.50", 4, None),
    ]
    assert rows[2][4] == "json: not an object"


def test_N4_N7_a_parquet_drop_is_read_by_name_and_one_with_other_columns_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The workers read it; the file next to it is read whatever its neighbour is."""
    conf = CONF.model_copy(update={"format": "parquet"})
    tables = [
        pa.table({"n": [2, None], "id": ["1", "3"]}),
        pa.table({"id": ["1"]}),
        pa.table({"id": ["1"], "n": [1], "m": [1]}),
    ]
    drops = []
    for at, table in enumerate(tables):
        sink = io.BytesIO()
        pq.write_table(table, sink)
        drops.append(land(tmp_path, at, b"", table.num_rows, sink.getvalue(), name=f"{at:02}.parquet"))
    frame = read_drops(spark, drops, conf)
    assert frame.schema == bronze_schema(conf)
    assert by_hour(frame.collect()) == {
        0: [("1", "2", 1, None, None), ("3", None, 2, None, None)],
        1: [(None, None, 0, None, "schema: missing column n")],
        2: [(None, None, 0, None, "schema: new column m")],
    }


def test_many_files_in_one_job_give_every_line_once_with_its_hour(spark: SparkSession, tmp_path: Path) -> None:
    """300 files over several tasks: as many rows as the manifests state, one more for the refused one, none twice."""
    drops = [
        land(tmp_path, at, b"id,n\n" + b"".join(b"%d,%d\n" % (at, n) for n in range(at % 7)), at % 7)
        for at in range(300)
    ]
    drops[4] = replace(drops[4], rows=99)
    frame = read_drops(spark, drops, CONF)
    assert frame.rdd.getNumPartitions() > 1
    rows = frame.collect()
    assert len(rows) == len({(row.file, row.line) for row in rows})
    counts = Counter(int(row.id) for row in rows if row.line)
    assert counts == {at: at % 7 for at in range(300) if at % 7 and at != 4}
    assert [row.fault for row in rows if not row.line] == ["rows: 4 found, the manifest says 99"]
    assert all((row.hour.astimezone(UTC) - H0) / HOUR == int(row.id) for row in rows if row.line)
