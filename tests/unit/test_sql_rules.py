"""Rules in SQL: `validate` takes what reads {batch}, and refuses what reads another table or file, or runs code."""

from __future__ import annotations

import pytest

from spark_jobs.config.sql_rules import sql_fault

TYPES = {"a": "string", "b": "bigint", "at": "timestamp", "list": "string"}
FINE = (
    "SELECT * FROM {batch} WHERE b > 1",
    "select a from {batch} t where t.b = 1",
    "SELECT * FROM {batch} b1, {batch} b2 WHERE b1.a = b2.a",
    "SELECT x.a FROM {batch} x JOIN {batch} y ON x.a = y.a",
    "SELECT x.a FROM {batch} x LEFT JOIN {batch} y USING (a) WHERE y.b IS NULL",
    "SELECT * FROM (SELECT a, count(*) n FROM {batch} GROUP BY a) WHERE n > 1",
    "SELECT * FROM {batch} WHERE a IN (SELECT a FROM {batch})",
    "WITH t AS (SELECT a FROM {batch}) SELECT * FROM t",
    "WITH t (x) AS (SELECT a FROM {batch}), u AS (SELECT x FROM t) SELECT * FROM u, t",
    "SELECT * FROM {batch} WHERE extract(hour FROM at) = 3",
    "SELECT * FROM {batch} WHERE trim(BOTH 'x' FROM a) = ''",
    "SELECT * FROM {batch} WHERE a IS DISTINCT FROM 'x'",
    "SELECT * FROM {batch} WHERE a IS NOT DISTINCT FROM 'x' AND b IN (1, 2, 3)",
    "SELECT * FROM {batch} LATERAL VIEW explode(split(a, ',')) v AS x, y WHERE x = 'q'",
    "FROM {batch} SELECT a WHERE b > 1",
    "SELECT * FROM {batch} WHERE a = 'from secrets, parquet.`x`' -- FROM secrets",
    "SELECT 1 FROM {batch} HAVING max(b) > 1",
    "SELECT a, row_number() OVER (PARTITION BY a ORDER BY b, at) n FROM {batch} QUALIFY n > 1",
    "TABLE {batch}",
    "SELECT b FROM {batch} UNION ALL SELECT b + 1 FROM {batch} ORDER BY b, b",
    "SELECT * FROM {batch} AS t (a, b, at, list) WHERE b = 1",
)
OTHER_DATA = (
    "SELECT * FROM {batch} WHERE a IN (SELECT value FROM text.`/etc/passwd`)",
    "SELECT * FROM {batch}, parquet.`/lake`",
    "SELECT * FROM {batch} t JOIN parquet.`/lake/silver` s ON t.a = s.a",
    "SELECT * FROM {batch} t LEFT ANTI JOIN secrets s ON true",
    "WITH t AS (FROM json.`/x`) SELECT * FROM {batch}, t",
    "SELECT (SELECT max(_c0) FROM csv.`/etc/passwd`) x FROM {batch}",
    "SELECT * FROM {batch} UNION ALL TABLE secrets",
    "SELECT * FROM {batch} UNION ALL (TABLE delta.`/x`)",
    "SELECT * FROM {batch}, (secrets)",
    "SELECT * FROM {batch}, (secrets s JOIN {batch} t)",
    "SELECT * FROM {batch}, LATERAL (SELECT * FROM binaryFile.`/x`)",
    "SELECT * FROM {batch} LATERAL VIEW explode(array(1)) v AS x WHERE EXISTS (SELECT 1 FROM secrets)",
    "FROM secrets, {batch} SELECT a",
    "SELECT * FROM spark_catalog.default.secrets, {batch}",
    "SELECT * FROM `secrets` -- {batch}",
    "SELECT * FROM/**/secrets, {batch}",
    "SELECT * FROM {batch} WHERE a = 'x''' AND EXISTS (SELECT 1 FROM orc.`/x`)",
    "SELECT * FROM read_files('/x'), {batch}",
    "SELECT * FROM IDENTIFIER('text.`/etc/passwd`'), {batch}",
    "SELECT * FROM {batch} WHERE EXISTS (FROM avro.`/x`)",
    "SELECT * FROM {batch} t, secrets s",
    "SELECT * FROM {batch} JOIN (SELECT 1) JOIN secrets",
    "SELECT * FROM `the batch2`, {batch}",
)
CODE = (
    "SELECT TRANSFORM(a) USING 'touch /tmp/planted' AS (x) FROM {batch}",
    "FROM {batch} MAP a USING 'sh -c id' AS x SELECT x",
    "SELECT reflect('java.lang.System', 'getenv', 'HOME') FROM {batch}",
    "SELECT java_method('java.lang.Runtime', 'x') FROM {batch}",
    "SELECT try_reflect('a', 'b') FROM {batch}",
    "SELECT '${{env:AWS_SECRET}}' FROM {batch}",
    "SELECT ${{system:user.home}} FROM {batch}",
    "FROM {batch} INSERT INTO t SELECT a",
    "FROM {batch} INSERT OVERWRITE DIRECTORY '/tmp/x' SELECT a",
    "INSERT INTO t SELECT * FROM {batch}",
    "DROP TABLE {batch}",
    "SET x = {batch}",
    "ADD JAR '/x' {batch}",
    "CREATE VIEW v AS SELECT * FROM {batch}",
)


@pytest.mark.parametrize("query", FINE)
def test_a_rule_that_reads_its_batch_alone_is_taken(query):
    assert sql_fault(query, TYPES) == ""


@pytest.mark.parametrize("query", OTHER_DATA)
def test_a_rule_that_reads_another_table_or_file_is_refused(query):
    assert "a rule reads {batch} alone" in sql_fault(query, TYPES) or "may not call" in sql_fault(query, TYPES)


@pytest.mark.parametrize("query", CODE)
def test_a_rule_that_runs_code_or_reads_the_environment_is_refused(query):
    assert sql_fault(query, TYPES)
