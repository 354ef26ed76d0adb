"""`read --where`: one condition on the values of a row. Whatever else the text holds, only released rows are ever printed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from delta_files import KINDS, LINES, add, publish, release
from lake_rows import SILVER, TILES, things

from spark_jobs.errors import EXIT_USAGE, TidegateError, UsageError
from spark_jobs.lake.condition import MOST_CHARACTERS
from spark_jobs.lake.reading import read_current

LINE = [release(1, 1, 1, 2), release(2, 2, 2, 3)]
SEEN = {"a", "b", "c"}

# Each of these printed rows of publications 8 and 9, printed values of other rows, or ended in a traceback.
QUERIES = (
    "true) QUALIFY (EXISTS (SELECT 1 FROM read_parquet('{table}/*/*/*.parquet') WHERE thing = 'unreleased')",
    "true) GROUP BY ALL HAVING (EXISTS (FROM read_parquet('{table}/*/*/*.parquet'))",
    "true) GROUP BY ((SELECT max(thing) FROM read_parquet('{table}/*/*/*.parquet')",
    "true) GROUP BY (thing", "true) GROUP BY thing HAVING (count(*) > 0", "true) HAVING (true", "true) QUALIFY (true",
    "true) QUALIFY (row_number() OVER () = 1", "true) USING SAMPLE (1", "true) LIMIT (1", "true) ORDER BY (1", "true) OFFSET (1",
    "true) WINDOW w AS (ORDER BY (SELECT max(pub) FROM read_parquet('{table}/*/*/*.parquet'))) ORDER BY (1",
    "true) UNION ALL FROM read_parquet('{table}/*/*/*.parquet') WHERE (true", "true) EXCEPT SELECT 1 WHERE (true",
    "true; SELECT 1 FROM rows WHERE (true", "true) ; (FROM rows", "(SELECT true)", "EXISTS (SELECT 1)", "EXISTS (FROM _tidegate.x)",
    "thing = ANY (SELECT 'a')", "thing IN (SELECT thing FROM rows)", "thing IN (FROM (VALUES ('a')))", "ARRAY(SELECT 1) = [1]",
    "list_transform([1], lambda x: (SELECT max(pub) FROM rows)) = [1]", "CASE WHEN EXISTS (SELECT 1) THEN true END",
    "row_number() OVER () = 1", "lag(pub) OVER (ORDER BY hour) = 1", "sum(pub) > 0", "count(*) FILTER (true) > 0", "max(pub) = 9",
    "COLUMNS(*) IS NOT NULL", "#1 = 'a'", "thing = ?", "thing = $1", "getvariable('x') IS NULL", "current_setting('TimeZone') = 'UTC'",
    "nextval('x') = 1", "query('SELECT 1') = 1", "main.lower(thing) = 'a'", "system.main.lower(thing) = 'a'", "random() < 2",
    "repeat(thing, 1000000000) = 'a'", "range(1000000000) = [1]", "error('x')", "getenv('HOME') = ''", "read_text('/etc/passwd') = ''",
    "current_database() = 'memory'", "version() = ''", "pg_sleep(1) = 1", "thing = 'a' AND", "", "thing = 'a", "/*", "DEFAULT", "*",
    "true\0) UNION ALL FROM x", "thing = '\ud800'",
)  # fmt: skip
DEEP = (
    "(" * 3_000 + "true" + ")" * 3_000, "1" + "+1" * 900 + " = 901", "1" + "+1" * 9_000 + " = 1", "NOT " * 900 + "true",
    "CASE WHEN " * 900 + "true" + " THEN true END" * 900, "[" * 900 + "]" * 900 + " = []", "true" + " AND true" * 5_000,
    "thing = '" + "x" * MOST_CHARACTERS + "'",
)  # fmt: skip
ALLOWED = {
    "thing = 'a'": {"a"}, "thing IN ('a', 'c') AND NOT amount > 1": {"a", "c"}, "thing BETWEEN 'b' AND 'c'": {"b", "c"},
    "thing LIKE 'a%' OR thing ILIKE 'B' OR thing ~ '^c$'": SEEN, "thing NOT LIKE 'a!%' ESCAPE '!'": SEEN, "amount IS NULL": set(),
    "hour = TIMESTAMP '2013-11-01 01:00:00'": {"a", "b"}, "hour >= TIMESTAMPTZ '2013-11-01' + INTERVAL 2 HOUR": {"c"},
    "hour::DATE = DATE '2013-11-01' AND extract(hour FROM hour) = 2": {"c"}, "date_trunc('day', hour) < hour": SEEN,
    "hour AT TIME ZONE 'America/New_York' < TIMESTAMP '2013-10-31 22:00:00'": {"a", "b"}, "hour < current_timestamp": SEEN,
    "CASE WHEN thing = 'a' THEN 1 ELSE 2 END = 1": {"a"}, "coalesce(amount, 0) + 1 = 2 AND -amount = -1": SEEN,
    "CAST(amount AS VARCHAR) || thing = '1b'": {"b"}, "try_cast(thing AS INTEGER) IS NULL": SEEN, "length(upper(thing)) = 1": SEEN,
    "thing IS DISTINCT FROM 'a'": {"b", "c"}, "list_contains(['a', 'c'], thing)": {"a", "c"}, "lake_rows.pub = 2": {"c"},
    "list_filter([1, 2], lambda x: x = amount) = [1]": SEEN, "thing COLLATE NOCASE = 'A' -- a comment": {"a"},
    "true" + " AND amount = 1" * 200: SEEN, "thing IN (" + ", ".join(f"'{n}'" for n in range(900)) + ", 'a')": {"a"},
    "(" * 50 + "thing = 'a'" + ")" * 50: {"a"}, "thing = 'it''s \"quoted\" {x} ;--'": set(), "amount = 1e400::DOUBLE": set(),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publications 1 and 2 are released, 8 is a later release, 9 was never released."""
    root = tmp_path_factory.mktemp("conditions") / "lake"
    publish(root, LINE, things(("a", 1, 1, 2, 1), ("b", 1, 1, 2, 1), ("c", 1, 2, 3, 2)))
    for table in (SILVER, TILES, LINES):
        add(root, table, "pub-8", things(("later", 1, 1, 9, 8)))
        add(root, table, "pub-9", things(("unreleased", 1, 1, 9, 9)))
    return root


def _read(root: Path, where: str, table: str = SILVER) -> set[str]:
    return {row["thing"] for row in read_current(root, table, KINDS[table], LINE, where=where)}


@pytest.mark.parametrize(("where", "things_read"), ALLOWED.items(), ids=range(len(ALLOWED)))
def test_a_condition_on_values_reads_the_rows_that_meet_it(root, where, things_read):
    for table in (SILVER, TILES, LINES):
        assert _read(root, where, table) == things_read


@pytest.mark.parametrize("where", QUERIES, ids=range(len(QUERIES)))
def test_anything_but_a_condition_is_refused(root, where):
    if not where:
        assert _read(root, where) == SEEN
        return
    for table in (SILVER, TILES, LINES):
        with pytest.raises(UsageError) as caught:
            _read(root, where.format(table=root / table) if "{table}" in where else where, table)
        assert (caught.value.exit_code, bool(caught.value.todo)) == (EXIT_USAGE, True)
        assert "unreleased" not in str(caught.value)


@pytest.mark.parametrize("where", DEEP, ids=range(len(DEEP)))
def test_a_long_or_deep_condition_is_an_error_of_the_command(root, where):
    with pytest.raises(UsageError) as caught:
        _read(root, where)
    assert len(str(caught.value)) < 1_000


_WORDS = """
    thing amount hour pub known_at rows lake_rows _tidegate 'a' 1 ( ) ( ) [ ] , . ; = < + - :: NOT AND OR IN IS NULL true SELECT FROM
    WHERE EXISTS ANY ALL CASE WHEN THEN END QUALIFY HAVING GROUP BY ORDER LIMIT UNION WITH AS OVER lower max count lambda x : ->
""".split()  # noqa: SIM905 (words, as in condition.py)


def test_a_random_condition_prints_released_rows_or_is_refused(root):
    """Texts drawn by the seed from words of SQL; parentheses are closed as often as not."""
    draw, codes = random.Random(int(os.environ.get("TIDEGATE_SEED", "1"))), list[int]()
    for _ in range(400):
        words = draw.choices(_WORDS, k=draw.randint(1, 14))
        text = draw.choice(["", "true) ", "thing = 'a' OR "]) + " ".join(words) + draw.choice(["", ")", " (true"])
        try:
            assert _read(root, text) <= SEEN, text
        except TidegateError as error:
            codes.append(error.exit_code)
    assert set(codes) == {EXIT_USAGE}
    assert len(codes) > 200
