"""The path of the data folder: characters that an engine reads as a pattern or an escape are refused before any step."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_jobs.cli.look import run_doctor
from spark_jobs.config.load import load_environment
from spark_jobs.errors import UsageError
from spark_jobs.lake.reading import connect
from spark_jobs.storage.delta import DeltaStorage

ODD = """ '"#+&;:$=~!(),<>`@é日本-_."""  # all engines take these as they are


@pytest.mark.parametrize("char", [*"[]{}%^|\\?*", "\n", "\x1b"])
def test_a_data_folder_that_an_engine_would_misread_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, char: str
) -> None:
    """By every command, doctor included, with exit 64; the character and the way out are named."""
    monkeypatch.setenv("TIDEGATE_DATA", str(project / f"a{char}b"))
    for call in (lambda: load_environment("local"), lambda: run_doctor(True, "local", as_json=True)):
        with pytest.raises(UsageError, match="TIDEGATE_DATA") as fault:
            call()
        assert fault.value.exit_code == 64
        assert (char if char.isprintable() else repr(char)[1:-1]) in fault.value.found
    assert not list(project.glob("a*"))


def test_other_characters_of_a_path_are_legal(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For delta-rs and DuckDB here; an hour by the real steps in such a folder is tests/spark/test_extremes.py."""
    folder = project / ODD
    monkeypatch.setenv("TIDEGATE_DATA", str(folder))
    assert load_environment("local")[1].data == folder.resolve()
    storage = DeltaStorage(folder)
    schema = pa.schema([("seq", pa.int64())])
    assert storage.make_row_table("rows", schema).append({"seq": 1})
    table = storage.row_table("rows")
    assert table
    assert table.rows() == [{"seq": 1}]
    pq.write_table(pa.table({"x": [1]}), folder / "file.parquet")
    with connect(folder) as connection:
        assert connection.execute(
            "SELECT x FROM read_parquet($p)", {"p": [str(folder / "file.parquet")]}
        ).fetchone() == (1,)
