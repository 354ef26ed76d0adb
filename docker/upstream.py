"""The example's upstreams on the platform: tables of its packaged history in PostgreSQL, filled once, then its pages over HTTP.

Words: pipeline. The tables belong to role `upstream`; tasks sign in as `upstream_reader`, who may read and nothing else.
"""

from __future__ import annotations

import os
import sys

import psycopg2
from psycopg2 import sql
from psycopg2.extras import execute_values

from spark_jobs.config import load_pipeline
from spark_jobs.config.sources import SourceConf
from spark_jobs.config.whole import Pipeline
from spark_jobs.invocation import hours_between
from spark_jobs.sources.database import column_types, rows_of
from spark_jobs.sources.replay import clean_texts

TYPES = {int: "BIGINT", float: "DOUBLE PRECISION"}


def fill(cursor: psycopg2.extensions.cursor, pipeline: Pipeline, name: str, source: SourceConf) -> int:
    """Make and fill the table of a source where it is not there; how many rows that took."""
    assert pipeline.replay
    assert source.database
    assert source.database.table
    assert source.database.changed_at
    cursor.execute("SELECT to_regclass(%s)", [source.database.table])
    if cursor.fetchone() != (None,):
        return 0
    table, columns = sql.Identifier(source.database.table), list(source.columns)
    text = clean_texts(pipeline.replay, [name])[name]
    hours = hours_between(pipeline.replay.start, pipeline.replay.end)
    rows = [row for hour in hours for row in rows_of(text.of_hour(hour)[0], columns)]
    types = column_types(rows, columns, TYPES) | {source.database.changed_at: "TIMESTAMPTZ"}
    described = [sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in types.items()]
    cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(described)))
    execute_values(cursor, sql.SQL("INSERT INTO {} VALUES %s").format(table), rows)
    cursor.execute(sql.SQL("GRANT SELECT ON {} TO upstream_reader").format(table))
    return len(rows)


def main(name: str) -> None:
    """Fill, then become the server."""
    pipeline = load_pipeline(name)
    place = {"host": "postgres", "dbname": "upstream", "user": "upstream"}
    connection = psycopg2.connect(**place, password=os.environ.pop("UPSTREAM_DB_PASSWORD"))
    with connection, connection.cursor() as cursor:  # one transaction
        for source_name, source in pipeline.sources.of_kind("database").items():
            print(f"upstream: {fill(cursor, pipeline, source_name, source)} rows of {source_name} written", flush=True)
    connection.close()
    os.execvp("tidegate", ["tidegate", "serve", name, "--host", "0.0.0.0"])


if __name__ == "__main__":
    main(sys.argv[1])
