"""A pipeline in which every name is a reserved word of DuckDB or Spark, through whole hours and everything that reads them."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from spark_jobs.cli.look import show_status
from spark_jobs.cli.quarantine_rows import Chosen, show_held
from spark_jobs.config import load_environment, load_pipeline
from spark_jobs.config.agree_names import SILVER, SPINE
from spark_jobs.invocation import HOUR, Invocation, format_hour
from spark_jobs.lake.differences import differences
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import read_current
from spark_jobs.lake.views import register_views, write_views
from spark_jobs.ledger import Ledger
from spark_jobs.maintenance.sweep import maintain
from spark_jobs.sources.replay import _Folder
from spark_jobs.steps.run import StepRun

NAME, FIRST = "select", datetime(2024, 5, 1, 22, tzinfo=UTC)
USED = {"at", "to", "user", "end", "case", "order"}  # typed below; all other words are columns of text
QUERY = "SELECT * FROM {batch} WHERE `case` > 10000 OR `from` = 'nobody' OR `end` IS NULL"


def _conf(words: list[str]) -> dict[str, dict[str, Any]]:
    """Tables order (the spine and its events), join (the same key, looked into) and table (slowly changing)."""
    said, row = {"meaning": "A word."}, {"scope": "row", "why": "test"}
    typed = {"at": "timestamp", "to": "timestamp", "user": "string", "end": "string", "case": "int", "order": "double"}
    columns = {name: {"type": kind, "required": name != "order", **said} for name, kind in typed.items()}
    wide = {**columns, **{word: {"from": word.title(), "type": "string", **said} for word in words}}
    event, common = {"use": "itself", "columns": ["at"]}, {"grain": "a row", "event_within": {"lateness": "6h"}}
    key = {"key": ["at", "end"]}
    between = {
        "type": "expect_column_values_to_be_between",
        "column": "case",
        "args": {"min_value": 0, "max_value": 9000},
    }
    pair = {"type": "expect_column_pair_values_a_to_be_greater_than_b", "columns": ["to", "at"]}
    once = {"type": "expect_compound_columns_to_be_unique", "columns": ["at", "end"]}
    sql = {
        "type": "unexpected_rows_expectation",
        "args": {"unexpected_rows_query": QUERY},
        "scope": "batch",
        "why": "t",
    }
    largest = {
        "type": "expect_column_max_to_be_between",
        "column": "at",
        "args": {"min_value": "2024-05-01"},
        "scope": "hour",
        "why": "t",
    }
    filled = {"type": "expect_column_values_to_not_be_null", "column": "key", "budget": 0.5, **row}
    source = {"kind": "files", "manifests": "from/{day}/{hour}.manifest.json", "format": "csv"}
    return {
        f"conf/pipelines/{NAME}/pipeline.yaml": {"name": NAME, "owner": "tests", "start": "2024-05-01T20:00:00Z"},
        f"conf/pipelines/{NAME}/sources.yaml": {"sources": {"from": {**source, "columns": [*typed, *map(str.title, words)]}}},
        f"conf/pipelines/{NAME}/tables.yaml": {"tables": {
            "order": {"source": "from", **key, **common, "event_at": event, "columns": wide,
                      "lookups": {"left": {"table": "join", "column": "case", **said}}},
            "join": {"source": "from", **key, **common, "event_at": event,
                     "columns": {**columns, "union": {"from": "order", "type": "double", **said}}},
            "table": {"source": "from", "key": ["user"], "valid_from": "at", **common, "event_at": event,
                      "columns": {**columns, "using": {"from": "case", "type": "int", **said}}},
        }},
        f"conf/pipelines/{NAME}/features.yaml": {
            "spine": {"table": "order", "event_at": "to", "predict_before": "2h", 
                      "entities": {"user": ["user"], "group": ["end", "user"]}},
            "windows": {"window": {"table": "order", "entities": ["user", "group"], "windows": ["1h", "3h"],
                                   "measures": {"sum": {"use": "itself", "columns": ["case"]}},
                                   "aggregations": [{"name": "count", "op": "count"}, {"name": "all", "op": "mean", "of": "sum"}]}},
            "as_of": {"limit": {"table": "join", "entity": "user", "columns": ["union"]}},
            "look_ups": {"using": {"table": "table", "entity": "user", "columns": ["using"]}},
        },
        "conf/environments/local.yaml": yaml.safe_load(Path("tests/faults/small/conf/environments/local.yaml").read_text()),
        **{f"expectations/{NAME}/{table}.yaml": {"table": table, "rules": [
            {"id": "between", "budget": 0.5, **between, **row}, {"id": "interval", "budget": 0, **pair, **row},
            {"id": "distinct", "budget": 0, **once, **row}, {"id": "select", **sql}, {"id": "max", **largest},
        ][:5 if table == "order" else 3]} for table in ("order", "join", "table")},
        **{f"expectations/{NAME}/features_{group}.yaml": {"table": f"features/{group}", "rules": [{"id": "not", **filled}]}
           for group in ("window", "limit", "using")},
    }  # fmt: skip


def _deliver(landing: Path, hour: datetime, words: list[str]) -> None:
    rows = []
    for number in range(30):
        at = hour + timedelta(minutes=number)
        case = "99999" if number == 7 else str(number)  # one row goes to quarantine
        rows.append([f"{at:%FT%TZ}", f"{at + 3 * HOUR:%FT%TZ}", f"u{number % 4}", f"e{number}", case, "1.5", *words])
    header = ["at", "to", "user", "end", "case", "order", *map(str.title, words)]
    data = gzip.compress("\n".join([",".join(line) for line in [header, *rows]] + [""]).encode(), mtime=0)
    _Folder(landing / "from" / f"{hour:%F}").deliver("from", hour, "csv.gz", data, len(rows), hour + HOUR, False)


@pytest.mark.filterwarnings("ignore")
def test_every_name_may_be_a_reserved_word(spark, tmp_path, monkeypatch, capsys):
    of_duckdb = duckdb.connect().execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
    of_spark = spark.sql("SELECT keyword FROM sql_keywords()").collect()
    taken = {*USED, *SILVER, *SPINE, "left", "union", "using"}
    words = sorted(
        {word.lower() for (word, *_) in [*of_duckdb, *of_spark] if word.isidentifier() and not word.startswith("_")}
        - taken
    )
    reserved = {word for (word,) in duckdb.connect().execute(
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'").fetchall()}  # fmt: skip
    words = [
        word for number, word in enumerate(words) if word in reserved or number % 40 == 0
    ]  # all: minutes of planning
    project, data = tmp_path / "project", tmp_path / "data"
    for file, conf in _conf(words).items():
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text(yaml.safe_dump(conf))
    monkeypatch.setenv("TIDEGATE_PROJECT", str(project))
    monkeypatch.setenv("TIDEGATE_DATA", str(data))
    whole, root = load_pipeline(NAME), data / "lake" / NAME

    def run(step: str, hour: datetime, hours: int = 1) -> None:
        spark.catalog.clearCache()
        result = StepRun(
            Invocation(NAME, step, hour, hour + hours * HOUR, f"{'heal' if step == 'heal' else 'run'} {hour}"),
            lambda: spark,
        ).run()
        assert result.exit_code == 0, result.why

    for hour in (FIRST, FIRST + HOUR):
        _deliver(data / "landing" / NAME, hour, words)
        for step in ("ingest", "build_features", "publish"):
            run(step, hour)
    run("heal", FIRST)

    kinds, line = table_kinds(whole), Ledger.open(root).line()
    condition = '"case" < 5 AND "from" = \'from\' AND "end" <> \'\''
    rows = read_current(root, "silver/order", kinds["silver/order"], line, where=condition)
    assert {row["user"] for row in rows} == {"u0", "u1", "u2", "u3"}
    assert all(row[word] == word for row in rows for word in words)
    assert any(row["left"] is not None for row in read_current(root, "silver/order", kinds["silver/order"], line))
    differs = {one.table: one for one in differences(root, kinds, line[:1], line)}
    assert differs["silver/order"].added == 29
    names = write_views(tmp_path / "views.duckdb", root, kinds, line)
    with duckdb.connect(tmp_path / "views.duckdb") as connection:
        counts = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0] for name in names}
    assert (counts["silver_order"], counts["silver_table"]) == (58, 58)
    assert counts["features_window"] > 0
    assert {*register_views(spark, NAME)} == {*names}
    assert spark.sql("SELECT count(*) FROM silver_table WHERE valid_to IS NULL").first()[0] == 4
    show_status(NAME, format_hour(FIRST), "local", as_json=False)
    show_held(NAME, Chosen(rule="between"), 10, "local", as_json=False)
    assert "case=99999" in capsys.readouterr().out
    _, places = load_environment("local")
    maintain(whole, places, Ledger.open(root))
    read_current(root, "silver/order", kinds["silver/order"], Ledger.open(root).line(), where=condition)
