"""Values, files and functions that a hostile hour brings: what is quarantined, what raises, what readers still see."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.alerts.incidents import open_incidents
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.tables import SilverTable
from spark_jobs.invocation import HOUR
from spark_jobs.quality.split import built_ins, split_rows
from spark_jobs.sources.drops import Drop
from spark_jobs.sources.files import read_drops
from spark_jobs.stages.silver import _typed

CHECKOUT = Path(__file__).resolve().parents[2]
NOON = datetime(2013, 11, 1, 12, tzinfo=UTC)
SOURCE = SourceConf.model_validate(
    {"kind": "files", "manifests": "o/{day}/{hour}.json", "format": "csv", "columns": ["id", "at", "n", "x"]}
)
TABLE = SilverTable.model_validate(
    {
        "source": "orders", "grain": "one row an order", "key": ["id"],
        "event_at": {"use": "itself", "columns": ["at"]}, "event_within": {"lateness": "1h", "ahead": "0h"},
        "columns": {
            name: {"type": kind, "meaning": "A column."}
            for name, kind in {"id": "string", "at": "timestamp", "n": "int", "x": "double"}.items()
        },
    }
)  # fmt: skip


def silver(spark: SparkSession, folder: Path, rows: list[tuple[str, str, str]]) -> Any:
    """A drop with the rows (at, n, x) as silver sees it, id = place in the list: typed, with the rules that it breaks."""
    text = "".join(f"{number},{','.join(row)}\n" for number, row in enumerate(rows))
    data = gzip.compress(f"id,at,n,x\n{text}".encode(), mtime=0)
    path = folder / "12.csv.gz"
    path.write_bytes(data)
    drop = Drop("orders", NOON, str(path), "12.csv.gz", "12.json", 1, len(rows), len(data),
                hashlib.sha256(data).hexdigest(), NOON + HOUR)  # fmt: skip
    typed, faults = _typed(read_drops(spark, [drop], SOURCE), TABLE, SOURCE.nulls)
    return split_rows(typed, faults | built_ins(typed, key=TABLE.key))


def test_N9_what_is_no_finite_number_is_quarantined_and_the_largest_one_stays(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Spark reads 1e400 as an infinity, and counts NaN as equal to NaN and above all numbers."""
    bad = ["NaN", "nan", "Infinity", "-Infinity", "inf", "1e400", "-1e400", "1.8e308"]
    good = ["1.7976931348623157e308", "-1e308", "0.5", "NA", ""]
    rows = silver(spark, tmp_path, [("2013-11-01T12:00:00Z", "1", x) for x in [*bad, *good]]).collect()
    broken = {[*bad, *good][int(row.id)]: row.broken for row in rows}
    assert broken == {**{x: ["finite:x"] for x in bad}, **{x: [] for x in good}}


def test_N7_a_value_beyond_its_columns_type_is_quarantined_and_never_wraps(spark: SparkSession, tmp_path: Path) -> None:
    """A column that was int and comes as long, as a decimal or as text; those that fit stay."""
    bad = ["2147483648", "-2147483649", "9" * 30, "1.5", "1e3", "many", "0x10"]
    no_doubles = ["1d", "1f", "0x1p3", "1e", "1 000"]  # of which Java reads the first three
    odd = silver(spark, tmp_path, [("2013-11-01", "1", x) for x in no_doubles]).collect()
    assert [row.broken for row in odd] == [["type:x"]] * len(no_doubles)
    good = ["2147483647", "-2147483648", "007", "NA"]
    rows = silver(spark, tmp_path, [("2013-11-01T12:00:00Z", n, "0.5") for n in [*bad, *good]]).collect()
    assert {[*bad, *good][int(row.id)]: (row.n, row.broken) for row in rows} == {
        **{n: (None, ["type:n"]) for n in bad},
        "2147483647": (2**31 - 1, []), "-2147483648": (-(2**31), []), "007": (7, []), "NA": (None, []),
    }  # fmt: skip


def test_N7_the_values_of_a_parquet_drop_are_typed_to_the_same_values_and_what_does_not_fit_is_quarantined(
    spark: SparkSession, tmp_path: Path
) -> None:
    """64-bit numbers and doubles to the last bit, instants to the microsecond, far dates; text is never a silent null."""
    chance = random.Random(7)
    doubles = [struct.unpack(">d", chance.randbytes(8))[0] for _ in range(500)]
    doubles = [value for value in doubles if math.isfinite(value)] + [5e-324, -0.0, 1.7976931348623157e308, 0.1 + 0.2]
    longs = [chance.randrange(-(2**63), 2**63) for _ in doubles[2:]] + [2**63 - 1, -(2**63)]
    micros = [chance.randrange(-62135596800_000000, 253402300800_000000) for _ in doubles[2:]] + [-1, 0]
    rows = len(doubles)
    good = pa.table({"id": pa.array(range(rows)), "n": longs, "x": doubles, "at": pa.array(micros, pa.timestamp("us"))})
    odd = pa.table(
        {
            "id": ["late", "nan", "large", "text"],
            "n": ["1", "1", str(2**63), "many"],
            "x": [0.5, math.nan, 0.5, 0.5],
            "at": pa.array([253402300800_000000, 0, 0, 0], pa.timestamp("us")),
        }
    )
    conf = SOURCE.model_copy(update={"format": "parquet"})
    table = SilverTable.model_validate(
        TABLE.model_dump(by_alias=True)
        | {"columns": {**TABLE.model_dump(by_alias=True)["columns"], "n": {"type": "bigint", "meaning": "A column."}}}
    )
    drops = []
    for name, one in (("good", good), ("odd", odd)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(one, path)
        data = path.read_bytes()
        drops.append(Drop("orders", NOON, str(path), name, "m", 1, one.num_rows, len(data),
                          hashlib.sha256(data).hexdigest(), NOON + HOUR))  # fmt: skip
    typed, faults = _typed(read_drops(spark, drops, conf), table, conf.nulls)
    found = split_rows(typed, faults | built_ins(typed, key=table.key))
    seen = found.select("id", "n", "x", F.unix_micros("at").alias("at"), "broken").collect()
    exact = {row.id: (row.n, struct.pack(">d", row.x), row.at) for row in seen if not row.broken}
    assert exact == {
        str(at): (longs[at], struct.pack(">d", doubles[at]), micros[at]) for at in range(rows)
    }  # fmt: skip
    assert {row.id: row.broken for row in seen if row.broken} == {
        "late": ["type:at"], "nan": ["finite:x"], "large": ["type:n"], "text": ["type:n"],
    }  # fmt: skip


def test_T2_an_hour_that_never_was_on_some_wall_is_an_hour_of_its_own_in_utc(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Half past two and half past three stay an hour apart where clocks went forward; what is no time is quarantined."""
    texts = [
        "2013-03-10T02:30:00Z",
        "2013-03-10T03:30:00Z",
        "2013-03-10T02:30:00",
        "2013-03-10T24:30:00",
        "half past 2",
        "2013-03-10T02:30:00 America/New_York",
        "02:30",
        "2013",
        "2013-03-10T04:30:00+02:00",
    ]
    rows = silver(spark, tmp_path, [(text, "1", "0.5") for text in texts])
    found = {
        row.id: (row.s, row.broken) for row in rows.select("id", F.unix_seconds("at").alias("s"), "broken").collect()
    }
    half_past_two = int(datetime(2013, 3, 10, 2, 30, tzinfo=UTC).timestamp())
    assert found == {
        "0": (half_past_two, []), "1": (half_past_two + 3600, []), "2": (half_past_two, []),
        **{str(number): (None, ["type:at"]) for number in range(3, 8)}, "8": (half_past_two, []),
    }  # fmt: skip


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Chatham"])
def test_T4_drops_are_read_to_the_same_instants_in_a_session_of_another_zone(
    spark: SparkSession, tmp_path: Path, zone: str
) -> None:
    """Instants of manifests, and text that names its zone. Text that names none is UTC, as the session is (control)."""
    rows = [
        ("2013-11-03T05:30:00Z", "1", "0.5"),
        ("2013-11-03T06:30:00Z", "2", "0.5"),
        ("2013-11-03T05:30:00", "3", "1"),
    ]

    def seen() -> list[tuple[Any, ...]]:
        frame = silver(spark, tmp_path, rows)
        instants = [F.unix_seconds(name).alias(name) for name in ("at", "hour", "known_at", "arrived_at")]
        return sorted(tuple(row) for row in frame.select("n", "broken", *instants).collect())

    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"
    utc = seen()
    try:
        spark.conf.set("spark.sql.session.timeZone", zone)
        elsewhere = seen()
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    assert elsewhere[:2] == utc[:2]
    assert elsewhere[2] != utc[2]
    assert utc[0][2] == utc[2][2] == utc[1][2] - 3600


def test_N3_a_flipped_byte_in_parquet_raises_and_is_a_wrong_sum_without_the_setting(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The setting of every session; the control reads the same file without it."""
    folder = str(tmp_path / "numbers")
    spark.range(1000).coalesce(1).write.option("compression", "none").option(
        "parquet.enable.dictionary", "false"
    ).parquet(folder)
    (file,) = Path(folder).glob("*.parquet")
    data = bytearray(file.read_bytes())
    data[data.index((500).to_bytes(8, "little"))] ^= 0x55
    file.write_bytes(data)
    file.with_name(f".{file.name}.crc").unlink()  # Hadoop's own, which an object store does not have
    key = "parquet.page.verify-checksum.enabled"
    assert spark.read.option(key, "false").parquet(folder).agg(F.sum("id")).first()[0] != 499_500
    with pytest.raises(Exception, match="CRC checksum verification failed"):
        spark.read.parquet(folder).agg(F.sum("id")).collect()


POISON = '''
import os

from pyspark.sql import functions as F

from spark_jobs.transforms.registry import transform


@transform("poisoned_instant")
def poisoned_instant(instant, seats):
    """The instant as it is, but 1001 seats raise and 1002 kill the worker."""

    def checked(value):
        if value == 1001:
            raise ValueError("poison")
        if value == 1002:
            os._exit(7)
        return value

    return F.timestamp_add("MINUTE", F.least(F.coalesce(F.udf(checked, "int")(seats), F.lit(0)), F.lit(0)), instant)
'''


@pytest.fixture
def poisoned(past: Any, new_project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The site of `past` with a transform of its own that does not survive two values."""
    folder = new_project(tmp_path / "project")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "poison_transforms.py").write_text(POISON)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    conf = folder / "conf/pipelines/nycflights13"
    for file, old, new in (
        ("pipeline.yaml", "modules: []", "modules: [poison_transforms]"),
        (
            "tables.yaml",
            "{use: itself, columns: [changed_at]}",
            "{use: poisoned_instant, columns: [changed_at, seats]}",
        ),
    ):
        text = (conf / file).read_text()
        assert old in text
        (conf / file).write_text(text.replace(old, new))
    return past.copy(tmp_path / "data", folder)


def test_N13_a_row_that_kills_a_transform_or_its_worker_publishes_nothing_and_the_next_hour_goes_on(
    poisoned: Any,
) -> None:
    """The step ends with an error, which the ledger and one incident keep with its cause, function, table and drops; readers
    keep what they saw; the worker's death does not outlive its job."""
    site, hour = poisoned, poisoned.ledger.line()[-1].covers[0][2]
    before, releases, first = site.seen(), len(site.ledger.line()), ""
    lines = gzip.decompress(site.file_of("planes", hour).read_bytes()).decode().splitlines()
    plane = dict.fromkeys(site.pipeline.sources.sources["planes"].columns) | {"tailnum": "N1", "engines": 1}
    for poison, told in (("1001", "poison"), ("1002", "crashed|exited unexpectedly")):
        row = json.dumps({**plane, "seats": int(poison), "changed_at": f"{hour:%FT%TZ}"})
        site.hand_in("planes", hour, gzip.compress("\n".join([*lines, row, ""]).encode()), len(lines) + 1)
        if poison == "1001":  # the function says no: the hour is refused
            result = site.stage(hour, dag_run=f"poison_{poison}")
            assert (result.exit_code, "values_computable" in result.why) == (65, True)
        else:  # a worker that dies may be the machine's fault
            with pytest.raises(Exception, match=told):
                site.stage(hour, dag_run=f"poison_{poison}")
        failed = next(row for row in reversed(site.ledger.intervals()) if row["state"] in ("failed", "refused"))
        assert failed["state"] == ("refused" if poison == "1001" else "failed")
        assert re.search(told, failed["why"])
        file = site.file_of("planes", hour).relative_to(site.landing)
        assert ("; in checked (poison_transforms.py:" in failed["why"]) == (poison == "1001")
        assert "; while computing planes; drops: " in failed["why"]
        assert str(file) in failed["why"]
        assert len(failed["why"]) < 800
        assert [row["body"] for row in open_incidents(site.ledger.incidents()).values()] == [first or failed["why"]]
        first = first or failed["why"]
        assert site.run("build_features", hour, dag_run=f"poison_{poison}").exit_code == (
            65 if poison == "1001" else 75
        )
        assert (site.seen(), len(site.ledger.line())) == (before, releases)
    site.publish(hour + HOUR)
    assert len(site.ledger.line()) == releases + 1


def test_an_error_while_bronze_is_written_names_the_drops(past: Any, new_project: Any, tmp_path: Path) -> None:
    """A file lies where the files of a source are to be staged: the machine's fault, not that of a row."""
    site = past.copy(tmp_path / "data", new_project(tmp_path / "project"))
    hour = site.ledger.line()[-1].covers[0][2]
    site.deliver(hour)
    pub = max(row["seq"] for row in site.ledger.intervals()) + 1
    obstacle = site.root / "bronze" / "planes" / f"pub-{pub}"
    obstacle.write_text("")
    with pytest.raises(Exception, match=f"pub-{pub}"):
        site.stage(hour, dag_run="obstructed")
    failed = site.ledger.intervals()[-1]
    assert (failed["state"], failed["pub"]) == ("failed", pub)
    assert "; while computing planes; drops: " in failed["why"]
    assert str(site.file_of("planes", hour).relative_to(site.landing)) in failed["why"]
