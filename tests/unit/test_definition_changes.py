"""What a change of conf/ means for published tables: refused with instructions, rewritten by `migrate`, or simply published."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from former_lake import NAME, PROJECT, unpacked

from spark_jobs import failpoints
from spark_jobs.cli.act import submit
from spark_jobs.cli.migrate import migrate_tables
from spark_jobs.cli.planning import show_plan
from spark_jobs.config import ConfigError, load_pipeline
from spark_jobs.config.schemas import table_schemas
from spark_jobs.config.whole import Pipeline
from spark_jobs.errors import UsageError
from spark_jobs.invocation import HOUR, Invocation, parse_hour
from spark_jobs.lake.changes import pending_changes, require_publishable
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.maintenance import compact_days
from spark_jobs.lake.reading import read_current
from spark_jobs.ledger import Ledger
from spark_jobs.storage.delta import DeltaStorage
from spark_jobs.storage.evolution import IncompatibleError, evolved

ORDER = ("hour", "file", "line", "table", "source", "entity", "key", "event_hour", "as_of", "known_at", "pub")
HOUR_9 = parse_hour("2024-05-02T05:00:00")


@dataclass
class Lake:
    """The former lake with a project of its own, whose definitions its logs have recorded."""

    project: Path
    root: Path

    @property
    def pipeline(self) -> Pipeline:
        """As conf/ is now."""
        return load_pipeline(NAME, self.project)

    def edit(self, file: str, *pairs: tuple[str, str]) -> None:
        """Replace texts, each of which is there once."""
        path = self.project / "conf/pipelines" / NAME / file
        text = path.read_text()
        for old, new in pairs:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text)

    def record(self) -> None:
        """What the next publication does to the logs."""
        for table, schema in table_schemas(self.pipeline).items():
            DeltaStorage(self.root).make_file_table(table, schema)

    def refusals(self) -> list[str]:
        """What is refused, as text."""
        return [f"{one.where}: {one.found}; {one.hint}" for one in pending_changes(self.pipeline, self.root).refusals]

    def rows(self, table: str, release: int | None = None) -> list[dict]:
        """What readers of a release see."""
        line = Ledger.open(self.root).line(release)
        found = read_current(self.root, table, table_kinds(self.pipeline)[table], line, limit=10**6)
        return sorted(found, key=lambda row: [str(row.get(name)) for name in ORDER])


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    shutil.copytree(PROJECT, tmp_path / "project")
    data = unpacked(tmp_path)
    monkeypatch.setenv("TIDEGATE_PROJECT", str(tmp_path / "project"))
    monkeypatch.setenv("TIDEGATE_DATA", str(data))
    made = Lake(tmp_path / "project", data / "lake" / NAME)
    made.edit("tables.yaml", (DELAY, f"{NOTE}\n      {DELAY}"))
    made.record()
    return made


PLANS_EVENT = "    event_at: {use: itself, columns: [announced_at]}"
PLANS_KEY = "    key: [boat, due_at]\n" + PLANS_EVENT
LOOKUP = "{table: plans, column: quay, within: 24h, meaning: Quay as planned; null when there was no plan.}"
AGAIN = """{table: again, column: quay, meaning: As planned.}
  again:
    source: plans
    grain: one plan
    key: [boat, due_at]
    event_at: {use: itself, columns: [announced_at]}
    columns:
      boat: {type: string, required: true, meaning: Boat.}
      due_at: {type: timestamp, required: true, meaning: Planned.}
      announced_at: {type: timestamp, required: true, meaning: Announced.}
      quay: {type: int, meaning: Quay.}"""
QUAY = "quay: {type: int, required: true, meaning: Number of the quay.}"
NOTE = "note: {from: delay, type: int, unit: min, meaning: As told.}"
DELAY = "delay_min: {from: delay, type: int, unit: min,"


def test_nothing_is_refused_or_rewritten_without_a_change(lake: Lake) -> None:
    changes = pending_changes(lake.pipeline, lake.root)
    assert (changes.refusals, changes.rewrites) == ([], [])


@pytest.mark.parametrize(
    ("file", "pairs", "words"),
    [
        ("tables.yaml", [(NOTE, NOTE.replace("int", "string"))],
         ["tables.landings.columns.note", "type string, published rows have int", "new column name", "restore type: int"]),
        ("tables.yaml", [(NOTE, NOTE.replace("min", "h"))],
         ["tables.landings.columns.note.unit", "unit h, published values are in min", "restore unit: min"]),
        ("tables.yaml", [("    grain: one row a planned landing\n    key: [boat, due_at]", "    grain: one a boat\n    key: [boat]"),
                         ("    grain: one row a landing\n    key: [boat, due_at]", "    grain: one\n    key: [boat]")],
         ["tables.plans.key", "restore key: [boat, due_at]", "define a new table"]),
        ("tables.yaml", [(PLANS_KEY, "    key: [boat]\n    valid_from: due_at\n" + PLANS_EVENT), (LOOKUP, AGAIN)],
         ["tables.plans.valid_from", "due_at, published rows have none", "restore the table without valid_from"]),
        ("features.yaml", [("boat: [boat]", "boat: [boat, quay]")],
         ["spine.entities.boat", "[boat, quay], published features", "define a new entity"]),
        ("tables.yaml", [(QUAY, QUAY.replace("int", "double"))],
         ["tables.plans.columns.quay", "names an entity", "restore type: int"]),
    ],
    ids=["type", "unit", "key", "kind", "entity", "entity_type"],
)  # fmt: skip
def test_a_change_that_published_rows_do_not_allow_is_refused(
    lake: Lake, file: str, pairs: list[tuple[str, str]], words: list[str]
) -> None:
    lake.edit(file, *pairs)
    if "again" in str(pairs):
        suite = lake.project / "expectations" / NAME / "plans.yaml"
        suite.with_name("again.yaml").write_text(suite.read_text().replace("table: plans", "table: again"))
    text = "\n".join(lake.refusals())
    assert [word for word in words if word not in text] == [], text


def test_all_refusals_are_reported_at_once_before_anything_starts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 64 from `run`, `backfill`, `plan` and heal; no process is started and no publication gets a number."""
    lake.edit(
        "tables.yaml", (NOTE, NOTE.replace("int", "string").replace("min", "h")), (QUAY, QUAY.replace("int", "double"))
    )
    monkeypatch.setattr("subprocess.Popen", lambda *words, **options: pytest.fail("a process was started"))
    before = len(Ledger.open(lake.root).store.rows("intervals"))
    for step in ("ingest", "publish", "heal", "training_set"):
        for again in (False, True):
            with pytest.raises(UsageError) as told:
                submit(Invocation(NAME, step, HOUR_9, HOUR_9 + HOUR, "run"), again=again)
            assert told.value.exit_code == 64
            assert all(word in str(told.value) for word in ("3 change(s)", "columns.quay", "columns.note", "unit h"))
    with pytest.raises(UsageError, match=r"3 change\(s\)"):
        show_plan(NAME, "ingest", "2024-05-02T05:00:00", "2024-05-02T06:00:00", "local", as_json=False)
    assert len(Ledger.open(lake.root).store.rows("intervals")) == before


@pytest.mark.parametrize(
    ("file", "pairs"),
    [
        ("tables.yaml", [(QUAY, QUAY.replace("int", "bigint"))]),
        ("tables.yaml", [(QUAY, QUAY.replace("required: true", "required: false"))]),
        ("tables.yaml", [(DELAY, "more: {from: delay, type: string, meaning: More.}\n      " + DELAY)]),
        ("features.yaml", [("windows: [3h, 12h]", "windows: [3h, 6h, 12h]")]),
        ("features.yaml", [("entities: [boat, quay]", "entities: [boat]")]),
        ("tables.yaml", [(NOTE, NOTE.replace("unit: min, ", ""))]),
    ],
    ids=["widened", "optional", "added", "other_windows", "fewer_entities", "no_unit"],
)  # fmt: skip
def test_a_change_that_needs_nothing_is_published_as_it_is(lake: Lake, file: str, pairs: list[tuple[str, str]]) -> None:
    lake.edit(file, *pairs)
    require_publishable(lake.pipeline, lake.root, "local")
    before = {table: lake.rows(table) for table in table_kinds(lake.pipeline)}
    lake.record()
    require_publishable(lake.pipeline, lake.root, "local")
    after = {table: [{k: row[k] for k in old[0]} for row in lake.rows(table)] for table, old in before.items()}
    assert after == before


def test_a_unit_that_was_left_out_is_still_known(lake: Lake) -> None:
    lake.edit("tables.yaml", (NOTE, NOTE.replace("unit: min, ", "")))
    lake.record()
    lake.edit("tables.yaml", (NOTE.replace("unit: min, ", ""), NOTE.replace("min", "s")))
    assert "published values are in min" in "\n".join(lake.refusals())


def _rename(lake: Lake) -> None:
    """delay_min becomes delay, and widens to a double, for which tiles have to be rewritten; the spine's key is renamed."""
    lake.edit("tables.yaml", (DELAY, "delay: {renamed_from: delay_min, type: double, unit: min,"),
              ("columns: [due_at, delay_min]", "columns: [due_at, delay]"))  # fmt: skip
    lake.edit("features.yaml", ("{use: itself, columns: [delay_min]}", "{use: itself, columns: [delay]}"),
              ("    columns: [delay_min]", "    columns: [delay]"))  # fmt: skip
    for name in ("landings", "features_last_landing"):
        suite = lake.project / "expectations" / NAME / f"{name}.yaml"
        suite.write_text(suite.read_text().replace("column: delay_min", "column: delay"))


def test_steps_wait_for_a_rename_and_a_type_that_need_a_rewrite(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    _rename(lake)
    with pytest.raises(UsageError) as told:
        submit(Invocation(NAME, "ingest", HOUR_9, HOUR_9 + HOUR, "run"))
    assert told.value.todo == "tidegate migrate harbour --env local"
    for words in ("silver/landings: delay_min -> delay", "tiles/landings: sum_delay_min as double", "rows", "bytes"):
        assert words in str(told.value)
    show_plan(NAME, "ingest", "2024-05-02T05:00:00", "2024-05-02T06:00:00", "local", as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["rewrites"]["command"] == "tidegate migrate harbour --env local"
    assert "96" in facts["rewrites"]["silver/landings"] or "rows" in facts["rewrites"]["silver/landings"]


@pytest.mark.parametrize("compacted", [False, True])
def test_migrate_renames_and_casts_in_every_release(lake: Lake, compacted: bool) -> None:
    tables = {
        "silver/landings": ("delay_min", "delay"),
        "features/last_landing": ("delay_min", "delay"),
        "tiles/landings": ("", ""),
    }
    if compacted:
        for table in tables:
            compact_days(Ledger.open(lake.root), table, HOUR_9.date())
    before = {(table, n): lake.rows(table, n) for table in tables for n in (1, 3, 6)}
    _rename(lake)
    migrate_tables(NAME, "local", as_json=True)
    require_publishable(lake.pipeline, lake.root, "local")
    for (table, n), rows in before.items():
        old, new = tables[table]
        wanted = [_numbers({new if name == old else name: value for name, value in row.items()}) for row in rows]
        assert [_numbers(row) for row in lake.rows(table, n)] == wanted
    migrate_tables(NAME, "local", as_json=True)  # there is nothing left to do
    lake.edit("tables.yaml", ("renamed_from: delay_min, ", ""))
    require_publishable(lake.pipeline, lake.root, "local")
    lake.record()
    read = DeltaTable(lake.root / "silver/landings").to_pyarrow_dataset().to_table()
    assert read["delay"].type == pa.float64()
    assert sorted(filter(None, read["delay"].to_pylist()))[:1] == [-30.0]


def _numbers(row: dict) -> dict:
    return {name: float(value) if isinstance(value, int) else value for name, value in sorted(row.items())}


def test_a_former_name_is_refused_after_the_rename(lake: Lake) -> None:
    """Conf of a branch that does not know the rename would fill a second column."""
    former = (lake.project / "conf/pipelines" / NAME / "tables.yaml").read_text()
    _rename(lake)
    migrate_tables(NAME, "local", as_json=True)
    (lake.project / "conf/pipelines" / NAME / "tables.yaml").write_text(former)
    shutil.copy(PROJECT / "conf/pipelines" / NAME / "features.yaml", lake.project / "conf/pipelines" / NAME)
    for suite in (PROJECT / "expectations" / NAME).iterdir():
        shutil.copy(suite, lake.project / "expectations" / NAME)
    assert "'delay_min' was renamed to 'delay' in the lake" in "\n".join(lake.refusals())


def test_values_that_a_cast_would_change_stop_the_migration(lake: Lake) -> None:
    lake.edit("tables.yaml", (NOTE, NOTE.replace("int", "bigint")))
    lake.record()
    root = lake.root / "silver/landings"
    path = next(path for path in DeltaTable(root).file_uris())
    rows = pq.read_table(path, partitioning=None)
    pq.write_table(rows.append_column("note", [pa.array([2**53 + 1] * rows.num_rows)]), path)
    lake.edit("tables.yaml", ("type: bigint, unit: min", "type: double, unit: min"))
    version = DeltaTable(root).version()
    with pytest.raises(UsageError, match="cannot be cast without loss"):
        migrate_tables(NAME, "local", as_json=True)
    assert DeltaTable(root).version() == version


def test_a_rename_to_a_column_that_exists_is_refused(lake: Lake) -> None:
    lake.edit("tables.yaml", (QUAY, QUAY.replace("{type", "{renamed_from: boat, type")))
    assert "'boat' and 'quay' are both columns" in "\n".join(lake.refusals())


TYPES = ["integer", "long", "float", "double", "date", "timestamp", "string", "boolean"]


def _schema(**types: str) -> str:
    fields = [{"name": n, "type": t, "nullable": False, "metadata": {}} for n, t in types.items()]
    return json.dumps({"type": "struct", "fields": fields})


@pytest.mark.parametrize("logged", TYPES)
@pytest.mark.parametrize("staged", TYPES)
def test_a_log_takes_only_types_that_every_engine_reads(logged: str, staged: str) -> None:
    numbers = {"integer": {"long", "double"}, "float": {"double"}}
    fits = logged == staged or staged in numbers.get(logged, set()) or logged in numbers.get(staged, set())
    if fits or {logged, staged} == {"integer", "float"}:
        after = evolved(_schema(a=logged), _schema(a=staged))
        wider = {"integer": 0, "long": 1, "float": 1, "double": 2}
        kind = json.loads(after)["fields"][0]["type"] if after else logged
        if logged != staged:
            widest = "double" if {logged, staged} == {"integer", "float"} else max(logged, staged, key=wider.get)
            assert kind == widest
    else:
        with pytest.raises(IncompatibleError):
            evolved(_schema(a=logged), _schema(a=staged))


def test_columns_are_matched_by_name_of_any_case_and_never_by_position() -> None:
    after = evolved(_schema(a="integer", B="string"), _schema(b="string", c="date"))
    assert [(one["name"], one["type"], one["nullable"]) for one in json.loads(after)["fields"]] == [
        ("a", "integer", True), ("B", "string", True), ("c", "date", True),
    ]  # fmt: skip
    assert evolved(after, _schema(c="date", a="integer")) is None


PIER = "pier: {from: delay, type: int, unit: m, default: 7, meaning: Pier; 7 where it was not delivered yet.}"
TOLD = 'told: {from: delay, type: timestamp, default: "2024-05-01T00:00:00Z", meaning: When it was told.}'
ADDED = f"{PIER}\n      {TOLD}"


def test_older_rows_get_the_default_of_an_added_column_in_every_release(lake: Lake) -> None:
    before = {n: lake.rows("silver/landings", n) for n in (1, 3, 6)}
    lake.edit("tables.yaml", (NOTE, f"{NOTE}\n      {ADDED}"))
    with pytest.raises(
        UsageError, match=r"silver/landings: pier = 7 in published rows, told = 2024-05-01 .* \(\d+ files"
    ) as told:
        require_publishable(lake.pipeline, lake.root, "local")
    assert told.value.todo == f"tidegate migrate {NAME} --env local"
    migrate_tables(NAME, "local", as_json=True)
    require_publishable(lake.pipeline, lake.root, "local")
    filled = {"pier": 7, "told": "2024-05-01T00:00:00Z"}
    assert {n: lake.rows("silver/landings", n) for n in before} == {
        n: [row | filled for row in rows] for n, rows in before.items()
    }
    read = DeltaTable(lake.root / "silver/landings").to_pyarrow_dataset().to_table()
    assert (read["pier"].type, set(read["pier"].to_pylist())) == (pa.int32(), {7})  # as other readers of Delta see it
    lake.edit("tables.yaml", ("default: 7", "default: 8"))
    assert pending_changes(lake.pipeline, lake.root).rewrites == []


def test_a_column_that_was_published_before_its_default_stays_null(lake: Lake) -> None:
    lake.edit("tables.yaml", (NOTE, f"{NOTE}\n      {PIER.replace('default: 7, ', '')}"))
    lake.record()
    lake.edit("tables.yaml", ("unit: m, meaning", "unit: m, default: 7, meaning"))
    assert pending_changes(lake.pipeline, lake.root).rewrites == []


@pytest.mark.parametrize(
    ("default", "words"),
    [
        ("default: 1.5", "1.5 is not a whole number of 32 bits"),
        ("default: 3000000000", "3000000000 is not a whole number of 32 bits"),
        ("default: seven", "is not a number such as 15 or 0.5"),
        ("default: true", "is not a number such as 15 or 0.5"),
    ],
)
def test_a_default_that_its_column_cannot_hold_is_refused(lake: Lake, default: str, words: str) -> None:
    lake.edit("tables.yaml", (NOTE, f"{NOTE}\n      {PIER.replace('default: 7', default)}"))
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_pipeline(NAME, lake.project)


def test_a_default_for_a_key_is_refused(lake: Lake) -> None:
    grain = "    grain: one row a landing\n    key: [boat, due_at"
    lake.edit("tables.yaml", (f"{grain}]", f"{grain}, delay_min]"), (DELAY, f"{DELAY} default: 0,"))
    with pytest.raises(ConfigError, match="default for 'delay_min', a column of the key"):
        load_pipeline(NAME, lake.project)


def _killed_at(name: str, code: str) -> None:
    """Run `code` in a process of its own until it dies at failpoint `name`."""
    environ = {**os.environ, failpoints.VARIABLE: name}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["migration.before", "migration.rewritten", "migration.committed"])
def test_a_migration_that_is_killed_is_continued_by_the_next_one(lake: Lake, name: str) -> None:
    """Readers see the former table or the new one, and after the second run every table is rewritten."""
    tables = ("silver/landings", "features/last_landing", "tiles/landings")
    before = {table: len(lake.rows(table, 3)) for table in tables}
    _rename(lake)
    _killed_at(
        name, f"from spark_jobs.cli.migrate import migrate_tables; migrate_tables({NAME!r}, 'local', as_json=True)"
    )
    assert {table: len(lake.rows(table, 3)) for table in tables} == before
    migrate_tables(NAME, "local", as_json=True)
    require_publishable(lake.pipeline, lake.root, "local")
    assert {table: len(lake.rows(table, 3)) for table in tables} == before
    assert all("delay" in row and "delay_min" not in row for row in lake.rows("silver/landings", 3))


@pytest.mark.parametrize("name", ["storage.schema.before", "storage.schema.after"])
def test_a_publication_killed_around_the_change_of_a_log_harms_nobody(lake: Lake, name: str) -> None:
    """A column that no file has yet is null; the next publication goes on from either state."""
    before = lake.rows("silver/landings")
    lake.edit("tables.yaml", (NOTE, f"{NOTE}\n      later: {{from: delay, type: int, meaning: As told.}}"))
    schema = table_schemas(lake.pipeline)["silver/landings"]
    code = "from pathlib import Path; from spark_jobs.storage.delta import DeltaStorage as S\n"
    code += f"S(Path({str(lake.root)!r})).make_file_table('silver/landings', {schema!r})"
    _killed_at(name, code)
    rows = lake.rows("silver/landings")
    assert [{column: value for column, value in row.items() if column != "later"} for row in rows] == before
    lake.record()
    assert {row["later"] for row in lake.rows("silver/landings")} == {None}
